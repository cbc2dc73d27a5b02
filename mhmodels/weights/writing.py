"""Writes weights files: `.weights.h5` as Keras 3 lays it out, with the description inside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Padding
from mhmodels.errors import WeightsError
from mhmodels.system.addresses import without_secrets
from mhmodels.system.files import replaced
from mhmodels.system.spool import SpoolFile
from mhmodels.weights.files import KERAS_CLASSES, LARGEST_INFO, SUFFIX, shape_text
from mhmodels.weights.info import Arrays, Claim, Labels, Learned, WeightsInfo, content_hash
from mhmodels.weights.matching import EXTENTS, Target, targets
from mhmodels.weights.sources.keras_file import INFO_PATH
from mhmodels.weights.sources.source import VariableRole

COPIED_BYTES = 1 << 20
"""Bytes that are copied at a time."""


class DeferredArrays(Mapping[tuple[str, VariableRole], NDArray[np.float32]]):
    """Arrays that are read each time they are asked for, so that a large file needs the memory of its largest array.

    Args:
        shapes: Shapes by (Keras layer name, role).
        readers: Functions that return the arrays.
    """

    def __init__(
        self,
        shapes: Mapping[tuple[str, VariableRole], tuple[int, ...]],
        readers: Mapping[tuple[str, VariableRole], Callable[[], NDArray[np.float32]]],
    ) -> None:
        self.shapes, self._readers = shapes, readers

    def __getitem__(self, key: tuple[str, VariableRole]) -> NDArray[np.float32]:
        return self._readers[key]()

    def __iter__(self) -> Iterator[tuple[str, VariableRole]]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class WeightsDescription(TypedDict, total=False):
    """What `write_weights` takes to describe weights."""

    labels: Labels | None
    source: str
    licence: str | None
    accuracy: tuple[Claim, ...]
    step: int | None
    padding: Padding


def write_weights(
    path: str | os.PathLike[str],
    architecture: Architecture,
    arrays: Mapping[tuple[str, VariableRole], NDArray[np.generic]],
    *,
    labels: Labels | None = None,
    source: str = "",
    licence: str | None = None,
    accuracy: tuple[Claim, ...] = (),
    step: int | None = None,
    learned: Learned | None = None,
    padding: Padding | None = None,
) -> WeightsInfo:
    """Writes a weights file that Keras and this package load. The file appears whole or not at all.

    Args:
        path: Path that ends with `.weights.h5`.
        architecture: Network at its width, number of classes and preprocessing.
        arrays: Arrays by (Keras layer name, role): all of the network, or all but the classifier's, or all but the top's. They
            are stored as float32. `DeferredArrays` are read one by one, and their readers check that they are finite.
        labels: Meaning of the outputs.
        source: Origin of the weights, in words. Passwords and tokens in addresses are removed.
        licence: Licence of the weights, as an SPDX name where there is one.
        accuracy: Accuracies that are claimed for them.
        step: Number of training steps.
        learned: Ranges of quantisation-aware training.
        padding: Padding that the weights were trained with; None for that of the network.

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
    floats = arrays if isinstance(arrays, DeferredArrays) else _finite(arrays)
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
        padding=padding or architecture.padding,
        created_by=f"mhmodels {_version()}",
    )
    _check_size(target, info)
    with SpoolFile() as content:
        _encode(content, wanted, floats, info)
        _replace(target, content)
    return info


def _finite(arrays: Mapping[tuple[str, VariableRole], NDArray[np.generic]]) -> Arrays:
    """Returns the arrays as float32, which all have finite values."""
    floats: Arrays = {key: np.asarray(array, np.float32) for key, array in arrays.items()}
    for (layer, role), array in floats.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{layer}/{role}: NaN or infinite values, expected finite weights")
    return floats


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


def _replace(target: Path, content: SpoolFile) -> None:
    """Puts a file in place whole: beside the target first, then renamed.

    Raises:
        WeightsError: The folder cannot be written to, or the disk is full; what stood at the target still does.
    """
    content.seek(0)
    try:
        with replaced(target) as beside, beside.open("wb") as file:
            shutil.copyfileobj(content, file, COPIED_BYTES)
    except OSError as error:
        kept = "; the file that was there is unchanged" if target.is_file() else ""
        raise WeightsError(f"{target}: cannot be written ({error.strerror}){kept}") from error


def _encode(
    content: SpoolFile,
    wanted: tuple[Target, ...],
    arrays: Mapping[tuple[str, VariableRole], NDArray[np.float32]],
    info: WeightsInfo,
) -> None:
    """Writes the content of the file. It is made in memory, because HDF5's library does not recover from a full disk."""
    numbers = dict.fromkeys(KERAS_CLASSES.values(), 0)
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


def _extent(
    architecture: Architecture, arrays: Mapping[tuple[str, VariableRole], NDArray[np.generic]]
) -> tuple[tuple[Target, ...], str]:
    """Returns the layers that the arrays belong to, and which part of the network they are."""
    if isinstance(arrays, DeferredArrays):
        found = dict(arrays.shapes)
    else:
        found = {key: tuple(array.shape) for key, array in arrays.items()}
    shapes: dict[tuple[str, VariableRole], tuple[int, ...]] = {}
    for extent in reversed(EXTENTS):
        wanted = targets(architecture, top=extent.top, classifier=extent.classifier)
        shapes = {(target.name, role): shape for target in wanted for role, shape in target.shapes.items()}
        if shapes == found:
            return wanted, extent.name
    key = next(key for key in sorted(shapes.keys() | found.keys()) if shapes.get(key) != found.get(key))
    raise WeightsError(
        f"{architecture.name}: {'/'.join(key)} is {shape_text(found.get(key))}, expected {shape_text(shapes.get(key))}"
    )


def _version() -> str:
    from mhmodels.version import __version__

    return __version__
