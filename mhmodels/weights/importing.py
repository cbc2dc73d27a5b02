"""Import of weights from TensorFlow checkpoints, Keras files and Keras models into weights files of this package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
import numpy as np

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.errors import UnknownNameError, WeightsError
from mhmodels.families.rows import IMAGENET, SYMMETRIC
from mhmodels.formats.json_files import plain_text
from mhmodels.network import LOGITS
from mhmodels.preprocessing.layer import file_rule, model_rule
from mhmodels.registry import resolve
from mhmodels.weights.files import read_info, read_weights
from mhmodels.weights.info import Arrays, Background, Claim, Labels, WeightsInfo
from mhmodels.weights.matching import EXTENTS, Match, match, same_network
from mhmodels.weights.padding import padding_of, warn_at_import
from mhmodels.weights.sources.checkpoint import find_checkpoint, read_checkpoint
from mhmodels.weights.sources.source import Variable, WeightsSource
from mhmodels.weights.writing import write_weights

if TYPE_CHECKING:
    import keras

MODEL_GARDEN = msgspec.structs.replace(IMAGENET, interpolation="bilinear")
"""What TF Model Garden's classification input does for every network: ImageNet mean and deviation, bilinear resizing."""

PREPROCESSINGS: dict[str, Preprocessing] = {"tf_model_garden": MODEL_GARDEN, "imagenet": IMAGENET, "symmetric": SYMMETRIC}
IMAGENET_CLASSES = 1000
EVERYTHING = EXTENTS[0].name


Origin: TypeAlias = "str | os.PathLike[str] | keras.Model"
"""Where weights come from: the path of a checkpoint or Keras file, or a Keras model."""


class Stated(NamedTuple):
    """Facts about weights that their origin does not state, or that are to be changed.

    Attributes:
        preprocessing: `tf_model_garden`, `imagenet` or `symmetric`. None takes that of the origin: TF Model Garden's for a
            checkpoint; for a Keras file or model what its layers state, or else the network's own; a weights file's own.
        label_set: Name of the label set, such as `imagenet-1k`.
        names: Class names in order, without background.
        background: Output that is no class. None means `none`, or `unknown` for 1001 outputs, because trainers differ.
        licence: Licence of the weights.
        description: Origin of the weights; None names the file.
        accuracy: Accuracies that are claimed for them.

    Example:
        >>> from mhmodels.weights import Stated
        >>> Stated(preprocessing="imagenet", licence="Apache-2.0").background is None
        True
    """

    preprocessing: str | None = None
    label_set: str | None = None
    names: tuple[str, ...] = ()
    background: Background | None = None
    licence: str | None = None
    description: str | None = None
    accuracy: tuple[Claim, ...] = ()


NOTHING_STATED = Stated()


class Imported(NamedTuple):
    """Result of an import.

    Attributes:
        path: File that was written.
        info: Description of that file.
        architecture: Network of the weights.
        source: Format of the origin, in words.
        part: Model in the origin that was imported.
        used: Number of variables that were imported, each counted once.
        unused: Names of variables that belong to no layer of the network.
        training_state: Number of optimizer slots, counters and the like.
        averages: Whether moving averages were imported; None where the origin has none.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import import_weights, locate
        >>> imported = import_weights(locate("digits64", resolve("multi_max@0.25")), "multi_max@0.25", "mine.weights.h5")
        >>> imported.unused
        ()
    """

    path: str
    info: WeightsInfo
    architecture: Architecture
    source: str
    part: str
    used: int
    unused: tuple[str, ...]
    training_state: int
    averages: bool | None


@contextlib.contextmanager
def open_source(origin: Origin) -> Iterator[WeightsSource]:
    """Opens weights of another program.

    Args:
        origin: Path of a TensorFlow checkpoint (prefix, one of its files, or its folder) or of a Keras file (`.h5`,
            `.weights.h5`, `.keras`), or a Keras model.

    Yields:
        The layers and variables of the origin.

    Raises:
        WeightsError: The origin is unreadable, corrupt, or neither of these.
    """
    if not isinstance(origin, (str, os.PathLike)):
        from mhmodels.weights.sources.keras_file import read_model

        yield read_model(origin)
        return
    prefix = find_checkpoint(origin)
    if prefix is not None:
        yield read_checkpoint(prefix)
        return
    path = Path(origin)
    if not path.is_file():
        kind = "a folder without a TensorFlow checkpoint" if path.is_dir() else "no such file or checkpoint"
        raise WeightsError(f"{path}: {kind}; expected PREFIX of PREFIX.index and PREFIX.data-…, or a .h5 or .keras file")
    from mhmodels.weights.sources.keras_file import open_h5, read_h5

    with open_h5(path) as file:
        yield read_h5(file, str(path))


def import_weights(
    origin: Origin,
    model: str,
    path: str | os.PathLike[str],
    *,
    width_multiplier: float | None = None,
    classes: int | None = None,
    averages: bool = False,
    stated: Stated = NOTHING_STATED,
) -> Imported:
    """Imports weights of another program into a weights file of this package.

    Only names and shapes are read until the network has been found in them. A weights file of this package is checked and keeps
    its description wherever `stated` gives nothing else.

    Args:
        origin: Path of a TensorFlow checkpoint (prefix, one of its files, or its folder) or of a Keras file, or a Keras model.
        model: Network of the weights: a zoo name, `NAME@WIDTH`, or the path of an architecture file.
        path: Path of the file to write, which ends with `.weights.h5`.
        width_multiplier: Required width multiplier; None takes the one that fits the shapes.
        classes: Required number of classes; None takes the one that fits the shapes.
        averages: Whether to import the optimizer's moving averages in place of the trained variables.
        stated: Facts that the origin does not state.

    Returns:
        The written file, its description, and which variables were used.

    Raises:
        WeightsError: The origin is corrupt, of another network, width or number of classes, or not finite; or the file cannot be
            written.
        MhmodelsError: `model` is no network.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import import_weights, locate
        >>> imported = import_weights(locate("digits64", resolve("multi_max@0.25")), "multi_max@0.25", "mine.weights.h5")
        >>> imported.info.holds
        'the whole network'
    """
    architecture, width = _wanted(model, width_multiplier)
    with open_source(origin) as source:
        found = match(source, architecture, width=width, classes=classes)
        if averages and not source.averages:
            raise WeightsError(f"{source.path}: holds no moving averages; import the trained variables (argument 'averages')")
        known = _described(origin)
        arrays, used = _read(found, source.averages if averages else {})
        padding = padding_of(source, found) if known is None else known.padding
    network = found.architecture
    if known is not None:
        network, stated = _own_network(known, network, source.path), _kept(stated, known)
    network = msgspec.structs.replace(network, preprocessing=_preprocessing(stated, source, origin, network))
    info = write_weights(
        path,
        network,
        arrays,
        labels=_labels(stated, found),
        source=plain_text(
            stated.description or f"{source.kind} {Path(source.path).name}{', moving averages' if averages else ''}"
        ),
        licence=stated.licence,
        accuracy=stated.accuracy,
        step=known.step if known else source.step,
        learned=known.learned if known else None,
        padding=padding,
    )
    if padding != network.padding:
        warn_at_import(str(path), network, padding)
    unused = tuple(name for name in source.variables if name not in used)
    taken = averages if source.averages else None
    return Imported(str(path), info, network, source.kind, found.part.name, len(used), unused, len(source.training_state), taken)


def _wanted(model: str, width: float | None) -> tuple[Architecture, float | None]:
    """The named network, and the width that it must have if one was stated."""
    try:
        architecture = resolve(model)
    except UnknownNameError as error:
        raise WeightsError(f"{error} (argument 'model')") from error
    stated = "@" in model or model.endswith(".json")
    return architecture, architecture.width_multiplier if width is None and stated else width


def _described(origin: Origin) -> WeightsInfo | None:
    """What a file of ours says of itself, after it was checked whole; None for anything else."""
    if not isinstance(origin, (str, os.PathLike)) or find_checkpoint(origin) is not None or read_info(origin) is None:
        return None
    return read_weights(origin)[0]


def _own_network(known: WeightsInfo, found: Architecture, path: str) -> Architecture:
    """The network that a file of ours names, which must compute what the one that was found computes."""
    own = known.network(path)
    if not same_network(own, found):
        raise WeightsError(
            f"{path}: weights of {own.name} at width {own.width_multiplier:g} ({known.architecture_id}), expected {found.name}: "
            "equal in shapes, not in what it computes; name the network that they are of as the model (argument 'model')",
        )
    return own


def _kept(stated: Stated, known: WeightsInfo) -> Stated:
    """What is stated, and for the rest what a file of ours says of itself; its preprocessing is in its network."""
    return Stated(
        preprocessing=stated.preprocessing,
        label_set=known.labels.name if stated.label_set is None else stated.label_set,
        names=stated.names or known.labels.names,
        background=stated.background or known.labels.background,
        licence=known.licence if stated.licence is None else stated.licence,
        description=stated.description or known.source,
        accuracy=stated.accuracy or known.accuracy,
    )


def _read(found: Match, averages: dict[str, Variable]) -> tuple[Arrays, set[str]]:
    """The network's arrays, in the shapes that it has them, and the names of the variables that they came from."""
    arrays: Arrays = {}
    used = set()
    for (layer, role), variable in found.variables.items():
        value = np.asarray(averages.get(variable.name, variable).read(), np.float32)
        arrays[layer, role] = value[None, None] if layer == LOGITS and role == "kernel" and value.ndim == 2 else value
        used.add(variable.name)
    return arrays, used


def _preprocessing(stated: Stated, source: WeightsSource, origin: Origin, network: Architecture) -> Preprocessing:
    if stated.preprocessing is not None:
        return PREPROCESSINGS[stated.preprocessing]
    if source.origin == "tf_model_garden":
        return MODEL_GARDEN
    carried = file_rule(origin) if isinstance(origin, (str, os.PathLike)) else model_rule(origin)
    return carried or network.preprocessing


def _labels(stated: Stated, found: Match) -> Labels:
    background = stated.background
    if background is None:
        with_one_more = found.holds == EVERYTHING and found.architecture.classes == IMAGENET_CLASSES + 1
        background = "unknown" if with_one_more else "none"
    return Labels(name=stated.label_set or "", names=stated.names, background=background)
