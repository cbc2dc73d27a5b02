"""Weights that were trained with another padding than their network's: the input sizes at which scores agree, and warnings.

TensorFlow's SAME, PyTorch's symmetric padding and that of keras.applications.MobileNet put the same zeros around some maps and
others around the rest, so that weights of one kind give other scores in a network of another kind at most input sizes.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterator, Sequence

import msgspec

from mhmodels.architecture import MAX_INPUT, MIN_INPUT, Architecture, Padding
from mhmodels.errors import ArchitectureError, PaddingWarning
from mhmodels.network import lower
from mhmodels.registry import get_architecture
from mhmodels.weights.matching import Match, same_network, targets
from mhmodels.weights.sources.source import WeightsSource

_TRAILING = ("mobilenet_v1", "mobilenet_v1.keras")
"""Networks that keras.applications builds with zeros behind the map only."""
_WORDS: dict[Padding, str] = {
    "same": "as TensorFlow's SAME",
    "symmetric": "symmetrically, as PyTorch",
    "trailing": "((0, 1), (0, 1)), as keras.applications.MobileNet",
}
_SHOWN = 3


def padding_of(source: WeightsSource, found: Match) -> Padding:
    """Returns the padding that weights were trained with, as far as their source tells; else that of the network.

    Args:
        source: Source of the weights.
        found: Network in it. Layers with this package's names were trained with its padding.
    """
    network = found.architecture
    names = {target.name for target in targets(network)}
    if source.origin != "keras" or {layer.name for layer in found.part.layers} <= names:
        return network.padding
    unnamed = msgspec.structs.replace(network, padding="same")
    candidates = (
        msgspec.structs.replace(
            get_architecture(name).at(width_multiplier=network.width_multiplier, input_channels=network.input_channels),
            padding="same",
        )
        for name in _TRAILING
    )
    return "trailing" if any(same_network(one, unnamed) for one in candidates) else network.padding


def is_exact(architecture: Architecture, trained: Padding, size: Sequence[int | None]) -> bool:
    """Returns whether a network computes the same with its own padding and with another one.

    Args:
        architecture: The network.
        trained: Padding that its weights were trained with.
        size: (height, width) of the input in pixels; with None the answer is whether it is so at every size.
    """
    if trained == architecture.padding:
        return True
    if None in size:
        return False
    height, width = size
    other = msgspec.structs.replace(architecture, padding=trained)
    try:
        return lower(architecture, size=(height, width), top=False).ops == lower(other, size=(height, width), top=False).ops
    except ArchitectureError:  # one of the two does not exist at this size
        return False


@functools.lru_cache(maxsize=64)
def agreeing_sizes(architecture: Architecture, trained: Padding) -> tuple[int, ...]:
    """Returns the sides of square inputs nearest to the network's own at which both paddings are the same, ascending.

    Args:
        architecture: The network.
        trained: Padding that its weights were trained with.
    """
    near = (side for side in _outwards(architecture.input_size[0]) if is_exact(architecture, trained, (side, side)))
    return tuple(sorted(itertools.islice(near, _SHOWN)))


def _outwards(centre: int) -> Iterator[int]:
    """The possible sides from one on, up and down in turns, as far as it takes to find some."""
    yield centre
    for step in range(1, 256):
        yield from (side for side in (centre - step, centre + step) if MIN_INPUT <= side <= MAX_INPUT)


def warn_at_import(path: str, architecture: Architecture, trained: Padding) -> None:
    """Warns at which input sizes the scores of weights with another padding will agree."""
    _warn(f"{path}: {_both(architecture, trained)}: scores differ from those in training{_except(architecture, trained)}")


def warn_at_size(path: str, architecture: Architecture, trained: Padding, size: Sequence[int | None]) -> None:
    """Warns where weights with another padding are used at a size at which scores differ."""
    if is_exact(architecture, trained, size):
        return
    at = "at most sizes" if None in size else f"at {size[0]}x{size[1]}"
    _warn(
        f"{path}: {_both(architecture, trained)}: scores differ from those in training {at}"
        f"{_except(architecture, trained)}; use such a size, take the network with that padding, or train further"
    )


def _both(architecture: Architecture, trained: Padding) -> str:
    own = _WORDS[architecture.padding]
    return f"weights of a network that pads {_WORDS[trained]}, where '{architecture.name}' pads {own}"


def _except(architecture: Architecture, trained: Padding) -> str:
    sizes = agreeing_sizes(architecture, trained)
    return f" except at input sizes such as {', '.join(map(str, sizes))}" if sizes else ""


def _warn(text: str) -> None:
    warnings.warn(text, PaddingWarning, stacklevel=4)
