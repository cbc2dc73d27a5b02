"""Runs command lines one after another in one process, each as the installed command would run it, within limits.

A process of its own for each command would import TensorFlow each time. Usage: `python -m tests.robustness.driver SECONDS BYTES`
with a JSON list of argument lists on stdin; answers with one `Ended` a line, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.cli import main


class Ended(NamedTuple):
    """How a command ended: its exit code, or why it has none ("deadline", "traceback")."""

    code: int | str
    output: str


class DeadlineError(BaseException):
    """The command takes too long; nothing in the product catches it."""


def run_commands(
    commands: Sequence[Sequence[str]],
    folder: Path,
    *,
    seconds: int = 120,
    memory: int = 12 << 30,
    env: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Runs commands in one child process, in `folder`.

    Args:
        commands: arguments of each, without `mhmodels`.
        folder: working directory.
        seconds: for each command.
        memory: address space of the child, in bytes.
        env: added to the environment.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.driver", str(seconds), str(memory)],
        input=json.dumps([list(command) for command in commands]),
        capture_output=True, text=True, cwd=folder, timeout=60 + seconds * len(commands), check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(env or {})},
    )  # fmt: skip
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


def _one(command: Sequence[str], seconds: int) -> Ended:
    with tempfile.TemporaryFile() as output, _redirected(output.fileno()):
        signal.alarm(seconds)
        try:
            sys.argv = ["mhmodels", *command]
            main.main()
            code: int | str = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except DeadlineError:
            code = "deadline"
            traceback.print_exc()
        except BaseException:
            code = "traceback"
            traceback.print_exc()
        finally:
            signal.alarm(0)
        output.seek(0)
        return Ended(code, output.read().decode(errors="replace")[-4000:])


@contextlib.contextmanager
def _redirected(target: int):  # type: ignore[no-untyped-def]
    """Standard output and errors, also of C code, go to a file."""
    kept = os.dup(1), os.dup(2)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            (sys.stdout, sys.stderr)[number - 1].flush()
            os.dup2(descriptor, number)
            os.close(descriptor)


def _late(number: int, frame: object) -> None:
    raise DeadlineError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _late)
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
    limit = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    for command in json.load(sys.stdin):
        print(json.dumps(_one(command, limit)), file=answers, flush=True)
