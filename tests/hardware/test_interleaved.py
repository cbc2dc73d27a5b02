"""Ratios with intervals."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware.interleaved import TimeRatio, compare_files, interleaved_ratio, ratio_of_medians, timed

medians = st.lists(st.floats(0.01, 100), min_size=20, max_size=30)


@settings(max_examples=20)
@given(medians)
def test_a_thing_against_itself(block: list[float]) -> None:
    ratio = ratio_of_medians(block, block)
    assert ratio.ratio == ratio.low == ratio.high == 1


@settings(max_examples=20)
@given(medians, st.integers(-6, 6))
def test_a_factor_comes_out(block: list[float], power: int) -> None:
    ratio = ratio_of_medians([time * 2.0**power for time in block], block)
    assert ratio.ratio == ratio.low == ratio.high == 2.0**power


@settings(max_examples=20)
@given(medians, medians)
def test_the_interval_holds_the_ratio(a: list[float], b: list[float]) -> None:
    size = min(len(a), len(b))
    ratio = ratio_of_medians(a[:size], b[:size])
    assert ratio.low <= ratio.ratio * (1 + 1e-12)
    assert ratio.high >= ratio.ratio * (1 - 1e-12)


def test_the_interval_covers_the_truth() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        weather = random.lognormal(0, 0.1, 30)
        a, b = (weather * random.lognormal(0, 0.05, 30) * factor for factor in (1.3, 1.0))
        ratio = ratio_of_medians(a.tolist(), b.tolist(), seed=seed)
        covered += ratio.low <= 1.3 <= ratio.high
    assert covered >= 50


def test_blocks_take_turns() -> None:
    order: list[str] = []
    values = cycle([1.0, 2.0, 3.0])

    def block(name: str) -> list[float]:
        order.append(name)
        return [next(values)] * 4

    ratio = interleaved_ratio(lambda: block("a"), lambda: block("b"), blocks=21)
    assert order == ["a", "b"] * 21
    assert (ratio.blocks, ratio.runs) == (21, 4)


def test_too_few_blocks() -> None:
    with pytest.raises(MeasurementError, match="expected at least 20"):
        interleaved_ratio(lambda: [1.0], lambda: [1.0], blocks=19)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [float("nan")])])
def test_what_has_no_ratio(a: list[float], b: list[float]) -> None:
    with pytest.raises(MeasurementError):
        ratio_of_medians(a, b)


def test_a_bar_is_met_by_the_lower_end() -> None:
    ratio = TimeRatio(ratio=1.05, low=1.01, high=1.1, a_ms=1, b_ms=1, blocks=20, runs=10)
    assert ratio.at_most(1.02)
    assert not ratio.at_most(1.0)


def test_any_callable() -> None:
    calls: list[int] = []
    times = timed(lambda: calls.append(1), runs=5)()
    assert len(times) == len(calls) == 5
    assert min(times) > 0


def test_two_files(tiny_tflite: dict[str, Path]) -> None:
    ratio = compare_files(tiny_tflite["int8"], tiny_tflite["int8"], "host-cpu-int8", runs=3)
    assert 0 < ratio.low <= ratio.high
    with pytest.raises(FileFormatError, match="takes int8 files"):
        compare_files(tiny_tflite["int8"], tiny_tflite["uint8"], "host-cpu-int8")
    with pytest.raises(MeasurementError, match="host-cpu"):
        compare_files(tiny_tflite["int8"], tiny_tflite["int8"], "ethos-u55-128")
