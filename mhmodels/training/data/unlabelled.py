"""Pictures without labels, for distillation: any folder of pictures, or the pictures of labelled data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mhmodels.formats.json_files import plain_text
from mhmodels.preprocessing.decoding import PictureError, open_picture, picture_files
from mhmodels.training.data import digits64
from mhmodels.training.data.idx import is_idx
from mhmodels.training.data.sources import Data, Source, folder_parts, open_data
from mhmodels.training.data.tfrecords import record_files
from mhmodels.training.errors import DataError

HELD_OUT = 5
"""Of so many pictures one is held out from training."""


class PictureFolder:
    """All pictures in a folder and its subfolders, without labels: every label is 0.

    Raises:
        DataError: The folder does not exist, cannot be listed, or has no pictures.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._root = Path(folder)
        if not self._root.is_dir():
            state = "not a folder" if self._root.exists() else "no such folder"
            raise DataError(f"{folder}: {state}, expected a folder of pictures")
        try:
            self._files = picture_files(self._root)
        except PictureError as error:
            raise DataError(str(error)) from error
        if not self._files:
            raise DataError(f"{folder}: no pictures in this folder or its subfolders; add pictures such as .jpg or .png")
        self.name = plain_text(str(folder))
        self.classes: int | None = None
        self.labels: tuple[str, ...] = ()
        self.label_set = ""

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """Reads one picture file."""
        return open_picture(self._root / self._files[index]), 0

    def where(self, index: int) -> str:
        return plain_text(str(self._root / self._files[index]))

    def fingerprint(self) -> str:
        digest = hashlib.sha256("\n".join(self._files).encode("utf-8", "surrogateescape"))
        return f"{len(self)} pictures, {digest.hexdigest()[:16]}"


class UnlabelledPart:
    """Some pictures of a source, without its labels: every label is 0.

    Args:
        source: The source.
        indices: Numbers of the pictures in the source.
        part: Name of the part, for messages and records; empty for all pictures.
    """

    def __init__(self, source: Source, indices: Sequence[int], part: str = "") -> None:
        self.name = f"{source.name} ({part})" if part else source.name
        self.classes: int | None = None
        self.labels: tuple[str, ...] = ()
        self.label_set = ""
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """Reads one picture of the source."""
        return self._source.read(self._indices[index], epoch)[0], 0

    def where(self, index: int) -> str:
        return self._source.where(self._indices[index])

    def fingerprint(self) -> str:
        return f"{len(self)} of {self._source.fingerprint()}"


def open_pictures(data: str, *, test: str | None = None) -> Data:
    """Opens pictures to train and to test on, without labels.

    Args:
        data: A folder of pictures, in subfolders or not, which may be divided into `train` and `val` (or `validation`, `test`);
            TFRecord files, as a folder or a pattern; `idx:DIR`, a folder of IDX files; `digits64` or `digits64-hard`.
        test: Another folder or pattern of pictures to test on.

    Returns:
        The sources. Where the data have no test pictures, every fifth picture is held out to test on.

    Raises:
        DataError: There are no such data or no pictures in them.

    Example:
        >>> from mhmodels.training import open_pictures
        >>> pictures = open_pictures("digits64")
        >>> pictures.train.read(0, epoch=0)[1], pictures.train.classes
        (0, None)
    """
    if data in digits64.SETTINGS or is_idx(data) or record_files(data):
        labelled = open_data(data, label_offset=0, test=test)
    elif not Path(data).exists():
        raise DataError(f"{data}: no such folder or files; expected a folder of pictures, TFRecord files, idx:DIR or digits64")
    else:
        train_folder, test_folder = folder_parts(data)
        where = test or test_folder
        labelled = Data(PictureFolder(train_folder), PictureFolder(where) if where else None)
    if labelled.train is None:
        raise DataError(f"{data}: only pictures to test on, expected some to train on")
    if labelled.test is None:
        return _held_out_split(labelled.train)
    return Data(*(UnlabelledPart(source, range(len(source))) for source in (labelled.train, labelled.test)))


def _held_out_split(source: Source) -> Data:
    """Divides a source into pictures to train on and pictures to test on, every fifth one."""
    if len(source) < HELD_OUT:
        raise DataError(
            f"{source.name}: {len(source)} pictures, expected at least {HELD_OUT}, of which one is held out; better 100 or more"
        )
    tested = range(HELD_OUT - 1, len(source), HELD_OUT)
    trained = [index for index in range(len(source)) if index not in tested]
    return Data(UnlabelledPart(source, trained, "training part"), UnlabelledPart(source, tested, "held-out part"))
