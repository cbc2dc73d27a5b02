"""Rewards of the search: accuracy, and what the network's latencies on several hardware take from it.

With f the norm of a network's latencies (equation 4 or 5 of arXiv 2008.08178, `mhmodels.metrics`), t the target and β < 0:

    absolute (equations 6, 7, 8):       r = accuracy + β · |f / t - 1|
    soft-exponential (MnasNet, TuNAS):  r = accuracy · (f / t)^β
    hard-exponential (TuNAS):           r = accuracy · min((f / t)^β, 1)

Equation 6 is the absolute reward with one hardware, 7 that with the average and 8 that with the maximum over hardware.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.metrics import f_avg, f_max
from mhmodels.search.cost_model.model import CostModel, Predictor
from mhmodels.search.errors import SearchError
from mhmodels.search.space.search_space import Encodings, Space

Floats: TypeAlias = NDArray[np.float64]
Aggregate: TypeAlias = Literal["avg", "max"]
RewardKind: TypeAlias = Literal["absolute", "soft-exponential", "hard-exponential"]
SAMPLES = 10_000
"""Networks drawn to tell whether a target is within reach."""
_NEAR = 0.05


class Reward(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the search maximises.

    Attributes:
        kind: the form; see the module's text.
        beta: β, below 0; -0.07 is the paper's for several hardware, -0.10 TuNAS' for one.
        target: t, in units of f: 1 is a network as costly as the references.
        aggregate: of the normalised latencies; with one hardware both are the same.
        references: C in ms by hardware, in the order of every array of latencies; infinity removes that hardware.
        weights: importance by hardware, 1 where it is not named, 0 removes it (see `mhmodels.metrics`).
    """

    references: dict[str, float]
    kind: RewardKind = "absolute"
    beta: float = -0.07
    target: float = 1.0
    aggregate: Aggregate = "avg"
    weights: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not self.references:
            raise SearchError("reward: field 'references' is empty, expected a latency in ms for at least one hardware")
        for hardware, value in self.references.items():
            if not value > 0:
                raise SearchError(f"reward: reference latency of '{hardware}' is {value}, expected ms above 0")
        unknown = next((name for name in self.weights if name not in self.references), None)
        if unknown is not None:
            raise SearchError(f"reward: weight of '{unknown}', which has no reference; hardware: {', '.join(self.references)}")
        bad = next((name for name, value in self.weights.items() if not 0 <= value < math.inf), None)
        if bad is not None:
            raise SearchError(f"reward: weight of '{bad}' is {self.weights[bad]}, expected a finite number of at least 0")
        if not self.counted.any():
            raise SearchError("reward: every hardware is removed (infinite reference or weight 0), expected one that counts")
        if not -math.inf < self.beta < 0:
            raise SearchError(f"reward: field 'beta' is {self.beta}, expected a number below 0 (slower networks earn less)")
        if not 0 < self.target < math.inf:
            raise SearchError(
                f"reward: field 'target' is {self.target}, expected a number above 0 (1 is as slow as the references)"
            )

    @property
    def hardware(self) -> tuple[str, ...]:
        """Ids in the order of the columns of latencies."""
        return tuple(self.references)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(hardware,): which of them count at all: finite reference, weight above 0."""
        return np.isfinite(list(self.references.values())) & (self._importance > 0)

    @property
    def equation(self) -> str:
        """Which equation of the paper this is; empty for the multiplicative forms."""
        if self.kind != "absolute":
            return ""
        return "6" if len(self.references) == 1 else {"avg": "7", "max": "8"}[self.aggregate]

    def f(self, latencies_ms: ArrayLike) -> Floats:
        """The norm of latencies (n, hardware) in ms: (n,), dimensionless.

        Raises:
            SearchError: another number of hardware, or a latency that is missing, zero, negative or infinite.
        """
        latencies = self._checked(latencies_ms)
        norm = f_avg if self.aggregate == "avg" else f_max
        return norm(latencies, np.array(list(self.references.values())), self._importance)

    def binding(self, latencies_ms: ArrayLike) -> NDArray[np.int64]:
        """For each network (n,) the hardware on which it is worst: the index of the largest weighted L / C."""
        latencies = self._checked(latencies_ms)
        worst: NDArray[np.int64] = (latencies / np.array(list(self.references.values())) * self._importance).argmax(axis=1)
        return worst

    def __call__(self, accuracy: ArrayLike, latencies_ms: ArrayLike) -> Floats:
        """Rewards (n,) of accuracies (n,), as fractions, and latencies (n, hardware) in ms.

        Raises:
            SearchError: as `f`; an accuracy that is not a number from 0 to 1; another number of accuracies.
        """
        return self.of_norm(accuracy, self.f(latencies_ms))

    def of_norm(self, accuracy: ArrayLike, norm: ArrayLike) -> Floats:
        """Rewards (n,) of accuracies (n,) and norms (n,) that `f` gave; errors as `__call__`."""
        a, ratio = np.asarray(accuracy, np.float64), np.asarray(norm, np.float64) / self.target
        if a.shape != ratio.shape:
            raise SearchError(f"reward: accuracies are {a.shape} and norms {ratio.shape}, expected one each a network")
        wrong = np.flatnonzero(~((a >= 0) & (a <= 1)))
        if len(wrong):
            raise SearchError(f"reward: accuracy {wrong[0]} is {a.ravel()[wrong[0]]}, expected a fraction from 0 to 1")
        if self.kind == "absolute":
            return a + self.beta * np.abs(ratio - 1)
        factor = ratio**self.beta
        return a * (np.minimum(factor, 1) if self.kind == "hard-exponential" else factor)

    @property
    def _importance(self) -> Floats:
        return np.array([self.weights.get(name, 1.0) for name in self.references])

    def _checked(self, latencies_ms: ArrayLike) -> Floats:
        latencies = np.asarray(latencies_ms, np.float64)
        if latencies.ndim != 2 or latencies.shape[1] != len(self.references):
            raise SearchError(
                f"reward: latencies are {latencies.shape}, expected (n, {len(self.references)}) for {self.hardware}"
            )
        bad = np.argwhere(~((latencies > 0) & np.isfinite(latencies)))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise SearchError(
                f"reward: latency {row} on '{self.hardware[column]}' is {latencies[row, column]} ms, expected one above 0; "
                "restrict the space to what runs there, or leave that hardware out"
            )
        return latencies


class LatencySource(Protocol):
    """Latency on one hardware: a bound cost model, a column of a table, anything of the user's."""

    def predict(self, encodings: Encodings) -> Floats:
        """Milliseconds (n,) of encodings (n, decisions)."""


class Reach(NamedTuple):
    """What norms a space offers.

    Attributes:
        sampled: f of the samples, sorted; (n,).
        lowest, highest: what samples, and from the extreme ones a descent or ascent by single changes, reached.
        near: share of the samples within 5 % of the target.
    """

    sampled: Floats
    lowest: float
    highest: float
    near: float


class Objective:
    """A space, a source of latencies for each hardware, and the reward: all of a search but accuracy."""

    def __init__(self, space: Space, sources: Mapping[str, LatencySource], reward: Reward) -> None:
        """Binds cost models and checks that everything fits.

        Args:
            space: searched.
            sources: by hardware; `CostModel` objects are bound to the space here.
            reward: its references name the hardware.

        Raises:
            SearchError: hardware without a source, a source without a reference, or one of another hardware.
            CostModelError: a cost model of another schema or input size.
        """
        if set(sources) != set(reward.references):
            only = sorted(set(sources) ^ set(reward.references))
            raise SearchError(
                f"objective: latencies come for {', '.join(sources)} and references for {', '.join(reward.references)}, "
                f"expected the same hardware; not in both: {', '.join(only)}"
            )
        for hardware, source in sources.items():
            owner = getattr(source, "space", None)
            if isinstance(owner, Space) and owner.schema != space.schema:
                raise SearchError(f"objective: latencies on '{hardware}' are of space '{owner.name}', not of '{space.name}'")
            if isinstance(source, Predictor):
                source.model.check(space=space, hardware=hardware)
        self.space, self.reward = space, reward
        self.sources = {hardware: sources[hardware] for hardware in reward.references}

    @staticmethod
    def of_cost_models(space: Space, models: Sequence[CostModel], reward: Reward) -> Objective:
        """The objective of cost models, bound to the space.

        Raises:
            SearchError: two models of one hardware, or as `__init__`.
            CostModelError: a model does not fit the space.
        """
        names = [model.hardware for model in models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SearchError(f"objective: two cost models for '{twice}', expected one a hardware")
        return Objective(space, {model.hardware: model.bind(space) for model in models}, reward)

    def latencies(self, encodings: ArrayLike) -> Floats:
        """Milliseconds (n, hardware) of encodings (n, decisions)."""
        rows = self.space.check(encodings)
        return np.stack([source.predict(rows) for source in self.sources.values()], axis=1)

    def identities(self) -> dict[str, str]:
        """By hardware what its latencies come from: a cost model's SHA-256, or what the source says of itself."""
        return {
            hardware: f"sha256:{hashlib.sha256(source.model.to_json()).hexdigest()}"
            if isinstance(source, Predictor)
            else str(getattr(source, "identity", type(source).__name__))
            for hardware, source in self.sources.items()
        }

    def settings(self) -> dict[str, Any]:
        """What decides which networks there are and what they earn: a part of a search's log and provenance.

        Of decisions that a restriction narrowed it has the choices that are left, of others their number.
        """
        space = self.space
        allowed = [
            count if len(choices) == count else choices.tolist()
            for choices, count in zip(space.allowed, space.cardinalities.tolist(), strict=True)
        ]
        return {
            "space": space.name,
            "schema": space.schema,
            "restrictions": list(space.restrictions),
            "allowed": allowed,
            "hardware": list(self.sources),
            "reward": msgspec.to_builtins(self.reward),
            "latencies": self.identities(),
        }

    def f(self, encodings: ArrayLike) -> Floats:
        """Norms (n,) of encodings; errors as `Reward.f`."""
        return self.reward.f(self.latencies(encodings))

    def __call__(self, accuracy: ArrayLike, encodings: ArrayLike) -> Floats:
        """Rewards (n,) of accuracies (n,) and encodings (n, decisions); errors as `Reward.__call__`."""
        return self.reward(accuracy, self.latencies(encodings))

    def reach(self, seed: int = 0) -> Reach:
        """What norms are there: 10 000 samples, and single changes from the fastest and from the slowest of them."""
        rng = np.random.default_rng(seed)
        half = SAMPLES // 2
        rows = np.concatenate([self.space.draw(half, rng), self.space.draw(SAMPLES - half, rng, depth="uniform")])
        with np.errstate(over="ignore"):
            values = self.f(rows)
        if not np.isfinite(values).all():
            raise SearchError(
                f"objective: f_{self.reward.aggregate} of {self.space.label(rows[~np.isfinite(values)][0])} is no finite number; "
                "references, weights or latencies differ by too much"
            )
        near = float(np.mean(np.abs(values / self.reward.target - 1) <= _NEAR))
        lowest = self._climb(rows[values.argmin()], -1) if self.reward.target < values.min() else float(values.min())
        highest = self._climb(rows[values.argmax()], 1) if self.reward.target > values.max() else float(values.max())
        return Reach(np.sort(values), lowest, highest, near)

    def check_target(self, seed: int = 0) -> Reach:
        """Refuses a target that no network can meet, before anything is trained.

        A network may always be faster than a hard-exponential target.

        Raises:
            SearchError: out of reach; the message says what is within.
        """
        reach, target = self.reach(seed), self.reward.target
        too_high = target > reach.highest * (1 + _NEAR) and self.reward.kind != "hard-exponential"
        if target < reach.lowest * (1 - _NEAR) or too_high:
            low, middle, high = (float(np.quantile(reach.sampled, q)) for q in (0.0, 0.5, 1.0))
            raise SearchError(
                f"target f_{self.reward.aggregate} = {target:g} is out of reach in space '{self.space.name}': {SAMPLES} samples "
                f"have {low:.4g} to {high:.4g} (median {middle:.4g}), single changes from there reach {reach.lowest:.4g} to "
                f"{reach.highest:.4g}; give a target in that range (argument 'target'), or other references"
            )
        return reach

    def _climb(self, start: Encodings, sign: int) -> float:
        """The norm of a network that no single change improves."""
        here, best = start, float(self.f(start[None])[0])
        while len(around := self.space.neighbours(here)):
            values = self.f(around)
            place = int((sign * values).argmax())
            if sign * values[place] <= sign * best:
                break
            here, best = around[place], float(values[place])
        return best
