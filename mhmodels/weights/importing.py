"""Import of weights of other programs into weights files of this package: TensorFlow, Keras, and PyTorch's state dicts."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.errors import UnknownNameError, WeightsError
from mhmodels.families.rows import IMAGENET, SYMMETRIC, TORCHVISION
from mhmodels.formats.json_files import plain_text
from mhmodels.network import LOGITS
from mhmodels.preprocessing.layer import file_rule, model_rule
from mhmodels.registry import resolve, zoo
from mhmodels.weights.counterparts import check_counterpart
from mhmodels.weights.files import read_info, read_weights
from mhmodels.weights.info import Background, Claim, Labels, WeightsInfo
from mhmodels.weights.labels import label_set_names
from mhmodels.weights.matching import EXTENTS, Match, match, same_network
from mhmodels.weights.padding import padding_of, warn_at_import
from mhmodels.weights.sources.checkpoint import find_checkpoint, read_checkpoint
from mhmodels.weights.sources.pytorch.state_dict import is_state_dict, read_state_dict
from mhmodels.weights.sources.pytorch.timm_config import TimmConfig, read_timm_config
from mhmodels.weights.sources.source import Variable, VariableRole, WeightsSource
from mhmodels.weights.writing import DeferredArrays, write_weights

if TYPE_CHECKING:
    import keras

MODEL_GARDEN = msgspec.structs.replace(IMAGENET, interpolation="bilinear")
"""What TF Model Garden's classification input does for every network: ImageNet mean and deviation, bilinear resizing."""

PREPROCESSINGS: dict[str, Preprocessing] = {
    "tf_model_garden": MODEL_GARDEN,
    "imagenet": IMAGENET,
    "symmetric": SYMMETRIC,
    "torchvision": TORCHVISION,
}
IMAGENET_CLASSES = 1000
EVERYTHING = EXTENTS[0].name


Origin: TypeAlias = "str | os.PathLike[str] | keras.Model"
"""Where weights come from: the path of a checkpoint, a Keras file or a state dict of PyTorch, or a Keras model."""


class Stated(NamedTuple):
    """Facts about weights that their origin does not state, or that are to be changed.

    Attributes:
        preprocessing: `tf_model_garden`, `imagenet`, `symmetric`, `torchvision`, or a rule. None takes that of the origin: TF
            Model Garden's for a checkpoint; for a Keras file or model what its layers state, or else the network's own; what
            timm's `config.json` beside a state dict states; torchvision's for its names; a weights file's own.
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

    preprocessing: str | Preprocessing | None = None
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
        notes: What else is to be known of the import, in sentences.

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
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_source(origin: Origin) -> Iterator[WeightsSource]:
    """Opens weights of another program.

    Args:
        origin: Path of a TensorFlow checkpoint (prefix, one of its files, or its folder), of a Keras file (`.h5`, `.weights.h5`,
            `.keras`) or of a state dict of PyTorch (`.safetensors`, `.pth`), or a Keras model.

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
        raise WeightsError(
            f"{path}: {kind}; expected PREFIX of PREFIX.index and PREFIX.data-…, or a .h5, .keras, .safetensors or .pth file"
        )
    if is_state_dict(str(path)):
        yield read_state_dict(str(path))
        return
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
        origin: Path of a TensorFlow checkpoint (prefix, one of its files, or its folder), of a Keras file or of a state dict of
            PyTorch (timm, torchvision, EfficientNet-PyTorch), or a Keras model. timm's `config.json` beside a state dict is read.
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
        config = read_timm_config(source.path) if source.origin == "timm" else None
        notes = (*check_counterpart(source, found, config), *_conversions(found))
        known = _described(origin, source)
        padding = padding_of(source, found) if known is None else known.padding
        network = found.architecture
        if known is not None:
            network, stated = _own_network(known, network, source.path), _kept(stated, known)
        if config is not None:
            network, stated = _configured(network, config, found), _added(stated, config, found)
        network = msgspec.structs.replace(network, preprocessing=_preprocessing(stated, source, origin, network, config))
        info = write_weights(
            path,
            network,
            _arrays(found, source, source.averages if averages else {}),
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
    used = {variable.name for variable in found.variables.values()}
    if padding != network.padding:
        warn_at_import(str(path), network, padding)
    unused = tuple(name for name in source.variables if name not in used)
    taken = averages if source.averages else None
    return Imported(
        str(path), info, network, source.kind, found.part.name, len(used), unused, len(source.training_state), taken, notes
    )


def _wanted(model: str, width: float | None) -> tuple[Architecture, float | None]:
    """The named network, and the width that it must have if one was stated."""
    try:
        architecture = resolve(model)
    except UnknownNameError as error:
        named = [(entry, each) for entry in zoo().values() for each in entry.counterparts if each.name == model.partition(".")[0]]
        if named:
            names = " or ".join(f"{entry.architecture.name}@{each.width_multiplier:g}" for entry, each in named)
            raise WeightsError(f"'{model}' is {named[0][1].package}'s name of {names}; name that (argument 'model')") from error
        raise WeightsError(f"{error} (argument 'model')") from error
    stated = "@" in model or model.endswith(".json")
    return architecture, architecture.width_multiplier if width is None and stated else width


def _described(origin: Origin, source: WeightsSource) -> WeightsInfo | None:
    """What a file of ours says of itself, after it was checked whole; None for anything else."""
    if not isinstance(origin, (str, os.PathLike)) or source.origin != "keras" or read_info(origin) is None:
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


def _arrays(found: Match, source: WeightsSource, averages: Mapping[str, Variable]) -> DeferredArrays:
    """The network's arrays in the shapes that it has them, each read when it is asked for: never all of them at once."""

    def array(layer: str, role: VariableRole, variable: Variable) -> NDArray[np.float32]:
        """Returns one array; TensorFlow's and Keras' dense kernels become those of 1x1 convolutions."""
        value = np.asarray(averages.get(variable.name, variable).read(), np.float32)
        if not np.isfinite(value).all():
            raise WeightsError(
                f"{source.path}: '{variable.name}' ({layer}/{role}) has NaN or infinite values, expected finite weights"
            )
        return value[None, None] if layer == LOGITS and role == "kernel" and value.ndim == 2 else value

    shapes = {
        (layer, role): (1, 1, *one.shape) if layer == LOGITS and role == "kernel" and len(one.shape) == 2 else one.shape
        for (layer, role), one in found.variables.items()
    }
    readers = {
        (layer, role): functools.partial(array, layer, role, variable) for (layer, role), variable in found.variables.items()
    }
    return DeferredArrays(shapes, readers)


def _conversions(found: Match) -> tuple[str, ...]:
    """Says which variables of a state dict are stored in another type than float32, in which all of them are written."""
    if not any(variable.stored for variable in found.variables.values()):
        return ()
    counts = collections.Counter(variable.dtype for variable in found.variables.values() if variable.dtype != "float32")
    return tuple(f"{count} tensors were converted from {dtype} to float32" for dtype, count in sorted(counts.items()))


def _configured(network: Architecture, config: TimmConfig, found: Match) -> Architecture:
    """The network at the input size of timm's configuration, whose class count must be that of the weights."""
    if config.classes and found.holds == EVERYTHING and config.classes != network.classes:
        raise WeightsError(
            f"{config.path}: field 'num_classes' is {config.classes}, but the weights have {network.classes} classes; repair it, "
            "or take the file away from the weights"
        )
    return network.at(input_size=config.input_size)


def _added(stated: Stated, config: TimmConfig, found: Match) -> Stated:
    """What is stated, and for the rest what timm's configuration says."""
    whole = found.holds == EVERYTHING and len(config.labels) == found.architecture.classes
    return stated._replace(
        names=stated.names or (config.labels if whole else ()),
        licence=config.licence if stated.licence is None else stated.licence,
    )


def _preprocessing(
    stated: Stated, source: WeightsSource, origin: Origin, network: Architecture, config: TimmConfig | None
) -> Preprocessing:
    if isinstance(stated.preprocessing, Preprocessing):
        return stated.preprocessing
    if stated.preprocessing is not None:
        return PREPROCESSINGS[stated.preprocessing]
    if source.origin == "tf_model_garden":
        return MODEL_GARDEN
    if source.origin == "torchvision":
        return TORCHVISION
    if source.origin in ("timm", "lukemelas"):
        return network.preprocessing if config is None or config.preprocessing is None else config.preprocessing
    carried = file_rule(origin) if isinstance(origin, (str, os.PathLike)) else model_rule(origin)
    return carried or network.preprocessing


def _labels(stated: Stated, found: Match) -> Labels:
    background = stated.background
    if background is None:
        with_one_more = found.holds == EVERYTHING and found.architecture.classes == IMAGENET_CLASSES + 1
        background = "unknown" if with_one_more else "none"
    names = stated.names or label_set_names(stated.label_set or "")
    labels = Labels(name=stated.label_set or "", names=names, background=background)
    if not stated.names and found.architecture.classes - (background in ("first", "last")) != len(names):
        return msgspec.structs.replace(labels, names=())  # of another number of classes, or it is unknown which
    return labels
