"""The automatic rule finds what is unfriendly on devices where that is known, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.errors import UnknownNameError
from mhmodels.search import (
    CostModelError,
    OneOf,
    SpaceError,
    TabularSpace,
    get_space,
    load_space,
    profile,
    published_accuracy,
    reduce_space,
)
from tests.search.reduction.devices import GAINS, SPACE, launch_bound, networks, npu, phone, profiles, total

ALL_7X7 = {(unit, f"inverted_bottleneck kernel=7 expansion={e}") for unit in range(1, 6) for e in (3, 4, 6)}


@pytest.fixture(scope="module")
def devices() -> Any:
    return profiles({"npu": npu, "gpu": launch_bound, "phone": phone})


def removed(found: Any) -> set[tuple[int, str]]:
    return {(one.unit, one.block) for one in found.removed}


def test_exactly_the_slow_kernels_of_an_npu_are_removed(devices: Any) -> None:
    found = reduce_space(SPACE, {"npu": devices[0]["npu"]}, devices[1])
    assert removed(found) == ALL_7X7
    for one in found.removed:
        assert "kernel=7" not in one.by
        assert one.cost[0].hardware == "npu"
        assert 0.01 < one.cost[0].low < one.cost[0].mean < one.cost[0].high
        assert one.accuracy.high < one.cost[0].worth
        assert len(one.decisions) == 4
    published = load_space("ofa_mobilenet_v3/kirin9000-npu")
    capped = {one.decision for one in found.caps}
    for decision, allowed in zip(SPACE.decisions, published.allowed, strict=True):
        assert decision.name in capped or found.allowed[decision.name] == tuple(allowed)


def test_a_launch_bound_device_keeps_all_blocks_and_loses_last_layers(devices: Any) -> None:
    found = reduce_space(SPACE, {"gpu": devices[0]["gpu"]}, devices[1])
    assert not found.removed
    caps = {one.unit: one for one in found.caps}
    assert 1 in caps
    assert 4 not in caps
    assert caps[1].layers == 3
    assert caps[1].decision == "stage3_block4"
    assert caps[1].accuracy.high < caps[1].cost[0].worth
    assert "unit 1: layer 3 stays" in " ".join(found.kept)
    reduced = found.restrict(SPACE)
    assert reduced.schema == SPACE.schema
    assert (reduced.draw(200, np.random.default_rng(0))[:, 3] == SPACE.decisions[3].choices.index(None)).all()
    assert found.log10_after == pytest.approx(np.log10(float(reduced.sizes.distinct)))


@pytest.mark.parametrize("sd", [0.0, 0.05])
def test_slow_blocks_go_where_blocks_make_no_difference_to_accuracy(devices: Any, sd: float) -> None:
    """No block has a price then. A price that noise makes would keep what is slow for nothing."""
    rows = networks(300, 0)
    percent = total(lambda _, __: 0.0, 77, GAINS, rows) + sd * np.random.default_rng(5).normal(size=len(rows))
    found = reduce_space(SPACE, {"npu": devices[0]["npu"]}, profile(SPACE, rows, percent, confidence=0.95, differences=True))
    assert removed(found) >= ALL_7X7
    assert not any("kernel=3 expansion=3" in block for _, block in removed(found))  # the fastest
    assert found.exchange["npu"] == found.depth_exchange["npu"] > 0


def test_a_phone_loses_weak_blocks_at_most(devices: Any) -> None:
    """e6k7 is slow and pays; e3k7 is as accurate as e3k3 and slower."""
    found = reduce_space(SPACE, {"phone": devices[0]["phone"]}, published_accuracy(SPACE))
    blocks = {(unit, block.partition(" ")[2]) for unit, block in removed(found)}
    assert blocks >= {(unit, "kernel=7 expansion=3") for unit in range(1, 6)}
    assert {block for _, block in blocks} <= {f"kernel={k} expansion={e}" for k, e in ((7, 3), (7, 4), (5, 3), (3, 4))}
    measured = removed(reduce_space(SPACE, {"phone": devices[0]["phone"]}, devices[1]))
    assert not any(block.endswith("expansion=6") for _, block in measured)


def test_several_hardware_on_average_and_at_worst(devices: Any) -> None:
    both = {name: devices[0][name] for name in ("npu", "gpu")}
    on_average = reduce_space(SPACE, both, devices[1])
    assert removed(on_average) == ALL_7X7
    assert {cost.hardware for one in on_average.removed for cost in one.cost} == {"average"}
    assert not reduce_space(SPACE, both, devices[1], aggregate="worst").removed
    alike = {"npu": devices[0]["npu"], "other": devices[0]["npu"]}
    at_worst = reduce_space(SPACE, alike, devices[1], aggregate="worst")
    assert removed(at_worst) == ALL_7X7
    assert [cost.hardware for cost in at_worst.removed[0].cost] == ["npu", "other"]
    assert at_worst.hardware == ("npu", "other")


def test_without_a_rate_more_accurate_blocks_stay(devices: Any) -> None:
    """The 7x7 kernels with expansion 6 are the most accurate blocks, at whatever price."""
    found = reduce_space(SPACE, {"npu": devices[0]["npu"]}, devices[1], rate=0)
    assert removed(found) < ALL_7X7
    assert not any(block.endswith("expansion=6") for _, block in removed(found))


def test_blocks_of_the_whole_network_are_judged_at_once() -> None:
    latency, accuracy = profiles({"npu": npu}, 200)
    found = reduce_space(SPACE, latency, accuracy, per="network")
    assert removed(found) == {(0, block) for _, block in ALL_7X7}
    assert len(found.removed[0].decisions) == 20
    assert found.restrict(SPACE).sizes.distinct <= load_space("ofa_mobilenet_v3/kirin9000-npu").sizes.distinct


def test_a_reduced_space_is_reduced_further(devices: Any) -> None:
    without_npu_blocks = load_space("ofa_mobilenet_v3/kirin9000-npu")
    found = reduce_space(without_npu_blocks, {"npu": devices[0]["npu"]}, devices[1])
    assert not found.removed
    assert found.log10_before == pytest.approx(np.log10(float(without_npu_blocks.sizes.distinct)))
    assert found.restrict(SPACE).allowed[0].tolist() == without_npu_blocks.allowed[0].tolist()


def tabular(seed: int = 0, n: int = 200) -> tuple[TabularSpace, Any, dict[str, Any], Any]:
    """A unit whose four blocks are equally accurate, and another one whose slow block is worth its time."""
    space = TabularSpace("mine", [OneOf("blocks", ("a", "b", "c", "d")), OneOf("paying", ("small", "large"))])
    rows = space.draw(n, np.random.default_rng(seed))
    ms = 10 + np.array([0.0, 1, 2, 3])[rows[:, 0]] + rows[:, 1]
    percent = 70 + 2.0 * rows[:, 1]
    made = [profile(space, rows, values, differences=True) for values in (ms, percent)]
    return space, rows, {"npu": made[0]}, made[1]


def test_a_unit_is_never_left_without_a_choice() -> None:
    space, _, latency, accuracy = tabular()
    found = reduce_space(space, latency, accuracy)
    assert removed(found) == {(1, "c"), (1, "d")}
    assert {one.by for one in found.removed} == {"a"}
    assert found.kept == ("unit 1: b stays, although a is faster and its accuracy too dear: 2 blocks must remain",)
    assert found.allowed == {"blocks": (0, 1), "paying": (0, 1)}
    assert found.exchange["npu"] == pytest.approx(2 * latency["npu"].level, rel=1e-3)


def test_differences_too_small_to_count_remove_nothing() -> None:
    space, _, latency, accuracy = tabular()
    assert not reduce_space(space, latency, accuracy, least_share=0.5).removed


def test_stages_of_fbnet_are_reduced_without_breaking_their_order() -> None:
    space = get_space("fbnet")
    rows = np.random.default_rng(0).integers(9, size=(400, 22)).astype(np.int16)
    slow = np.array([0.1, 0.1, 0.3, 0.6, 4, 4, 4, 4, 0.0])
    good = np.array([0.1, 0.1, 0.3, 0.6, 0.1, 0.1, 0.3, 0.6, 0.0])
    latency, accuracy = (profile(space, rows, 5 + table[rows].sum(axis=1), differences=True) for table in (slow, good))
    found = reduce_space(space, {"npu": latency}, accuracy)
    stages = {one.unit for one in found.removed}
    assert {block for _, block in removed(found)} == set(SPACE_5X5)
    assert len(found.removed) == 4 * len(stages)
    assert not found.caps
    reduced = found.restrict(space)
    assert reduced.sizes.distinct < space.sizes.distinct
    assert not np.isin(reduced.draw(50, np.random.default_rng(1)), (4, 5, 6, 7)).any()


SPACE_5X5 = [f"inverted_bottleneck kernel=5 expansion={e} groups={g}" for e, g in ((1, 1), (1, 2), (3, 1), (6, 1))]


def test_published_means_take_the_place_of_accuracies(devices: Any) -> None:
    found = reduce_space(SPACE, {"npu": devices[0]["npu"]}, published_accuracy(SPACE))
    assert removed(found) == ALL_7X7
    assert not found.caps
    with pytest.raises(UnknownNameError, match="space with published accuracies 'multi_hardware': known: ofa_mobilenet_v3"):
        published_accuracy(get_space("multi_hardware"))


def test_differences_are_those_of_whole_units_with_intervals_of_the_difference() -> None:
    """Layer 3 of a unit is there in 2/3 of the networks, layer 4 in 1/3: together they have one layer."""
    rows = networks(300, 3)
    kernels = np.array([[block.kernel if block else 0 for block in one.choices] for one in SPACE.decisions[2:4]])
    ms = 10 + (kernels[[0, 1], rows[:, 2:4]] == 7).sum(axis=1)
    found = profile(SPACE, rows, ms, differences=True)
    by_pair = {(one.stage, one.block[-20:], one.other[-20:]): one for one in found.differences}
    seven, three = "kernel=7 expansion=3", "kernel=3 expansion=3"
    one = by_pair[1, three, seven]
    assert one.layers == 4
    assert one.mean == pytest.approx(-1.0, abs=1e-3)
    assert by_pair[2, three, seven].mean == pytest.approx(0, abs=1e-3)
    assert by_pair[0, three, seven].mean == pytest.approx(-1.0, abs=1e-3)
    assert profile(SPACE, rows, ms).differences == ()


def test_what_cannot_be_reduced_is_refused(devices: Any) -> None:
    latency, accuracy = {"npu": devices[0]["npu"]}, devices[1]
    plain = msgspec.structs.replace(accuracy, differences=())
    for wanted, arguments, options in (
        ("argument 'accuracy' is None, expected a profile of accuracy", (SPACE, latency, None), {}),
        ("argument 'latency' is empty, expected a profile of at least one", (SPACE, {}, accuracy), {}),
        ("accuracy: the profile has no differences between blocks", (SPACE, latency, plain), {}),
        ("npu: the profile is of space 'ofa_mobilenet_v3', expected 'fbnet'", (get_space("fbnet"), latency, accuracy), {}),
        ("argument 'rate' is 2, expected a number from 0 to 1", (SPACE, latency, accuracy), {"rate": 2}),
        ("argument 'depth_rate' is nan, expected", (SPACE, latency, accuracy), {"depth_rate": float("nan")}),
        ("argument 'least_share' is -1, expected", (SPACE, latency, accuracy), {"least_share": -1}),
        ("argument 'aggregate' is 'mean', expected one of avg, worst", (SPACE, latency, accuracy), {"aggregate": "mean"}),
        ("intervals of 0.9 and 0.95 confidence", (SPACE, latency, published_accuracy(SPACE, 0.9)), {}),
        (
            "npu: the mean network takes -1 ms",
            (SPACE, {"npu": msgspec.structs.replace(latency["npu"], level=-1.0)}, accuracy),
            {},
        ),
    ):
        with pytest.raises(CostModelError, match=wanted.replace("(", r"\(")):
            reduce_space(*arguments, **options)  # type: ignore[arg-type]
    found = reduce_space(SPACE, latency, accuracy)
    with pytest.raises(SpaceError, match=r"the reduction is of space 'ofa_mobilenet_v3' with schema .*, not of 'fbnet'"):
        found.restrict(get_space("fbnet"))
