"""A file loaded in a child process of its own and timed block by block."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mhmodels.errors import MeasurementError
from mhmodels.hardware.host.load import background_load, core_ticks
from mhmodels.system.child import Child, ending

CHILD = Path(__file__).with_name("child.py")
TIMEOUT_S = 600.0
"""Longest time in seconds of one answer of the child: warming up, or one block."""
BLOCK_S = 120.0
"""Seconds after which a block ends with the inferences that it has."""


class MeasurementTimeoutError(MeasurementError):
    """A measuring process did not answer in time."""


def usable_cores() -> list[int]:
    """Cores that this process may use, in order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def timing_cores(threads: int) -> list[int]:
    """Cores to pin threads to: the last ones that this process may use, because the first ones serve interrupts.

    Args:
        threads: Number of threads; each gets a core.

    Raises:
        MeasurementError: `threads` is below 1 or above the number of cores.
    """
    allowed = usable_cores()
    if not 1 <= threads <= len(allowed):
        raise MeasurementError(f"threads is {threads}, expected 1 to {len(allowed)}: that many cores are free to this process")
    return allowed[-threads:]


class ChildSession:
    """A measuring process that answers in JSON, limited in time and memory; a context manager.

    A file that crashes the runtime kills the child and is one MeasurementError here.

    Attributes:
        path: The file.
        cores: Cores that the child is pinned to.
        about: What the child reported after warming up.
    """

    def __init__(self, script: Path, path: Path, settings: Mapping[str, object], *, threads: int, timeout_s: float) -> None:
        """Starts the child and waits until it is warm.

        Args:
            script: Program of the child.
            path: The .tflite file.
            settings: Settings of the child.
            threads: Number of threads of the runtime; each is pinned to a core.
            timeout_s: Longest time in seconds of each answer of the child: warming up, or one block.

        Raises:
            MeasurementError: The runtime refuses the file, dies on it, or takes too long.
        """
        self.path, self.cores = path, timing_cores(threads)
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        self._child = Child(script, [json.dumps(settings)], cores=self.cores, errors=self._errors)
        try:
            self.about = self._answer(self._child.line)
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Answer of the child to a request.

        Raises:
            MeasurementTimeoutError: The child did not answer in time; the session cannot be used any more.
            MeasurementError: The child died, or the runtime failed.
        """
        return self._answer(functools.partial(self._child.ask, request))

    def close(self) -> None:
        """Ends the child."""
        self._child.end()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _answer(self, line_by: Callable[[float], bytes]) -> dict[str, Any]:
        """The next line of the child, before the deadline."""
        try:
            line = line_by(time.monotonic() + self._timeout_s)
        except TimeoutError:
            raise MeasurementTimeoutError(f"{self.path}: not measured within {self._timeout_s:g} s") from None
        except EOFError:
            raise self._death() from None
        except OverflowError:
            raise MeasurementError(f"{self.path}: the measuring process answers without end; the file is hostile") from None
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise MeasurementError(f"{self.path}: the measuring process answered {line[:80]!r}, expected JSON") from None
        if "error" in answer:
            raise MeasurementError(f"{self.path}: LiteRT refuses this file: {_one_line(answer['error'])}")
        return answer

    def _death(self) -> MeasurementError:
        code = self._child.wait()
        self._errors.seek(0)
        said = _one_line(self._errors.read().decode("utf-8", "replace")[-2000:])
        return MeasurementError(
            f"{self.path}: the measuring process ended {ending(code)}{f' ({said})' if said else ''}; "
            "the file is damaged, or asks for more than LiteRT or this machine's memory can give"
        )


class HostSession(ChildSession):
    """A child process with an interpreter, warmed up and pinned; a context manager.

    Attributes:
        about: What the child reported after warming up: init_ns, first_ns, warmup, warmup_ns, pace_ns, delegated, total.
        cores: Cores that the child is pinned to.
        own_ms: Time in ms for which the thread had its core, for each inference of the last block; empty with several threads,
            whose shares one clock cannot tell.
        stolen: Share of the last block's time for which other processes had the core, 0 to 1; 0 with several threads.
        background_load: Busy share of the other cores during the last block, 0 to 1.
        reference_ms: Timings in ms of the reference in the last block, one after each inference.
        pace_us: Time in us of the reference loop beside the last block, the slower of before and after.
    """

    def __init__(
        self, path: Path, *, xnnpack: bool = True, threads: int = 1, reference: Path | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Starts the child and waits until it is warm.

        Args:
            path: The .tflite file.
            xnnpack: Whether to use LiteRT's default delegate; else its built-in kernels.
            threads: Number of threads of the runtime; each is pinned to a core.
            reference: File of a reference network that is timed in turns with this one.
            timeout_s: Longest time in seconds of each answer of the child: warming up, or one block.

        Raises:
            MeasurementError: The runtime refuses the file, dies on it, or takes too long.
        """
        self.stolen = self.background_load = self.pace_us = 0.0
        self.own_ms: list[float] = []
        self.reference_ms: list[float] = []
        beside = None if reference is None else str(reference.absolute())
        settings = {"path": str(path.absolute()), "reference": beside, "xnnpack": xnnpack, "threads": threads}
        super().__init__(CHILD, path, settings, threads=threads, timeout_s=timeout_s)

    def block(self, runs: int, seconds: float = BLOCK_S) -> list[float]:
        """Times a block of inferences.

        Args:
            runs: Number of inferences.
            seconds: Time after which no further inference begins; at least one is made.

        Returns:
            Timings in ms, one for each inference.

        Raises:
            MeasurementTimeoutError: The child did not answer in time; the session cannot be used any more.
            MeasurementError: The child died.
        """
        before = core_ticks()
        answer = self.ask({"runs": runs, "seconds": min(seconds, self._timeout_s / 2)})
        self.background_load = background_load(before, core_ticks(), self.cores)
        self.pace_us = max(answer["pace_ns"]) / 1e3
        if len(self.cores) == 1:
            self.own_ms = _milliseconds(answer["own_ns"])
            self.stolen = max(0.0, 1.0 - sum(answer["own_ns"]) / max(sum(answer["ns"]), 1))
        self.reference_ms = _milliseconds(answer.get("reference_ns", ()))
        return _milliseconds(answer["ns"])


def _milliseconds(times_ns: Sequence[int]) -> list[float]:
    return [time_ns / 1e6 for time_ns in times_ns]


def _one_line(text: str, most: int = 300) -> str:
    """The end of a text on one line: runtimes put the important part last."""
    joined = " ".join(text.split())
    return joined if len(joined) <= most else "…" + joined[-most:]
