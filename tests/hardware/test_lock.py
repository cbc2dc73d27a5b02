"""One at a time, also between processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import machine_lock as lock

HOLD = "from mhmodels.hardware.machine_lock import machine_lock\nwith machine_lock(): print('held', flush=True); input()"


@contextmanager
def another_holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_held_by_another_process() -> None:
    with (
        another_holder() as other,
        pytest.raises(MeasurementError, match=f"process {other.pid} has been measuring"),
        lock.machine_lock(timeout_s=0.1),
    ):
        pytest.fail("two holders")


def test_a_killed_holder_holds_nothing() -> None:
    with another_holder() as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with lock.machine_lock(timeout_s=0.0):
            assert lock.lock_path().read_text() == str(os.getpid())


def test_one_after_the_other() -> None:
    for _ in range(2):
        with lock.machine_lock(timeout_s=0.0):
            assert lock.lock_path().read_text() == str(os.getpid())


def test_waiting_says_so_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lock, "SILENT_S", 0.0)
    with another_holder() as other, pytest.raises(MeasurementError), lock.machine_lock(timeout_s=0.3):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("waiting for") == 1
    assert f"process {other.pid}" in captured.err


def test_a_home_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", "/dev/null/home")
    with pytest.raises(MeasurementError, match=r"cannot make the lock file.*MHMODELS_HOME"), lock.machine_lock():
        pass


def test_compilers_share_the_machine_and_timings_do_not() -> None:
    with lock.machine_lock(shared=True):
        with lock.machine_lock(timeout_s=0.1, shared=True):
            pass
        with pytest.raises(MeasurementError, match="has been measuring"), lock.machine_lock(timeout_s=0.1):
            pytest.fail("a timing beside a compiler")
    with another_holder(), pytest.raises(MeasurementError), lock.machine_lock(timeout_s=0.1, shared=True):
        pytest.fail("a compiler beside a timing")
