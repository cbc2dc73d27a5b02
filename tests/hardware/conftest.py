"""Tiny files, and a home of its own for every test, so that none touches the user's store or waits for the user's lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import tiny


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A chain of two convolutions by format, and files that no hardware takes whole."""
    folder = tmp_path_factory.mktemp("tiny")
    files = {kind: tiny.convolutions(folder / f"{kind}.tflite", kind) for kind in ("float32", "int8", "uint8")}
    return {**files, "sine": tiny.with_float_sine(folder / "sine.tflite"), "hybrid": tiny.hybrid(folder / "hybrid.tflite")}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`MHMODELS_HOME`, empty."""
    place = tmp_path / "home"
    monkeypatch.setenv("MHMODELS_HOME", str(place))
    return place
