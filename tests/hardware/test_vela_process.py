"""The process that keeps Vela imported: what it gives is Vela's, and nothing outlives whom it works for."""

from __future__ import annotations

import csv
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import get_hardware
from mhmodels.hardware.vela import process as vela_process
from mhmodels.hardware.vela import runner as vela

Files = dict[str, Path]
HARDWARE = get_hardware("ethos-u55-128")[0]


def _pid() -> int:
    """Of this thread's Vela."""
    process: int = vela_process._of_thread.process._child.pid
    return process


def _eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_latency_is_that_of_velas_own_command(tiny_tflite: Files, tmp_path: Path) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in HARDWARE.configuration.items()]
    command = [sys.executable, "-m", "ethosu.vela", *options, f"--output-dir={tmp_path}", str(tiny_tflite["int8"])]
    subprocess.run(command, check=True, capture_output=True)
    with next(tmp_path.glob("*_summary_*.csv")).open(newline="") as file:
        (row,) = list(csv.DictReader(file))
    assert vela.compile_for_npu(tiny_tflite["int8"], HARDWARE).latency_ms == float(row["inference_time"]) * 1e3


def test_one_process_compiles_file_after_file(tiny_tflite: Files, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny_tflite["int8"].read_bytes()[:500])
    first = vela.compile_for_npu(tiny_tflite["int8"], HARDWARE)
    pid = _pid()
    with pytest.raises(MeasurementError, match="Vela failed"):
        vela.compile_for_npu(damaged, HARDWARE)
    assert vela.compile_for_npu(tiny_tflite["int8"], HARDWARE) == first
    assert _pid() == pid


def test_a_process_that_died_is_replaced(tiny_tflite: Files) -> None:
    first = vela.compile_for_npu(tiny_tflite["int8"], HARDWARE)
    os.kill(_pid(), signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (_pid(), signal.SIGKILL)).start()
    with pytest.raises(MeasurementError, match=r"int8\.tflite: Vela failed with SIGKILL"):
        vela.compile_for_npu(tiny_tflite["int8"], HARDWARE)
    assert vela.compile_for_npu(tiny_tflite["int8"], HARDWARE) == first


def test_an_answer_that_came_too_late_is_not_the_next_files(tiny_tflite: Files) -> None:
    first = vela.compile_for_npu(tiny_tflite["int8"], HARDWARE)
    pid = _pid()
    with pytest.raises(MeasurementError, match="did not finish"):
        vela.compile_for_npu(tiny_tflite["sine"], HARDWARE, timeout_s=0.001)
    assert _is_gone(pid)
    assert vela.compile_for_npu(tiny_tflite["int8"], HARDWARE) == first


def test_a_thread_has_its_own_and_it_ends_with_it(tiny_tflite: Files) -> None:
    pids = []

    def compile_and_tell() -> None:
        vela.compile_for_npu(tiny_tflite["int8"], HARDWARE)
        pids.append(_pid())

    compile_and_tell()
    thread = threading.Thread(target=compile_and_tell)
    thread.start()
    thread.join()
    gc.collect()
    assert pids[0] != pids[1]
    assert _eventually(lambda: _is_gone(pids[1]))
    assert not _is_gone(pids[0])


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_a_compilation_ends_when_its_command_is_killed(tmp_path: Path) -> None:
    """The file is a pipe that nobody writes to, so the compilation waits for it until it is ended."""
    os.mkfifo(tmp_path / "network.tflite")
    script = "import sys, pathlib; from mhmodels.hardware.vela.process import run_vela; "
    script += "run_vela(['network.tflite'], pathlib.Path(sys.argv[1]), 600)"
    command = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2])
    try:
        assert _eventually(lambda: bool(_working_in(tmp_path)))
    finally:
        command.kill()
        command.wait()
    assert _eventually(lambda: not _working_in(tmp_path))


def _working_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:  # another user's, or gone
            continue
    return found
