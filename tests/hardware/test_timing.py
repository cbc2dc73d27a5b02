"""Statistics of blocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mhmodels.errors import MeasurementError
from mhmodels.hardware.timing import Summary, steadiest, summarise

times = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200)


@given(times)
def test_order_of_the_statistics(block: list[float]) -> None:
    summary = summarise(block)
    assert summary.min_ms <= summary.median_ms <= summary.p95_ms <= summary.max_ms or len(block) < 3
    assert summary.min_ms <= summary.mean_ms <= summary.max_ms
    assert summary.std_ms >= 0
    assert summary.mad_ratio >= 0
    assert summary.runs == len(block)


@given(times, st.randoms(use_true_random=False))
def test_order_of_the_timings_does_not_count(block: list[float], random: object) -> None:
    shuffled = sorted(block, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert summarise(shuffled) == summarise(block)


@given(times, st.integers(-8, 8))
def test_spread_is_free_of_units(block: list[float], power: int) -> None:
    scaled = summarise([time * 2.0**power for time in block])
    assert scaled.mad_ratio == summarise(block).mad_ratio
    assert scaled.median_ms == summarise(block).median_ms * 2.0**power


def test_by_hand() -> None:
    summary = summarise([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (summary.median_ms, summary.mean_ms, summary.min_ms, summary.max_ms, summary.p95_ms) == (3.0, 22.0, 1.0, 100.0, 100.0)
    assert summary.mad_ratio == pytest.approx(1 / 3)


@pytest.mark.parametrize("block", [[], [0.0], [1.0, -1.0], [math.nan], [1.0, math.inf]])
def test_what_is_no_timing(block: list[float]) -> None:
    with pytest.raises(MeasurementError, match="expected"):
        summarise(block)


STEADY, WORSE, WORST = [10.0, 10.0, 10.1], [10.0, 10.5, 9.5], [10.0, 13.0, 7.0]


def test_stops_at_the_first_steady_block() -> None:
    blocks = iter([WORST, STEADY])
    assert steadiest(lambda: summarise(next(blocks))).noisy is False
    assert next(blocks, None) is None


def test_keeps_the_least_noisy_of_five() -> None:
    made = []

    def block() -> Summary:
        made.append([WORST, WORSE, WORST, WORST, WORST][len(made)])
        return summarise(made[-1])

    summary = steadiest(block, repeats=5)
    assert len(made) == 5
    assert summary == summarise(WORSE)
    assert summary.noisy


def test_a_steady_block_that_shared_its_core_is_noisy() -> None:
    """Company that takes its turn in every inference moves the median and leaves no spread."""
    shared, alone = summarise(STEADY, stolen=0.4), summarise(STEADY, stolen=0.01)
    assert (shared.noisy, alone.noisy) == (True, False)
    blocks = iter([shared, alone])
    assert steadiest(lambda: next(blocks)) == alone


def test_a_steady_block_beside_a_busy_core_is_noisy() -> None:
    """A neighbour on the other thread of a core slows every inference alike."""
    beside, alone = summarise(STEADY, company=0.5), summarise(STEADY, company=0.04)
    assert (beside.noisy, alone.noisy) == (True, False)
    blocks = iter([beside, alone])
    assert steadiest(lambda: next(blocks)) == alone
