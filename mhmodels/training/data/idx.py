"""`idx:DIR`: labelled pictures in IDX files, as MNIST and Fashion-MNIST are distributed. `idx_files` reads the files.

The files named `train` are the training pictures, those named `t10k` the test pictures. Debian's package
`dataset-fashion-mnist` installs such a folder. Pictures are grey; as in folders of pictures, all three channels get the value.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mhmodels.formats.json_files import plain_text
from mhmodels.training.data.idx_files import read_idx
from mhmodels.training.errors import DataError

PREFIX = "idx:"
TRAIN, TEST = "train", "t10k"

_PICTURES = ("pictures", "rows", "columns")
_LABELS = ("labels",)
_STEMS = {_PICTURES: ("images-idx3-ubyte", "images.idx3-ubyte"), _LABELS: ("labels-idx1-ubyte", "labels.idx1-ubyte")}
_SUFFIXES = ("", ".gz")


class _LabelSet(NamedTuple):
    name: str
    names: tuple[str, ...]


_LABEL_SETS = {
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": _LabelSet(
        "fashion-mnist",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
}
"""Names of classes by the SHA-256 of the training labels, one byte each: an IDX file has no names."""


class IdxPart(NamedTuple):
    """Pictures and labels of one part of an IDX data set, held in memory.

    Attributes:
        images_file: File of the pictures, for messages.
        labels_file: File of the labels, for messages.
        pixels: Grey values, uint8 (n, height, width).
        labels: Stored labels, uint8 (n,).
    """

    images_file: Path
    labels_file: Path
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class IdxSource:
    """One part of an IDX data set as a source of labelled pictures.

    Args:
        name: Name for messages and for the record of a run.
        part: The pictures.
        classes: Number of classes, counted with the label offset.
        label_offset: Number added to the stored labels.
        label_set: Name of the set of labels; empty where it is unknown.
        labels: Names of the classes; empty where they are unknown.
    """

    def __init__(
        self, name: str, part: IdxPart, *, classes: int, label_offset: int, label_set: str = "", labels: tuple[str, ...] = ()
    ) -> None:
        self.name = plain_text(name)
        self.classes: int | None = classes
        self.labels = labels
        self.label_set = label_set
        self._part, self._label_offset = part, label_offset

    def __len__(self) -> int:
        return len(self._part.pixels)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """One picture as RGB, at its own size, and its label."""
        return Image.fromarray(self._part.pixels[index]).convert("RGB"), int(self._part.labels[index]) + self._label_offset

    def where(self, index: int) -> str:
        return f"{plain_text(str(self._part.images_file))}, picture {index}"

    def fingerprint(self) -> str:
        """Changes with any pixel or label, because the files are read whole anyway."""
        return f"{len(self)} pictures, {self._digest[:16]}"

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self._label_offset} {self._part.pixels.shape}\n".encode())
        digest.update(self._part.pixels.data)
        digest.update(self._part.labels.data)
        return digest.hexdigest()


def is_idx(data: str) -> bool:
    """Whether a source of pictures is given as `idx:DIR`."""
    return data.startswith(PREFIX)


def idx_folder(data: str) -> Path:
    """The folder that `idx:DIR` names; `~` stands for the home folder, which no shell replaces after `idx:`.

    Raises:
        DataError: There is no folder behind `idx:`.

    Example:
        >>> from mhmodels.training.data.idx import idx_folder
        >>> idx_folder("idx:data/mnist").name
        'mnist'
    """
    if not (folder := data.removeprefix(PREFIX)):
        raise DataError(f"{data}: no folder is named, expected idx:DIR, such as idx:/usr/share/datasets/fashion-mnist")
    return Path(os.path.expanduser(folder))  # noqa: PTH111 (Path.expanduser raises for an unknown user)


def open_idx(data: str, *, label_offset: int | None = None, test: str | None = None) -> tuple[IdxSource, IdxSource]:
    """Opens the training and the test pictures of an IDX data set; all of it is read into memory.

    Args:
        data: `idx:DIR`, where DIR has four files, each plain or compressed (`.gz`): `train-images-idx3-ubyte`,
            `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
        label_offset: Number added to the stored labels; None for 0, with a picture of every class demanded.
        test: Another `idx:DIR`, whose `t10k` files are the test pictures.

    Returns:
        Training pictures and test pictures.

    Raises:
        DataError: A file is missing or damaged, the numbers of pictures and labels differ, or labels do not count from 0.
    """
    offset = label_offset or 0
    if test is not None and not is_idx(test):
        raise DataError(f"{data}: test data is '{test}', expected idx:DIR as for the training data")
    train = read_part(data, TRAIN)
    classes = _classes(train, label_offset)
    tested = read_part(test or data, TEST)
    labels = tested.labels.astype(np.int64) + offset
    if (outside := np.flatnonzero((labels < 0) | (labels >= classes))).size:
        raise DataError(
            f"{tested.labels_file}: label {outside[0]} is {labels[outside[0]]} with the label offset {offset}, "
            f"expected 0 to {classes - 1} as in {train.labels_file}"
        )
    known = None if offset else _LABEL_SETS.get(hashlib.sha256(train.labels.data).hexdigest())
    label_set, names = known or ("", ())
    sources = [
        IdxSource(f"{source} {word}", part, classes=classes, label_offset=offset, label_set=label_set, labels=names)
        for source, word, part in ((data, "train", train), (test or data, "test", tested))
    ]
    return sources[0], sources[1]


def read_part(data: str, part: str) -> IdxPart:
    """Reads the pictures and labels of one part.

    Args:
        data: `idx:DIR`.
        part: First word of the names of the files: `train` or `t10k`.

    Raises:
        DataError: A file is missing or damaged, or the numbers of pictures and labels differ.
    """
    folder = idx_folder(data)
    if not folder.is_dir():
        state = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {state}, expected the folder of IDX files that {PREFIX}DIR names")
    images_file, labels_file = (_file(folder, part, dimensions) for dimensions in (_PICTURES, _LABELS))
    pixels, labels = read_idx(images_file, _PICTURES), read_idx(labels_file, _LABELS)
    if len(pixels) != len(labels):
        raise DataError(f"{labels_file}: {len(labels)} labels, expected {len(pixels)}, one for each picture of {images_file}")
    return IdxPart(images_file, labels_file, pixels, labels)


def _file(folder: Path, part: str, dimensions: tuple[str, ...]) -> Path:
    tried = [f"{part}-{stem}{suffix}" for stem in _STEMS[dimensions] for suffix in _SUFFIXES]
    for name in tried:
        if os.path.lexists(folder / name):
            return folder / name
    raise DataError(f"{folder}: no file of the {part} {dimensions[0]}, expected one of {', '.join(tried)}")


def _classes(train: IdxPart, label_offset: int | None) -> int:
    """Number of classes of the training labels."""
    counted = np.bincount(train.labels)
    offset = label_offset or 0
    stored = np.flatnonzero(counted)
    if stored[0] + offset < 0:
        index = int(np.argmin(train.labels))
        raise DataError(
            f"{train.labels_file}: label {index} is {stored[0] + offset} with the label offset {offset}, expected 0 or more; "
            "state another label offset (argument 'label_offset')"
        )
    classes = len(counted) + offset
    if classes < 2:
        raise DataError(f"{train.labels_file}: every label is 0, expected at least 2 classes")
    if label_offset is None and len(stored) < classes:
        missing = np.flatnonzero(counted == 0).tolist()
        raise DataError(
            f"{train.labels_file}: labels go up to {classes - 1}, but {len(missing)} of these {classes} classes have no picture: "
            f"{', '.join(map(str, missing[:10]))}{', …' if len(missing) > 10 else ''}; state the label offset "
            "(argument 'label_offset'): -1 if labels count from 1, 0 if classes without pictures are meant"
        )
    return classes
