"""How a search by weight sharing goes, for those who watch it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from search.supernet.presets import Preset

FORWARD = 1 / 6
"""Of a training step's time, about what a pass forward takes on as many pictures, before one was timed."""


class Status(NamedTuple):
    """One step of a search.

    Attributes:
        step: training steps done, of `steps`.
        updates: of the controller done, of `all_updates`.
        loss: mean over the step's architectures, in nats, without L2.
        training_accuracy: of the step's pictures, a share.
        reward, accuracy, f: means over the architectures that were judged last; None before the first.
        latency_ms: by hardware, mean over them; empty before the first.
        binding: by hardware, how many of them are worst there.
        baseline: that rewards are compared with; None before the first.
        entropy: of the controller, in nats.
        seconds: spent so far, interruptions not counted.
        remaining_s: estimated; None where nothing is known.
    """

    step: int
    steps: int
    updates: int
    all_updates: int
    loss: float
    training_accuracy: float
    reward: float | None
    accuracy: float | None
    f: float | None
    latency_ms: dict[str, float]
    binding: dict[str, int]
    baseline: float | None
    entropy: float
    seconds: float
    remaining_s: float | None


class Observer(Protocol):
    """Who is told how a search goes."""

    def stepped(self, status: Status) -> None:
        """After every training step, and the controller's update where one follows it."""
        ...

    def ending(self, judged: int, of: int) -> None:
        """After every finalist that was judged on all validation pictures."""
        ...

    def note(self, message: str) -> None:
        """Something a person should know."""
        ...


class Silent:
    """An observer that says nothing."""

    def stepped(self, status: Status) -> None:
        pass

    def ending(self, judged: int, of: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class Pace:
    """How long this process takes for a training step and for an update, which comes later and is guessed until then."""

    def __init__(self, preset: Preset) -> None:
        """Of a search with this preset."""
        self._preset = preset
        self._steps, self._trained_s, self._updates, self._judged_s = 0, 0.0, 0, 0.0

    def trained(self, seconds: float) -> None:
        """Counts a training step."""
        self._steps, self._trained_s = self._steps + 1, self._trained_s + seconds

    def judged(self, seconds: float) -> None:
        """Counts an update of the controller."""
        self._updates, self._judged_s = self._updates + 1, self._judged_s + seconds

    def left(self, step: int) -> float:
        """Seconds from this step on, of which there was at least one."""
        preset = self._preset
        a_step = self._trained_s / self._steps
        pictures = preset.validation_batch * (preset.scored or preset.architectures)
        guess = FORWARD * a_step * pictures / (preset.batch_size * preset.architectures)
        an_update = self._judged_s / self._updates if self._updates else guess
        return (preset.steps - step) * a_step + (preset.updates - preset.updates_at(step)) * an_update
