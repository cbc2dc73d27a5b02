"""The controller: its arithmetic, its schedules, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.search.errors import SearchError, SpaceError
from mhmodels.search.methods.controller import Controller, ControllerSettings
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.tabular import TabularSpace
from tests.search import toys


def plain(steps: int = 100, **fields: Any) -> ControllerSettings:
    return ControllerSettings(
        **{"steps": steps, "delay": 0.0, "operation_warm_up": 0.0, "width_warm_up": 0.0, "growth": 1.0, **fields}
    )


def coin() -> TabularSpace:
    return TabularSpace("coin", [OneOf("side", ("heads", "tails"))])


def test_updates_are_those_of_tunas() -> None:
    """Two updates by hand: baseline 1, then (0.95 * 0.05 * 1 + 0.05 * 3) / (0.95 * 0.05 + 0.05)."""
    controller = Controller(coin(), plain(learning_rate=0.1))
    first = controller.update([[0]], [1.0])
    assert first.baseline == pytest.approx(1.0)  # the mean is in its own baseline, hence no step
    np.testing.assert_array_equal(controller.logits, 0)
    second = controller.update([[1]], [3.0])
    baseline = (0.95 * 0.05 * 1 + 0.05 * 3) / (0.95 * 0.05 + 0.05)
    gradient = (3 - baseline) * np.array([-0.5, 0.5])
    size = 0.1 * np.sqrt(1 - 0.999**2) / (np.sqrt(0.001 * gradient**2) + 1e-8)
    np.testing.assert_allclose(controller.logits[0], size * gradient)
    assert second.baseline == pytest.approx(baseline)
    assert second.reward == 3.0


def test_of_several_samples_squares_are_averaged_and_not_the_square_of_the_mean() -> None:
    controller = Controller(coin(), plain(learning_rate=0.1, momentum=0.0))
    controller.update([[0], [1]], [1.0, 3.0])
    # Advantages -1 and 1, gradients (-0.5, 0.5) twice: the mean is their own size, and so is the root of the squares' mean.
    np.testing.assert_allclose(controller.logits[0], [-0.1, 0.1], rtol=1e-4)


@given(st.permutations(range(6)), st.integers(0, 2**32))
def test_replicas_may_come_in_any_order(order: list[int], seed: int) -> None:
    one, other = Controller(toys.space(), plain(), seed), Controller(toys.space(), plain(), seed)
    rows = one.sample(6)
    rewards = np.random.default_rng(seed).random(6)
    for _ in range(3):
        one.update(rows, rewards)
        other.update(rows[order], rewards[order])
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-12)


def test_logits_wait_for_the_delay_and_squares_do_not() -> None:
    controller = Controller(toys.space(), plain(steps=8, delay=0.5, growth=10.0, learning_rate=0.01), 3)
    rates, filled = [], []
    rng = np.random.default_rng(0)
    for step in range(8):
        rates.append(controller.learning_rate())
        rows = controller.sample(4)
        controller.update(rows, rng.random(4))
        filled.append(controller.state()["squares"].sum() > 0)
        assert bool(controller.logits.any()) == (step >= 4)
    assert all(filled)
    np.testing.assert_allclose(rates, [0, 0, 0, 0, *(0.01 * 10 ** (np.arange(4) / 4))])


def test_warm_ups_fall_linearly_and_replace_by_tag() -> None:
    space = get_space("multi_hardware")
    s = ControllerSettings(steps=100, delay=0.5, operation_warm_up=0.5, width_warm_up=0.25)
    controller = Controller(space, s, 1)
    widths = np.array([decision.tag == "width" for decision in space.decisions])
    largest = [max(range(len(d.choices)), key=lambda i, d=d: d.choices[i]) for d in space.decisions if d.tag == "width"]  # type: ignore[misc]
    rows, replaced = controller.sample_warm(500)
    assert replaced.all()
    assert (rows[:, widths] == largest).all()
    for _ in range(25):
        controller.update(rows[:2], [0.1, 0.2], replaced[:2])
    assert controller.warm_up() == {"operation": 0.5, "width": 0.0}
    rows, replaced = controller.sample_warm(500)
    assert not replaced[:, widths].any()
    assert replaced[:, ~widths].mean() == pytest.approx(0.5, abs=0.02)
    assert space.check(rows) is not None


def test_what_a_warm_up_replaced_teaches_nothing() -> None:
    controller = Controller(toys.space(), plain(), 0)
    replaced = np.zeros((4, 5), bool)
    replaced[:, :2] = True
    for rewards in ([0.1, 0.9, 0.5, 0.3], [0.9, 0.1, 0.2, 0.2]):
        controller.update(controller.sample(4), rewards, replaced)
    assert not controller.logits[:2].any()
    assert controller.logits[2:].any()


def test_optional_blocks_start_with_tunas_odds() -> None:
    space = get_space("multi_hardware")
    controller = Controller(space, plain(), 0)
    skippable = [i for i, d in enumerate(space.decisions) if None in d.choices]
    for i in skippable:
        p = controller.probabilities()[i]
        assert p[space.decisions[i].choices.index(None)] == pytest.approx(0.5)
        assert p.sum() == pytest.approx(1)
    even = Controller(space, plain(skip=None), 0).probabilities()[skippable[0]]
    np.testing.assert_allclose(even, 1 / len(even))


@settings(max_examples=20)
@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=5, max_size=5), st.integers(0, 1000))
def test_choices_that_a_restriction_removed_never_appear(allowed: list[set[int]], seed: int) -> None:
    space = toys.space().restricted([sorted(one) for one in allowed])
    controller = Controller(space, plain(learning_rate=0.5), seed)
    for _ in range(5):
        rows = controller.sample(16)
        for column, one in enumerate(allowed):
            assert set(rows[:, column].tolist()) <= one
        # Rewards that a removed choice 0 would have earned: nothing may leak there.
        controller.update(rows, rows.sum(axis=1) / 20)
    for p, one in zip(controller.probabilities(), allowed, strict=True):
        assert {int(i) for i in np.flatnonzero(p)} <= one
        assert p.sum() == pytest.approx(1)
    assert space.contains(controller.argmax())


def test_a_block_may_be_likelier_than_none_although_no_single_one_is() -> None:
    """TuNAS' argmax takes a skip of 30 % against two dozen blocks; deciding on presence first takes the likeliest block."""
    space = get_space("multi_hardware")
    controller = Controller(space, plain(), 0)
    column = next(i for i, d in enumerate(space.decisions) if None in d.choices)
    skip, count = space.decisions[column].choices.index(None), len(space.decisions[column].choices)
    p = np.full(count, 0.7 / (count - 1))
    p[skip], p[5], p[6] = 0.3, 0.7 / (count - 1) + 0.001, 0.7 / (count - 1) - 0.001
    controller.logits[column, :count] = np.log(p)
    assert controller.argmax()[column] == skip
    assert controller.argmax(skip_first=True)[column] == 5
    controller.logits[column, skip] = np.log(0.71)  # of 1.41: now none is likelier than any
    assert controller.argmax(skip_first=True)[column] == skip


def test_spaces_without_optional_blocks_have_one_argmax() -> None:
    """Hence no figure of NAS-Bench-201 depends on which is asked for."""
    for seed in range(5):
        controller = Controller(get_space("nas_bench_201"), plain(), 0)
        controller.logits += np.random.default_rng(seed).normal(size=controller.logits.shape)
        np.testing.assert_array_equal(controller.argmax(), controller.argmax(skip_first=True))


def test_the_argmax_stands_where_the_policy_has_its_blocks() -> None:
    space = get_space("nas_bench_macro")
    controller = Controller(space, plain(), 0)
    controller.logits[:] = 0
    for column, choice in enumerate((0, 1, 0, 0, 1, 0, 0, 2)):
        controller.logits[column, choice] = 3
    assert controller.argmax().tolist() == [0, 1, 0, 0, 1, 0, 0, 2]
    assert space.canonical(controller.argmax()[None])[0].tolist() == [0, 1, 0, 1, 0, 0, 2, 0]


def test_probabilities_are_told_a_few_times_and_at_the_end() -> None:
    controller = Controller(toys.space(), plain(steps=10), 0)
    told = [controller.log_values(controller.update(controller.sample(1), [0.5]), times=3) for _ in range(10)]
    assert [row["step"] for row in told if "probabilities" in row] == [3, 6, 9, 10]
    assert all(sum(p) == pytest.approx(1, abs=1e-5) for p in told[-1]["probabilities"])
    assert all("entropy" in row for row in told)


def test_samples_follow_the_probabilities() -> None:
    controller = Controller(coin(), plain(), 0)
    controller.logits[0] = [0.0, np.log(3)]
    assert controller.sample(20_000).mean() == pytest.approx(0.75, abs=0.01)
    assert controller.entropy == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


@pytest.mark.parametrize("seed", range(3))
def test_it_learns_a_separable_reward(seed: int) -> None:
    controller = Controller(toys.space(), plain(steps=1500, learning_rate=0.02), seed)
    start = controller.entropy
    for _ in range(1500):
        rows = controller.sample(4)
        statistics = controller.update(rows, (rows == toys.BEST).mean(axis=1))
    assert (controller.argmax() == toys.BEST).all()
    assert statistics.entropy < 0.2 * start
    assert statistics.reward > 0.9


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=15)
def test_a_restored_controller_goes_on_exactly(before: int, after: int) -> None:
    def advance(one: Controller, steps: int) -> None:
        for _ in range(steps):
            rows, replaced = one.sample_warm(3)
            one.update(rows, (rows == 1).mean(axis=1), replaced)

    s = ControllerSettings(steps=60, delay=0.3, operation_warm_up=0.2, width_warm_up=0.1)
    straight = Controller(toys.space(), s, 7)
    advance(straight, before)
    state = {name: value.copy() for name, value in straight.state().items()}
    advance(straight, after)
    other = Controller(toys.space(), s, 99)
    other.restore(state)
    advance(other, after)
    for name, value in straight.state().items():
        np.testing.assert_array_equal(other.state()[name], value)


def test_states_of_other_spaces_are_refused() -> None:
    state = Controller(toys.space(4), plain()).state()
    with pytest.raises(SearchError, match="'logits' of shape"):
        Controller(toys.space(5), plain()).restore(state)
    with pytest.raises(SearchError, match="'step' of shape None"):
        Controller(toys.space(4), plain()).restore({name: value for name, value in state.items() if name != "step"})
    with pytest.raises(SearchError, match="random generator"):
        Controller(toys.space(4), plain()).restore({**state, "generator": np.zeros(3, np.uint8)})


def test_rewards_that_are_no_numbers_change_nothing() -> None:
    controller = Controller(toys.space(), plain(), 0)
    controller.update(controller.sample(2), [0.1, 0.9])
    before = controller.state()
    rows = controller.sample(2)
    with pytest.raises(SearchError, match=r"reward 1 at step 1 is nan.*toy:"):
        controller.update(rows, [0.5, np.nan])
    with pytest.raises(SearchError, match="one each"):
        controller.update(rows, [0.5])
    with pytest.raises(SpaceError):
        controller.update([[9, 9, 9, 9, 9]], [0.5])
    for name in ("logits", "squares", "baseline", "step"):
        np.testing.assert_array_equal(controller.state()[name], before[name])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("learning_rate", -1.0),
        ("learning_rate", 1e308),
        ("growth", 1e300),
        ("delay", 1.0),
        ("operation_warm_up", 0.3),
        ("skip", 1.0),
        ("momentum", 1.0),
    ],
)
def test_settings_that_cannot_be(field: str, value: float) -> None:
    with pytest.raises(SearchError, match=f"field '{field}'"):
        ControllerSettings(**{"steps": 10, "delay": 0.25, field: value})
