"""The memory of the fastest pace: whatever stands in its file, and wherever it cannot be, measuring goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.hardware.host.pace import fastest_pace, pace_path, remember_pace


def test_the_fastest_is_kept_by_key(home: Path) -> None:
    assert fastest_pace("a") == 0
    assert [remember_pace("a", us) for us in (60.0, 50.0, 55.0, 49.0, 0.0)] == [60.0, 50.0, 50.0, 49.0, 49.0]
    assert remember_pace("b", 70.0) == 70.0
    assert (fastest_pace("a"), fastest_pace("b")) == (49.0, 70.0)
    assert [path.name for path in pace_path().parent.iterdir()] == ["pace.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'{"a": "fast"}',
        b'{"a": NaN}',
        b'{"a": -1.0}',
        b'{"a": 1e-9}',
        b"[" * 100_000,
        b'{"a": 5}',
    ],
)
def test_a_damaged_file_is_nothing_known(home: Path, content: bytes) -> None:
    """Neither an error nor a pace that no machine has, beside which every row would be noisy for ever."""
    pace_path().parent.mkdir(parents=True)
    pace_path().write_bytes(content)
    assert remember_pace("a", 50.0) == 50.0
    assert fastest_pace("a") == 50.0


def test_a_place_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", "/dev/null/home")
    assert remember_pace("a", 50.0) == 50.0
    assert fastest_pace("a") == 0
