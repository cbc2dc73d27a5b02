"""Commands that run beside each other on the same files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from mhmodels.tflite.file import read_tflite
from tests.conftest import COMMAND

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


def test_of_four_exports_to_one_name_exactly_one_succeeds(tmp_path: Path) -> None:
    words = ["export", "multi_max@0.25", "--input-size", "32", "--format", "float32", "-o", "files"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    processes = {
        classes: subprocess.Popen(
            [COMMAND, *words, "--classes", str(classes)],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for classes in (3, 4, 5, 6)
    }  # fmt: skip
    told = {classes: process.communicate(timeout=600)[0] for classes, process in processes.items()}
    codes = {classes: process.returncode for classes, process in processes.items()}
    assert sorted(codes.values()) == [0, 1, 1, 1], told
    (winner,) = (classes for classes, code in codes.items() if code == 0)
    assert all(
        "exists" in told[loser] or "another process wrote it meanwhile" in told[loser] for loser in codes if loser != winner
    )
    assert not any("Traceback" in text for text in told.values())
    assert sorted(path.suffix for path in (tmp_path / "files").iterdir()) == [".json", ".tflite"]
    (path,) = (tmp_path / "files").glob("*.tflite")
    (manifest,) = (tmp_path / "files").glob("*.manifest.json")
    file = read_tflite(path)
    assert file.tensors[file.outputs[0]].shape == (1, winner)
    assert json.loads(manifest.read_bytes())["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["files"]
