"""How busy the other cores are, from the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.hardware.host import load as module
from mhmodels.hardware.host.load import background_load, core_ticks, wait_for_quiet

STAT = """cpu  30 0 30 160 20 0 0 0 0 0
cpu0 10 0 10 70 10 0 0 0 0 0
cpu1 20 0 20 90 10 4 4 2 7 7
intr 1 2 3
"""


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "stat"
    file.write_text(STAT)
    monkeypatch.setattr(module, "_STAT", file)
    return file


def test_idle_and_waiting_for_input_are_not_busy(stat: Path) -> None:
    """Guests' time is in user's already and must not count twice."""
    assert core_ticks() == {0: (20, 100), 1: (50, 150)}


def test_only_the_other_cores_count() -> None:
    before = {0: (0, 100), 1: (0, 100), 2: (0, 100)}
    after = {0: (100, 200), 1: (50, 200), 2: (0, 200)}
    assert background_load(before, after, [0]) == 0.25
    assert background_load(before, after, [0, 1]) == 0
    assert background_load(before, after, [0, 1, 2]) == 0
    assert background_load({}, after, [0]) == 0


def test_without_counters_every_machine_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAT", tmp_path / "none")
    assert core_ticks() == {}
    assert wait_for_quiet([0], 0) == 0


def test_waits_until_it_is_quiet_but_not_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy for three looks, then idle; the clock is a pretence."""
    clock = [0.0]
    busy = [0]

    def ticks() -> dict[int, tuple[int, int]]:
        elapsed = round(clock[0] * 100)
        return {0: (0, elapsed), 1: (min(busy[0], elapsed), elapsed)}

    monkeypatch.setattr(module, "core_ticks", ticks)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    busy[0] = 75
    assert wait_for_quiet([0], 60) == 0
    assert clock[0] == 1.0
    busy[0] = 10**9
    clock[0] = 0.0
    assert wait_for_quiet([0], 2) == 1
    assert clock[0] == 2.0
