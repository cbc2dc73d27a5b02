"""The controller of TuNAS (arXiv 2008.06120): a policy of independent decisions, trained by REINFORCE. NumPy only.

Every decision has a vector of logits; a sample draws each decision independently from its softmax. An update takes n samples (one
from each replica) and their rewards r:

    baseline:                 moving average of mean(r), bias-corrected, this update included
    gradient of a sample:     -(r - baseline) · (one-hot of the choice - probabilities)
    step (Adam, no momentum): mean gradient / root of the moving average of the mean squared gradients

The learning rate is 0 during the delay, while the average of the squares is updated already, and grows from then on. During the
warm-ups, decisions are replaced with some probability, so that all shared weights are trained.
"""

from __future__ import annotations

import json
from typing import ClassVar, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.formats.checked import Checked
from mhmodels.search.arrays import Bools, Floats
from mhmodels.search.errors import SearchError
from mhmodels.search.space.decisions import SKIP
from mhmodels.search.space.search_space import Encodings, SearchSpace

_BETA2, _EPSILON = 0.999, 1e-8
_MOST = 1e6
"""Upper limit of learning rate and growth, so that logits stay finite."""


class ControllerSettings(Checked, frozen=True, kw_only=True):
    """Hyperparameters of the controller. Defaults are those of TuNAS (batch 4096); the multi-hardware paper has `delay` 0.5.

    Attributes:
        steps: Number of updates of the whole search, at least 1; the schedules refer to it.
        learning_rate: Learning rate of the logits at the end of the delay, above 0.
        growth: Factor by which the learning rate grows exponentially until the end, above 0; 1 keeps it constant.
        delay: Fraction of the steps in which the logits do not change, in [0, 1).
        momentum: Momentum of the baseline, in [0, 1).
        operation_warm_up, width_warm_up: Fraction of the steps over which the probability that a decision of that tag is replaced
            falls from 1 to 0, from 0 to `delay`.
        skip: Initial probability of skipping an optional block, in (0, 1); TuNAS decides skipping separately, with 0.5. None
            gives skipping the same probability as any other choice.

    Raises:
        SearchError: A field is out of its range.

    Example:
        >>> from mhmodels.search import ControllerSettings
        >>> ControllerSettings(steps=20_000, delay=0.5).growth
        10.0
    """

    field_error: ClassVar = SearchError
    steps: int
    learning_rate: float = 4.8e-3
    growth: float = 10.0
    delay: float = 0.25
    momentum: float = 0.95
    operation_warm_up: float = 0.25
    width_warm_up: float = 0.25
    skip: float | None = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {
            "steps": self.steps >= 1,
            "learning_rate": 0 < self.learning_rate <= _MOST,
            "growth": 0 < self.growth <= _MOST,
            "delay": 0 <= self.delay < 1,
            "momentum": 0 <= self.momentum < 1,
            "operation_warm_up": 0 <= self.operation_warm_up <= self.delay,
            "width_warm_up": 0 <= self.width_warm_up <= self.delay,
            "skip": self.skip is None or 0 < self.skip < 1,
        }
        bad = next((name for name, fine in limits.items() if not fine), None)
        if bad is not None:
            raise SearchError(
                f"controller: field '{bad}' is {getattr(self, bad)} (steps at least 1; learning_rate and growth above 0, at most "
                f"{_MOST:g}; delay and momentum in [0, 1); skip in (0, 1); warm-ups from 0 to the delay, {self.delay:g})"
            )


class ControllerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of an update.

    Attributes:
        step: Number of updates so far.
        learning_rate: Learning rate of the update.
        reward: Mean reward of the samples.
        baseline: Baseline that rewards were compared with.
        entropy: Entropy of the policy after the update, in nats.
    """

    step: int
    learning_rate: float
    reward: float
    baseline: float
    entropy: float


class Controller:
    """A policy over a space. Equal settings, seeds and rewards give equal policies.

    Attributes:
        space: Space of the policy.
        settings: Hyperparameters.
        logits: (decisions, most choices), float64.
        step: Number of updates so far.

    Example:
        >>> from mhmodels.search import Controller, ControllerSettings, get_space
        >>> controller = Controller(get_space("nas_bench_201"), ControllerSettings(steps=100), seed=1)
        >>> encodings, replaced = controller.sample_warm(4)
        >>> controller.update(encodings, [0.1, 0.2, 0.3, 0.4], replaced).step
        1
    """

    def __init__(self, space: SearchSpace, settings: ControllerSettings, seed: int = 0) -> None:
        """Starts with uniform probabilities.

        Args:
            space: Space to search; choices that a restriction removed have probability 0.
            settings: Hyperparameters.
            seed: Random seed of the samples.
        """
        self.space, self.settings = space, settings
        self._rng = np.random.default_rng(seed)
        shape = (len(space.decisions), int(space.cardinalities.max(initial=1)))
        self._allowed: Bools = np.zeros(shape, bool)
        self._largest = np.zeros(shape[0], np.int16)
        self._warm: dict[str, Bools] = {
            tag: np.array([decision.tag == tag for decision in space.decisions], bool) for tag in ("operation", "width")
        }
        self.logits: Floats = np.zeros(shape)
        for row, (decision, allowed) in enumerate(zip(space.decisions, space.allowed, strict=True)):
            self._allowed[row, allowed] = True
            if decision.tag == "width":
                self._largest[row] = max(allowed, key=lambda choice, d=decision: d.choices[choice])  # type: ignore[misc]
            skip = decision.choices.index(SKIP) if SKIP in decision.choices else -1
            if settings.skip is not None and skip in allowed and len(allowed) > 1:
                self.logits[row, skip] = np.log(settings.skip / (1 - settings.skip) * (len(allowed) - 1))
        self._start = self.logits.copy()
        self._squares: Floats = np.zeros(shape)
        self._baseline = np.zeros(2)  # numerator and denominator
        self.step = 0

    def sample(self, n: int) -> Encodings:
        """Draws n encodings (n, decisions) without warm-up. They are not canonical: blocks stay where they were drawn."""
        return _draw(self._probabilities(self.logits), n, self._rng)

    def sample_start(self, n: int, rng: np.random.Generator) -> Encodings:
        """Draws n encodings (n, decisions) from the initial policy with a generator of the caller."""
        return _draw(self._probabilities(self._start), n, rng)

    def sample_warm(self, n: int) -> tuple[Encodings, Bools]:
        """Draws n encodings as `sample` does, then replaces decisions with the probabilities of the warm-ups.

        TuNAS runs all operations of a replaced decision and averages them. Here a replaced operation is drawn from the initial
        policy, and the super-network may do more. A replaced width becomes the largest.

        Returns:
            Encodings (n, decisions), and where they were replaced, (n, decisions) truth values. `update` takes both.
        """
        rows = self.sample(n)
        replaced = np.zeros(rows.shape, bool)
        for tag, probability in self.warm_up().items():
            if probability > 0:
                replaced |= self._warm[tag] & (self._rng.random(rows.shape) < probability)
        if replaced.any():
            operations = self.sample_start(n, self._rng)
            wanted = np.where(self._warm["width"], self._largest, operations)
            rows = np.where(replaced, wanted, rows).astype(np.int16)
        return rows, replaced

    def warm_up(self) -> dict[Literal["operation", "width"], float]:
        """Probability that a decision is replaced at this step, by tag."""
        s, done = self.settings, self.step / self.settings.steps
        return {
            "operation": max(0.0, 1 - done / s.operation_warm_up) if s.operation_warm_up else 0.0,
            "width": max(0.0, 1 - done / s.width_warm_up) if s.width_warm_up else 0.0,
        }

    def learning_rate(self) -> float:
        """Learning rate of the next update."""
        s = self.settings
        delay = int(s.delay * s.steps)
        if self.step < delay:
            return 0.0
        return float(s.learning_rate * s.growth ** ((self.step - delay) / max(1, s.steps - delay)))

    def update(self, encodings: ArrayLike, rewards: ArrayLike, replaced: ArrayLike | None = None) -> ControllerStatistics:
        """Learns from samples. Several replicas learn from the samples of all of them, in the same order everywhere.

        Args:
            encodings: (n, decisions) as `sample` returned them; their canonical form would credit other decisions.
            rewards: (n,), finite.
            replaced: (n, decisions), truth values, where a warm-up replaced the policy's choice, which then teaches nothing.

        Raises:
            SearchError: There are no samples, the number of rewards differs, or a reward is not finite. The policy is unchanged.
            SpaceError: An encoding is not a member of the space.
        """
        rows = self.space.check(encodings)
        values = np.asarray(rewards, np.float64)
        if not len(rows) or values.shape != (len(rows),):
            raise SearchError(f"controller: {len(rows)} encodings and rewards of shape {values.shape}, expected one each")
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise SearchError(
                f"controller: reward {place} at step {self.step} is {values[place]}, expected a number; "
                f"the network is {self.space.label(rows[place])}"
            )
        keep = np.ones(rows.shape, bool) if replaced is None else ~np.asarray(replaced, bool)
        rate, s = self.learning_rate(), self.settings
        self._baseline = s.momentum * self._baseline + (1 - s.momentum) * np.array([values.mean(), 1.0])
        baseline = float(self._baseline[0] / self._baseline[1])
        chosen = rows[:, :, None] == np.arange(self.logits.shape[1])
        ascent = (values - baseline)[:, None, None] * (chosen - self._probabilities(self.logits)) * keep[:, :, None]
        self._squares = _BETA2 * self._squares + (1 - _BETA2) * (ascent**2).mean(axis=0)
        self.step += 1
        # Adam's step size without first moment: only the second moment needs a bias correction.
        size = rate * np.sqrt(1 - _BETA2**self.step)
        self.logits = self.logits + np.where(self._allowed, size * ascent.mean(axis=0) / (np.sqrt(self._squares) + _EPSILON), 0.0)
        return ControllerStatistics(
            step=self.step, learning_rate=rate, reward=float(values.mean()), baseline=baseline, entropy=self.entropy
        )

    def probabilities(self) -> list[Floats]:
        """Probabilities (choices,) of each decision."""
        table = self._probabilities(self.logits)
        return [row[:count] for row, count in zip(table, self.space.cardinalities, strict=True)]

    @property
    def entropy(self) -> float:
        """Entropy of the policy in nats; 0 if it always draws the same network."""
        p = self._probabilities(self.logits)
        return float(-(p * np.log(np.where(p > 0, p, 1.0))).sum())

    def argmax(self, *, skip_first: bool = False) -> Encodings:
        """The encoding (decisions,) with the most probable choice of each decision; not canonical.

        Args:
            skip_first: Whether to decide first if there is a block at all, by the total probability of all blocks, and then
                which one. One of two dozen blocks is seldom more probable than skipping, even where some block is more probable
                than none. False is the argmax of TuNAS.
        """
        p = self._probabilities(self.logits)
        if skip_first:
            for row, decision in enumerate(self.space.decisions):
                skip = decision.choices.index(SKIP) if SKIP in decision.choices else None
                if skip is not None and p[row, skip] < 0.5:
                    p[row, skip] = 0.0
        encoding: Encodings = p.argmax(axis=1).astype(np.int16)
        return encoding

    def log_values(self, statistics: ControllerStatistics, times: int = 20) -> dict[str, object]:
        """Statistics of the latest update for the log, a few times in a search and at its end with all probabilities.

        Args:
            statistics: Result of `update`.
            times: How often to include the probabilities, which are one number for each choice of the space.
        """
        every = max(1, self.settings.steps // times)
        values = msgspec.structs.asdict(statistics)
        if self.step % every == 0 or self.step == self.settings.steps:
            values["probabilities"] = [p.round(6).tolist() for p in self.probabilities()]
        return values

    def state(self) -> dict[str, NDArray[np.generic]]:
        """State that a resumed search needs besides space and settings, as arrays."""
        generator = json.dumps(self._rng.bit_generator.state).encode()
        return {
            "logits": self.logits.copy(),
            "squares": self._squares.copy(),
            "baseline": self._baseline.copy(),
            "step": np.array(self.step, np.int64),
            "generator": np.frombuffer(generator, np.uint8).copy(),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Restores a state, so that everything continues as if uninterrupted.

        Args:
            state: Result of `state`.

        Raises:
            SearchError: An array is missing or has another shape, so that the state is of another space.
        """
        own = self.state()
        for name in own:
            found = None if name not in state else np.asarray(state[name]).shape
            if found is None or (found != own[name].shape and name != "generator"):
                raise SearchError(
                    f"controller: state has '{name}' of shape {found}, expected {own[name].shape} for space '{self.space.name}'"
                )
        try:
            self._rng.bit_generator.state = json.loads(np.asarray(state["generator"], np.uint8).tobytes())
        except (ValueError, KeyError, TypeError) as error:
            raise SearchError(f"controller: state of the random generator cannot be read ({error})") from error
        self.logits = np.array(state["logits"], np.float64)
        self._squares = np.array(state["squares"], np.float64)
        self._baseline = np.array(state["baseline"], np.float64)
        self.step = int(state["step"])

    def _probabilities(self, logits: Floats) -> Floats:
        """(decisions, most choices), 0 for choices that are not allowed or do not exist."""
        masked = np.where(self._allowed, logits, -np.inf)
        raised = np.exp(masked - masked.max(axis=1, keepdims=True))
        result: Floats = raised / raised.sum(axis=1, keepdims=True)
        return result


def _draw(probabilities: Floats, n: int, rng: np.random.Generator) -> Encodings:
    cumulative = np.cumsum(probabilities, axis=1)
    # Scaled by the total, which differs from 1 by rounding, so that a last choice that is not allowed is never drawn.
    drawn = rng.random((n, len(cumulative), 1)) * cumulative[:, -1:]
    choices: Encodings = (drawn >= cumulative).sum(axis=2).astype(np.int16)
    return choices
