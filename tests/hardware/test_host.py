"""The host runner, and what hostile files do to it: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware import measure
from mhmodels.hardware.host import runner as host
from mhmodels.hardware.host import session as host_session
from mhmodels.hardware.host.session import HostSession
from mhmodels.hardware.host.timing import relative_standard_error

from .conftest import SimulatedSession, calm

Files = dict[str, Path]


@pytest.mark.parametrize(
    ("file", "hardware", "delegated"),
    [
        ("float32", "host-cpu-float32", 2),
        ("int8", "host-cpu-int8", 2),
        ("uint8", "host-cpu-uint8", 2),
        ("float32", "host-cpu-builtin", 0),
    ],
)
def test_each_hardware(tiny_tflite: Files, file: str, hardware: str, delegated: int) -> None:
    row = measure(tiny_tflite[file], hardware, label="net", architecture_id="cafe", weights="random-v1")
    assert row.median_ms is not None
    assert row.min_ms is not None
    assert row.max_ms is not None
    assert 0 < row.min_ms <= row.median_ms <= row.max_ms
    assert (row.kind, row.format, row.model, row.architecture_id, row.weights) == ("measured", file, "net", "cafe", "random-v1")
    assert (row.delegated_nodes, row.total_nodes) == (delegated, 2)
    assert row.runs >= 50
    assert row.warmup >= 10
    assert row.batch == row.threads == 1
    assert row.file_bytes == tiny_tflite[file].stat().st_size
    assert row.mad_ratio is not None
    assert 0 <= row.device_state["stolen"] < 1
    assert 0 <= row.device_state["company"] <= 1
    assert 3 <= len(row.device_state["blocks_ms"]) <= 10
    assert row.device_state["pace_us"] > 0
    assert row.noisy or row.device_state["uncertainty"] == relative_standard_error(row) <= 0.01
    assert row.device == host.cpu_identity()
    assert row.runtime.startswith("LiteRT ")
    assert len(row.device_state["cores"]) == 1
    json.dumps(row.device_state)


FORMATS = ("float32", "int8", "uint8", "hybrid")


@pytest.mark.parametrize(
    ("file", "hardware", "takes"),
    [(file, entry.id, entry.format) for entry in host.TABLE for file in FORMATS if file != entry.format],
)
def test_a_file_of_another_format_is_refused(tiny_tflite: Files, file: str, hardware: str, takes: str) -> None:
    with pytest.raises(FileFormatError, match=rf"{file}.tflite: computes in .*, but {hardware} takes {takes} files"):
        measure(tiny_tflite[file], hardware)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file(tiny_tflite: Files, tmp_path: Path, share: float) -> None:
    data = tiny_tflite["int8"].read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises((FileFormatError, MeasurementError), match=r"cut\.tflite"):
        measure(cut, "host-cpu-int8")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_that_reaches_the_runtime(tiny_tflite: Files, tmp_path: Path, share: float) -> None:
    data = tiny_tflite["int8"].read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MeasurementError, match=r"cut\.tflite"):
        HostSession(cut)


def test_the_runtime_is_silent(tiny_tflite: Files, capfd: pytest.CaptureFixture[str]) -> None:
    with HostSession(tiny_tflite["int8"]) as session:
        assert len(session.block(7)) == 7
    assert capfd.readouterr() == ("", "")


def test_pinned_to_one_core(tiny_tflite: Files) -> None:
    with HostSession(tiny_tflite["int8"]) as session:
        assert os.sched_getaffinity(session._child.pid) == set(session.cores)
        assert len(session.cores) == 1


def test_more_threads_than_cores(tiny_tflite: Files) -> None:
    with pytest.raises(MeasurementError, match="threads is 1000, expected 1 to"):
        measure(tiny_tflite["int8"], "host-cpu-int8", threads=1000)


def test_a_child_that_dies_between_blocks(tiny_tflite: Files) -> None:
    with HostSession(tiny_tflite["int8"]) as session:
        os.kill(session._child.pid, signal.SIGKILL)
        with pytest.raises(MeasurementError, match=r"int8\.tflite: the measuring process ended by SIGKILL"):
            session.block(10)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "ended by SIGABRT"),
        ("import sys; print('no such kernel', file=sys.stderr); sys.exit(3)", r"exit code 3 \(no such kernel\)"),
        ("import os, sys; os.write(int(sys.argv[1]), b'not json\\n')", "expected JSON"),
        ("print('{}', flush=True); import sys; sys.exit(3)", r"exit code 3 \({}\)"),
        ("import time; time.sleep(60)", "not measured within 0.5 s"),
        ("import os, sys; os.write(int(sys.argv[1]), b'{'); import time; time.sleep(60)", "not measured within 0.5 s"),
    ],
)
def test_a_child_that_misbehaves(
    tiny_tflite: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(host_session, "CHILD", child)
    with pytest.raises(MeasurementError, match=message):
        HostSession(tiny_tflite["int8"], timeout_s=0.5 if "sleep" in program else 30)


def test_a_block_ends_by_time_with_what_it_has(tiny_tflite: Files) -> None:
    with HostSession(tiny_tflite["int8"]) as session:
        assert 1 <= len(session.block(100_000, seconds=0.0)) < 100_000


def test_finished_blocks_count_if_a_later_one_takes_too_long(tiny_tflite: Files, simulated: type[SimulatedSession]) -> None:
    late = host_session.MeasurementTimeoutError("not measured within 600 s")
    simulated.blocks[:] = [calm(3.0), late]
    row = measure(tiny_tflite["int8"], "host-cpu-int8")
    assert (row.median_ms, row.noisy, row.device_state["blocks_ms"]) == (3.0, True, [3.0])
    simulated.blocks[:] = [late]
    with pytest.raises(MeasurementError, match="not measured within"):
        measure(tiny_tflite["int8"], "host-cpu-int8")


@pytest.mark.parametrize("runs", [1, 7, 60])
def test_as_many_runs_as_asked_for(tiny_tflite: Files, simulated: type[SimulatedSession], runs: int) -> None:
    row = measure(tiny_tflite["int8"], "host-cpu-int8", runs=runs)
    assert (row.runs, row.device_state["requested_runs"]) == (runs, runs)


def test_no_child_outlives_its_session(tiny_tflite: Files) -> None:
    with HostSession(tiny_tflite["int8"]) as session:
        child = session._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_working_directory_with_the_users_own_modules(
    tiny_tflite: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "ai_edge_litert", "json", "ctypes", "export", "search"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    with HostSession(tiny_tflite["int8"]) as session:
        assert session.block(1)


def test_the_child_dies_with_its_parent(tiny_tflite: Files) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mhmodels.hardware.host.session import HostSession\n"
        "print(HostSession(Path(sys.argv[1]))._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tiny_tflite["int8"]], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    deadline = 200
    while deadline and _alive(child):
        deadline -= 1
        signal.sigtimedwait([], 0.05)
    assert deadline


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_cpu_identity_tells_models_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(**fields: Any) -> str:
        info = {"model name": "Some CPU", "model": "106", "flags": "sse avx", **fields}
        monkeypatch.setattr(host, "_cpuinfo", lambda: info)
        return host.cpu_identity.__wrapped__()

    assert identity() == identity(flags="avx sse")
    assert len({identity(), identity(flags="sse avx avx512f"), identity(model="107"), identity(**{"model name": "Other"})}) == 4
