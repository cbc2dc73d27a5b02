"""What the export tests share: one small network in every format, and the command line inside this process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mhmodels.cli.main import main
from tests.export.writer_helpers import MINI, TINY

FORMATS = ("float32", "float16", "int8", "uint8")


class Said(NamedTuple):
    """What a command left behind, as a shell would see it."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Said]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `mhmodels …` in an empty folder of this process, which has TensorFlow loaded already."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["mhmodels", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
        return Said(int(stop.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny network in four formats, and its architecture file."""
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.pipeline import export_model

    folder = tmp_path_factory.mktemp("exported")
    (folder / "tiny.json").write_bytes(TINY.to_json())
    for _ in export_model(TINY, ExportOptions(directory=folder, formats=FORMATS)):
        pass
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """An architecture file of the smallest network in the working folder."""
    path = tmp_path / "tiny.json"
    path.write_bytes(MINI.to_json())
    return os.fspath(path)
