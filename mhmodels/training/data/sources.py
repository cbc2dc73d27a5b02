"""Sources of labelled pictures: the cluttered digits, and folders with one folder a class. `tfrecords` reads TFRecords, `idx` IDX
files.

A source is read by index, so that the order of pictures and their augmentation are functions of (seed, epoch, index). A
resumed run therefore reads exactly the pictures that an uninterrupted run would have read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from mhmodels.training.data import digits64
from mhmodels.training.data.folders import TEST, TRAIN, FolderSource, class_folders
from mhmodels.training.data.idx import is_idx, open_idx
from mhmodels.training.data.tfrecords import RecordSource, record_files
from mhmodels.training.errors import DataError


class Source(Protocol):
    """Labelled pictures that are read by index. Any object with these methods is a source.

    Attributes:
        name: Name for messages and for the record of a run.
        classes: Number of labels that can occur; None where the data do not say.
        labels: Names of the classes in order; empty where they are unknown.
        label_set: Name of the set of labels; empty where it is unknown.
    """

    name: str
    classes: int | None
    labels: tuple[str, ...]
    label_set: str

    def __len__(self) -> int: ...

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """One RGB picture and its label.

        Raises:
            PictureError: This picture cannot be read; others may.
            DataError: The data as a whole cannot be used.
        """
        ...

    def where(self, index: int) -> str:
        """The picture's file, for messages."""
        ...

    def fingerprint(self) -> str:
        """Changes with the list of pictures and labels (need not change with the pixels); guards a resumed run."""
        ...


class Data(NamedTuple):
    """Training data and test data; at least one of the two.

    Attributes:
        train: Source to train on, or None.
        test: Source to evaluate on, or None.

    Example:
        >>> from mhmodels.training import open_data
        >>> data = open_data("digits64")
        >>> data.train.classes, len(data.test)
        (10, 1800)
    """

    train: Source | None
    test: Source | None


class DigitsSource:
    """`digits64` or `digits64-hard`: training canvases drawn when they are read, or the fixed test set."""

    def __init__(self, setting: digits64.Setting, *, test: bool) -> None:
        self.name = f"{setting.name} {'test' if test else 'train'}"
        self.classes: int | None = digits64.CLASSES
        self.labels = tuple(str(digit) for digit in range(digits64.CLASSES))
        self.label_set = "digits"
        self._setting = setting
        self._test = test

    def __len__(self) -> int:
        parts = digits64.split()
        if self._test:
            return len(parts.test) * digits64.TEST_CANVASES
        return len(parts.train) * digits64.EPOCH_CANVASES

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """One canvas; an epoch's are fresh."""
        if self._test:
            pictures = digits64.test_set(self._setting)
            return Image.fromarray(pictures.pixels[index]), int(pictures.labels[index])
        drawn = digits64.epoch_canvas(epoch, index, self._setting)
        return Image.fromarray(drawn.pixels), int(drawn.labels)

    def where(self, index: int) -> str:
        return f"{self.name} {index}"

    def fingerprint(self) -> str:
        return f"{len(self)} pictures"


def open_data(data: str, *, label_offset: int | None = None, test: str | None = None) -> Data:
    """Opens training and test data by a name, a folder or a pattern of files.

    Args:
        data: `digits64` or `digits64-hard` (drawn when they are read); TFRecord files, as a folder or a pattern; `idx:DIR`, a
            folder of IDX files as those of MNIST; or a folder with one folder a class, which may be divided into `train` and
            `val` (or `validation`, `test`).
        label_offset: Number that is added to the stored labels to give the network's labels. It must be stated for TFRecords.
        test: Another folder or pattern of test data.

    Returns:
        The sources.

    Raises:
        DataError: There are no such data; the message says what was found and what is expected.

    Example:
        >>> from mhmodels.training import open_data
        >>> picture, label = open_data("digits64").test.read(0, epoch=0)
        >>> picture.size, label
        ((64, 64), 5)
    """
    if data in digits64.SETTINGS:
        if label_offset:
            raise DataError(f"{data}: label offset is {label_offset}, expected 0: its labels are the digits")
        if test is not None:
            raise DataError(f"{data}: test data is '{test}', expected none: it has a fixed test set of its own")
        setting = digits64.SETTINGS[data]
        return Data(DigitsSource(setting, test=False), DigitsSource(setting, test=True))
    if is_idx(data):
        return Data(*open_idx(data, label_offset=label_offset, test=test))
    if record_files(data):
        return _open_records(data, label_offset, test)
    if not Path(data).exists():
        known = ", ".join(digits64.SETTINGS)
        raise DataError(
            f"{data}: no such folder or files; expected {known}, TFRecord files, idx:DIR, or a folder of class folders"
        )
    offset = label_offset or 0
    train_folder, test_folder = folder_parts(data)
    where = test or test_folder
    train = FolderSource(train_folder, offset)
    tested = FolderSource(where, offset) if where else None
    if tested is not None and tested.labels != train.labels:
        differing = sorted(set(tested.labels) ^ set(train.labels))
        raise DataError(
            f"{tested.name}: its {len(tested.labels)} class folders are not those of {train.name} ({len(train.labels)}); "
            f"only in one of them: {', '.join(differing[:10])}"
        )
    return Data(train, tested)


def folder_parts(folder: str) -> tuple[Path, Path | None]:
    """Returns the folders of training pictures and of test pictures: subfolders of a folder, or itself and None."""
    root = Path(folder)
    train = _training_part(root)
    # Without a folder for training, one called "test" is a class.
    return (root, None) if train is None else (train, _part(root, TEST))


def _open_records(data: str, label_offset: int | None, test: str | None) -> Data:
    if label_offset is None:
        raise DataError(
            f"{data}: TFRecords say nothing of how labels are counted; state the label offset, which is added to the stored "
            "label: -1 for labels 1..1000 and 1000 classes, 0 for labels 1..1000 with class 0 as "
            "background (1001 classes; argument 'label_offset')",
        )
    files = record_files(data)
    tested = record_files(test) if test else [file for file in files if _begins(file, TEST)]
    if test and not tested:
        raise DataError(f"{test}: no TFRecord files there to test on")
    train = [file for file in files if _begins(file, TRAIN)] or [file for file in files if file not in tested]
    return Data(
        RecordSource(data, train, label_offset) if train else None,
        RecordSource(test or data, tested, label_offset) if tested else None,
    )


def _part(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _training_part(root: Path) -> Path | None:
    """The folder for training; one that holds no folders, and stands beside classes, is a class itself (CIFAR-100's trains)."""
    part = _part(root, TRAIN)
    if part is None or class_folders(part) or not set(class_folders(root)) - {*TRAIN, *TEST}:
        return part
    return None


def _begins(file: str, names: Sequence[str]) -> bool:
    return any(Path(file).name.startswith(name) for name in names)
