"""Ctrl-C during a search: what is said of what is kept is true."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import pytest

from mhmodels.cli import main
from mhmodels.cli.terminal import TerminatedError
from mhmodels.errors import InterruptedJobError
from mhmodels.search.run.log import SearchLog
from mhmodels.search.supernet.watching import SearchStatus
from mhmodels.training.run import checkpoint

from . import tiny
from .test_loop import Watcher, run

pytestmark = pytest.mark.tensorflow


class Impatient(Watcher):
    """Presses Ctrl-C at given steps, as often as told."""

    def __init__(self, step: int, times: int) -> None:
        super().__init__()
        self.step, self.times = step, times

    def stepped(self, status: SearchStatus) -> None:
        self.seen.append(status)
        if status.step == self.step:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_before_the_first_checkpoint_writes_one(tmp_path: Path, eager: None) -> None:
    preset = tiny.preset(steps=6)
    watcher, before = Impatient(2, times=1), signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedJobError) as caught:
        run(tmp_path, watcher, space=tiny.small(), preset=preset)
    assert signal.getsignal(signal.SIGINT) is before
    said = str(caught.value)
    kept = checkpoint.latest(tmp_path / "checkpoints")
    assert kept is not None
    assert said == (
        f"the checkpoint of step 2 of 6 is kept ({kept}): `mhmodels search resume {tmp_path / 'search.db'}` continues from it"
    )
    assert [note for note in watcher.notes if "stopping after this step" in note]
    again = Watcher()
    run(tmp_path, again, space=tiny.small(), preset=preset, resume=True)
    assert again.notes[0] == "resuming at step 2 of 6"
    assert [status.step for status in again.seen] == [3, 4, 5, 6]


def test_a_second_ctrl_c_stops_at_once_and_says_that_nothing_is_kept(tmp_path: Path, eager: None) -> None:
    with pytest.raises(InterruptedJobError, match=r"^no checkpoint was written yet, so no training is kept: .* begins again"):
        run(tmp_path, Impatient(1, times=2), space=tiny.small(), preset=tiny.preset(steps=6))
    assert checkpoint.latest(tmp_path / "checkpoints") is None
    with SearchLog(tmp_path / "search.db") as log:
        assert log.header() is not None


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (InterruptedJobError("step 2 is kept"), 130, "interrupted; step 2 is kept\n"),
        (caused(InterruptedJobError("step 2 is kept"), KeyboardInterrupt()), 130, "interrupted; step 2 is kept\n"),
        (caused(InterruptedJobError("nothing"), TerminatedError(signal.SIGTERM)), 143, "ended by SIGTERM; nothing\n"),
        (KeyboardInterrupt(), 130, "interrupted; what was written before is kept\n"),
    ],
)
def test_the_command_says_what_is_kept(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def stopped() -> None:
        raise raised

    monkeypatch.setattr(main.terminal, "prepare", lambda: None)
    monkeypatch.setattr(main.cli, "main", lambda **_: stopped.main([], standalone_mode=False))
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == code
    assert capsys.readouterr().err.lstrip() == said
