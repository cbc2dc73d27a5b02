"""How a search by weight sharing goes, for those who watch it."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import NamedTuple, Protocol

from mhmodels.search.supernet.presets import Preset

ENOUGH, _RECENT = 5, 200
"""Timed steps before there is an estimate, and of how many of the last ones it is the mean."""
FORWARD = 1 / 6
"""Of a training step's time, about what a pass forward takes on as many pictures, before one was timed."""


class SearchStatus(NamedTuple):
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
        remaining_s: estimated seconds to the end of the search; None in the first steps, which compile.
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


class WeightSharingObserver(Protocol):
    """Who is told how a search goes."""

    def stepped(self, status: SearchStatus) -> None:
        """After every training step, and the controller's update where one follows it."""
        ...

    def finalist_judged(self, judged: int, of: int) -> None:
        """After every finalist that was judged on all validation pictures."""
        ...

    def note(self, message: str) -> None:
        """Something a person should know."""
        ...


class SilentObserver:
    """An observer that says nothing."""

    def stepped(self, status: SearchStatus) -> None:
        pass

    def finalist_judged(self, judged: int, of: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class TimeEstimate:
    """Estimates the time left from the steps of this process that compiled nothing.

    The first steps compile functions for what they are the first to train, which takes up to a hundred times as long as a step;
    no such step counts, and there is no estimate before a few others were timed.
    """

    def __init__(self, preset: Preset, ending_pictures: int = 0) -> None:
        """Begins without timings.

        Args:
            preset: of the search.
            ending_pictures: pictures that the finalists are judged on after the last step, all finalists together.
        """
        self._preset, self._ending_pictures = preset, ending_pictures
        self._steps, self._updates = deque[float](maxlen=_RECENT), deque[float](maxlen=_RECENT)

    def trained(self, seconds: float, *, compiled: bool) -> None:
        """Counts a training step, unless it compiled something."""
        if not compiled:
            self._steps.append(seconds)

    def judged(self, seconds: float, *, compiled: bool) -> None:
        """Counts an update of the controller, unless it compiled something."""
        if not compiled:
            self._updates.append(seconds)

    def left(self, step: int) -> float | None:
        """Seconds from this step to the end of the search; None while too few steps were timed."""
        if len(self._steps) < ENOUGH:
            return None
        preset, a_step = self._preset, fmean(self._steps)
        pictures = preset.validation_batch * (preset.scored or preset.architectures)
        guess = FORWARD * a_step * pictures / (preset.batch_size * preset.architectures)
        an_update = fmean(self._updates) if self._updates else guess
        updates = preset.updates - preset.updates_at(step) + self._ending_pictures / pictures
        return (preset.steps - step) * a_step + updates * an_update
