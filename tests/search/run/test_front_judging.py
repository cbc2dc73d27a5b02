"""Judging a found front by measured latencies: domination, missing latencies, and the errors of the cost models."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mhmodels.hardware import Environment
from mhmodels.search import FrontLatencies, MeasuredFront, Objective, Reward, get_space, judge_front, shipped_model
from mhmodels.search.errors import SearchError
from mhmodels.search.run.evaluations import Evaluations, selected
from mhmodels.search.run.front.judging import dominators, exceeds, front_members
from mhmodels.search.run.front.report import measured_document
from tests.search import toys

GRID = st.integers(0, 5).map(float)
COSTS = st.one_of(GRID, st.just(float("nan")))


def evaluations(objective: Objective, accuracy: Any) -> Evaluations:
    rows = np.unique(objective.space.draw(200, np.random.default_rng(0)), axis=0)[: len(accuracy)]
    latencies = objective.latencies(rows)
    f = objective.reward.f(latencies)
    rewards = objective.reward.of_norm(accuracy, f)
    return Evaluations(("",) * len(rows), rows, np.asarray(accuracy, float), latencies, f, rewards, ("a",) * len(rows))


def judged(ms: Any, accuracy: Any = (0.9, 0.8, 0.7), objective: Objective | None = None, **known: Any) -> MeasuredFront:
    objective = objective or toys.objective()
    return judge_front(objective, evaluations(objective, accuracy), FrontLatencies(np.array(ms, float), **known))


def beats(accuracy: Any, cost: Any, i: int, j: int) -> bool:
    """Whether i dominates j, written out."""
    if np.isnan(cost[i]) or np.isnan(cost[j]):
        return False
    return bool(accuracy[i] >= accuracy[j] and cost[i] <= cost[j] and (accuracy[i] > accuracy[j] or cost[i] < cost[j]))


@given(arrays(np.float64, 9, elements=GRID), arrays(np.float64, 9, elements=COSTS))
def test_a_member_is_dropped_exactly_if_another_dominates_it(accuracy: Any, cost: Any) -> None:
    """On a grid, so that there are many ties; members without cost neither dominate nor are dominated."""
    found = dominators(accuracy, cost)
    for j, by in enumerate(found):
        rivals = [i for i in range(9) if beats(accuracy, cost, i, j)]
        assert (by is None) == (not rivals)
        if by is not None:
            assert by in rivals
            assert found[by] is None  # the member that is named stays on the front itself
            assert accuracy[by] == max(accuracy[i] for i in rivals if found[i] is None)


@given(arrays(np.float64, 9, elements=GRID), arrays(np.float64, 9, elements=GRID), st.permutations(range(9)))
def test_the_order_of_members_changes_nothing(accuracy: Any, cost: Any, order: list[int]) -> None:
    kept = {i for i, by in enumerate(dominators(accuracy, cost)) if by is None}
    again = dominators(accuracy[order], cost[order])
    assert {order[i] for i, by in enumerate(again) if by is None} == kept


@given(arrays(np.float64, (8, 2), elements=st.integers(1, 6).map(float)))
def test_kept_members_stay_kept_when_they_are_judged_alone(ms: Any) -> None:
    accuracy = np.linspace(0.9, 0.5, 8)
    front = judged(ms, accuracy)
    objective = toys.objective()
    rows = selected(evaluations(objective, accuracy), front.kept)
    again = judge_front(objective, rows, FrontLatencies(ms[front.kept]))
    assert [member.verdict for member in again.members] == ["kept"] * len(front.kept)
    assert len(front.kept) >= 1


def test_exact_predictions_drop_no_member_of_the_found_front() -> None:
    objective = toys.objective()
    rows = evaluations(objective, np.random.default_rng(1).random(100))
    members = front_members(rows)
    assert 1 < len(members.accuracy) < 30
    front = judge_front(objective, members, FrontLatencies(members.latencies))
    assert [member.verdict for member in front.members] == ["kept"] * len(members.accuracy)
    assert [report.median_error for report in front.hardware] == [0.0, 0.0]


@pytest.mark.parametrize(("aggregate", "kept"), [("max", [0, 2]), ("avg", [0, 1, 2])])
def test_several_hardware_are_aggregated_as_in_the_reward(aggregate: Any, kept: list[int]) -> None:
    space = toys.space()
    reward = Reward(references={"a": 1.0, "b": 2.0}, target=4.0, aggregate=aggregate)
    objective = Objective(space, {"a": toys.Linear(0.1), "b": toys.Linear(0.2)}, reward)
    front = judged([[4.0, 8.0], [1.0, 9.0], [1.0, 1.0]], objective=objective)
    assert front.kept.tolist() == kept
    expected = [4.0, 4.5, 1.0] if aggregate == "max" else [4.0, 2.75, 0.75]
    assert [member.measured_f for member in front.members] == pytest.approx(expected)
    assert front.members[0].measured_reward == pytest.approx(0.9 - 0.07 * abs(expected[0] / 4 - 1))


def test_members_without_a_latency_are_neither_kept_nor_dropped() -> None:
    """The first one would dominate all others if its latency on the second hardware did not count."""
    nan = float("nan")
    front = judged([[1.0, nan], [2.0, 2.0], [3.0, 3.0]], reasons={(0, "b"): "CONV_2D is not supported"})
    assert [member.verdict for member in front.members] == ["no latency", "kept", "dominated"]
    assert front.members[0].dominated_by is None
    assert np.isnan(front.members[0].measured_f)
    assert front.missing == ("b: no latency of member 1: CONV_2D is not supported",)
    assert (front.hardware[1].members, front.hardware[1].missing) == (2, 1)


def test_all_members_fail() -> None:
    front = judged(np.full((3, 2), np.nan))
    assert {member.verdict for member in front.members} == {"no latency"}
    assert front.best is None
    assert not len(front.kept)
    assert front.hardware[0].median_error is None
    assert front.missing[0] == "a: no latency of members 1, 2, 3: it was not measured"


def test_hardware_of_weight_0_is_reported_and_decides_nothing() -> None:
    reward = Reward(references={"a": 1.0, "b": 1.0}, target=4.0, weights={"b": 0.0})
    objective = Objective(toys.space(), {"a": toys.Linear(0.1), "b": toys.Linear(0.2)}, reward)
    front = judged([[3.0, np.nan], [2.0, 9.0], [1.0, 1.0]], objective=objective)
    assert front.kept.tolist() == [0, 1, 2]
    assert front.missing == ("b: no latency of member 1: it was not measured",)


def test_equal_members_are_both_kept() -> None:
    assert judged([[2.0, 2.0], [2.0, 2.0]], (0.8, 0.8)).kept.tolist() == [0, 1]


@pytest.mark.parametrize("ms", [[[1.0, 0.0]], [[1.0, -1.0]], [[1.0, float("inf")]]])
def test_values_that_are_no_latencies_are_refused(ms: Any) -> None:
    with pytest.raises(SearchError, match=r"member 1 on 'b' is .* ms, expected a finite number above 0, or NaN"):
        judged(ms, (0.9,))


@pytest.mark.parametrize(("ms", "accuracy"), [([[1.0]], (0.9,)), ([1.0, 1.0], (0.9,)), (np.empty((0, 2)), ())])
def test_latencies_of_another_shape_and_empty_fronts_are_refused(ms: Any, accuracy: Any) -> None:
    with pytest.raises(SearchError, match="measured front"):
        judged(ms, accuracy)


def test_a_document_has_both_latencies_and_no_nan() -> None:
    objective = toys.objective()
    rows = evaluations(objective, (0.9, 0.8, 0.7))
    ms = np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 3.0]])
    front = judge_front(objective, rows, FrontLatencies(ms, {"a": "estimated"}, source="table sha256:0"))
    document = json.loads(msgspec.json.encode(measured_document(objective, front)))
    first, _, last = (network["measured"] for network in document["networks"])
    assert (first["latency_ms"], first["f"], first["reward"]) == ({"a": 1.0, "b": None}, None, None)
    assert (last["verdict"], last["dominated_by"]) == ("dominated", document["networks"][1]["label"])
    assert document["networks"][0]["latency_ms"] == dict(zip("ab", rows.latencies[0].tolist(), strict=True))
    assert document["measured"]["kept"] == [document["networks"][1]["label"]]
    assert [one["kind"] for one in document["measured"]["hardware"]] == ["estimated", "measured"]
    assert document["measured"]["source"] == "table sha256:0"


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ([0.02] * 9, False),  # as stated
        ([0.021], False),  # one member above the median is chance
        ([0.021] * 4, False),
        ([0.021] * 5, True),  # five of five have a probability of 1/32
        ([0.05], True),  # more than twice the stated error
        ([0.021] * 9 + [0.01] * 3, False),
        ([0.021] * 10 + [0.01] * 2, True),
        ([0.01] * 9 + [5.0], False),  # one outlier does not move the median
    ],
)
def test_an_error_is_larger_than_stated_if_it_is_not_by_chance(errors: list[float], found: bool) -> None:
    assert exceeds(np.array(errors), 0.02) is found


def test_a_cost_model_that_is_off_on_the_front_is_warned_of() -> None:
    """Also with what differs between the conditions of the model and of the front."""
    space, model = get_space("multi_hardware"), shipped_model("multi_hardware", "ethos-u55-128")
    objective = Objective.of_cost_models(space, [model], Reward(references={model.hardware: 16.0}))
    rows = evaluations(objective, np.linspace(0.8, 0.7, 6))
    good = judge_front(objective, rows, FrontLatencies(rows.latencies * 1.0001))
    assert good.hardware[0].warning == ""
    assert (good.hardware[0].held_out_error, good.hardware[0].held_out_statistic) == (model.held_out.mape, "mean")
    assert model.environment is not None
    other = Environment(device=model.environment.device, compiler="Vela 9.0.0", configuration=model.environment.configuration)
    off = judge_front(objective, rows, FrontLatencies(rows.latencies * 1.25, environments={model.hardware: other}))
    assert off.hardware[0].median_error == pytest.approx(0.2)
    assert (
        "the median error of the cost model on the front is 20.0%, the mean error on held-out networks is 0.2%"
        in off.hardware[0].warning
    )
    assert "for the cost model and 'Vela 9.0.0' for the front" in off.hardware[0].warning
