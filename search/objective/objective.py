"""The objective of a search: a space with a source of latencies for each hardware and a reward."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.cost_model.predictor import Predictor
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.space.search_space import Encodings, SearchSpace

SAMPLES = 10_000
"""Number of networks drawn to find out whether a target is within reach."""
_NEAR = 0.05
"""Relative distance from the target that counts as near."""


class LatencySource(Protocol):
    """Latencies on one hardware: a bound cost model, a column of a table, or an object of the user's."""

    def predict(self, encodings: Encodings) -> Floats:
        """Latencies (n,) in ms of encodings (n, decisions)."""


class Reach(NamedTuple):
    """Normalised latencies f that occur in a space.

    Attributes:
        sampled: (n,), f of samples, sorted.
        lowest, highest: Smallest and largest f of the samples, continued by single changes if the target is beyond them.
        near: Share of the samples within 5 % of the target.
    """

    sampled: Floats
    lowest: float
    highest: float
    near: float


class Objective:
    """Everything that a search optimises except accuracies: computes latencies, f and rewards of encodings.

    Attributes:
        space: Space that is searched.
        reward: The reward.
        sources: Source of latencies by hardware id, in the order of the reward's references.

    Example:
        >>> from mhmodels.search import Objective, Reward, get_space, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> models = [shipped_model(space, name) for name in ("ethos-u55-128", "ethos-u65-256")]
        >>> reward = Reward(references={model.hardware: model.baselines[0].ms for model in models})
        >>> objective = Objective.of_cost_models(space, models, reward)
        >>> encodings = sample(space, 5).encodings
        >>> objective.latencies(encodings).shape, objective([0.7] * 5, encodings).shape
        ((5, 2), (5,))
    """

    def __init__(self, space: SearchSpace, sources: Mapping[str, LatencySource], reward: Reward) -> None:
        """Checks that space, sources and reward fit together.

        Args:
            space: Space to search.
            sources: Source of latencies by hardware id.
            reward: Reward whose references name the same hardware.

        Raises:
            SearchError: Sources and references name different hardware, or a source is of another space.
            CostModelError: A bound cost model is of another hardware, schema or input size.
        """
        if set(sources) != set(reward.references):
            only = sorted(set(sources) ^ set(reward.references))
            raise SearchError(
                f"objective: latencies come for {', '.join(sources)} and references for {', '.join(reward.references)}, "
                f"expected the same hardware; not in both: {', '.join(only)}"
            )
        for hardware, source in sources.items():
            owner = getattr(source, "space", None)
            if isinstance(owner, SearchSpace) and owner.schema != space.schema:
                raise SearchError(f"objective: latencies on '{hardware}' are of space '{owner.name}', not of '{space.name}'")
            if isinstance(source, Predictor):
                source.model.check(space=space, hardware=hardware)
        self.space, self.reward = space, reward
        self.sources = {hardware: sources[hardware] for hardware in reward.references}

    @staticmethod
    def of_cost_models(space: SearchSpace, models: Sequence[CostModel], reward: Reward) -> Objective:
        """Makes the objective of cost models.

        Args:
            space: Space to search.
            models: Cost models of different hardware.
            reward: Reward whose references name the same hardware.

        Raises:
            SearchError: Two models are of one hardware, or models and references name different hardware.
            CostModelError: A model does not apply to the space.
        """
        names = [model.hardware for model in models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SearchError(f"objective: two cost models for '{twice}', expected one a hardware")
        return Objective(space, {model.hardware: model.bind(space) for model in models}, reward)

    def latencies(self, encodings: ArrayLike) -> Floats:
        """Latencies (n, hardware) in ms of encodings (n, decisions).

        Raises:
            SpaceError: An encoding is not a member of the space.
        """
        rows = self.space.check(encodings)
        return np.stack([source.predict(rows) for source in self.sources.values()], axis=1)

    def identities(self) -> dict[str, str]:
        """Identity of each source, by hardware id: the SHA-256 of a cost model, or the `identity` of another source."""
        return {
            hardware: f"sha256:{hashlib.sha256(source.model.to_json()).hexdigest()}"
            if isinstance(source, Predictor)
            else str(getattr(source, "identity", type(source).__name__))
            for hardware, source in self.sources.items()
        }

    def settings(self) -> dict[str, object]:
        """Everything that determines members and rewards, as plain values for the log and the provenance of a search.

        `allowed` has the number of choices of each decision, or the list of those that a restriction left.
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
        """Computes f (n,), the normalised latency of encodings (n, decisions), with the errors of `Reward.f`."""
        return self.reward.f(self.latencies(encodings))

    def __call__(self, accuracy: ArrayLike, encodings: ArrayLike) -> Floats:
        """Computes rewards (n,) of accuracies (n,), from 0 to 1, and encodings (n, decisions), with the errors of `Reward`."""
        return self.reward(accuracy, self.latencies(encodings))

    def reach(self, seed: int = 0) -> Reach:
        """Finds the range of f in the space, from 10 000 samples and from single changes of the fastest and slowest sample.

        Args:
            seed: Random seed of the samples.

        Raises:
            SearchError: An f is not finite.
        """
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
        """Refuses a target that no network meets. With the hard-exponential reward, networks may be faster than the target.

        Args:
            seed: Random seed of the samples.

        Returns:
            The range of f.

        Raises:
            SearchError: The target is out of reach; the message says which targets are within reach.
        """
        reach, target = self.reach(seed), self.reward.target
        too_high = target > reach.highest * (1 + _NEAR) and self.reward.kind != "hard-exponential"
        if target < reach.lowest * (1 - _NEAR) or too_high:
            low, middle, high = (float(np.quantile(reach.sampled, q)) for q in (0.0, 0.5, 1.0))
            raise SearchError(
                f"target f_{self.reward.aggregate} = {target:g} is out of reach in space '{self.space.name}': {SAMPLES} samples "
                f"have {low:.4g} to {high:.4g} (median {middle:.4g}), single changes from there reach {reach.lowest:.4g} to "
                f"{reach.highest:.4g}; give a target in that range, or other references (argument 'target')"
            )
        return reach

    def _climb(self, start: Encodings, sign: int) -> float:
        """The f of a network that no single change improves; `sign` is 1 to maximise f and -1 to minimise it."""
        here, best = start, float(self.f(start[None])[0])
        while len(around := self.space.neighbours(here)):
            values = self.f(around)
            place = int((sign * values).argmax())
            if sign * values[place] <= sign * best:
                break
            here, best = around[place], float(values[place])
        return best
