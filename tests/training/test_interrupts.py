"""Ctrl-C during training, and how long the rest takes."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from mhmodels.errors import InterruptedJobError
from mhmodels.training.run import checkpoint
from mhmodels.training.run import progress as watching
from mhmodels.training.run.checkpoint import RunProgress
from mhmodels.training.run.interrupts import stop_requests
from mhmodels.training.run.progress import ENOUGH, WARM_UP, RunClock, Silent, Status


def test_the_first_ctrl_c_is_a_request_and_the_second_an_interrupt() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with stop_requests(told.append) as stop:
        assert not stop.made
        signal.raise_signal(signal.SIGINT)
        assert stop.made
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(told) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_programs_own_handler_and_other_threads_are_left_alone() -> None:
    def elsewhere() -> None:
        with stop_requests(print) as stop:
            made.append(stop.made)

    made: list[bool] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests(print) as stop:
            signal.raise_signal(signal.SIGINT)
            made.append(stop.made)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert made == [False, False]


def test_what_is_kept_is_what_is_there(tmp_path: Path) -> None:
    assert checkpoint.kept(tmp_path, 12, "RESUME") == (
        "no checkpoint was written yet, so no training is kept: RESUME begins again at the first step"
    )
    assert checkpoint.last_good(tmp_path) == "no checkpoint was written before"
    path = checkpoint.save(tmp_path, RunProgress(step=7), {})
    assert checkpoint.kept(tmp_path, 12, "RESUME") == f"the checkpoint of step 7 of 12 is kept ({path}): RESUME continues from it"
    assert checkpoint.last_good(tmp_path) == f"the last good checkpoint is {path}"


@pytest.mark.tensorflow
def test_ctrl_c_within_an_epoch_keeps_its_steps(tmp_path: Path) -> None:
    from .test_loop import run

    class Impatient(Silent):
        def stepped(self, status: Status) -> None:
            if status.step == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedJobError, match=r"the checkpoint of step 2 of 12 is kept .*run --resume` continues from it"):
        run(tmp_path / "run", Impatient())


def test_the_time_left_is_unknown_until_steps_are_what_they_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step compiles, and the next ones find batches that were read meanwhile."""
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    clock = RunClock(RunProgress(), batch_size=8)
    for passed in (300.0, *[0.01] * (WARM_UP - 1), *[2.0] * (ENOUGH - 1)):
        now[0] += passed
        clock.tick()
        assert clock.images_per_second() is None
        assert clock.left(100, 0) is None
    now[0] += 2.0
    clock.tick()
    assert clock.images_per_second() == pytest.approx(4.0)
    assert clock.left(100, 3) == pytest.approx(200.0)
    now[0] += 50.0
    clock.evaluated()
    assert clock.left(100, 3) == pytest.approx(350.0)
