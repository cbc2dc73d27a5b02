"""The command line and its terminal: hostile text, closed and full streams, signals, a folder that is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from mhmodels.cli.common import console, emit_json

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\x00"
MHMODELS = f"{sys.executable} -m mhmodels"


def shell(command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=cwd, check=False)


def assert_harmless(text: str) -> None:
    assert not set(text) & set("\x1b\x07\x9b\u202e\x00\r")


def test_names_in_errors_reach_the_terminal_escaped_and_capped() -> None:
    for words in (["info", HOSTILE.replace("\x00", "")], [HOSTILE.replace("\x00", "")], ["info", "x" * 100_000]):
        done = subprocess.run([*MHMODELS.split(), *words], capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2)
        assert_harmless(done.stdout + done.stderr)
        assert 0 < len(done.stderr) < 6000


def test_tables_and_json_escape_what_they_show(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    console().print(table)
    console().print(HOSTILE, markup=False)
    assert_harmless(capsys.readouterr().out)
    emit_json({HOSTILE: HOSTILE})
    shown = capsys.readouterr().out
    assert_harmless(shown)
    assert json.loads(shown) == {HOSTILE: HOSTILE}


@pytest.mark.parametrize("closed", [">&-", "2>&- >/dev/null", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = shell(f"{MHMODELS} list {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_stdout_is_one_message() -> None:
    done = shell(f"{MHMODELS} list > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: output: No space left on device; give another path, or make room there\n"


def test_a_working_directory_that_was_removed_is_one_message(tmp_path: Path) -> None:
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; {MHMODELS} list", tmp_path)
    assert done.returncode == 1
    assert "working directory" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_remove_temporary_folders_and_end_with_the_signals_code(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import time, click\nfrom mhmodels.cli import main\nfrom mhmodels.system.temporary import temporary_folder\n"
        "def wait():\n"
        "    with temporary_folder('test'):\n        print('ready', flush=True); time.sleep(60)\n"
        "main.cli.add_command(click.Command('wait', callback=wait))\nmain.COMMANDS['wait'] = None\n"
        "main.LazyGroup.get_command = click.Group.get_command\nimport sys; sys.argv = ['mhmodels', 'wait']\nmain.main()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    child.send_signal(number)
    _, told = child.communicate()
    assert child.returncode == 128 + number
    assert told.strip().endswith("what was written before is kept")
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_console_of_progress_closes_its_file() -> None:
    """It has a file descriptor of its own. An open one is reported by the garbage collector, in whatever runs then."""
    import gc

    from mhmodels.cli.common import progress_console

    shown = progress_console()
    file = shown.file
    del shown
    gc.collect()
    assert file.closed
