"""Effects are recovered, their intervals cover the truth, and data that cannot tell them are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.search import BlockProfile, CostModelError, conditional_profile, get_space, profile
from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.profiling.percentiles import LEVELS, percentile_effects
from mhmodels.search.profiling.reference import ReferenceNetworks

DATA = Path(__file__).parents[4] / "shared" / "data"
FBNET = get_space("fbnet")


def networks(n: int, seed: int = 0) -> Any:
    """Networks of FBNet with independent choices, skipped layers anywhere."""
    return np.random.default_rng(seed).integers(9, size=(n, 22)).astype(np.int16)


def device(seed: int = 0) -> Any:
    """(22, 9), ms of each choice at each layer: what blocks have in common, and what single layers add."""
    random = np.random.default_rng(seed)
    return random.gamma(2, 0.3, size=9) * random.uniform(0.5, 1.5, size=(22, 1)) + random.gamma(1, 0.1, size=(22, 9))


def total(table: Any, rows: Any) -> Any:
    return 3 + table[np.arange(22), rows].sum(axis=1)


def means(found: BlockProfile) -> Any:
    return np.array([np.nan if one.mean is None else one.mean for one in found.effects])


def coverage(found: BlockProfile, truth: Any) -> float:
    return float(np.mean([one.low <= true <= one.high for one, true in zip(found.effects, truth, strict=True)]))


def test_an_exact_device_is_recovered_from_as_many_networks_as_effects() -> None:
    table, rows = device(), networks(200)
    found = profile(FBNET, rows, total(table, rows))
    truth = (table - table.mean(axis=1, keepdims=True)).ravel()
    assert np.abs(means(found) - truth).max() < 1e-6
    assert found.level == pytest.approx(3 + table.mean(axis=1).sum(), abs=1e-6)
    assert [(one.unit, one.layer, one.choice) for one in found.effects[:10]] == [(1, 1, i) for i in range(9)] + [(1, 2, 0)]


@pytest.mark.parametrize(("n", "noise"), [(200, 0.03), (400, 0.03)])
def test_intervals_cover_the_truth_as_often_as_they_say(n: int, noise: float) -> None:
    covered = []
    for seed in range(4):
        table, rows = device(seed), networks(n, seed)
        random = np.random.default_rng(100 + seed)
        found = profile(FBNET, rows, total(table, rows) * (1 + noise * random.normal(size=n)))
        covered.append(coverage(found, (table - table.mean(axis=1, keepdims=True)).ravel()))
    assert 0.85 <= np.mean(covered) <= 0.95


def test_absurd_values_are_set_aside() -> None:
    table, rows = device(), networks(300)
    ms = total(table, rows) * (1 + 0.01 * np.random.default_rng(1).normal(size=300))
    broken = ms.copy()
    broken[[7, 80, 200]] *= [30, 0.02, 8]
    clean, found, trusting = profile(FBNET, rows, ms), profile(FBNET, rows, broken), profile(FBNET, rows, broken, robust=False)
    assert (clean.set_aside, found.set_aside, found.n, trusting.set_aside) == (0, 3, 297, 0)
    assert np.corrcoef(means(found), means(clean))[0, 1] > 0.99
    assert np.corrcoef(means(trusting), means(clean))[0, 1] < 0.9


def test_effects_do_not_depend_on_the_distribution_of_the_sample() -> None:
    """Samples of shallow networks tell the same as uniform ones, since effects are relative to the mean network of the space."""
    space = get_space("ofa_mobilenet_v3")
    random = np.random.default_rng(0)
    weights = random.normal(size=int(space.cardinalities.sum()))
    found = [
        profile(space, rows, 100 + space.one_hot(rows) @ weights)
        for rows in (space.draw(300, random, depth="uniform"), space.draw(900, random))
    ]
    one, other = map(means, found)
    assert np.nanmax(np.abs(one - other)) < 1e-4
    assert found[0].level == pytest.approx(found[1].level, abs=1e-4)


def test_presence_is_apart_from_the_choice_of_the_block() -> None:
    """Every layer that is there costs 2 ms, whatever its block: no block differs from another, and depth has a price."""
    space = get_space("ofa_mobilenet_v3")
    layout = layout_of(space)
    rows = space.draw(300, np.random.default_rng(0), depth="uniform")
    optional = [one.column for one in layout.layers if one.skip is not None]
    found = profile(space, rows, 10 + 2.0 * (rows[:, optional] != 9).sum(axis=1))
    assert [one.mean for one in found.depth] == pytest.approx([2.0] * 10, abs=1e-4)
    assert np.ptp([one.mean for one in found.blocks]) < 1e-4
    by_place = {(one.unit, one.layer, one.block): one.mean for one in found.effects}
    block = "inverted_bottleneck kernel=5 expansion=4"
    # Two optional layers: 1 on average; 1.5 of them if the first one exists, and 2 if the second one does.
    assert [by_place[1, layer, block] for layer in (1, 2, 3, 4)] == pytest.approx([0, 0, 1, 2], abs=1e-4)
    assert [by_place[1, layer, "skip"] for layer in (3, 4)] == pytest.approx([-2, -1], abs=1e-4)


@pytest.mark.parametrize("name", ["ofa_mobilenet_v3", "nas_bench_macro", "nas_bench_201"])
def test_conditional_sampling_and_regression_agree(name: str) -> None:
    space = get_space(name)
    weights = np.random.default_rng(5).normal(size=int(space.cardinalities.sum()))

    def measure(rows: Any) -> Any:
        return 100 + space.one_hot(rows) @ weights

    reference = ReferenceNetworks(space, layout_of(space), [each.tolist() for each in space.allowed])
    rows = reference.draw(600, np.random.default_rng(0))
    shared = profile(space, rows, measure(rows))
    published = conditional_profile(space, measure, 300, np.random.default_rng(1))
    assert np.corrcoef(means(shared), means(published))[0, 1] > 0.95
    assert coverage(published, means(shared)) >= 0.84
    assert [one.block for one in shared.effects] == [one.block for one in published.effects]
    ranked = [{one.block: one.mean for one in found.blocks} for found in (shared, published)]
    assert ranked[0] == pytest.approx(ranked[1], abs=0.35)
    for one, other in zip(shared.depth, published.depth, strict=True):
        assert one.mean == pytest.approx(other.mean, abs=1.5)


def test_percentiles_see_what_means_do_not() -> None:
    """A choice that makes latency uncertain, not longer on average."""
    rows = networks(1500)
    random = np.random.default_rng(3)
    having = rows[:, 4] == 2
    ms = 50 + random.normal(size=1500) * np.where(having, 6.0, 1.0)
    found = profile(FBNET, rows, ms)
    effect = next(one for one in found.effects if (one.layer, one.choice) == (5, 2))
    other = next(one for one in found.effects if (one.layer, one.choice) == (6, 2))
    assert effect.p5 is not None
    assert effect.p95 is not None
    assert other.p95 is not None
    assert effect.p5.mean < -4 < 4 < effect.p95.mean  # type: ignore[operator]
    assert effect.p5.is_clear
    assert effect.p95.is_clear
    assert effect.p95.low <= effect.p95.mean <= effect.p95.high  # type: ignore[operator]
    assert abs(other.p95.mean) < 2  # type: ignore[arg-type]


def test_intervals_of_independent_percentiles_cover_the_truth() -> None:
    """Exponential values against those of twice the scale: the true differences of the quantiles are known."""
    truth = -np.log1p(-np.array(LEVELS))
    covered = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        found = percentile_effects(2 * random.exponential(size=150), random.exponential(size=1000), 0.9)
        covered += [low <= true <= high for (_, low, high), true in zip(found, truth, strict=True)]
    assert 0.84 <= np.mean(covered) <= 0.96


def test_percentiles_of_conditional_samples_have_intervals_from_20_networks_on() -> None:
    space: Any = get_space("nas_bench_macro")
    few, many = (conditional_profile(space, space.madds, n, np.random.default_rng(0)).effects[2] for n in (19, 40))
    assert few.p95 is not None
    assert many.p95 is not None
    assert (few.p95.low, few.p95.high) == (None, None)
    assert many.p95.low < many.p95.mean < many.p95.high  # type: ignore[operator]


def test_choices_that_never_occur_are_named_and_have_no_effect() -> None:
    rows = networks(300)
    rows[rows[:, 3] == 5, 3] = 0
    found = profile(FBNET, rows, total(device(), rows))
    absent = next(one for one in found.effects if (one.layer, one.choice) == (4, 5))
    assert (absent.mean, absent.low, absent.high, absent.n, absent.p5) == (None, None, None, 0, None)
    assert found.missing == ("stage3_block3: inverted_bottleneck kernel=5 expansion=1 groups=2",)
    assert sum(one.mean is None for one in found.effects) == 1


def test_equal_samples_give_equal_profiles() -> None:
    rows = networks(150)
    ms = total(device(), rows)
    assert profile(FBNET, rows, ms) == profile(FBNET, rows, ms)


def test_a_higher_confidence_gives_wider_intervals() -> None:
    rows = networks(150)
    ms = total(device(), rows) * (1 + 0.05 * np.random.default_rng(1).normal(size=150))
    narrow, wide = (profile(FBNET, rows, ms, confidence=confidence).effects[0] for confidence in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("n", "change", "message"),
    [
        (1, {}, r"1 networks for 176 effects of the choices of space 'fbnet', expected at least 88: measure more networks"),
        (60, {}, r"60 networks for 176 effects of the choices of space 'fbnet', expected at least 88: measure more networks"),
        (100, {3: float("nan")}, r"1 of 100 are NaN or infinite; leave these networks out"),
        (100, dict.fromkeys(range(100), 5.0), r"all 100 are 5, expected values that differ"),
    ],
)
def test_data_that_cannot_tell_are_refused(n: int, change: dict[int, float], message: str) -> None:
    rows = networks(n)
    ms = total(device(), rows)
    for place, value in change.items():
        ms[place] = value
    with pytest.raises(CostModelError, match=message):
        profile(FBNET, rows, ms)


def test_wrong_arguments_are_refused() -> None:
    rows = networks(100)
    with pytest.raises(CostModelError, match=r"'values' is \(3,\), expected \(100,\)"):
        profile(FBNET, rows, [1, 2, 3])
    with pytest.raises(CostModelError, match="'confidence' is 1"):
        profile(FBNET, rows, total(device(), rows), confidence=1)
    with pytest.raises(CostModelError, match="'per_cell' is 1"):
        conditional_profile(FBNET, FBNET.madds, 1, np.random.default_rng(0))  # type: ignore[attr-defined]
    with pytest.raises(CostModelError, match="all finite"):
        conditional_profile(FBNET, lambda rows: np.full(len(rows), np.nan), 2, np.random.default_rng(0))


@pytest.mark.skipif(not (DATA / "fbnet_latency.npz").is_file(), reason="needs ../shared/data/fbnet_latency.npz")
@pytest.mark.parametrize("name", ["pixel3", "eyeriss"])
def test_real_tables_of_layers_are_recovered(name: str) -> None:
    data = np.load(DATA / "fbnet_latency.npz")
    ms = data["latency_ms"][:, [str(each) for each in data["devices"]].index(name)].astype(float)
    rows = data["arch"].astype(np.int16)
    one_hot = np.eye(9)[rows].reshape(len(rows), -1)
    table = np.linalg.lstsq(np.c_[np.ones(len(rows)), one_hot], ms, rcond=None)[0][1:].reshape(22, 9)
    truth = (table - table.mean(axis=1, keepdims=True)).ravel()
    for n, least in ((200, 0.95), (1000, 0.995)):
        found = []
        for seed in range(2):
            chosen = np.random.default_rng(seed).permutation(len(rows))[:n]
            found.append(profile(FBNET, rows[chosen], ms[chosen]))
        assert np.mean([np.corrcoef(means(one), truth)[0, 1] for one in found]) >= least
        assert np.mean([coverage(one, truth) for one in found]) >= 0.85
