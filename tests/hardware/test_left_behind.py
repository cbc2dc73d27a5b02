"""What a command leaves behind when it is ended: nothing, or what the next command removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mhmodels.hardware.machine_lock import machine_lock

COMMANDS = {
    "bench": ("bench", "mobilenet_v1@0.25", "--hardware", "host-cpu-int8"),
    "compare": ("compare", "mobilenet_v1@0.25", "--reference", "mobilenet_v1@0.25", "--hardware", "host-cpu-int8"),
    "collect": ("search", "collect", "--space", "fbnet", "-n", "1", "--hardware", "host-cpu-int8", "--reference", ""),
}


def mhmodels(words: tuple[str, ...], place: Path) -> subprocess.Popen[bytes]:
    """Starts the command with a place of its own for temporary files."""
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.Popen(
        [sys.executable, "-m", "mhmodels", *words], env=environment, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_temporary_folder_stays(tmp_path: Path, command: str, ending: signal.Signals) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    with machine_lock():  # the command waits for it, with its file written
        process = mhmodels(COMMANDS[command], place)
        end = time.monotonic() + 240
        while not list(place.glob("mhmodels-*/**/*.tflite")) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        process.send_signal(ending)
        process.communicate(timeout=120)
    left = list(place.glob("mhmodels-*"))
    assert bool(left) == (ending == signal.SIGKILL)
    after = mhmodels(("bench", "mobilenet_v1@0.25", "--hardware", "roofline-40", "--store", str(tmp_path / "r.db")), place)
    assert after.wait(timeout=240) == 0
    assert not list(place.glob("mhmodels-*"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_metadata_process_ends_with_its_command(tmp_path: Path, ending: signal.Signals) -> None:
    """Also while it still imports TensorFlow."""
    script = (
        "from mhmodels.export.writing.metadata.description import MetadataDescription\n"
        "from mhmodels.export.writing.metadata.writer import MetadataWriter\n"
        "said = MetadataDescription(name='', version='', description='', author='', "
        "mean=(0.0,), std=(1.0,), labels=(), colour=True)\n"
        "with MetadataWriter() as writer:\n"
        "    writer._start()\n"
        "    print(writer._child.pid, flush=True)\n"
        "    writer._compose(b'no model', said)\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )
    assert command.stdout is not None
    pid = int(command.stdout.readline())
    command.send_signal(ending)
    command.wait(timeout=60)
    end = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
