"""What all tests share: a home of their own, quiet libraries, and the command line as a user runs it."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Several processes test beside each other, and their networks are too small to be shared out; benchmarks use every core.
if "--benchmark-only" not in sys.argv:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# A shell that runs the tests in the background lets them and their children ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# `nohup` does the same with the end of the terminal.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples in every run, and no limit on their time: a busy machine is no failure.
settings.register_profile("deterministic", deadline=None, derandomize=True)
settings.load_profile("deterministic")

COMMAND = Path(sys.executable).with_name("mhmodels")

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from going through thousands of tests and libraries again and again.

    Keras and TensorFlow make so many objects that a tenth of their time went into that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 5)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tests' homes."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def _home(_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test away from the user's store, cache and lock."""
    monkeypatch.setenv("MHMODELS_HOME", tempfile.mkdtemp(dir=_homes))


@pytest.fixture
def mhmodels(tmp_path: Path) -> Run:
    """Runs the installed command in an empty folder; returns exit code, stdout and stderr."""

    def run(*arguments: str, cwd: Path = tmp_path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)

    return run


class Said(NamedTuple):
    """What a command left behind, as a shell would see it."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Said]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `mhmodels …` in an empty folder of this process, which has loaded its libraries already."""
    from mhmodels.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["mhmodels", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
        return Said(int(stop.value.code or 0), out.getvalue(), err.getvalue())

    return run
