"""Detects latencies in another unit than ms, by comparing them with shipped cost models, shipped tables and stored rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from mhmodels.errors import MhmodelsError
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.provenance import provenance_of
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.shipping import DATA, shipped_hardware, shipped_model
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

OTHER_UNIT = 10**1.5
"""Ratio to known latencies above which another unit (factor 1000) is more likely than ms."""
_UNITS = {-1: "seconds", 1: "microseconds", 2: "nanoseconds"}
"""Unit by the power of 1000 of the ratio."""
FASTER_THAN_KNOWN = 4.0
"""Ratio by which other hardware may be faster than the fastest one with a shipped cost model, which is a phone's NPU (Hexagon).
Latencies of slower hardware in seconds are further below it."""
_GAP = 10**2.5
"""Factor between the medians of neighbours in speed above which one of them is doubted. Real hardware is mostly closer."""
LOOKED_UP = 200
"""Number of networks to look up in the store."""


class _KnownLatencies(NamedTuple):
    """Latencies of the same networks that are known to be in ms.

    Attributes:
        source: Where they come from, for people.
        same_hardware: Whether they are of the same hardware.
        least: Smallest ratio that milliseconds can have.
        ratio: Median ratio of the data to them.
    """

    source: str
    same_hardware: bool
    ratio: float
    least: float = 1 / OTHER_UNIT


def unit_doubt(space: SearchSpace, encodings: Encodings, ms: Floats, hardware: str, store: Store | None = None) -> str:
    """Compares latencies with known ones of the same networks.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), int16.
        ms: (n,), latencies as they were read.
        hardware: Hardware id that the user stated.
        store: Measurement store that may have rows of this hardware, if any.

    Returns:
        Why the latencies seem to be in another unit than ms; "" if they do not.
    """
    known = list(_known(space, encodings, ms, hardware, store))
    judges = [one for one in known if one.same_hardware] or known
    # Hardware differs in speed as well, so the most similar of several decides.
    nearest = min(judges, key=lambda one: abs(np.log(one.ratio)), default=None)
    if nearest is None or nearest.least <= nearest.ratio <= OTHER_UNIT:
        return ""
    exponent = round(np.log10(nearest.ratio) / 3) or (-1 if nearest.ratio < 1 else 1)
    unit = _UNITS.get(exponent, "another unit")
    return (
        f"the latencies are {nearest.ratio:.3g} times those of {nearest.source} for the same networks (median): they are "
        f"probably in {unit}, expected milliseconds; convert them, or check the hardware id"
    )


def unit_gap(medians: Mapping[str, float]) -> str:
    """Looks for hardware whose latencies are so far from those of the others that another unit is likely.

    Args:
        medians: Median latency by hardware id, as it was read.

    Returns:
        Which neighbours in the order of speed differ most, if they differ about 1,000-fold; "" otherwise.
    """
    order = sorted(medians, key=lambda name: medians[name])
    gaps = {(fast, slow): medians[slow] / medians[fast] for fast, slow in itertools.pairwise(order)}
    (fast, slow), factor = max(gaps.items(), key=lambda gap: gap[1], default=(("", ""), 0.0))
    if factor < _GAP:
        return ""
    return (
        f"the median latency of {slow} ({medians[slow]:.4g} ms) is {factor:.3g} times that of {fast} ({medians[fast]:.4g} ms): "
        "one of the two may be in another unit than ms; rank correlations do not depend on the unit, cost models do"
    )


def _known(space: SearchSpace, encodings: Encodings, ms: Floats, hardware: str, store: Store | None) -> Iterator[_KnownLatencies]:
    for name in shipped_hardware(space):
        try:
            predicted = shipped_model(space, name).bind(space).predict(encodings)
        except MhmodelsError:
            continue  # of another version of the space
        source = f"the cost model of {name} that comes with the package"
        least = 1 / OTHER_UNIT if name == hardware else 1 / FASTER_THAN_KNOWN
        yield _KnownLatencies(source, name == hardware, float(np.median(ms / predicted)), least)
    if not shipped_hardware(space):
        yield from _collected(space, encodings, ms, hardware)
    if store is not None and isinstance(space, ArchitectureSpace):
        ids = {space.build(row).architecture_id: value for row, value in zip(encodings[:LOOKED_UP], ms, strict=False)}
        rows = store.latest([hardware], list(ids))
        ratios = [ids[str(row.architecture_id)] / row.median_ms for row in rows if row.median_ms is not None]
        if ratios:
            yield _KnownLatencies(f"the rows of {hardware} in {store.path}", True, float(np.median(ratios)))


def _collected(space: SearchSpace, encodings: Encodings, ms: Floats, hardware: str) -> Iterator[_KnownLatencies]:
    """Latencies in the shipped table of the space."""
    path = DATA / f"{space.name}.csv"
    try:
        provenance = provenance_of(path, space)
    except MhmodelsError:
        return  # of another version of the space
    names = list(provenance.environments) if provenance is not None else []
    for name in [hardware] if hardware in names else names:
        found = read_latencies(path, space, LatencyOrigin(name))
        there = {row.tobytes(): value for row, value in zip(found.encodings, found.ms.tolist(), strict=True)}
        own = [row.tobytes() for row in space.canonical(encodings)]
        ratios = [value / there[key] for key, value in zip(own, ms.tolist(), strict=True) if key in there]
        if ratios:
            yield _KnownLatencies(
                f"the collection of {name} that comes with the package", name == hardware, float(np.median(ratios))
            )
