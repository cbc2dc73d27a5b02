"""Sources of an adaptation: what is fitted to their latencies, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mhmodels.hardware.capabilities import Capabilities
from mhmodels.search import CostModelError, LatencyOrigin, adapt, get_space, prepare_sources, restrict, sample, shipped_model
from mhmodels.search.adaptation.source_fit import MOST, fit_source
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource
from mhmodels.search.cost_model.adapted.predictor import source_predictor
from mhmodels.search.cost_model.data import CostModelData
from mhmodels.search.space.template import ArchitectureSpace
from tests.search.synthetic_latencies import REST, SOURCE, SPACES, World, noise, rank, table, world


def fitted(here: World, ms: Any, part: slice = SOURCE) -> CostModelData | KernelSource:
    """A source that is fitted to latencies of all networks, in ms."""
    return fit_source(here.space, here.rows[part], ms[part], here.prepared.standard, LatencyOrigin("source"))


def predicted(here: World, ms: Any, part: slice = SOURCE) -> Any:
    """Predictions for `REST` of a source that is fitted to latencies of all networks, in ms."""
    standard = here.prepared.standard
    features = here.prepared.prior.features(here.rows[REST]).network
    if here.space.name == "multi_hardware":  # its prior divides features by latencies
        from mhmodels.search.cost_model.adapted.features import network_features, standardised

        features = standardised(network_features(here.space, here.rows[REST]), standard)
    return np.exp(source_predictor(here.space, fitted(here, ms, part), standard)(here.rows[REST], features))


@pytest.mark.parametrize("name", SPACES)
def test_a_source_predicts_networks_that_it_does_not_have(name: str) -> None:
    here = world(name)
    found = predicted(here, here.ms * noise(len(here.ms), 0.02))
    assert rank(found, here.ms[REST]) >= 0.97
    assert np.median(np.abs(found / here.ms[REST] - 1)) < 0.06


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0, 1000.0])
def test_a_twentieth_of_a_source_that_is_absurd_changes_little(factor: float) -> None:
    here = world("fbnet")
    clean = here.ms * noise(len(here.ms), 0.02)
    wrong = clean.copy()
    wrong[np.random.default_rng(0).permutation(SOURCE.stop)[:12]] *= factor
    before, after = (np.abs(predicted(here, ms) / here.ms[REST] - 1).mean() for ms in (clean, wrong))
    assert after <= 1.25 * before
    assert rank(predicted(here, wrong), here.ms[REST]) >= rank(predicted(here, clean), here.ms[REST]) - 0.005


def test_a_source_whose_latencies_are_sums_is_fitted_far_more_closely_by_a_cost_model() -> None:
    here = world("multi_hardware")
    ms = here.ms * noise(len(here.ms), 0.01)
    assert isinstance(fitted(here, ms), CostModelData)
    assert np.median(np.abs(predicted(here, ms) / here.ms[REST] - 1)) < 0.01


def test_a_source_that_no_sum_describes_is_fitted_by_kernel_regression() -> None:
    here = world("nas_bench_201")
    ms = np.exp(here.ms / here.ms.std())
    assert isinstance(fitted(here, ms), KernelSource)
    assert rank(predicted(here, ms), here.ms[REST]) > 0.99


def test_absurd_latencies_do_not_choose_the_form() -> None:
    here = world("multi_hardware")
    wrong = here.ms * noise(len(here.ms), 0.01)
    wrong[::20] *= 100
    assert isinstance(fitted(here, wrong), CostModelData)


def test_a_source_of_many_networks_is_fitted_to_some() -> None:
    space = get_space("nas_bench_201")
    rows = np.array(list(space)[:1200])
    ms = np.exp(rows.sum(axis=1) / 2) * noise(len(rows), 0.05)
    found = fit_source(space, rows, ms, world("nas_bench_201").prepared.standard, LatencyOrigin("source"))
    assert isinstance(found, KernelSource)
    assert len(set(found.encodings)) == len(found.encodings) == MOST


@pytest.mark.parametrize("name", ["nas_bench_201", "fbnet"])
def test_predictions_stay_near_the_latencies_of_the_source(name: str) -> None:
    here = world(name)
    found = predicted(here, here.ms, slice(0, 25))
    assert found.max() <= here.ms[:25].max() * 2
    assert found.min() >= here.ms[:25].min() / 2


def test_prepared_sources_serve_several_targets_like_fresh_ones() -> None:
    here = world("fbnet")
    rows, ms = here.rows[300:310], here.ms[300:310] ** 0.8
    source = {"source": table(here.rows[SOURCE], here.ms[SOURCE])}
    prepared = prepare_sources(here.space, source)
    for target in (ms, 3 * ms):
        fresh, reused = (adapt("fbnet", given, rows, target, "target").model for given in (source, prepared))
        np.testing.assert_array_equal(
            fresh.bind(here.space).predict(here.rows[:50]), reused.bind(here.space).predict(here.rows[:50])
        )


def restricted(space: ArchitectureSpace) -> ArchitectureSpace:
    limits = Capabilities(id="my-npu", description="An NPU.", source="its manual", max_kernel=3)
    return restrict(space, [limits]).space


def test_networks_outside_a_restriction_are_good_for_a_source() -> None:
    space = get_space("multi_hardware")
    assert isinstance(space, ArchitectureSpace)
    narrow, here = restricted(space), world("multi_hardware")
    source = table(here.rows[SOURCE], here.ms[SOURCE])
    assert any(not narrow.contains(row) for row in source.encodings)
    rows = sample(narrow, 8).encodings
    ms = space.madds(rows) / 1e8
    found = [adapt(where, {"source": source}, rows, ms, "target").model.bind(where).predict(rows) for where in (narrow, space)]
    np.testing.assert_array_equal(*found)
    assert narrow.unrestricted().sizes == space.sizes


def changed(**fields: Any) -> Callable[[], Any]:
    here = world("fbnet")
    return lambda: table(here.rows[:30], here.ms[:30])._replace(**fields)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: table(world("fbnet").rows[:19], world("fbnet").ms[:19]), "has 19 networks with a latency, expected at least 20"),
        (lambda: table(world("fbnet").rows[:0], []), "has 0 networks with a latency"),
        (changed(ms=np.full(30, 2.5)), "all 30 latencies of a source are 2.5 ms"),
        (changed(ms=1 + 1e-15 * np.arange(30)), "it predicts 1 ms for every network of 'fbnet'"),
        *(
            (changed(ms=np.r_[np.arange(1.0, 30), value]), "1 of 30 latencies are no latencies, the first is")
            for value in (np.nan, np.inf, -np.inf, -1.0, 0.0)
        ),
        (changed(ms=np.arange(1.0, 30)), r"30 encodings and latencies of shape \(29,\)"),
        (changed(encodings=world("nas_bench_201").rows[:30]), "an encoding is 22 whole numbers, one a decision; found 6"),
        (changed(encodings=world("fbnet").rows[:30] + 20), "expected one of"),
        (changed(encodings=np.repeat(world("fbnet").rows[:1], 30, 0)), "30 latencies are of 1 different networks"),
        (lambda: shipped_model("multi_hardware", "ethos-u55-128"), "is for encodings of space 'multi_hardware'"),
        (lambda: [1.0, 2.0], "it is a list, expected a CostModel or Latencies"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_by_name(source: Callable[[], Any], message: str) -> None:
    here = world("fbnet")
    good = table(here.rows[:30], here.ms[:30])
    with pytest.raises(CostModelError, match=f"source 'the npu': .*{message}"):
        prepare_sources(here.space, {"good": good, "the npu": source()})
