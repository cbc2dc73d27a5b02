"""Rewards against the paper's figures and their own definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mhmodels.errors import MhmodelsError
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.errors import CostModelError, SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.space.catalogue import get_space
from tests.search import toys

# C derived from Tables 1 and 2, and the printed latencies of two networks, in ms (facts 0.2; Pixel 4).
REFERENCES = {"cpu-float": 36.8, "cpu-uint8": 12.7, "gpu": 4.82, "dsp": 3.06, "edgetpu": 2.38}
MULTI_AVG, MULTI_MAX = (31.0, 13.9, 5.40, 3.81, 2.40), (25.2, 11.7, 4.47, 3.38, 2.22)

LATENCIES = arrays(np.float64, (4, 3), elements=st.floats(0.1, 100))
ACCURACIES = arrays(np.float64, 4, elements=st.floats(0, 1))
KINDS = st.sampled_from(["absolute", "soft-exponential", "hard-exponential"])
AGGREGATES = st.sampled_from(["avg", "max"])


def three(**fields: Any) -> Reward:
    return Reward(references={"a": 2.0, "b": 5.0, "c": 11.0}, **fields)


@pytest.mark.parametrize(("aggregate", "equation", "norms"), [("avg", "7", (1.06, 0.91)), ("max", "8", (1.25, 1.10))])
def test_the_papers_networks_earn_what_equations_7_and_8_say(aggregate: Any, equation: str, norms: tuple[float, float]) -> None:
    reward = Reward(references=REFERENCES, aggregate=aggregate)
    assert reward.equation == equation
    np.testing.assert_allclose(reward.f([MULTI_AVG, MULTI_MAX]), norms, atol=0.005)
    expected = np.array([0.758, 0.749]) - 0.07 * np.abs(np.array(norms) - 1)
    np.testing.assert_allclose(reward([0.758, 0.749], [MULTI_AVG, MULTI_MAX]), expected, atol=0.07 * 0.005)
    assert [reward.hardware[i] for i in reward.binding([MULTI_AVG, MULTI_MAX])] == ["dsp", "dsp"]


def test_equation_6_is_one_hardware_against_its_target() -> None:
    reward = Reward(references={"pixel1": 84.0}, beta=-0.10)
    assert reward.equation == "6"
    np.testing.assert_allclose(reward([0.75, 0.75, 0.75], [[84.0], [92.4], [75.6]]), [0.75, 0.74, 0.74])


def test_multiplicative_forms() -> None:
    soft = Reward(references={"a": 10.0}, kind="soft-exponential", beta=-0.07)
    hard = Reward(references={"a": 10.0}, kind="hard-exponential", beta=-0.07)
    np.testing.assert_allclose(soft([0.8, 0.8], [[20.0], [5.0]]), [0.8 * 2**-0.07, 0.8 * 0.5**-0.07])
    np.testing.assert_allclose(hard([0.8, 0.8], [[20.0], [5.0]]), [0.8 * 2**-0.07, 0.8])


@given(ACCURACIES, LATENCIES, KINDS, AGGREGATES)
def test_a_slower_network_never_earns_more_beyond_the_target(accuracy: Any, latencies: Any, kind: Any, aggregate: Any) -> None:
    reward = three(kind=kind, aggregate=aggregate)
    f = reward.f(latencies)
    slow = latencies / f[:, None]  # on the target exactly
    before, after = reward(accuracy, slow), reward(accuracy, slow * 1.3)
    assert (after <= before + 1e-12).all()
    np.testing.assert_allclose(reward.f(slow), 1.0)
    np.testing.assert_allclose(before, accuracy, atol=1e-12)


@given(ACCURACIES, LATENCIES, AGGREGATES)
def test_the_order_of_hardware_does_not_matter(accuracy: Any, latencies: Any, aggregate: Any) -> None:
    turned = Reward(references={"c": 11.0, "a": 2.0, "b": 5.0}, aggregate=aggregate, weights={"a": 3.0})
    straight = three(aggregate=aggregate, weights={"a": 3.0})
    np.testing.assert_allclose(turned(accuracy, latencies[:, [2, 0, 1]]), straight(accuracy, latencies))


@given(LATENCIES, AGGREGATES)
def test_weight_0_and_an_infinite_reference_remove_a_hardware(latencies: Any, aggregate: Any) -> None:
    without = Reward(references={"a": 2.0, "b": 5.0}, aggregate=aggregate).f(latencies[:, :2])
    np.testing.assert_allclose(three(aggregate=aggregate, weights={"c": 0.0}).f(latencies), without)
    infinite = Reward(references={"a": 2.0, "b": 5.0, "c": float("inf")}, aggregate=aggregate)
    np.testing.assert_allclose(infinite.f(latencies), without)


@given(LATENCIES)
def test_the_binding_hardware_is_the_one_that_the_maximum_sees(latencies: Any) -> None:
    reward = three(aggregate="max", weights={"b": 2.0})
    relief = latencies.copy()
    worst = reward.binding(latencies)
    relief[np.arange(4), worst] /= 1.5
    assert (reward.f(relief) < reward.f(latencies)).all()
    others = np.where(np.arange(3) == worst[:, None], latencies, latencies / 1.5)
    np.testing.assert_allclose(reward.f(others), reward.f(latencies))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"references": {}}, "references"),
        ({"references": {"a": 0.0}}, "reference latency of 'a' is 0.0"),
        ({"references": {"a": 1.0}, "weights": {"z": 1.0}}, "weight of 'z'"),
        ({"references": {"a": 1.0}, "weights": {"a": -1.0}}, "weight of 'a' is -1.0"),
        ({"references": {"a": 1.0}, "weights": {"a": 0.0}}, "every hardware is removed"),
        ({"references": {"a": 1.0}, "beta": 0.07}, "'beta' is 0.07"),
        ({"references": {"a": 1.0}, "target": 0.0}, "'target' is 0.0"),
    ],
)
def test_rewards_that_cannot_be(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(SearchError, match=text):
        Reward(**fields)


@pytest.mark.parametrize(
    ("accuracy", "latencies", "text"),
    [
        ([0.5], [[1.0, np.nan, 1.0]], "latency 0 on 'b' is nan"),
        ([0.5], [[1.0, 1.0]], r"latencies are \(1, 2\)"),
        ([np.nan], [[1.0, 1.0, 1.0]], "accuracy 0 is nan"),
        ([75.0], [[1.0, 1.0, 1.0]], "accuracy 0 is 75.0"),
        ([0.5, 0.5], [[1.0, 1.0, 1.0]], "one each"),
    ],
)
def test_values_that_are_none(accuracy: Any, latencies: Any, text: str) -> None:
    with pytest.raises(SearchError, match=text):
        three()(accuracy, latencies)


def test_weights_whose_sum_is_infinite_count_all_the_same() -> None:
    huge = three(weights={"a": 1e308, "b": 1e308, "c": 1e308})
    np.testing.assert_allclose(huge.f([[1.0, 2.0, 3.0]]), three().f([[1.0, 2.0, 3.0]]))


def test_latencies_that_no_norm_can_hold_are_told_before_the_search() -> None:
    objective = Objective(toys.space(), {"a": toys.Linear(1)}, Reward(references={"a": 5e-324}))
    with pytest.raises(SearchError, match="is no finite number"):
        objective.check_target()


def test_sources_and_references_name_the_same_hardware() -> None:
    with pytest.raises(SearchError, match="not in both: c"):
        Objective(toys.space(), {"a": toys.Linear(1), "b": toys.Linear(1)}, three())


def test_cost_models_of_another_space_or_hardware_are_refused() -> None:
    rng = np.random.default_rng(0)
    cells, macro = get_space("nas_bench_201"), get_space("nas_bench_macro")
    rows = cells.draw(60, rng)
    model = fit(cells, rows, 1 + rows.sum(axis=1), LatencyOrigin("phone"), FitOptions(form="coupled", curve=False)).model
    reward = Reward(references={"phone": 4.0})
    with pytest.raises(CostModelError, match="nas_bench_macro"):
        Objective.of_cost_models(macro, [model], reward)
    with pytest.raises(SearchError, match="two cost models"):
        Objective.of_cost_models(cells, [model, model], reward)
    with pytest.raises(MhmodelsError, match="hardware 'phone', not 'tablet'"):
        Objective(cells, {"tablet": model.bind(cells)}, Reward(references={"tablet": 4.0}))
    bound = Objective.of_cost_models(cells, [model], reward)
    np.testing.assert_allclose(bound.f(rows), model.bind(cells).predict(rows) / 4.0)
    assert bound.identities()["phone"].startswith("sha256:")


@pytest.mark.parametrize("target", [0.9, 4.3])
def test_a_target_out_of_reach_is_told_before_the_search(target: float) -> None:
    """f_max is 1 + 0.2 times the sum of five choices from 0 to 3: from 1 to 4."""
    with pytest.raises(SearchError, match=r"out of reach.*10000 samples have 1 to 4"):
        toys.objective(target=target).check_target()
    assert toys.objective(target=2.5).check_target().near > 0.05


def test_a_target_that_no_sample_meets_may_still_be_reached() -> None:
    """Of 4^40 networks 10 000 samples come nowhere near the fastest; single changes do."""
    large = toys.objective(toys.space(decisions=40), target=1.0)
    reach = large.check_target()
    assert reach.sampled.min() > 5
    assert reach.lowest == pytest.approx(1.0)
    assert reach.near == 0.0


def test_hard_exponential_targets_may_be_generous() -> None:
    fields = {"references": {"a": 1.0}, "target": 100.0}
    generous = Objective(toys.space(), {"a": toys.Linear(0.1)}, Reward(kind="hard-exponential", **fields))  # type: ignore[arg-type]
    assert generous.check_target().highest == pytest.approx(2.5)
    with pytest.raises(SearchError, match="out of reach"):
        Objective(toys.space(), {"a": toys.Linear(0.1)}, Reward(**fields)).check_target()  # type: ignore[arg-type]
