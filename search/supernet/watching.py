"""How a search by weight sharing goes, for those who watch it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


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
        remaining_s: estimated; None in the first steps.
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

    def note(self, message: str) -> None:
        """Something a person should know."""
        ...


class Silent:
    """An observer that says nothing."""

    def stepped(self, status: Status) -> None:
        pass

    def note(self, message: str) -> None:
        pass
