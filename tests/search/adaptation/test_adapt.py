"""Adapting a source to targets that differ from it in a known way: rankings, absurd measurements, intervals, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mhmodels.errors import MhmodelsError
from mhmodels.search import CostModelError, SpaceError, adapt, get_space, prepare_sources, sample, shipped_model
from mhmodels.search.adaptation.guard import is_worse
from mhmodels.search.space.catalogue.nas_bench_201 import cell_structure
from tests.search.synthetic_latencies import (
    MEASURED,
    REST,
    SOURCE,
    SPACES,
    World,
    adapted,
    drawn,
    launch_bound,
    noise,
    rank,
    rest_rank,
    table,
    world,
)

DATA = Path(__file__).parents[4] / "shared" / "data"


def mean_rank(here: World, target: Any, n: int, truth: Any = None, seeds: int = 4) -> float:
    truth = target if truth is None else truth
    return float(np.mean([rest_rank(here, adapted(here, target, n, seed), truth) for seed in range(seeds)]))


def source_rank(here: World, target: Any) -> float:
    """Spearman correlation of the source's own prediction, without any measurement of the target."""
    prior = here.prepared.prior
    return rank(prior.features(here.rows[REST]).mean[:, 0], target[REST])


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("n", [5, 20])
def test_a_target_that_ranks_like_the_source_keeps_its_ranking(name: str, n: int) -> None:
    here = world(name)
    for target in (here.ms, 40 * here.ms, 3 * here.ms**0.6):
        assert rest_rank(here, adapted(here, target, n), target) >= source_rank(here, target) - 0.01


@pytest.mark.parametrize(("name", "least"), [("nas_bench_201", 0.9), ("fbnet", 0.98)])
def test_a_device_that_pays_for_each_kernel_is_learned_from_20_measurements(name: str, least: float) -> None:
    here = world(name)
    target = launch_bound(here)
    assert source_rank(here, target) < 0.8
    assert mean_rank(here, target, 20) >= least


def test_a_device_that_pays_for_each_kernel_is_learned_where_widths_vary() -> None:
    here = world("multi_hardware")
    target = here.ms + 2 * here.kernels / here.kernels.std() * here.ms.std()
    assert mean_rank(here, target, 20) >= source_rank(here, target) + 0.1


@pytest.mark.parametrize("name", SPACES)
def test_a_clock_of_whole_milliseconds_does_not_carry_the_fit(name: str) -> None:
    here = world(name)
    target = 12 * here.ms / here.ms.mean()
    result = adapted(here, np.maximum(np.round(target), 1), 20)
    assert result.model.adaptation is not None
    assert result.model.adaptation.clock_ms == 1
    assert not result.set_aside.any()
    assert rest_rank(here, result, target) >= source_rank(here, target) - 0.03


@pytest.mark.parametrize("name", SPACES)
def test_errors_with_heavy_tails_cost_little(name: str) -> None:
    here = world(name)
    errors = np.exp(0.03 * np.random.default_rng(6).standard_t(2, len(here.ms)))
    usual = mean_rank(here, here.ms * noise(len(here.ms), 0.03), 20, here.ms)
    assert mean_rank(here, here.ms * errors, 20, here.ms) >= usual - 0.02


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("name", SPACES)
def test_one_absurd_measurement_of_20_is_set_aside_and_changes_little(name: str, factor: float) -> None:
    here = world(name)
    target = here.ms**0.9 * noise(len(here.ms), 0.03)
    for seed in range(3):
        wrong, bad = target.copy(), drawn(20, seed)[7]
        wrong[bad] *= factor
        clean, result = adapted(here, target, 20, seed), adapted(here, wrong, 20, seed)
        assert np.flatnonzero(result.set_aside).tolist() == [7]
        assert not clean.set_aside.any()
        assert result.model.held_out.set_aside == 1
        assert rest_rank(here, result, target) >= rest_rank(here, clean, target) - 0.015


def test_a_twentieth_of_50_measurements_that_is_absurd_changes_little_on_a_device_unlike_the_source() -> None:
    here = world("fbnet")
    target = launch_bound(here) * noise(len(here.ms), 0.01)
    wrong, bad = target.copy(), drawn(50, 0)[[4, 30, 41]]
    wrong[bad] *= [10, 0.1, 10]
    result = adapted(here, wrong, 50)
    assert np.flatnonzero(result.set_aside).tolist() == [4, 30, 41]
    assert rest_rank(here, result, target) >= rest_rank(here, adapted(here, target, 50), target) - 0.01


@pytest.mark.parametrize("name", SPACES)
def test_a_constant_offset_keeps_the_ranking(name: str) -> None:
    here = world(name)
    target = here.ms + 10 * here.ms.mean()
    assert mean_rank(here, target, 10) >= source_rank(here, target) - 0.02


@pytest.mark.parametrize("name", SPACES)
def test_the_unit_of_a_source_changes_nothing(name: str) -> None:
    here = world(name)
    target, chosen = launch_bound(here) * noise(len(here.ms), 0.02), drawn(10, 0)
    found = []
    for factor in (1, 1000):
        prepared = prepare_sources(here.space, {"source": table(here.rows[SOURCE], factor * here.ms[SOURCE])})
        model = adapt(here.space, prepared, here.rows[chosen], target[chosen], "target").model
        found.append(model.bind(here.space).predict(here.rows[REST]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_the_unit_of_the_target_scales_the_predictions() -> None:
    here = world("fbnet")
    target, chosen = here.ms**0.9 * noise(len(here.ms), 0.02) * np.pi, drawn(10, 0)
    slow, fast = (
        adapt(here.space, here.prepared, here.rows[chosen], factor * target[chosen], "target").model.bind(here.space)
        for factor in (1, 1e-3)
    )
    np.testing.assert_allclose(1e-3 * slow.predict(here.rows[REST]), fast.predict(here.rows[REST]), rtol=1e-3)


def test_near_zero_latencies_of_cells_without_a_path_are_valid() -> None:
    here = world("nas_bench_201")
    empty = cell_structure(here.rows)[0][:, 4] > 0
    target = np.where(empty, 0.01, here.ms) * noise(len(here.ms), 0.02)
    assert empty.sum() >= 5
    usual = np.flatnonzero(~empty)[:300]
    both = np.r_[np.flatnonzero(empty)[:2], usual[-18:]]
    source = {"source": table(here.rows[usual[:200]], here.ms[usual[:200]])}
    result = adapt(here.space, source, here.rows[both], target[both], "target")
    judged = np.setdiff1d(np.flatnonzero(~empty), np.r_[both, usual])
    found = result.model.bind(here.space).predict(here.rows)
    assert rank(found[judged], target[judged]) >= 0.95
    assert np.median(np.abs(found[judged] / target[judged] - 1)) < 0.25


@pytest.mark.parametrize("name", SPACES)
def test_a_useless_source_beside_a_good_one_costs_little(name: str) -> None:
    here = world(name)
    target, chosen = here.ms**0.8 * noise(len(here.ms), 0.02), drawn(20, 1)
    useless = table(here.rows[SOURCE], np.exp(np.random.default_rng(8).standard_normal(SOURCE.stop)))
    good = table(here.rows[SOURCE], here.ms[SOURCE])
    both = adapt(here.space, {"good": good, "useless": useless}, here.rows[chosen], target[chosen], "target")
    assert both.rescaled_source == "good"
    assert rest_rank(here, both, target) >= source_rank(here, target) - 0.05


def test_sources_of_different_networks_serve_one_target() -> None:
    here = world("fbnet")
    first, second = slice(0, 120), slice(120, 250)
    sources = {"a": table(here.rows[first], here.ms[first]), "b": table(here.rows[second], 7 * here.ms[second] ** 0.5)}
    chosen = drawn(10, 0)
    result = adapt(here.space, sources, here.rows[chosen], here.ms[chosen], "target")
    assert result.model.adaptation is not None
    assert {source.hardware for source in result.model.adaptation.sources} <= {"a", "b"}
    assert rest_rank(here, result, here.ms) >= source_rank(here, here.ms) - 0.02


def test_the_guard_gives_up_an_adaptation_only_if_it_is_clearly_worse() -> None:
    even = np.full(10, 0.1)
    uneven = even + np.tile([-0.05, 0.06], 5)
    assert not is_worse(even, even)
    assert not is_worse(uneven, even)
    assert is_worse(even + np.linspace(0.04, 0.06, 10), even)


def test_the_rescaled_model_has_one_source_and_its_ranking() -> None:
    here = world("fbnet")
    results = [adapted(here, 5 * here.ms**0.7, 10, seed) for seed in range(6)]
    rescaled = [one for one in results if one.model.adaptation is not None and one.model.adaptation.decision == "rescaled"]
    assert rescaled
    for one in rescaled:
        assert one.rescaled_error < one.adapted_error
        assert rest_rank(here, one, here.ms) == pytest.approx(source_rank(here, here.ms), abs=1e-6)


def test_an_adaptation_is_the_same_every_time_and_does_not_depend_on_the_order() -> None:
    here = world("fbnet")
    target, chosen = launch_bound(here) * noise(len(here.ms), 0.02), drawn(12, 0)
    first, again, turned = (
        adapt(here.space, here.prepared, here.rows[order], target[order], "target").model.bind(here.space)
        for order in (chosen, chosen, chosen[::-1])
    )
    predicted = first.predict(here.rows[REST])
    np.testing.assert_array_equal(predicted, again.predict(here.rows[REST]))
    np.testing.assert_allclose(predicted, turned.predict(here.rows[REST]), rtol=1e-3)


@pytest.mark.parametrize("name", SPACES)
def test_intervals_cover_what_they_state_at_20_measurements(name: str) -> None:
    here = world(name)
    target = here.ms**0.8 * noise(len(here.ms), 0.04)
    covered, widths = [], []
    for n in (6, 20):
        ends = [adapted(here, target, n, seed).model.bind(here.space).interval(here.rows[REST], 0.9) for seed in range(5)]  # type: ignore[attr-defined]
        covered.append(np.mean([(low < target[REST]) & (target[REST] < high) for low, high in ends]))
        widths.append(np.mean([np.median(high / low) for low, high in ends]))
    assert 0.85 <= covered[1] <= 0.98
    assert widths[0] > widths[1]


def test_an_interval_is_around_the_prediction_and_wider_for_a_higher_level() -> None:
    here = world("multi_hardware")
    bound: Any = adapted(here, here.ms * noise(len(here.ms), 0.04), 10).model.bind(here.space)
    predicted, rows = bound.predict(here.rows[REST]), here.rows[REST]
    before = 1.0
    for level in (0.5, 0.8, 0.9, 0.99):
        low, high = bound.interval(rows, level)
        assert (low < predicted).all()
        assert (predicted < high).all()
        assert (high / low > before).all()
        before = high / low
    for level in (0, 1, 90, -0.1, float("nan")):
        with pytest.raises(ValueError, match="expected a probability above 0 and below 1"):
            bound.interval(rows, level)


def test_leave_one_out_predictions_are_what_the_model_states() -> None:
    here = world("fbnet")
    target, chosen = launch_bound(here) * noise(len(here.ms), 0.01), drawn(30, 0)
    result = adapted(here, target, 30)
    stated = result.model.held_out
    assert stated.n == 30
    assert stated.spearman == pytest.approx(rank(result.predicted_ms, target[chosen]))
    assert stated.mape == pytest.approx(np.mean(np.abs(result.predicted_ms / target[chosen] - 1)))
    unseen = np.abs(result.model.bind(here.space).predict(here.rows[REST]) / target[REST] - 1).mean()
    assert stated.mape == pytest.approx(unseen, rel=0.6)


def test_measurements_that_say_nothing_give_a_model_that_says_so() -> None:
    here = world("fbnet")
    lottery = np.random.default_rng(9).permutation(here.ms)
    result = adapted(here, lottery, 20)
    with pytest.raises(CostModelError, match=r"not to be relied on: .*Spearman correlation"):
        result.model.check_trust()
    assert np.isfinite(result.model.bind(here.space).predict(here.rows)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, ms: (rows[:4], ms[:4]), "'target' has 4 measured networks, expected at least 5: measure more"),
        (lambda rows, ms: (rows[:0], ms[:0]), "'target' has 0 measured networks"),
        (lambda rows, ms: (rows, 7 + 0 * ms), "all 8 latencies on 'target' are 7 ms"),
        *(
            (lambda rows, ms, value=value: (rows, np.r_[ms[:7], value]), "1 of 8 latencies are no latencies, the first is")
            for value in (np.nan, np.inf, -1.0, 0.0, 1e300)
        ),
        (lambda rows, ms: (rows, ms[:7]), r"8 encodings and latencies of shape \(7,\)"),
        (lambda rows, ms: (rows[:, :5], ms), "an encoding is 22 whole numbers, one a decision; found 5"),
        (lambda rows, ms: (rows + 100, ms), "encoding 0, decision"),
        (lambda rows, ms: (np.r_[rows[:5], rows[:3]], ms), "8 latencies are of 5 different networks, fbnet:.* occurs 2 times"),
        (lambda rows, ms: (np.repeat(rows[:1], 8, 0), ms), "of 1 different networks.*give the median"),
    ],
)
def test_measurements_that_cannot_be_adapted_to_are_refused(change: Callable[..., Any], message: str) -> None:
    here = world("fbnet")
    rows, ms = change(here.rows[:8], here.ms[:8])
    with pytest.raises((CostModelError, SpaceError), match=message):
        adapt("fbnet", here.prepared, rows, ms, "target")


def test_sources_of_another_space_are_refused() -> None:
    here = world("fbnet")
    with pytest.raises(CostModelError, match="prepared for space 'fbnet', not for 'nas_bench_201'"):
        adapt("nas_bench_201", here.prepared, world("nas_bench_201").rows[:8], np.arange(1.0, 9), "target")
    with pytest.raises(CostModelError, match="there is no source"):
        adapt("fbnet", {}, here.rows[:8], here.ms[:8], "target")
    with pytest.raises(MhmodelsError, match="no_such_space"):
        adapt("no_such_space", here.prepared, here.rows[:8], here.ms[:8], "target")


@pytest.mark.parametrize("ms", [np.logspace(-8, 11, 9), 1 + 1e-12 * np.arange(9), np.r_[np.ones(8), 2.0], np.arange(1.0, 10)])
def test_strange_but_possible_latencies_give_finite_predictions(ms: Any) -> None:
    here = world("nas_bench_201")
    bound: Any = adapt(here.space, here.prepared, here.rows[MEASURED][:9], ms, "target").model.bind(here.space)
    low, high = bound.interval(here.rows[REST], 0.9)
    assert np.isfinite(high).all()
    assert (low > 0).all()
    assert (low < high).all()


def test_a_shipped_model_adapts_to_another_shipped_hardware() -> None:
    """At 10 networks, an NPU of another family is ranked and predicted better than by the source itself."""
    space = get_space("multi_hardware")
    source, target = (shipped_model(space, name) for name in ("ethos-u55-128", "ethos-u85-256"))
    rows = sample(space, 300).encodings
    ms = target.bind(space).predict(rows)
    result = adapt(space, {"ethos-u55-128": source}, rows[:10], ms[:10], "target")
    found = result.model.bind(space).predict(rows[10:])
    assert rank(found, ms[10:]) >= rank(source.bind(space).predict(rows[10:]), ms[10:]) - 0.005
    assert np.median(np.abs(found / ms[10:] - 1)) < 0.1


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the latency tables are not here ({DATA})")
def test_a_gpu_of_batch_1_is_adapted_to_from_a_phone() -> None:
    """FBNet, Pixel3 -> 2080ti_1 at 20 networks: 0.907 (facts/proxy_and_blocks.md 1.7); the published algorithm reaches 0.2."""
    space = get_space("fbnet")
    with np.load(DATA / "fbnet_latency.npz", allow_pickle=False) as stored:
        names, rows, ms = stored["devices"].tolist(), stored["arch"].astype(np.int16), stored["latency_ms"].astype(np.float64)
    rows, place = np.unique(space.canonical(rows), axis=0, return_index=True)
    phone, gpu = (ms[place, names.index(name)] for name in ("pixel3", "2080ti_1"))
    order = np.random.default_rng(0).permutation(len(rows))
    prepared = prepare_sources(space, {"pixel3": table(rows[order[:600]], phone[order[:600]])})
    found = []
    for seed in range(4):
        chosen = np.random.default_rng(seed).permutation(len(rows))[:20]
        model = adapt(space, prepared, rows[chosen], gpu[chosen], "2080ti_1").model
        found.append(rank(model.bind(space).predict(rows[:1500]), gpu[:1500]))
    assert rank(phone, gpu) < 0.3
    assert np.mean(found) >= 0.9


def test_a_source_that_ranks_a_noisy_sample_backwards_is_not_turned_round() -> None:
    """Ten whole milliseconds whose noise outweighs the differences: the rest is still ranked as the source ranks it."""
    here = world("fbnet")
    rest = here.ms[REST]
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(np.arange(MEASURED.start, MEASURED.stop), 10, replace=False)
        ms = np.round(4 * here.ms[chosen] * np.exp(0.4 * rng.standard_normal(10)))
        result = adapt(here.space, here.prepared, here.rows[chosen], ms, "phone")
        found.append(spearmanr(result.model.bind(here.space).predict(here.rows[REST]), rest)[0])
    assert min(found) > 0
