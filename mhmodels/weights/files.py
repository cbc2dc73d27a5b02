"""Weights files: `.weights.h5` as Keras 3 lays it out, with the description inside. They need no TensorFlow."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture
from mhmodels.errors import WeightsError
from mhmodels.system.addresses import without_secrets
from mhmodels.system.files import write_atomically
from mhmodels.weights.info import Arrays, Claim, Labels, Learned, WeightsInfo, content_hash
from mhmodels.weights.matching import EXTENTS, Target, targets
from mhmodels.weights.sources.hdf5 import Group
from mhmodels.weights.sources.keras_file import INFO_PATH, dataset_variable, open_h5, read_h5
from mhmodels.weights.sources.source import Role, Source, Variable

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
    source: Source
    variables: dict[tuple[str, Role], Variable]


def write_weights(
    path: str | os.PathLike[str],
    architecture: Architecture,
    arrays: Mapping[tuple[str, Role], NDArray[np.generic]],
    *,
    labels: Labels | None = None,
    source: str = "",
    licence: str | None = None,
    accuracy: tuple[Claim, ...] = (),
    step: int | None = None,
    learned: Learned | None = None,
    padding: Literal["same", "bottom_right"] = "same",
) -> WeightsInfo:
    """Writes a weights file that Keras and this package load. The file appears whole or not at all.

    Args:
        path: Path that ends with `.weights.h5`.
        architecture: Network at its width, number of classes and preprocessing.
        arrays: Arrays by (Keras layer name, role): all of the network, or all but the classifier's, or all but the top's. They
            are stored as float32.
        labels: Meaning of the outputs.
        source: Origin of the weights, in words. Passwords and tokens in addresses are removed.
        licence: Licence of the weights, as an SPDX name where there is one.
        accuracy: Accuracies that are claimed for them.
        step: Number of training steps.
        learned: Ranges of quantisation-aware training.
        padding: Padding that the weights were trained with (`WeightsInfo`).

    Returns:
        The description that the file carries.

    Raises:
        WeightsError: The arrays are not the network's or not finite; Keras would refuse the name; the description exceeds 4 MiB;
            or the file cannot be written.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate, read_weights, write_weights
        >>> network = resolve("multi_max@0.25")
        >>> info, arrays = read_weights(locate("digits64", network))
        >>> write_weights("copy.weights.h5", info.network(), arrays, source="a copy").sha256 == info.sha256
        True
    """
    target = Path(path)
    if not target.name.endswith(SUFFIX):
        raise WeightsError(f"{path}: expected a name that ends with {SUFFIX}, because Keras loads no other; give {path}{SUFFIX}")
    wanted, holds = _extent(architecture, arrays)
    floats: Arrays = {key: np.asarray(array, np.float32) for key, array in arrays.items()}
    for (layer, role), array in floats.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{layer}/{role}: NaN or infinite values, expected finite weights")
    labels = labels or Labels()
    labels.check(architecture.classes)
    info = WeightsInfo(
        sha256=content_hash(floats),
        architecture_id=architecture.architecture_id,
        architecture=msgspec.json.decode(architecture.to_json()),
        holds=holds,
        labels=labels,
        # Addresses may carry passwords and tokens, and weights are given away.
        source=without_secrets(source),
        licence=None if licence is None else without_secrets(licence),
        accuracy=tuple(_public_claim(claim) for claim in accuracy),
        step=step,
        learned=learned,
        padding=padding,
        created_by=f"mhmodels {_version()}",
    )
    _check_size(target, info)
    _replace(target, _encode(wanted, floats, info))
    return info


def _public_claim(claim: Claim) -> Claim:
    return Claim(top1=claim.top1, dataset=without_secrets(claim.dataset), source=without_secrets(claim.source))


def _check_size(path: Path, info: WeightsInfo) -> None:
    """Refuses a description that no reader would take."""
    size = len(info.to_json())
    if size > LARGEST_INFO:
        raise WeightsError(
            f"{path}: its description would be {size} bytes, expected at most {LARGEST_INFO}; leave the names of the "
            f"{len(info.labels.names)} classes out, or give shorter ones"
        )


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
                f"{path}: {'/'.join(key)} is {_shape(found.get(key))}, its own description says {_shape(wanted.get(key))}: "
                "the file was altered or truncated; get it anew"
            )
    arrays: Arrays = {key: np.asarray(variable.read(), np.float32) for key, variable in file.variables.items()}
    actual = content_hash(arrays)
    if actual != file.info.sha256:
        raise WeightsError(
            f"{path}: its content has sha256 {actual}, its description says {file.info.sha256}: the file was altered or "
            "damaged; get it anew"
        )
    return arrays


def _replace(target: Path, content: bytes) -> None:
    """Puts a file in place whole: beside the target first, then renamed.

    Raises:
        WeightsError: the folder cannot be written to, or the disk is full; what stood at the target still does.
    """
    try:
        write_atomically(target, content)
    except OSError as error:
        kept = "; the file that was there is unchanged" if target.is_file() else ""
        raise WeightsError(f"{target}: cannot be written ({error.strerror}){kept}") from error


def _encode(wanted: tuple[Target, ...], arrays: Arrays, info: WeightsInfo) -> bytes:
    """Returns the content of the file. It is made in memory, because HDF5's library does not recover from a full disk."""
    numbers = dict.fromkeys(KERAS_CLASSES.values(), 0)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for target in wanted:
            class_name = KERAS_CLASSES[target.kind]
            number = numbers[class_name]
            numbers[class_name] += 1
            group = file.create_group(f"layers/{class_name}_{number}/vars" if number else f"layers/{class_name}/vars")
            group.attrs["name"] = target.name
            for i, role in enumerate(target.shapes):
                group[str(i)] = arrays[target.name, role]
        file[INFO_PATH] = np.frombuffer(info.to_json(), np.uint8)
    return content.getvalue()


def _extent(architecture: Architecture, arrays: Mapping[tuple[str, Role], NDArray[np.generic]]) -> tuple[tuple[Target, ...], str]:
    """Returns the layers that the arrays belong to, and which part of the network they are."""
    found = {key: tuple(array.shape) for key, array in arrays.items()}
    shapes: dict[tuple[str, Role], tuple[int, ...]] = {}
    for extent in reversed(EXTENTS):
        wanted = targets(architecture, top=extent.top, classifier=extent.classifier)
        shapes = {(target.name, role): shape for target in wanted for role, shape in target.shapes.items()}
        if shapes == found:
            return wanted, extent.name
    key = next(key for key in sorted(shapes.keys() | found.keys()) if shapes.get(key) != found.get(key))
    raise WeightsError(f"{architecture.name}: {'/'.join(key)} is {_shape(found.get(key))}, expected {_shape(shapes.get(key))}")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))


def _info(file: Group, path: str) -> WeightsInfo | None:
    if INFO_PATH not in file.members:
        return None
    stored = dataset_variable(file, INFO_PATH, path)
    if len(stored.shape) != 1 or stored.shape[0] > LARGEST_INFO or stored.dtype != "uint8":
        raise WeightsError(f"{path}: '{INFO_PATH}' is {stored.dtype} {list(stored.shape)}, expected at most 4 MiB of uint8")
    return WeightsInfo.from_json(stored.read().tobytes(), path)


def _version() -> str:
    from mhmodels.version import __version__

    return __version__
