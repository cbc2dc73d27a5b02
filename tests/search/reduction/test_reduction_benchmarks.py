"""The experiments of examples/reduction_benchmarks.py: their devices, their bookkeeping of evaluations, and their scores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mhmodels.search import sample
from tests.examples import load_example

BENCHMARKS: Any = load_example("reduction_benchmarks")


@pytest.fixture(scope="module")
def npu() -> Any:
    return BENCHMARKS.synthetic(BENCHMARKS.DEVICES["npu"])


def test_effects_of_blocks_on_accuracy_are_the_published_ones(npu: Any) -> None:
    """Their mean over the layers of a unit, weighted by its sensitivity; the mean sensitivity is 1."""
    rows = np.repeat(sample(npu.space, 1, seed=3, distribution="depth-uniform").encodings, 2, axis=0)
    gains = []
    for unit in range(5):
        rows[0, 4 * unit], rows[1, 4 * unit] = 8, 0  # e6 k7 and e3 k3 in the first layer
        gains.append(np.subtract(*npu.accuracy(rows)))
        rows[:, 4 * unit] = 0
    assert np.mean(gains) == pytest.approx(77.58 - 77.43)
    assert gains == sorted(gains)


def test_large_kernels_of_the_npu_cost_four_times(npu: Any) -> None:
    row = sample(npu.space, 1, distribution="depth-uniform").encodings
    fast, slow = row.copy(), row.copy()
    fast[:, 0], slow[:, 0] = 3, 5  # e4 k3 and e4 k7
    others = npu.ms(fast) - 0.5 * 1.02
    assert npu.ms(slow) - others == pytest.approx(4 * 0.5 * 1.02)


def test_a_front_is_chosen_by_seen_and_judged_by_true_accuracies(npu: Any) -> None:
    rows = sample(npu.space, 40, distribution="depth-uniform").encodings
    ms, true = npu.ms(rows), npu.accuracy(rows)
    seen = np.where(ms == ms.min(), 99.0, 50.0)  # looks as if the fastest network beats all others
    point = BENCHMARKS.ReferencePoint(float(ms.max()), float(true.min()) - 1)
    found = point.hypervolume(npu, BENCHMARKS.Evaluated(rows, seen))
    fastest = ms.argmin()
    assert found == pytest.approx((point.ms - ms[fastest]) * (true[fastest] - point.accuracy))


@pytest.mark.parametrize("method", ["front-evolution", "nsga2", "reinforce"])
def test_both_searches_pay_for_equally_many_evaluations(npu: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    observed = npu.observed
    counting = npu._replace(observed=lambda rows, rng: asked.append(len(rows)) or observed(rows, rng))
    part = counting.space.restricted([[choice for choice in each if choice % 3 != 2] for each in npu.space.allowed[:-1]] + [[24]])
    monkeypatch.setattr(BENCHMARKS, "reduced", lambda *_: SimpleNamespace(restrict=lambda _: part))
    scores = BENCHMARKS.compare(counting, method, 120, 40, [0])
    assert all(len(values) == 1 for values in scores.values())
    if method != "reinforce":  # the controller asks for some networks again, which cost nothing
        assert sum(asked) == 2 * 120


def test_a_network_of_the_profile_keeps_its_value(npu: Any) -> None:
    known = BENCHMARKS.profiled(npu, 30, seed=0)
    np.testing.assert_allclose(BENCHMARKS.Observer(npu, 1, known).evaluate(known.rows), known.seen / 100)
    assert not np.allclose(BENCHMARKS.Observer(npu, 1).evaluate(known.rows), known.seen / 100)


def test_the_rule_flags_exactly_the_large_kernels_of_the_npu(npu: Any) -> None:
    found = BENCHMARKS.reduced(npu, BENCHMARKS.profiled(npu, 150, seed=0))
    assert {one.block for one in found.removed} == {f"inverted_bottleneck kernel=7 expansion={e}" for e in (3, 4, 6)}


def test_where_only_depth_costs_no_block_goes_and_last_layers_do() -> None:
    launch = BENCHMARKS.synthetic(BENCHMARKS.DEVICES["launch"])
    found = BENCHMARKS.reduced(launch, BENCHMARKS.profiled(launch, 150, seed=0))
    assert found.removed == ()
    assert found.caps
