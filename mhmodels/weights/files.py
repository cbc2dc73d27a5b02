"""Weights files: `.weights.h5` as Keras 3 lays it out, with the description inside. They need no TensorFlow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mhmodels.errors import WeightsError
from mhmodels.weights.info import Arrays, WeightsInfo, content_hash
from mhmodels.weights.matching import EXTENTS, targets
from mhmodels.weights.sources.hdf5 import Group
from mhmodels.weights.sources.keras_file import INFO_PATH, dataset_variable, open_h5, read_h5
from mhmodels.weights.sources.source import Variable, VariableRole, WeightsSource

SUFFIX = ".weights.h5"
LARGEST_INFO = 4 << 20
KERAS_CLASSES = {"conv": "conv2d", "depthwise": "depthwise_conv2d", "batch_norm": "batch_normalization"}


class WeightsFile(NamedTuple):
    """An open weights file.

    Attributes:
        info: Description of the file; None in a plain Keras file.
        source: Layers and their variables.
        variables: Variables by (layer name, role).
    """

    info: WeightsInfo | None
    source: WeightsSource
    variables: dict[tuple[str, VariableRole], Variable]


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str]) -> Iterator[WeightsFile]:
    """Opens a weights file. Variables can be read while it is open; neither hash nor shapes are checked.

    Args:
        path: A `.weights.h5`, `.h5` or `.keras` file.

    Yields:
        The open file.

    Raises:
        WeightsError: The file is unreadable or of another kind.
        FileFormatError: Its description is of another format or has a wrong field.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate, open_weights
        >>> with open_weights(locate("digits64", resolve("multi_max@0.25"))) as file:
        ...     file.variables["stem_conv", "kernel"].shape
        (3, 3, 3, 8)
    """
    with open_h5(path) as file:
        source = read_h5(file, str(path))
        variables = {
            (layer.name, role): variable for layer in source.parts[0].layers for role, variable in layer.variables.items()
        }
        yield WeightsFile(_info(file, str(path)), source, variables)


def read_weights(path: str | os.PathLike[str]) -> tuple[WeightsInfo, Arrays]:
    """Reads a weights file of this package whole and checks its description, shapes and hash.

    Args:
        path: Path of the file.

    Returns:
        The description, and the float32 arrays by (Keras layer name, role).

    Raises:
        WeightsError: The file is unreadable, has no description, or does not hold what its description says.
        FileFormatError: Its description is of another format or has a wrong field.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate, read_weights
        >>> info, arrays = read_weights(locate("digits64", resolve("multi_max@0.25")))
        >>> arrays["stem_conv", "kernel"].dtype.name
        'float32'
    """
    with open_weights(path) as file:
        if file.info is None:
            raise WeightsError(
                f"{path}: a plain Keras file that does not say what it holds; `mhmodels weights import {path} --model NAME -o …` "
                "makes a described one"
            )
        return file.info, read_arrays(file, str(path))


def read_info(path: str | os.PathLike[str]) -> WeightsInfo | None:
    """Reads the description of a weights file without its arrays.

    Args:
        path: A `.weights.h5`, `.h5` or `.keras` file.

    Returns:
        The description, or None for a plain Keras file.

    Raises:
        WeightsError: The file is unreadable or of another kind.
        FileFormatError: Its description is of another format or has a wrong field.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate, read_info
        >>> read_info(locate("digits64", resolve("multi_max@0.25"))).accuracy[0].dataset
        'digits64 test'
    """
    with open_h5(path) as file:
        return _info(file, str(path))


def read_arrays(file: WeightsFile, path: str) -> Arrays:
    """Reads the arrays of an open weights file and checks names, shapes and hash against its description.

    Args:
        file: Open file with a description.
        path: Its name, for messages.

    Raises:
        WeightsError: They differ.
    """
    assert file.info is not None
    network = file.info.network(path)
    extent = next((extent for extent in EXTENTS if extent.name == file.info.holds), EXTENTS[0])
    wanted = {
        (target.name, role): shape
        for target in targets(network, top=extent.top, classifier=extent.classifier)
        for role, shape in target.shapes.items()
    }
    found = {key: variable.shape for key, variable in file.variables.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise WeightsError(
                f"{path}: {'/'.join(key)} is {shape_text(found.get(key))}, its own description says "
                f"{shape_text(wanted.get(key))}: the file was altered or truncated; get it anew"
            )
    arrays: Arrays = {key: np.asarray(variable.read(), np.float32) for key, variable in file.variables.items()}
    actual = content_hash(arrays)
    if actual != file.info.sha256:
        raise WeightsError(
            f"{path}: its content has sha256 {actual}, its description says {file.info.sha256}: the file was altered or "
            "damaged; get it anew"
        )
    return arrays


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Returns a shape for messages; `missing` for None."""
    return "missing" if shape is None else str(list(shape))


def _info(file: Group, path: str) -> WeightsInfo | None:
    if INFO_PATH not in file.members:
        return None
    stored = dataset_variable(file, INFO_PATH, path)
    if len(stored.shape) != 1 or stored.shape[0] > LARGEST_INFO or stored.dtype != "uint8":
        raise WeightsError(f"{path}: '{INFO_PATH}' is {stored.dtype} {list(stored.shape)}, expected at most 4 MiB of uint8")
    return WeightsInfo.from_json(stored.read().tobytes(), path)
