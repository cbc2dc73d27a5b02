"""Children answer on a descriptor of their own: nothing that they or their libraries print is an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mhmodels.hardware.collection import get_hardware
from mhmodels.hardware.vela import runner as vela
from mhmodels.system.child import Child

ECHO = """
import json, os, sys
channel = int(sys.argv[1])
with open(channel, closefd=False) as requests:
    for line in requests:
        os.write(channel, json.dumps([*sys.argv[2:], json.loads(line)]).encode() + b"\\n")
"""
NOISE = {
    "a print at import": 'print(0, flush=True)\nprint("{}", flush=True)',
    "a print that is never flushed": 'print("0")',
    "bytes that are no text": 'import os\nos.write(1, b"\\xff\\x00\\n0\\n")\nos.write(2, b"\\xfe\\n")',
    "a print of a library in C": 'import ctypes\nctypes.CDLL(None).puts(b"0")\nctypes.CDLL(None).fflush(None)',
    "a print of its own child": 'import os\nos.system("echo 0; echo 0 >&2")',
    "a read of standard input": 'import sys\nassert sys.stdin.read() == ""',
    "megabytes": 'print("0\\n" * 1_000_000)',
}


def soon() -> float:
    return time.monotonic() + 60


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Children that end with the test."""
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_what_a_child_prints_is_no_answer(children: list[Child], tmp_path: Path, noise: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"{noise}\n{ECHO}")
    with (tmp_path / "errors").open("wb") as errors:
        child = Child(script, ["word"], errors=errors)
        children.append(child)
        assert [child.ask(number, soon()) for number in (1, 2)] == [b'["word", 1]', b'["word", 2]']


def test_a_request_larger_than_any_buffer(children: list[Child], tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(ECHO)
    children.append(Child(script))
    text = "x" * 3_000_000
    assert children[0].ask(text, soon()).decode() == f'["{text}"]'


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("raise SystemExit(3)", EOFError),
        ("import os; os.abort()", EOFError),
        ("import os, sys; os.close(int(sys.argv[1])); import time; time.sleep(60)", EOFError),
        ("import time; time.sleep(60)", TimeoutError),
        ("import os, sys; os.write(int(sys.argv[1]), b'half'); import time; time.sleep(60)", TimeoutError),
    ],
)
def test_a_child_that_does_not_answer(children: list[Child], tmp_path: Path, program: str, error: type[Exception]) -> None:
    script = tmp_path / "child.py"
    script.write_text(program)
    children.append(Child(script))
    with pytest.raises(error):
        children[0].ask("x" * 10_000_000, time.monotonic() + (1.0 if error is TimeoutError else 60))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_answer_to_an_interrupted_request_is_never_that_of_the_next(
    children: list[Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    script = tmp_path / "child.py"
    script.write_text(ECHO)
    child = Child(script)
    children.append(child)

    def interrupted(_: float) -> bytes:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(child, "line", interrupted)
        with pytest.raises(error):
            child.ask(1, soon())
    assert not child.alive
    for _ in range(2):
        with pytest.raises(EOFError):
            child.ask(2, soon())
    with pytest.raises(EOFError):
        child.line(soon())


def test_a_child_that_lives_on_without_its_channel_is_ended(
    children: list[Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mhmodels.system.child._ENDING_S", 0.1)
    script = tmp_path / "child.py"
    script.write_text("import os, sys, time; os.close(int(sys.argv[1])); time.sleep(60)")
    children.append(Child(script))
    with pytest.raises(EOFError):
        children[0].ask(1, soon())
    assert children[0].wait() == -signal.SIGKILL


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also one that is at work and reads nothing, as a library that is being imported."""
    script = tmp_path / "child.py"
    script.write_text("import os, sys, time\nos.write(int(sys.argv[1]), b'up\\n')\nwhile True: time.sleep(1)")
    program = (
        "import os, signal, sys, time; from pathlib import Path; from mhmodels.system.child import Child\n"
        "child = Child(Path(sys.argv[1])); child.line(time.monotonic() + 60); print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(400):
        if _ended(pid):
            return
        time.sleep(0.05)
    pytest.fail("it lives on")


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_what_a_vela_prints_while_it_is_imported_is_no_estimate(
    tiny_tflite: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package before the real one prints what Vela says of a network that is on the NPU, and exit codes."""
    package = tmp_path / "ethosu" / "vela"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    said = "0\nCPU operators = 0 (0.0%)\nNPU operators = 2 (100.0%)\n"
    (package / "vela.py").write_text(
        f"import os\nprint({said!r})\nos.write(1, {said!r}.encode())\n"
        "def main(arguments):\n    print('no such accelerator')\n    raise SystemExit(7)\n"
    )
    script = (
        "import sys; from pathlib import Path; from mhmodels.hardware import get_hardware\n"
        "from mhmodels.hardware.vela import runner as vela\n"
        "try: print(vela.compile_for_npu(Path(sys.argv[1]), get_hardware('ethos-u55-128')[0]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", script, tiny_tflite["int8"]],
        capture_output=True, text=True, check=True, env=environment, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "MeasurementError" in done.stdout
    assert "Vela failed with exit code 7 (no such accelerator)" in done.stdout


def test_velas_answer_is_its_own(tiny_tflite: dict[str, Path]) -> None:
    assert vela.compile_for_npu(tiny_tflite["int8"], get_hardware("ethos-u55-128")[0]).latency_ms > 0
