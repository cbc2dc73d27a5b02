"""Draws different networks from a space by a named distribution, reproducibly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SpaceError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

UNIFORM, DEPTH_UNIFORM, MIXED = "uniform", "depth-uniform", "mixed"
DEFAULT_WINDOW = "window=0.5:2"
REFERENCE = "mobilenet_v1"
_CHUNK = 4096
_MOST_DRAWS = 5_000_000


class Sample(NamedTuple):
    """Different networks of a space.

    Attributes:
        encodings: (n, decisions), int16, canonical, each once.
        distributions: (n,), the distribution that each network was drawn from.

    Example:
        >>> from mhmodels.search import get_space, sample
        >>> drawn = sample(get_space("nas_bench_201"), 2)
        >>> drawn.distributions
        ('uniform', 'uniform')
    """

    encodings: Encodings
    distributions: tuple[str, ...]


def sample(space: SearchSpace, n: int, seed: int = 0, distribution: str | None = None) -> Sample:
    """Draws different members of a space.

    The distributions:

    - `uniform`: every decision is independent and uniform.
    - `depth-uniform`: every depth of a stage is equally likely.
    - `window=A:B`: uniform among members with A to B times the MAdds of MobileNetV1 1.0 at 224 pixels.
    - `mixed`: half `depth-uniform` and half `window=0.5:2`; the best choice for collecting latencies.

    Args:
        space: The space.
        n: Number of networks, at least 1.
        seed: Random seed; equal seeds draw equal samples.
        distribution: Name of a distribution. None means `mixed`, or `uniform` for tabular spaces, for spaces without networks in
            the window (those of NAS-Bench-Macro have 32 pixels), and if `n` is the number of members.

    Raises:
        SpaceError: The distribution is unknown or does not apply to the space, or the space has fewer such members.

    Example:
        >>> from mhmodels.search import get_space, sample
        >>> drawn = sample(get_space("multi_hardware"), 4, seed=1)
        >>> drawn.encodings.shape, drawn.distributions[:2]
        ((4, 25), ('depth-uniform', 'window=0.5:2'))
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
    # The parts alternate, so that every beginning of the sample has all of them.
    order = np.argsort([i * len(parts) + p for p, (_, count) in enumerate(parts) for i in range(count)], kind="stable")
    return Sample(np.array(rows)[order], tuple(labels[i] for i in order))


def _default(space: SearchSpace, n: int) -> str:
    """The distribution for `distribution=None`."""
    if space.tabular or n == space.sizes.distinct:
        return UNIFORM
    some = next(_batches(space, DEFAULT_WINDOW, np.random.default_rng(0)))
    return MIXED if len(some) else UNIFORM


def reference_madds() -> float:
    """MAdds of MobileNetV1 1.0 at 224 pixels, which is the unit of `window=A:B`."""
    from mhmodels.complexity import complexity
    from mhmodels.registry import get_architecture

    return complexity(get_architecture(REFERENCE)).madds


def _distinct(space: SearchSpace, name: str, n: int, rng: np.random.Generator, taken: dict[bytes, None]) -> list[Encodings]:
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


def _batches(space: SearchSpace, name: str, rng: np.random.Generator) -> Iterator[Encodings]:
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
