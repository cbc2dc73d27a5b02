"""Searches: they end where they would have ended, and stop with a reason."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.training import checkpoint
from mhmodels.training.errors import DataError
from mhmodels.training.recipes import LearningRate
from search.errors import SearchError
from search.log import SearchLog
from search.supernet.presets import PRESETS, Policy, load_preset
from search.supernet.watching import Silent, Status

from . import tiny

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[3]
QUICK: dict[str, Any] = {
    "scored": 4, "update_every": 2, "train_only": 0.5, "finalists": 4,
    "policy": Policy(learning_rate=0.1, growth=1.0, delay=0.0, operation_warm_up=0.0, width_warm_up=0.0),
}  # fmt: skip


class Interrupted(BaseException):
    """Stands in for anything that ends a process."""


class Watcher(Silent):
    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.seen = stop_at, list[Status]()

    def stepped(self, status: Status) -> None:
        self.seen.append(status)
        if status.step == self.stop_at:
            raise Interrupted


def run(folder: Path, watcher: Watcher | None = None, **changes: Any) -> Any:
    from search.supernet.loop import search_supernet

    with SearchLog(folder / "search.db") as log:
        return search_supernet(tiny.request(folder, log=log, **changes), watcher)


def digest(folder: Path) -> str:
    """Of all weights, slots and the controller at the end."""
    newest = checkpoint.latest(folder / "checkpoints")
    assert newest is not None
    content = hashlib.sha256(newest.name.encode())
    with np.load(newest) as archive:
        for name in sorted(set(archive.files) - {"state"}):
            content.update(name.encode() + archive[name].tobytes())
    return content.hexdigest()


@pytest.mark.parametrize("changes", [{"mixed_operations": True}, QUICK], ids=["tunas", "quick"])
def test_an_interrupted_search_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    preset = tiny.preset(**changes)
    watcher = Watcher()
    whole = run(tmp_path / "whole", watcher, preset=preset)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", Watcher(stop_at=9), preset=preset, checkpoint_seconds=0)
    # A checkpoint is followed by more steps and rows before the end comes.
    newest = checkpoint.checkpoints(tmp_path / "cut" / "checkpoints")
    newest[-1].unlink()
    again = Watcher()
    resumed = run(tmp_path / "cut", again, preset=preset, resume=True)
    assert 0 < len(again.seen) < 12
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    assert resumed.logits.any()
    np.testing.assert_array_equal(resumed.encoding, whole.encoding)
    assert resumed.accuracy == whole.accuracy
    with SearchLog(tmp_path / "cut" / "search.db") as cut, SearchLog(tmp_path / "whole" / "search.db") as uncut:
        assert list(cut.statistics()) == list(uncut.statistics())
        np.testing.assert_array_equal(cut.evaluated().encodings, uncut.evaluated().encodings)
        assert len(cut.evaluated().f) == preset.updates * (preset.scored or 1)
    losses = [status.loss for status in watcher.seen]
    assert [status.loss for status in again.seen] == losses[-len(again.seen) :]
