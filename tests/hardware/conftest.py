"""Tiny files, and a home of its own for every test, so that none touches the user's store or waits for the user's lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from mhmodels.hardware import measuring
from mhmodels.hardware.host import runner as host
from mhmodels.hardware.host.timing import TimedBlock

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
    # On a busy machine every real timing is noisy; what is repeated then is tested with simulated ones.
    monkeypatch.setattr(measuring, "TRIES", 1)
    return place


class SimulatedSession:
    """A measuring process that takes no time: every block is the next of a list, whose last one is repeated.

    Attributes:
        blocks: what blocks say; class-wide, so that a test sets it before the command makes its sessions.
        opened: how many sessions there were.
        pace_ns: of the calibration loop after warming up.
        most: inferences of a block, before time ends it.
    """

    blocks: ClassVar[list[TimedBlock | Exception]] = []
    opened: ClassVar[int] = 0
    pace_ns: ClassVar[int] = 50_000
    most: ClassVar[int] = 100_000

    def __init__(self, path: Path, **_: Any) -> None:
        type(self).opened += 1
        self.about = {
            "init_ns": 1,
            "first_ns": 1,
            "warmup": 1,
            "warmup_ns": 1,
            "pace_ns": self.pace_ns,
            "delegated": 2,
            "total": 2,
        }
        self.cores = [0]
        self.path = path

    def __enter__(self) -> SimulatedSession:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def block(self, runs: int) -> list[float]:
        block = self.blocks.pop(0) if len(self.blocks) > 1 else self.blocks[0]
        if isinstance(block, Exception):
            raise block
        self.own_ms, self.pace_us, self.background_load = list(block.own_ms), block.pace_us, block.background_load
        return (list(block.times_ms) * runs)[: min(runs, self.most)]


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> type[SimulatedSession]:
    """Host timings that depend on no clock and no load: 2 ms an inference unless a test says otherwise."""
    monkeypatch.setattr(host, "HostSession", SimulatedSession)
    monkeypatch.setattr(host, "APART_S", 0.0)
    monkeypatch.setattr(SimulatedSession, "blocks", [calm(2.0)])
    monkeypatch.setattr(SimulatedSession, "opened", 0)
    monkeypatch.setattr(SimulatedSession, "pace_ns", 50_000)
    monkeypatch.setattr(SimulatedSession, "most", 100_000)
    return SimulatedSession


def calm(ms: float, pace_us: float = 50.0) -> TimedBlock:
    """A block without any spread."""
    return TimedBlock((ms,), (), pace_us)
