"""Features of networks for adapted cost models: few totals, sums by class of kernel and size of map, and the choices themselves.

With 10 to 20 measurements, a feature that every hardware cares about (number of kernels, MACs, bytes moved) needs a much wider
prior than one that few care about, so features come in groups with a variance each.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.forms import builds
from mhmodels.search.space.piece_table import gather
from mhmodels.search.space.pieces import Piece
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.tabular import TabularSpace

_QUANTITIES = ("count", "macs", "read", "written", "stored")
_CLASSES = {
    "depthwise": ("depthwise3", "depthwise3s2", "depthwise5", "depthwise5s2", "depthwise7", "depthwise7s2"),
    "large depthwise": ("depthwise5", "depthwise5s2", "depthwise7", "depthwise7s2"),
    "largest depthwise": ("depthwise7", "depthwise7s2"),
    "pointwise": ("pointwise", "grouped", "dense"),
    "grouped": ("grouped",),
    "full": ("conv3", "conv5", "conv7"),
    "other": ("add", "multiply", "pool", "softmax", "hard_swish", "max_pool", "average_pool", "pad"),
}
"""Kinds of kernels by class. Classes overlap where a hardware may treat a part of a class differently."""
_LARGE, _SMALL = 28 * 28, 8 * 8
"""Pixels from which on, and up to which, operations on a map are a class of their own. Accelerators compute channels in parallel:
large maps have few of them, and small maps have many weights for each pixel."""
REFERENCE_SIZE = 1000
"""Number of networks that define the mean and spread of each feature."""


class NetworkFeatures(NamedTuple):
    """Features of n networks.

    Attributes:
        totals: (n, a), sums over all operations.
        classes: (n, b), sums by class of operation.
        choices: (n, c), one-hot, the choice of every decision.
    """

    totals: Floats
    classes: Floats
    choices: Floats


class Standard(NamedTuple):
    """Mean and spread of the features in a space, by which they are standardised.

    Attributes:
        centre: (a + b,), means of totals and classes.
        scale: (a + b,), their standard deviations; 0 for features that are equal in all networks.
    """

    centre: Floats
    scale: Floats


def network_features(space: SearchSpace, encodings: Encodings) -> NetworkFeatures:
    """Computes the features of networks.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), int16, canonical.
    """
    totals, classes = _structure(space, encodings)
    starts = np.concatenate([[0], np.cumsum(space.cardinalities)[:-1]])
    choices = np.zeros((len(encodings), int(space.cardinalities.sum())))
    np.put_along_axis(choices, encodings + starts, 1.0, axis=1)
    return NetworkFeatures(totals, classes, choices)


def reference_networks(space: SearchSpace) -> Encodings:
    """Random networks (1000, decisions) of a space, by which features are standardised. The same for its restrictions."""
    drawn = np.random.default_rng(0).integers(space.cardinalities, size=(REFERENCE_SIZE, len(space.cardinalities)))
    return space.canonical(drawn.astype(np.int16))


def standard_of(found: NetworkFeatures) -> Standard:
    """Mean and spread of totals and sums by class over some networks."""
    tied = np.hstack(found[:2])
    scale = tied.std(axis=0)
    return Standard(tied.mean(axis=0), np.where(scale > 1e-9 * np.abs(tied).max(axis=0, initial=0.0), scale, 0.0))


def widths_vary(space: SearchSpace) -> bool:
    """Whether widths or input sizes are decisions, so that the latencies of a space span orders of magnitude."""
    return any(decision.tag != "operation" for decision in space.decisions)


def relative_to(found: NetworkFeatures, latencies: Floats) -> NetworkFeatures:
    """Features by unit of latency.

    A hardware that charges w ms for each unit of a feature x takes sum(w x) ms. In relation to another latency s of the network,
    this is linear in x / s, also where networks differ by orders of magnitude.

    Args:
        found: Features of n networks.
        latencies: (n,), a latency of each network, above 0.
    """
    return NetworkFeatures(found.totals / latencies[:, None], found.classes / latencies[:, None], found.choices)


def standardised(found: NetworkFeatures, standard: Standard) -> NetworkFeatures:
    """Features with mean 0 and standard deviation 1 in the space, without those that are equal in all networks."""
    used = standard.scale > 0
    tied = np.hstack(found[:2])
    values = np.zeros_like(tied)
    values[:, used] = (tied[:, used] - standard.centre[used]) / standard.scale[used]
    split = found.totals.shape[1]
    return NetworkFeatures(values[:, :split][:, used[:split]], values[:, split:][:, used[split:]], found.choices)


def _structure(space: SearchSpace, encodings: Encodings) -> tuple[Floats, Floats]:
    """Totals (n, a) and sums by class (n, b)."""
    if builds(space):
        sums = gather(space.table(features.structural, len(features.NAMES)), space.rows(encodings))
        everything = _columns(sorted({name.partition(".")[0] for name in features.NAMES}))
        totals = sums @ everything
        by_map = gather(space.table(_by_map, 2 * len(_QUANTITIES)), space.rows(encodings))
        return totals, np.hstack([*(sums @ _columns(kinds) for kinds in _CLASSES.values()), by_map])
    if isinstance(space, TabularSpace) and space.structure is not None:
        totals, classes = space.structure(encodings)
        return np.asarray(totals, np.float64), np.asarray(classes, np.float64)
    return np.zeros((len(encodings), 0)), _choice_counts(space, encodings)


@functools.lru_cache(maxsize=1 << 18)
def _by_map(piece: Piece) -> Floats:
    """Sums (2 quantities,) over the operations of a piece that write large maps, and over those that write small ones."""
    places = [features.QUANTITIES.index(name) for name in _QUANTITIES]
    result = np.zeros((2, len(places)))
    for op in piece.ops:
        pixels = (op.size[0] or 1) * (op.size[1] or 1)
        if op.kind != "reshape" and not _SMALL < pixels < _LARGE:
            values = features.quantities(op, piece.read_size(op))
            result[int(pixels <= _SMALL)] += [values[place] for place in places]
    return result.ravel()


def _columns(kinds: Sequence[str]) -> Floats:
    """(features, quantities), sums the structural features of some kinds by quantity."""
    result = np.zeros((len(features.NAMES), len(_QUANTITIES)))
    for place, name in enumerate(features.NAMES):
        kind, _, quantity = name.partition(".")
        if kind in kinds and quantity in _QUANTITIES:
            result[place, _QUANTITIES.index(quantity)] = 1.0
    return result


def _choice_counts(space: SearchSpace, encodings: Encodings) -> Floats:
    """(n, k), how often each choice occurs among decisions that have the same choices."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for column, decision in enumerate(space.decisions):
        groups.setdefault((decision.tag, decision.choices), []).append(column)
    counts = [
        (encodings[:, columns][:, :, None] == np.arange(len(choices))).sum(axis=1)
        for (_, choices), columns in ((key, columns) for key, columns in groups.items() if len(columns) > 1)
        if isinstance(choices, tuple)
    ]
    return np.hstack(counts).astype(np.float64) if counts else np.zeros((len(encodings), 0))
