"""What the export tests share: one small network in every format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.export.writer_helpers import MINI, TINY

FORMATS = ("float32", "float16", "int8", "uint8")


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
