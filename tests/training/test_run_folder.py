"""A run's folder by itself: what it claims and what it refuses, and its picture. No TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mhmodels.training.errors import TrainingError
from mhmodels.training.run.checkpoint import EpochResult
from mhmodels.training.run.curve import plot_curve
from mhmodels.training.run.run_folder import RunFolder, Setup

from . import tiny

SETUP = Setup(model="tiny", architecture_id="0" * 16, recipe=tiny.recipe(), train="colours: 48 pictures")


@pytest.mark.parametrize("name", ["recipe.json", "model.weights.h5", "metrics.json", "curve.png", "checkpoints", "tensorboard"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_no_runs_is_not_written_over(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        TrainingError, match=rf"holds no run \(run\.json\), but {name}, which a run would write over; give another"
    ):
        RunFolder(tmp_path).begin(SETUP, resume=resume)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_other_files_do_not_matter_and_a_run_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    folder.begin(SETUP, resume=False)
    folder.checkpoints.mkdir()
    with pytest.raises(TrainingError, match=f"process {os.getpid()} trains in this folder; wait for it, stop it, or"):
        RunFolder(tmp_path).begin(SETUP, resume=True)
    folder.close()
    again = RunFolder(tmp_path)
    again.begin(SETUP, resume=True)
    again.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoints", "notes.txt", "recipe.json", "run.json", "run.lock"]


def test_a_name_with_dollars_is_no_formula(tmp_path: Path) -> None:
    result = EpochResult(epoch=1, step=1, loss=1.0, accuracy=0.5, learning_rate=0.1, seconds=1.0)
    plot_curve([result], tmp_path / "curve.png", r"mine $\wrong{$")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
