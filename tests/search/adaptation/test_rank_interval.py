"""Confidence intervals of Spearman's correlation: the formulas, ties, missing values, and how often they contain the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mhmodels.search import CostModelError
from mhmodels.search.adaptation.rank_interval import (
    MOST_LEFT_OUT,
    correlation,
    fisher_z,
    jackknife_error,
    leave_one_out,
    limits,
    mean_ranks,
    rank_interval,
)

DATA = Path(__file__).parents[4] / "shared" / "data"
PAIRS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=5, max_size=25).filter(
    lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
)


def drawn(n: int, rho: float, seed: int, decimals: int | None = None) -> tuple[Any, Any]:
    """Log-normal latencies whose normal scores correlate with rho; rounded like those of a coarse clock."""
    random = np.random.default_rng(seed)
    first = random.normal(size=n)
    second = rho * first + np.sqrt(1 - rho**2) * random.normal(size=n)
    ms = 10 * np.exp(0.3 * first), 10 * np.exp(0.3 * second)
    return ms if decimals is None else (np.round(ms[0], decimals), np.round(ms[1], decimals))


@given(PAIRS)
def test_correlation_with_ties_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, np.float64).T
    assert correlation(first, second) == pytest.approx(spearmanr(first, second)[0], abs=1e-12)


@given(PAIRS)
def test_the_jackknife_leaves_out_each_pair(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, np.float64).T
    expected = []
    for k in range(len(pairs)):
        one, other = np.delete(first, k), np.delete(second, k)
        constant = np.ptp(one) == 0 or np.ptp(other) == 0
        expected.append(0.0 if constant else spearmanr(one, other)[0])
    assert leave_one_out(first, second) == pytest.approx(np.array(expected), abs=1e-9)
    z = np.array(fisher_z(np.array(expected), len(pairs) - 1))
    assert jackknife_error(first, second) == pytest.approx(np.sqrt((len(z) - 1) * z.var()), abs=1e-6)


@given(PAIRS, st.floats(0.5, 0.99))
def test_the_interval_contains_the_correlation_of_the_sample(pairs: list[tuple[int, int]], confidence: float) -> None:
    first, second = np.array(pairs, np.float64).T
    found = rank_interval(first, second, confidence)
    assert -1 <= found.low <= found.spearman <= found.high <= 1


def test_ties_have_mean_ranks() -> None:
    assert mean_ranks(np.array([5.0, 2, 5, 7, 5])).tolist() == [3, 1, 3, 5, 3]


def test_the_interval_is_the_published_formula_where_the_jackknife_is_narrower() -> None:
    """Bonett and Wright 2000: r = 0.7 of 20 pairs has a standard error of √((1 + 0.49/2)/17) on the z scale."""
    low, high = limits(0.7, 20, 0.0, 0.95)
    half = 1.959964 * np.sqrt(1.245 / 17)
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(0.7) - half), np.tanh(np.arctanh(0.7) + half)), abs=1e-6)
    wider = limits(0.7, 20, 0.5, 0.95)
    assert wider == pytest.approx((np.tanh(np.arctanh(0.7) - 0.979982), np.tanh(np.arctanh(0.7) + 0.979982)), abs=1e-6)


def test_perfect_agreement_has_a_lower_limit_below_1_that_rises_with_the_pairs() -> None:
    lows = []
    for n in (5, 10, 20, 50):
        found = rank_interval(np.arange(n), np.arange(n) ** 2)
        assert (found.spearman, found.high) == (1, 1)
        lows.append(found.low)
    assert lows == sorted(lows)
    assert lows[0] < 0.5 < 0.99 < lows[-1] < 1
    reverse = rank_interval(np.arange(10), -np.arange(10))
    assert reverse.low == -1
    assert reverse.high == pytest.approx(-lows[1])


def test_pairs_with_nan_are_excluded_and_counted() -> None:
    first, second = drawn(30, 0.8, 1)
    whole = rank_interval(first[4:], second[4:])
    first[:2], second[1:4] = np.nan, np.nan
    assert rank_interval(first, second) == whole._replace(excluded=4)


def test_the_interval_depends_neither_on_order_nor_unit_nor_on_which_device_is_first() -> None:
    first, second = drawn(40, 0.7, 2, decimals=0)
    one = rank_interval(first, second)
    order = np.random.default_rng(0).permutation(40)
    assert rank_interval(first[order], 1e-3 * second[order]) == pytest.approx(one)
    assert rank_interval(second, first) == pytest.approx(one)
    assert rank_interval(first, second) == one


def test_a_subset_of_many_pairs_has_nearly_the_jackknife_error_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = drawn(3 * MOST_LEFT_OUT, 0.9, 3)
    part = jackknife_error(first, second)
    assert part == jackknife_error(first, second)
    monkeypatch.setattr("mhmodels.search.adaptation.rank_interval.MOST_LEFT_OUT", len(first))
    assert part == pytest.approx(jackknife_error(first, second), rel=0.1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0, 2, 3, 4], [1.0, 2, 3, 4], "4 pairs of values, expected at least 5"),
        ([1.0, 2, 3, 4, np.nan], [1.0, 2, 3, 4, 5], "4 pairs of values"),
        ([1.0, 2, 3, 4, 5], [2.0] * 5, "argument 'second': all 5 values are 2"),
        ([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4], r"shapes \(5,\) and \(4,\)"),
        ([[1.0, 2, 3, 4, 5]], [[1.0, 2, 3, 4, 5]], r"expected \(n,\)"),
    ],
)
def test_values_without_an_interval_are_refused(first: Any, second: Any, message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        rank_interval(first, second)


@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize(("rho", "n"), [(0.3, 10), (0.3, 50), (0.7, 10), (0.7, 20), (0.9, 10), (0.9, 20), (0.9, 50), (0.97, 20)])
def test_simulated_intervals_contain_the_truth(rho: float, n: int, decimals: int | None) -> None:
    """At nominal 90 %. Of 400 samples, 2.7 standard errors are 4 points; the interval is meant to err on the wide side."""
    population = drawn(100_000, rho, 0, decimals)
    truth = correlation(*population)
    random, hits = np.random.default_rng(n), 0
    for _ in range(400):
        chosen = random.integers(0, 100_000, n)
        found = rank_interval(population[0][chosen], population[1][chosen])
        hits += found.low <= truth <= found.high
    assert 0.86 <= hits / 400 <= 0.985


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the latency tables are not here ({DATA})")
@pytest.mark.parametrize("n", [10, 20, 50])
def test_intervals_of_real_devices_contain_the_truth(n: int) -> None:
    """Every eleventh pair of the devices of NAS-Bench-201, 20 samples each, in the bands of the true correlation."""
    with np.load(DATA / "nasbench201_latency.npz", allow_pickle=False) as table:
        ms = table["latency_ms"].astype(np.float64)
    ms[~(ms > 0)] = np.nan
    random, hits = np.random.default_rng(n), dict[bool, list[bool]]()
    for first, second in [(i, j) for i in range(ms.shape[1]) for j in range(i)][::11]:
        pair = ms[np.isfinite(ms[:, first]) & np.isfinite(ms[:, second])][:, [first, second]]
        truth = correlation(*pair.T)
        for _ in range(20):
            found = rank_interval(*pair[random.integers(0, len(pair), n)].T)
            hits.setdefault(truth > 0.8, []).append(found.low <= truth <= found.high)
    assert all(0.86 <= np.mean(band) <= 0.97 for band in hits.values())
