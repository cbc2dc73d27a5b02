"""Foreign weights become a weights file of ours: TensorFlow checkpoints, Keras files, Keras model objects."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.errors import UnknownNameError, WeightsError
from mhmodels.families.rows import IMAGENET, SYMMETRIC
from mhmodels.formats.json_files import plain_text
from mhmodels.network import LOGITS
from mhmodels.preprocessing.layer import file_rule, model_rule
from mhmodels.registry import resolve
from mhmodels.weights.files import read_info, read_weights, write_weights
from mhmodels.weights.info import Arrays, Background, Claim, Labels, WeightsInfo
from mhmodels.weights.matching import EXTENTS, Match, match, same_network
from mhmodels.weights.padding import padding_of, warn_at_import
from mhmodels.weights.sources.checkpoint import find_checkpoint, read_checkpoint
from mhmodels.weights.sources.source import Source, Variable

MODEL_GARDEN = msgspec.structs.replace(IMAGENET, interpolation="bilinear")
"""What TF Model Garden's classification input does for every network: ImageNet mean and deviation, bilinear resizing."""

PREPROCESSINGS: dict[str, Preprocessing] = {"tf_model_garden": MODEL_GARDEN, "imagenet": IMAGENET, "symmetric": SYMMETRIC}
IMAGENET_CLASSES = 1000
EVERYTHING = EXTENTS[0].name


class Stated(NamedTuple):
    """What foreign weights do not say of themselves and whoever imports them may; of a file of ours, what is to be changed.

    Attributes:
        preprocessing: `tf_model_garden`, `imagenet` or `symmetric`; None takes what the origin uses: TF Model Garden's for
            a checkpoint, for a Keras file or model what its layers state or else the network's own, the file's for one of ours.
        label_set: name of the label set, such as `imagenet-1k`.
        names: of the classes, in order, without background.
        background: which output is no class. None: `none`, or `unknown` for 1001 outputs, because trainers differ.
        licence: of the weights.
        description: where they come from; None names the file.
        accuracy: what is claimed for them.

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
    """What became of an import.

    Attributes:
        path: the file that was written.
        info: its description.
        architecture: the network.
        source: format of what was read, in words.
        part: the model in it that was taken.
        used: variables taken, each once.
        unused: names of variables that no layer of the network takes.
        training_state: number of optimizer slots, counters and the like.
        averages: whether moving averages were taken; None where there are none.

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
def open_source(origin: Any) -> Iterator[Source]:
    """Opens foreign weights.

    Args:
        origin: the path of a TensorFlow checkpoint (prefix, one of its files, folder) or of a Keras file (`.h5`,
            `.weights.h5`, `.keras`), or a Keras model.

    Raises:
        WeightsError: unreadable, corrupt, or neither.
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
    origin: Any,
    model: str,
    path: str | os.PathLike[str],
    *,
    width_multiplier: float | None = None,
    classes: int | None = None,
    averages: bool = False,
    stated: Stated = NOTHING_STATED,
) -> Imported:
    """Reads foreign weights and writes them as a weights file.

    Nothing is read but names and shapes until the network has been found in them. A file of ours is checked, and keeps what
    it says of itself wherever nothing else is stated.

    Args:
        origin: see `open_source`.
        model: which network it is: a zoo name, `NAME@WIDTH`, or the path of an architecture file.
        path: of the file to write, ending with `.weights.h5`.
        width_multiplier: that it must have; None takes what the shapes say.
        classes: that it must have; None takes what the shapes say.
        averages: take the optimizer's moving averages where it keeps them, in place of the trained variables.
        stated: what the origin does not say.

    Raises:
        WeightsError: corrupt, altered, foreign, another family, width or class count, or not finite; a full disk.
        MhmodelsError: `model` means nothing.

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
            raise WeightsError(f"{source.path}: no moving averages in it; leave --averages out")
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
    if padding != "same":
        warn_at_import(str(path), network)
    unused = tuple(name for name in source.variables if name not in used)
    taken = averages if source.averages else None
    return Imported(str(path), info, network, source.kind, found.part.name, len(used), unused, len(source.training_state), taken)


def _wanted(model: str, width: float | None) -> tuple[Architecture, float | None]:
    """The named network, and the width that it must have if one was stated."""
    try:
        architecture = resolve(model)
    except UnknownNameError as error:
        raise WeightsError(f"--model: {error}") from error
    stated = "@" in model or model.endswith(".json")
    return architecture, architecture.width_multiplier if width is None and stated else width


def _described(origin: Any) -> WeightsInfo | None:
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
            "equal in shapes, not in what it computes; give --model the network that they are of"
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


def _preprocessing(stated: Stated, source: Source, origin: Any, network: Architecture) -> Preprocessing:
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
