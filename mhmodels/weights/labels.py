"""Class names from text files, and scores turned into class names."""

from __future__ import annotations

import functools
import importlib.resources
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.architecture import read_bytes
from mhmodels.errors import WeightsError
from mhmodels.formats.json_files import control_character
from mhmodels.weights.info import NO_LINE_ENDS, Labels

LARGEST_FILE = 16 << 20
BACKGROUND = "background"
LABEL_SETS = "label_sets"
"""Folder of the package with the names of public label sets."""
_LINE_END = re.compile(r"\r\n|\n|\r")

LabelSource: TypeAlias = Labels | Sequence[str] | str | os.PathLike[str] | None


class Prediction(NamedTuple):
    """One class of a picture's ranking.

    Attributes:
        class_index: Number of the class in its label set, from 0; -1 for the background output.
        label: Name of the class; its number as text where the names are unknown.
        score: Score as the network gave it.

    Example:
        >>> from mhmodels.weights import Prediction
        >>> Prediction(class_index=281, label="tabby", score=0.83).label
        'tabby'
    """

    class_index: int
    label: str
    score: float


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads class names from a text file with one name a line; empty lines at its end do not count.

    A line ends with \\n, \\r\\n or \\r, as TFLite's runtimes read label files. Any other separator (U+2028, form feed) is part of
    a name.

    Args:
        path: Path of the file, UTF-8, at most 16 MiB.

    Returns:
        The names in order.

    Raises:
        WeightsError: The file is no UTF-8 text or has no names, an empty line among them, or a control character in one.
        FileFormatError: The file cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from mhmodels.weights import read_labels
        >>> _ = Path("labels.txt").write_text("cat\\ndog\\n")
        >>> read_labels("labels.txt")
        ('cat', 'dog')
    """
    try:
        text = read_bytes(path, LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path}: not a text file in UTF-8 (byte {error.start}), expected one class name per line") from error
    names = tuple(line.strip() for line in _LINE_END.split(text.rstrip()))
    for number, name in enumerate(names, 1):
        if not name:
            raise WeightsError(f"{path}: line {number} is empty, expected one class name per line")
        mark = control_character(name, NO_LINE_ENDS)
        if mark is not None:
            raise WeightsError(f"{path}: line {number} has the control character {mark!r}, expected a class name as plain text")
    return names


@functools.cache
def label_set_names(name: str) -> tuple[str, ...]:
    """Returns the class names of a label set that comes with the package, such as `imagenet-1k`; none for any other name.

    Source: WordNet 3.0 (`mhmodels/weights/label_sets/README.md`).
    """
    if not re.fullmatch(r"[a-z0-9-]+", name):
        return ()
    file = importlib.resources.files("mhmodels.weights") / LABEL_SETS / f"{name}.txt"
    return tuple(file.read_text("utf-8").splitlines()) if file.is_file() else ()


def decode_predictions(scores: ArrayLike, labels: LabelSource = None, top: int = 5) -> list[list[Prediction]]:
    """Returns the classes with the highest scores for each picture; see `mhmodels.decode_predictions`."""
    values: NDArray[np.generic] = np.asarray(scores)
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] == 0 or not np.issubdtype(values.dtype, np.number):
        raise WeightsError(f"scores are {values.dtype} of shape {values.shape}, expected numbers of shape (pictures, outputs)")
    if top < 1:
        raise WeightsError(f"top is {top}, expected at least 1")
    known = _labels(labels)
    if known.background == "unknown":
        raise WeightsError(
            f"labels: which of the {values.shape[1]} outputs is the background is unknown; state it at the import of the weights "
            "(first or last), or give Labels(background=…) (argument 'background')",
        )
    known.check(values.shape[1])
    # As floats, because the negative of an unsigned or of the least signed number is not below all others.
    order = np.argsort(-values.astype(np.float64), axis=1, kind="stable")[:, :top]
    return [[_prediction(int(i), float(row[i]), len(row), known) for i in best] for row, best in zip(values, order, strict=True)]


def _prediction(output: int, score: float, outputs: int, labels: Labels) -> Prediction:
    background = {"first": 0, "last": outputs - 1}.get(labels.background)
    if output == background:
        return Prediction(-1, BACKGROUND, score)
    index = output - labels.offset
    return Prediction(index, labels.names[index] if labels.names else str(index), score)


def _labels(labels: LabelSource) -> Labels:
    if labels is None:
        return Labels()
    if isinstance(labels, Labels):
        return labels
    if isinstance(labels, str) and (names := label_set_names(labels)):
        return Labels(name=labels, names=names)
    if isinstance(labels, (str, os.PathLike)):
        if not Path(labels).name.endswith((".h5", ".keras")):
            return Labels(names=read_labels(labels))
        from mhmodels.weights.files import read_info

        info = read_info(labels)
        if info is None:
            raise WeightsError(f"{labels}: a plain Keras file, which carries no labels; give a labels file")
        return info.labels
    return Labels(names=tuple(labels))
