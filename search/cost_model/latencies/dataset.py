"""Latencies ready to fit a cost model to: one latency for each network, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.model import CostModel, encoding_hashes
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace

_SIMILAR = 1.1
"""Factor up to which repeated latencies of one network may differ without a remark."""


class Latencies(NamedTuple):
    """Latencies of different networks of a space on one hardware.

    Attributes:
        encodings: (n, decisions), int16, canonical, each once.
        ms: (n,), float64, milliseconds above 0.
        distributions: (n,), distribution of each network, "" where unknown; empty if all are unknown.
        origin: Hardware and conditions of the latencies.
        remarks: Remarks on rows that were left out or merged.

    Example:
        >>> from mhmodels.search import Latencies, LatencyOrigin, get_space, sample
        >>> space = get_space("multi_hardware")
        >>> drawn = sample(space, 60)
        >>> ms = space.madds(drawn.encodings) / 5e7
        >>> latencies = Latencies(drawn.encodings, ms, drawn.distributions, LatencyOrigin("my-phone"), ())
        >>> latencies.encodings.shape
        (60, 25)
    """

    encodings: Encodings
    ms: Floats
    distributions: tuple[str, ...]
    origin: LatencyOrigin
    remarks: tuple[str, ...]


def merged(
    space: SearchSpace, encodings: Encodings, ms: Floats, names: Sequence[str], origin: LatencyOrigin, remarks: Sequence[str]
) -> Latencies:
    """Merges several latencies of one network into their median. Networks that a restriction of the space removed are left out.

    Args:
        space: Space of the networks, whole or restricted.
        encodings: (n, decisions), of the whole space, with repetitions.
        ms: (n,), milliseconds.
        names: (n,), distributions, "" where unknown.
        origin: Hardware and conditions of the latencies.
        remarks: Remarks so far.

    Raises:
        CostModelError: No network is a member of the restricted space.
    """
    encodings, told = space.canonical(encodings), list(remarks)
    inside = space.members(encodings)
    if not inside.all():
        outside = f"of {len(inside)} networks are outside of the reduction of space '{space.name}'"
        if not inside.any():
            raise CostModelError(f"all {outside}, expected members: use the whole space, or measure networks of the reduced one")
        told.append(f"{len(inside) - int(inside.sum())} {outside} and are left out")
        encodings, ms, names = encodings[inside], ms[inside], [names[i] for i in np.flatnonzero(inside)]
    unique, first, by_place = by_network(encodings, ms)
    medians = np.array([float(np.median(values)) for values in by_place])
    if len(unique) < len(ms):
        factor = max(max(values) / min(values) for values in by_place)
        told.append(
            f"{len(ms) - len(unique)} repeated architectures: the median of their latencies counts"
            + (f"; those of one differ up to {factor:.2g}-fold" if factor > _SIMILAR else "")
        )
    known = tuple(names[i] for i in first) if any(names) else ()
    return Latencies(unique, medians, known, origin, tuple(told))


def by_network(encodings: Encodings, values: Floats) -> tuple[Encodings, Indices, list[list[float]]]:
    """Groups values by network.

    Args:
        encodings: (n, decisions), canonical, with repetitions.
        values: (n,).

    Returns:
        Different networks (k, decisions) in the order in which they first occur, where this is (k,), and the values of each.
    """
    unique, first, place = np.unique(encodings, axis=0, return_index=True, return_inverse=True)
    groups: list[list[float]] = [[] for _ in range(len(unique))]
    for i, value in zip(place.ravel().tolist(), values.tolist(), strict=True):
        groups[i].append(value)
    order = np.argsort(first)
    return unique[order], first[order], [groups[i] for i in order]


class SideBySide(NamedTuple):
    """Latencies of the networks of a space on several hardware.

    Attributes:
        encodings: (n, decisions), int16, canonical, each network that some hardware has a latency of, once.
        ms: By hardware id: (n,), float64, milliseconds above 0, NaN for networks without a latency on the hardware.
    """

    encodings: Encodings
    ms: dict[str, Floats]


def side_by_side(found: Mapping[str, Latencies]) -> SideBySide:
    """Joins the latencies of several hardware by network.

    Args:
        found: Latencies by hardware id, at least one, all of the same space.
    """
    encodings, place = np.unique(np.concatenate([one.encodings for one in found.values()]), axis=0, return_inverse=True)
    places = np.split(place.ravel(), np.cumsum([len(one.ms) for one in found.values()])[:-1])
    columns = {}
    for (name, one), rows in zip(found.items(), places, strict=True):
        columns[name] = np.full(len(encodings), np.nan)
        columns[name][rows] = one.ms
    return SideBySide(encodings, columns)


def unseen_latencies(found: Latencies, model: CostModel, space: SearchSpace) -> Latencies:
    """Leaves out the networks that a cost model was fitted to.

    Args:
        found: Latencies.
        model: The cost model.
        space: Space of the networks.

    Raises:
        CostModelError: No network is left.
    """
    known = set(model.trained_on)
    keep = np.array([digest not in known for digest in encoding_hashes(space, found.encodings)])
    if not keep.any():
        raise CostModelError(
            f"all {len(keep)} architectures were trained on, expected others: the held-out statistics in the model file are of "
            "those that were not"
        )
    if keep.all():
        return found
    remark = f"{len(keep) - keep.sum()} of {len(keep)} architectures were trained on and are left out"
    names = tuple(name for name, kept in zip(found.distributions, keep, strict=False) if kept)
    return Latencies(found.encodings[keep], found.ms[keep], names, found.origin, (*found.remarks, remark))
