"""Ratios with intervals."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware import interleaved
from mhmodels.hardware.interleaved import (
    TimeRatio,
    compare_files,
    interleaved_ratio,
    ratio_of_medians,
    ratio_over_processes,
    timed,
)

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


def pairs_of(random: np.random.Generator, truth: float, count: int) -> list[TimeRatio]:
    """Ratios of processes with a speed of their own each, by 2 %, and blocks that scatter less."""
    made = []
    for _ in range(count):
        a, b = (factor * random.lognormal(0, 0.02) * random.lognormal(0, 0.005, 20) for factor in (truth, 1.0))
        made.append(ratio_of_medians(a.tolist(), b.tolist()))
    return made


def test_the_interval_over_processes_covers_the_truth_and_that_of_one_process_does_not() -> None:
    random = np.random.default_rng(4)
    over = within = 0
    for _ in range(60):
        pairs = pairs_of(random, 1.0, 5)
        ratio = ratio_over_processes(pairs)
        over += ratio.low <= 1.0 <= ratio.high
        within += pairs[0].low <= 1.0 <= pairs[0].high
    assert over >= 54
    assert within <= 30


def test_a_difference_beyond_the_scatter_of_processes_is_seen() -> None:
    ratio = ratio_over_processes(pairs_of(np.random.default_rng(5), 1.2, 5))
    assert 1.1 < ratio.low < ratio.ratio < ratio.high < 1.3
    assert not ratio.at_most(1.05)


def test_fields_over_processes() -> None:
    pairs = [ratio_of_medians([a], [b], runs=7) for a, b in ((2.0, 1.0), (1.0, 2.0), (3.0, 3.0))]
    ratio = ratio_over_processes(pairs)
    assert ratio.ratio == pytest.approx(1.0)
    assert ratio.low * ratio.high == pytest.approx(1.0)
    assert (ratio.a_ms, ratio.b_ms, ratio.blocks, ratio.runs, ratio.processes) == (2.0, 2.0, 1, 7, 3)
    with pytest.raises(MeasurementError, match="1 pairs of processes, expected at least 2"):
        ratio_over_processes(pairs[:1])


class Session:
    """Stands for a child process: notes when it starts and ends, and gives the times that its file has."""

    log: ClassVar[list[str]] = []
    times: ClassVar[dict[str, float]] = {}

    def __init__(self, path: Path, **_: object) -> None:
        self.name = path.stem
        self.log.append(f"start {self.name}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append(f"end {self.name}")

    def block(self, runs: int) -> list[float]:
        self.log.append(self.name)
        return [self.times[self.name]] * runs


def test_every_pair_of_processes_is_fresh_and_takes_the_other_order(
    tiny_tflite: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / f"{name}.tflite" for name in "ab"}
    for file in files.values():
        file.write_bytes(tiny_tflite["int8"].read_bytes())
    monkeypatch.setattr(interleaved, "HostSession", Session)
    monkeypatch.setattr(Session, "log", log := [])
    monkeypatch.setattr(Session, "times", {"a": 3.0, "b": 2.0})
    ratio = compare_files(files["a"], files["b"], "host-cpu-int8", processes=3, runs=4)
    ab = ["start a", "start b", *["a", "b"] * 20, "end b", "end a"]
    ba = ["start b", "start a", *["b", "a"] * 20, "end a", "end b"]
    assert log == ab + ba + ab
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (ratio.a_ms, ratio.b_ms, ratio.blocks, ratio.runs, ratio.processes) == (3.0, 2.0, 20, 4, 3)


def test_two_files(tiny_tflite: dict[str, Path]) -> None:
    ratio = compare_files(tiny_tflite["int8"], tiny_tflite["int8"], "host-cpu-int8", processes=2, runs=3)
    assert 0 < ratio.low <= ratio.high
    assert ratio.processes == 2
    with pytest.raises(FileFormatError, match="takes int8 files"):
        compare_files(tiny_tflite["int8"], tiny_tflite["uint8"], "host-cpu-int8")
    with pytest.raises(MeasurementError, match="host-cpu"):
        compare_files(tiny_tflite["int8"], tiny_tflite["int8"], "ethos-u55-128")
    with pytest.raises(MeasurementError, match="processes is 1, expected at least 2"):
        compare_files(tiny_tflite["int8"], tiny_tflite["int8"], "host-cpu-int8", processes=1)
