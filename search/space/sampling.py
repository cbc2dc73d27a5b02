"""Drawing different networks from a space, by a named distribution, reproducibly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SpaceError
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace

UNIFORM, DEPTH_UNIFORM, MIXED = "uniform", "depth-uniform", "mixed"
DEFAULT_WINDOW = "window=0.5:2"
REFERENCE = "mobilenet_v1"
_CHUNK = 4096
_MOST_DRAWS = 5_000_000


class Sample(NamedTuple):
    """Networks that were drawn.

    Attributes:
        encodings: (n, decisions), canonical, each once.
        distributions: for each the distribution that it comes from.
    """

    encodings: Encodings
    distributions: tuple[str, ...]


def sample(space: Space, n: int, seed: int = 0, distribution: str | None = None) -> Sample:
    """Draws different members of a space.

    Args:
        space: any; the distributions beside `uniform` need stages or MAdds.
        n: how many.
        seed: equal seeds draw equal samples.
        distribution: `uniform`: every decision on its own, equally likely; `depth-uniform`: every depth of a stage equally
            likely; `window=A:B`: uniform among members of A to B times the MAdds of MobileNetV1 1.0 at 224 pixels;
            `mixed`: half depth-uniform and half `window=0.5:2`, what latencies are best collected on. None: `mixed`, or
            `uniform` for tabular spaces, for those without networks in that window (NAS-Bench-Macro's are of 32 pixels), and
            for all members of a space.

    Raises:
        SpaceError: an unknown distribution, one that the space cannot have, or fewer such members than asked for.
    """
    if n < 1:
        raise SpaceError(f"{n} samples, expected at least 1")
    if n > space.sizes.distinct:
        raise SpaceError(f"space '{space.name}' has {space.sizes.distinct} members, expected at most as many samples, not {n}")
    name = distribution or _default(space, n)
    parts = [(DEPTH_UNIFORM, (n + 1) // 2), (DEFAULT_WINDOW, n // 2)] if name == MIXED else [(name, n)]
    rng = np.random.default_rng(seed)
    taken: dict[bytes, None] = {}
    rows: list[Encodings] = []
    labels: list[str] = []
    for part, count in parts:
        found = _distinct(space, part, count, rng, taken)
        rows += found
        labels += [part] * len(found)
    # In turns, so that every beginning of the sample has all of its parts.
    order = np.argsort([i * len(parts) + p for p, (_, count) in enumerate(parts) for i in range(count)], kind="stable")
    return Sample(np.array(rows)[order], tuple(labels[i] for i in order))


def _default(space: Space, n: int) -> str:
    """The distribution where none is named."""
    if space.tabular or n == space.sizes.distinct:
        return UNIFORM
    some = next(_batches(space, DEFAULT_WINDOW, np.random.default_rng(0)))
    return MIXED if len(some) else UNIFORM


def reference_madds() -> float:
    """MAdds of MobileNetV1 1.0 at 224 pixels, the unit of `window=A:B`."""
    from mhmodels.complexity import complexity
    from mhmodels.registry import get_architecture

    return complexity(get_architecture(REFERENCE)).madds


def _distinct(space: Space, name: str, n: int, rng: np.random.Generator, taken: dict[bytes, None]) -> list[Encodings]:
    """New members that are not taken yet."""
    found: list[Encodings] = []
    drawn = 0
    batches = _batches(space, name, rng)
    while len(found) < n:
        batch = next(batches)
        drawn += _CHUNK
        for row in batch:
            key = row.tobytes()
            if key not in taken:
                taken[key] = None
                found.append(row)
                if len(found) == n:
                    break
        if len(found) < n and drawn > _MOST_DRAWS:
            raise SpaceError(
                f"space '{space.name}': {drawn} draws gave {len(found)} different members of '{name}', expected {n}; "
                "ask for fewer, or for a wider window"
            )
    return found


def _batches(space: Space, name: str, rng: np.random.Generator) -> Iterator[Encodings]:
    window = _window(name)
    if window is None and name not in (UNIFORM, DEPTH_UNIFORM):
        raise SpaceError(
            f"distribution is '{name}', expected {UNIFORM}, {DEPTH_UNIFORM}, {MIXED}, or window=A:B with 0 <= A < B"
            " (times the MAdds of MobileNetV1)"
        )
    if window is not None and not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular and counts no MAdds: distribution '{name}' is not for it")
    while True:
        rows = space.draw(_CHUNK, rng, depth="uniform" if name == DEPTH_UNIFORM else "decisions")
        if window is not None and isinstance(space, ArchitectureSpace):
            share: NDArray[np.float64] = space.madds(rows) / reference_madds()
            rows = rows[(share >= window[0]) & (share <= window[1])]
        yield rows


def _window(name: str) -> tuple[float, float] | None:
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    match = re.fullmatch(rf"window={number}:{number}", name)
    if match is None or not float(match[1]) < float(match[2]):
        return None
    return float(match[1]), float(match[2])
