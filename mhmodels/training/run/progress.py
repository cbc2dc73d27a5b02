"""Progress of a training run for observers: the state after each step, and the estimate of the remaining time."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

from mhmodels.training.run.checkpoint import EpochResult, RunProgress

WARM_UP, ENOUGH = 5, 3
"""Steps that are not timed: the first one compiles, and the next four find the batches that were read meanwhile. Then, how many
steps must be timed before there is an estimate."""


class Status(NamedTuple):
    """State of a training run after one step.

    Attributes:
        step: Number of steps done.
        steps: Number of steps of the whole run.
        epoch: Current epoch, from 1.
        epochs: Number of epochs of the whole run.
        loss: Loss of this step's pictures in nats, without L2.
        mean_loss: Mean loss of the current epoch so far.
        accuracy: Share of training pictures of the current epoch classified correctly so far, 0 to 1; with distillation, as the
            float network classifies them.
        images_per_second: Throughput since this process began; None in the first steps, which compile and fill the queue.
        remaining_s: Estimated seconds to the end of the run, evaluations included; None in the first steps.

    Example:
        >>> from mhmodels.training import Status
        >>> class Printer:
        ...     def stepped(self, status: Status) -> None:
        ...         print(f"step {status.step} of {status.steps}: loss {status.loss:.3f}")
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    mean_loss: float
    accuracy: float
    images_per_second: float | None
    remaining_s: float | None


class Observer(Protocol):
    """Receives the progress of a training run. Any object with these methods is an observer."""

    def stepped(self, status: Status) -> None:
        """Called after every step."""
        ...

    def epoch_done(self, result: EpochResult) -> None:
        """Called after every epoch, when its checkpoint is written."""
        ...

    def note(self, message: str) -> None:
        """Called with a message for the user."""
        ...


class Silent:
    """An observer that ignores everything."""

    def stepped(self, status: Status) -> None:
        pass

    def epoch_done(self, result: EpochResult) -> None:
        pass

    def note(self, message: str) -> None:
        pass


class RunClock:
    """Measures the times of a run. They are kept in its progress, so that interruptions do not count."""

    def __init__(self, progress: RunProgress, batch_size: int) -> None:
        self._progress, self._batch_size = progress, batch_size
        self._last = self._checkpoint = time.monotonic()
        self._ticks = 0
        self._timed = 0.0
        self._evaluation_s = 0.0

    def tick(self) -> None:
        """Counts one step."""
        passed = self.stop()
        self._ticks += 1
        if self._ticks > WARM_UP:
            self._timed += passed

    def evaluated(self) -> None:
        """Counts an evaluation after the last step."""
        self._evaluation_s = self.stop()

    def stop(self) -> float:
        """Adds the time since the last call to the progress, and returns it in seconds."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        self._progress.seconds += passed
        self._progress.epoch_seconds += passed
        return passed

    def since_checkpoint(self) -> float:
        """Returns the seconds since the last checkpoint or the beginning."""
        return time.monotonic() - self._checkpoint

    def checkpointed(self) -> None:
        """Counts a written checkpoint."""
        self._checkpoint = time.monotonic()

    def images_per_second(self) -> float | None:
        """Returns the throughput of this process without its first steps and evaluations; None until enough are timed."""
        timed = self._ticks - WARM_UP
        return timed * self._batch_size / self._timed if timed >= ENOUGH and self._timed else None

    def left(self, steps: int, evaluations: int) -> float | None:
        """Estimates the seconds for a number of steps and evaluations; None while too few steps were timed."""
        rate = self.images_per_second()
        return None if rate is None else steps * self._batch_size / rate + evaluations * self._evaluation_s
