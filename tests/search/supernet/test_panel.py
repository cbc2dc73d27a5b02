"""What a person sees of a search while it runs."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from mhmodels.search.cli import panel
from mhmodels.search.supernet.watching import ENOUGH, SearchStatus, TimeEstimate

from . import tiny

EARLY = SearchStatus(
    step=3, steps=10, updates=0, all_updates=4, loss=2.3, training_accuracy=0.1, reward=None, accuracy=None, f=None,
    latency_ms={}, binding={}, baseline=None, entropy=56.9, seconds=2.0, remaining_s=None,
)  # fmt: skip
LATE = EARLY._replace(
    step=10, updates=4, reward=0.8123, accuracy=0.85, f=1.043, latency_ms={"cpu": 12.345, "npu": 3.2},
    binding={"cpu": 6, "npu": 2}, baseline=0.79, seconds=70.0, remaining_s=3725.0,
)  # fmt: skip


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(panel, "progress_console", lambda: Console(file=text, force_terminal=True, width=100, highlight=False))
    return text


def test_the_panel_has_all_that_the_search_knows(screen: io.StringIO) -> None:
    with panel.watch() as shown:
        shown.stepped(EARLY)
        shown._live.refresh()
        assert "56.9 nats" in screen.getvalue()
        assert "reward" not in screen.getvalue()
        shown.stepped(LATE)
        shown._live.refresh()
        shown.note("resuming at step 3 of 10")
        shown.finalist_judged(7, 48)
        shown._live.refresh()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    for part in ("10/10", "0.8123", "0.7900", "85.0%", "1.043", "12.35 ms, worst for 6", "3.2 ms, worst for 2", "1:02:05"):
        assert part in plain
    assert "finalists judged 7/48" in plain
    assert "resuming at step 3 of 10" in plain


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(panel, "progress_console", lambda: Console(file=text, width=400, highlight=False))
    with panel.watch() as shown:
        for status in (EARLY, EARLY._replace(step=4), LATE):
            shown.stepped(status)
        for judged in (1, 2, 3):
            shown.finalist_judged(judged, 3)
    lines = text.getvalue().strip().splitlines()
    assert len(lines) == 2
    assert "step 10/10" in lines[0]
    assert "f 1.043" in lines[0]
    assert lines[1] == "3 finalists judged on all validation pictures"


def test_the_time_left_counts_what_is_judged_later() -> None:
    pace = TimeEstimate(
        tiny.preset(steps=100, scored=4, update_every=5, train_only=0.5), 640
    )  # 10 updates of 4 x 16 pictures, 10 more
    for _ in range(ENOUGH):
        pace.trained(1.0, compiled=False)
    assert pace.left(ENOUGH) == pytest.approx(95 + (10 + 10) * (4 * 16 / 8) / 6)
    for _ in range(ENOUGH):
        pace.trained(3.0, compiled=False)
        pace.judged(6.0, compiled=False)
    assert pace.left(60) == pytest.approx(40 * 2 + (8 + 10) * 6)


def test_steps_that_compile_give_no_estimate_and_leave_none_a_hundred_times_too_long() -> None:
    pace = TimeEstimate(tiny.preset(steps=1000, train_only=0.99))
    for step in range(20):
        pace.trained(100.0, compiled=True)
        pace.judged(100.0, compiled=True)
        assert pace.left(step) is None
    for step in range(20, 20 + ENOUGH):
        assert pace.left(step) is None
        pace.trained(1.0, compiled=False)
    assert pace.left(30) == pytest.approx(970, rel=0.05)
