"""Latencies of a source hardware as a function of the network: kernel ridge regression of log latencies (prediction only)."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import msgspec
import numpy as np

from mhmodels.formats.checked import Checked
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.features import NetworkFeatures
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace

SMOOTHNESS = 8.0
"""Squared distance, as a mean over standardised features, at which similarity falls to 1/e."""
LogMs: TypeAlias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
"""Logs of ms, with room around those of possible latencies."""


class KernelSource(Checked, frozen=True, kw_only=True):
    """A fitted kernel regression of log latencies.

    Attributes:
        encodings: Networks that it was fitted to, as `3:0:1`.
        dual: Weight of the similarity to each of them.
        centre: Log of the median latency in ms.
        lowest, highest: Range of predictions, as logs of ms.
    """

    field_error: ClassVar = CostModelError
    encodings: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    dual: tuple[Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)], ...]
    centre: LogMs
    lowest: LogMs
    highest: LogMs

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.dual) != len(self.encodings):
            raise CostModelError(f"cost model: a source has {len(self.encodings)} encodings and {len(self.dual)} dual weights")
        if self.lowest > self.highest:
            raise CostModelError(
                f"cost model: a source predicts {self.lowest:g} to {self.highest:g} as logs of ms: it is damaged"
            )

    def log_ms(self, similarities: Floats) -> Floats:
        """Predicts log latencies (n,) from the similarities (n, support) of networks to `encodings`."""
        logs: Floats = np.clip(similarities @ np.array(self.dual) + self.centre, self.lowest, self.highest)
        return logs


def similarity(first: NetworkFeatures, second: NetworkFeatures) -> Floats:
    """Kernel (n, m) between networks: equal choices, a linear and a smooth function of the standardised features, a constant."""
    decisions = second.choices[:1].sum()
    equal: Floats = first.choices @ second.choices.T / decisions
    return equal + linear(tied(first), tied(second)) + smooth(first, second) + 1.0


def tied(found: NetworkFeatures) -> Floats:
    """(n, a + b), totals and sums by class side by side."""
    return np.hstack(found[:2])


def linear(first: Floats, second: Floats) -> Floats:
    """Mean product (n, m) of the features; 0 without features."""
    columns = first.shape[1]
    return first @ second.T / columns if columns else np.zeros((len(first), len(second)))


def smooth(first: NetworkFeatures, second: NetworkFeatures) -> Floats:
    """Similarity (n, m), from 0 to 1, that falls with the squared distance of the tied features."""
    a, b = tied(first), tied(second)
    if not a.shape[1]:
        return np.zeros((len(a), len(b)))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    near: Floats = np.exp(-np.maximum(squares, 0.0) / (a.shape[1] * SMOOTHNESS))
    return near


def read_encodings(space: SearchSpace, lines: tuple[str, ...]) -> Encodings:
    """Reads the encodings (n, decisions) of a model file; choices that a restriction of the space removed are allowed.

    Raises:
        CostModelError: An encoding has another length, or a choice does not exist.
    """
    try:
        rows = np.array([line.split(":") for line in lines], np.int16)
    except (ValueError, OverflowError):
        rows = np.zeros((0, 0), np.int16)
    if rows.shape != (len(lines), len(space.decisions)) or (rows < 0).any() or (rows >= space.cardinalities).any():
        raise CostModelError(
            f"cost model: encodings are no encodings of space '{space.name}' ({len(space.decisions)} choices each): it is damaged"
        )
    return rows


def write_encodings(encodings: Encodings) -> tuple[str, ...]:
    """Encodings (n, decisions) as text, which `read_encodings` reads."""
    return tuple(":".join(map(str, row)) for row in encodings.tolist())
