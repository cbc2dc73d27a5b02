"""The progress of a search by weight sharing: its status after a step, observers, and the estimate of the time left."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import NamedTuple, Protocol

from mhmodels.search.supernet.presets import Preset

ENOUGH, _RECENT = 5, 200
"""Number of timed steps before there is an estimate, and number of the latest steps whose mean it uses."""
FORWARD = 1 / 6
"""Share of the time of a training step that a forward pass takes on as many pictures; used until one was timed."""


class SearchStatus(NamedTuple):
    """The state of a search after a training step.

    Attributes:
        step: Number of training steps done.
        steps: Number of training steps in all.
        updates: Number of updates of the controller done.
        all_updates: Number of updates of the controller in all.
        loss: Mean cross-entropy of the architectures of the step, in nats, without L2.
        training_accuracy: Accuracy on the pictures of the step, a fraction.
        reward: Mean reward of the architectures that were judged last; None before the first.
        accuracy: Their mean accuracy on validation pictures, a fraction; None before the first.
        f: Their mean aggregated normalised latency; None before the first.
        latency_ms: Their mean latency in ms, by hardware; empty before the first.
        binding: Number of them that are worst on a hardware, by hardware.
        baseline: Baseline that rewards are compared with; None before the first.
        entropy: Entropy of the controller, in nats.
        seconds: Seconds spent so far, without interruptions.
        remaining_s: Estimated seconds to the end of the search; None in the first steps, which compile functions.
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
    """Receives the progress of a search by weight sharing; methods run in the process of the search."""

    def stepped(self, status: SearchStatus) -> None:
        """Called after every training step, and after the update of the controller that follows it."""
        ...

    def finalist_judged(self, judged: int, of: int) -> None:
        """Called after every finalist that was judged on all validation pictures.

        Args:
            judged: Number of finalists judged so far.
            of: Number of finalists.
        """
        ...

    def note(self, message: str) -> None:
        """Called with a remark for people."""
        ...


class SilentObserver:
    """An observer that does nothing; subclass it to receive some of the calls."""

    def stepped(self, status: SearchStatus) -> None:
        """Does nothing."""

    def finalist_judged(self, judged: int, of: int) -> None:
        """Does nothing."""

    def note(self, message: str) -> None:
        """Does nothing."""


class TimeEstimate:
    """Estimates the time left from the steps of this process that compiled no function.

    A step that is the first to train some layers compiles functions for them, which takes up to a hundred times as long as a
    step. Such steps do not count, and there is no estimate before a few other steps were timed.
    """

    def __init__(self, preset: Preset, ending_pictures: int = 0) -> None:
        """Begins without timings.

        Args:
            preset: Preset of the search.
            ending_pictures: Number of pictures that all finalists together are judged on after the last step.
        """
        self._preset, self._ending_pictures = preset, ending_pictures
        self._steps, self._updates = deque[float](maxlen=_RECENT), deque[float](maxlen=_RECENT)

    def trained(self, seconds: float, *, compiled: bool) -> None:
        """Counts the seconds of a training step, unless it compiled a function."""
        if not compiled:
            self._steps.append(seconds)

    def judged(self, seconds: float, *, compiled: bool) -> None:
        """Counts the seconds of an update of the controller, unless it compiled a function."""
        if not compiled:
            self._updates.append(seconds)

    def left(self, step: int) -> float | None:
        """Estimated seconds from a step to the end of the search; None while too few steps were timed."""
        if len(self._steps) < ENOUGH:
            return None
        preset, a_step = self._preset, fmean(self._steps)
        pictures = preset.validation_batch * (preset.scored or preset.architectures)
        guess = FORWARD * a_step * pictures / (preset.batch_size * preset.architectures)
        an_update = fmean(self._updates) if self._updates else guess
        updates = preset.updates - preset.updates_at(step) + self._ending_pictures / pictures
        return (preset.steps - step) * a_step + updates * an_update
