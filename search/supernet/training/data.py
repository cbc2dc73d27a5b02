"""The pictures of a search: two disjoint parts of the training data, to train on and to judge by. Test data are never read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mhmodels.training.data import digits64
from mhmodels.training.data.sources import Source, open_data
from mhmodels.training.errors import DataError

_SHARE = 50_046 / 1_281_167
"""Share of the training data that judges networks: that of TuNAS on ImageNet."""
_SEED = 20_200_818


class SearchData(NamedTuple):
    """Disjoint parts of one data set.

    Attributes:
        train: Pictures to train the shared weights on.
        validation: Pictures to judge networks by.
    """

    train: Source
    validation: Source


class SourceSubset:
    """Some pictures of a source, as a source.

    Args:
        source: All pictures.
        indices: Indices (n,) of the pictures that belong to the subset.
        name: Name for messages and for the record of the search.
    """

    def __init__(self, source: Source, indices: NDArray[np.int64], name: str) -> None:
        self.name, self.classes, self.labels, self.label_set = name, source.classes, source.labels, source.label_set
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """Reads a picture and its label; see `Source.read`."""
        return self._source.read(int(self._indices[index]), epoch)

    def where(self, index: int) -> str:
        return self._source.where(int(self._indices[index]))

    def fingerprint(self) -> str:
        return f"{len(self)} of {self._source.fingerprint()}"


class SearchDigits:
    """The generated digits of a search: fresh canvases with 1,137 of the training digits, or fixed canvases with the other 300.

    Args:
        setting: Difficulty of the canvases.
        validation: Whether these are the fixed canvases, to judge by.
    """

    def __init__(self, setting: digits64.Setting, *, validation: bool) -> None:
        self.name = f"{setting.name} search {'validation' if validation else 'train'}"
        self.classes: int | None = digits64.CLASSES
        self.labels: tuple[str, ...] = tuple(str(digit) for digit in range(digits64.CLASSES))
        self.label_set = "digits"
        self._setting, self._validation = setting, validation

    def __len__(self) -> int:
        parts = digits64.split()
        if self._validation:
            return len(parts.validation) * digits64.VALIDATION_CANVASES
        return len(parts.search_train) * digits64.EPOCH_CANVASES

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """Draws a canvas; training canvases differ from epoch to epoch, validation canvases are always the same."""
        if self._validation:
            pictures = digits64.validation_set(self._setting)
            return Image.fromarray(pictures.pixels[index]), int(pictures.labels[index])
        drawn = digits64.epoch_canvas(epoch, index, self._setting, digits64.split().search_train)
        return Image.fromarray(drawn.pixels), int(drawn.labels)

    def where(self, index: int) -> str:
        return f"{self.name} {index}"

    def fingerprint(self) -> str:
        return f"{len(self)} pictures"


def open_search_data(data: str, *, label_offset: int | None = None) -> SearchData:
    """Opens the pictures of a search.

    Args:
        data: `digits64`, `digits64-hard`, TFRecord files, `idx:DIR`, or a folder with a folder for each class, as for training.
        label_offset: Number added to the stored labels; None for 0, but TFRecords need a number.

    Returns:
        Two disjoint parts of the training data.

    Raises:
        DataError: There are no such data, no pictures to train on, or an offset for generated digits.
    """
    if data in digits64.SETTINGS:
        if label_offset:
            raise DataError(f"{data}: label offset is {label_offset}, expected none: its labels are the digits")
        setting = digits64.SETTINGS[data]
        return SearchData(SearchDigits(setting, validation=False), SearchDigits(setting, validation=True))
    train = open_data(data, label_offset=label_offset).train
    if train is None:
        raise DataError(f"{data}: only pictures to test on, expected some to train on")
    return split(train)


def split(source: Source, share: float = _SHARE) -> SearchData:
    """Splits a source; the same pictures are held back for validation every time.

    Args:
        source: All pictures.
        share: Share of the pictures for validation, 0 to 1; at least one picture.

    Raises:
        DataError: The source has fewer than two pictures.
    """
    if len(source) < 2:
        raise DataError(f"{source.name}: {len(source)} pictures, expected some to train on and some to validate on")
    order = np.random.default_rng(_SEED).permutation(len(source))
    count = min(max(1, round(share * len(source))), len(source) - 1)
    validation, train = np.sort(order[:count]), np.sort(order[count:])
    return SearchData(
        SourceSubset(source, train, f"{source.name} (search train)"),
        SourceSubset(source, validation, f"{source.name} (search validation)"),
    )


def identity(source: Source) -> str:
    """Name and fingerprint of a source, for the record of a search."""
    return f"{source.name}: {source.fingerprint()}"
