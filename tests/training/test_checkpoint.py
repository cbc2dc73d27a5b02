"""Checkpoints under failure: full disk, truncation, other networks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mhmodels.formats.archives import ArchiveError, load_arrays
from mhmodels.training.errors import CheckpointError
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import EpochResult, RunProgress

VARIABLES = {"model/a": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/step": np.array(7, np.int64)}
EXPECTED = [("model/a", (2, 3)), ("optimizer/step", ())]
RESULT = EpochResult(epoch=1, step=4, loss=0.1 + 0.2, accuracy=0.5, learning_rate=1e-3, seconds=1.5)


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    progress = RunProgress(step=5, loss_sum=0.1 + 0.2, correct=3.0, pictures=8, seconds=1 / 3, history=[RESULT])
    path = checkpoint.save(tmp_path, progress, VARIABLES)
    found, arrays = checkpoint.load(path, EXPECTED)
    assert found == progress
    assert arrays.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_a_checkpoint_may_be_larger_than_archives_of_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint.save(tmp_path, RunProgress(step=5), VARIABLES)
    monkeypatch.setattr(checkpoint, "LARGEST", 100)
    checkpoint.load(path, EXPECTED)
    with pytest.raises(ArchiveError, match="expected at most 100 bytes"):
        load_arrays(path, largest=100)


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 100_000_000, 3):
        checkpoint.save(tmp_path, RunProgress(step=step), VARIABLES)
    assert len(checkpoint.checkpoints(tmp_path)) == 2
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.load(newest, EXPECTED)[0].step == 100_000_000


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, RunProgress(step=1), VARIABLES)

    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        real(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"step_00000002\.npz.*No space left.*step_00000001\.npz.*resume the run"):
        checkpoint.save(tmp_path, RunProgress(step=2), VARIABLES)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.npz"]
    checkpoint.load(tmp_path / "step_00000001.npz", EXPECTED)


def test_a_disk_that_fills_at_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*there is none yet"):
        checkpoint.save(tmp_path, RunProgress(step=1), VARIABLES)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_seen(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, RunProgress(step=1), VARIABLES)
    whole = path.read_bytes()
    place = whole.index(VARIABLES["model/a"].tobytes())
    flipped = bytearray(whole)
    flipped[place] ^= 1
    unknown = bytearray(whole)
    unknown[whole.index(b"PK\x01\x02") + 10] = 99  # a compression that zipfile does not know: NotImplementedError
    for damaged in (b"", b"text", whole[: len(whole) // 2], whole[:-10], bytes(flipped), bytes(unknown)):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"step_00000001\.npz: damaged checkpoint .*remove it to resume"):
            checkpoint.load(path, EXPECTED)


def test_checkpoints_of_others_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, RunProgress(step=1), VARIABLES)
    with pytest.raises(CheckpointError, match=r"'model/a' has shape \(2, 3\), expected shape \(3, 3\)"):
        checkpoint.load(path, [("model/a", (3, 3)), ("optimizer/step", ())])
    with pytest.raises(CheckpointError, match="'model/b' is missing"):
        checkpoint.load(path, [*EXPECTED, ("model/b", ())])
    with pytest.raises(CheckpointError, match="holds 1 variables that this run has not: optimizer/step"):
        checkpoint.load(path, EXPECTED[:1])
