"""Whether latencies are in another unit than ms, by what is known of the hardware: shipped cost models, and rows of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MhmodelsError
from mhmodels.search.cost_model.fitting import Origin
from mhmodels.search.cost_model.latencies.reading import provenance_of, read_latencies
from mhmodels.search.cost_model.shipping import DATA, shipped_hardware, shipped_model
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

Floats = NDArray[np.float64]

OFF = 10**1.5
"""Beyond it a ratio is nearer to that of another unit, 1000, than to 1."""
_UNITS = {-1: "seconds", 1: "microseconds", 2: "nanoseconds"}
"""By the power of 1000 that the latencies are off."""
LOOKED_UP = 200
"""So many networks are looked up in the store."""


class Known(NamedTuple):
    """Latencies of the same networks that are known to be in ms: where they are from, and ratios of the data to them."""

    source: str
    same_hardware: bool
    ratio: float


def unit_doubt(space: Space, encodings: Encodings, ms: Floats, hardware: str, store: Store | None = None) -> str:
    """Why latencies look as if they were in another unit, or "".

    Args:
        space: of the networks.
        encodings: (n, decisions).
        ms: (n,), latencies as they were read.
        hardware: where they are from, as the user says.
        store: that may have rows of the same hardware.
    """
    known = list(_known(space, encodings, ms, hardware, store))
    judges = [one for one in known if one.same_hardware] or known
    # Hardware differs, too: of several that are known the nearest decides.
    nearest = min(judges, key=lambda one: abs(np.log(one.ratio)), default=None)
    if nearest is None or 1 / OFF <= nearest.ratio <= OFF:
        return ""
    unit = _UNITS.get(round(np.log10(nearest.ratio) / 3), "another unit")
    return (
        f"the latencies are {nearest.ratio:.3g} times those of {nearest.source} for the same networks (median): they are "
        f"probably in {unit}, expected milliseconds; convert them, or check --hardware"
    )


def _known(space: Space, encodings: Encodings, ms: Floats, hardware: str, store: Store | None) -> Iterator[Known]:
    for name in shipped_hardware(space):
        try:
            predicted = shipped_model(space, name).bind(space).predict(encodings)
        except MhmodelsError:
            continue  # of another version of the space
        source = f"the cost model of {name} that comes with the package"
        yield Known(source, name == hardware, float(np.median(ms / predicted)))
    if not shipped_hardware(space):
        yield from _collected(space, encodings, ms, hardware)
    if store is not None and isinstance(space, ArchitectureSpace):
        ids = {space.build(row).architecture_id: value for row, value in zip(encodings[:LOOKED_UP], ms, strict=False)}
        rows = store.latest([hardware], list(ids))
        ratios = [ids[str(row.architecture_id)] / row.median_ms for row in rows if row.median_ms is not None]
        if ratios:
            yield Known(f"the rows of {hardware} in {store.path}", True, float(np.median(ratios)))


def _collected(space: Space, encodings: Encodings, ms: Floats, hardware: str) -> Iterator[Known]:
    """By the collection of the space that comes with the package."""
    path = DATA / f"{space.name}.csv"
    try:
        provenance = provenance_of(path, space)
    except MhmodelsError:
        return  # of another version of the space
    names = list(provenance.environments) if provenance is not None else []
    for name in [hardware] if hardware in names else names:
        found = read_latencies(path, space, Origin(name))
        there = {row.tobytes(): value for row, value in zip(found.encodings, found.ms.tolist(), strict=True)}
        own = [row.tobytes() for row in space.canonical(encodings)]
        ratios = [value / there[key] for key, value in zip(own, ms.tolist(), strict=True) if key in there]
        if ratios:
            yield Known(f"the collection of {name} that comes with the package", name == hardware, float(np.median(ratios)))
