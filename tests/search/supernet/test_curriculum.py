"""Which networks are trained: near the target, and at first all alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from mhmodels.search.methods.controller import Controller
from mhmodels.search.supernet.presets import PolicySettings, WalkSettings
from mhmodels.search.supernet.training.curriculum import Curriculum

from . import tiny

POLICY = PolicySettings(learning_rate=0.05, growth=1.0, delay=0.0, operation_warm_up=0.0, width_warm_up=0.0)


def drawn(steps: list[int], seed: int = 0, **changes: Any) -> np.ndarray[Any, Any]:
    """The network of each of these steps, as one search that goes through them would train it."""
    preset = tiny.preset(steps=1000, policy=POLICY, **changes)
    space = tiny.space()
    curriculum = Curriculum(tiny.objective(space), preset, seed)
    controller = Controller(space, preset.controller_settings(), seed)
    return np.array([curriculum.sample(controller, step)[0][0] for step in steps])


def test_the_walk_begins_with_one_network_and_ends_with_the_policy() -> None:
    walk = WalkSettings(fixed=0.1, end=0.6, every=10)
    rows = drawn(list(range(1000)), walk=walk)
    objective = tiny.objective(tiny.space())
    assert (rows[:100] == rows[0]).all()
    assert abs(objective.f(rows[:1])[0] - 1) < 0.1
    kinds = [len(np.unique(rows[start : start + 100], axis=0)) for start in range(0, 1000, 100)]
    assert kinds[0] == 1 < kinds[1] < kinds[3] < kinds[8]
    # Behind its end nothing reminds of where it began.
    alike = (rows[700:] == rows[0]).mean(axis=0)
    free = (drawn(list(range(700, 1000)), seed=1) == rows[0]).mean(axis=0)
    np.testing.assert_allclose(alike, free, atol=0.12)


def test_a_walk_is_the_same_from_wherever_it_is_taken_up() -> None:
    walk = WalkSettings(fixed=0.1, end=0.999, every=1)
    space, preset = tiny.space(), tiny.preset(steps=1000, policy=POLICY, walk=walk, trained_norms=(0.5, 1.5))
    controller = Controller(space, preset.controller_settings(), 0)
    through, late = (Curriculum(tiny.objective(space), preset, 0) for _ in range(2))
    for step in range(300):
        through.sample(controller, step)
    state = controller.state()
    one = through.sample(controller, 300)
    controller.restore(state)
    other = late.sample(controller, 300)
    assert (one[0] == other[0]).all()
    assert (one[1] == other[1]).all()
    assert one[1].any()
    assert (one[0] != Curriculum(tiny.objective(space), preset, 0).sample(controller, 0)[0]).any()


def test_only_networks_near_the_target_are_trained() -> None:
    objective = tiny.objective(tiny.space())
    near = objective.f(drawn(list(range(200)), trained_norms=(0.8, 1.25)))
    assert ((near >= 0.8) & (near <= 1.25)).all()
    anywhere = objective.f(drawn(list(range(200))))
    assert anywhere.min() < 0.8 < 1.25 < anywhere.max()


def test_a_policy_that_is_elsewhere_is_trained_where_it_is_nearest() -> None:
    """Nothing lies within these norms."""
    objective = tiny.objective(tiny.space())
    for changes in ({}, {"evenly": True, "scored": 4}):
        norms = objective.f(drawn(list(range(20)), trained_norms=(0.999999, 1.000001), **changes))
        assert np.abs(norms - 1).max() < 0.05


def test_the_walk_too_stays_near_the_target() -> None:
    rows = drawn(list(range(600)), walk=WalkSettings(fixed=0.1, end=0.6, every=10), trained_norms=(0.8, 1.25))
    norms = tiny.objective(tiny.space()).f(rows)
    assert ((norms >= 0.8) & (norms <= 1.25)).all()


def test_training_evenly_follows_no_policy() -> None:
    space, preset = tiny.space(), tiny.preset(policy=POLICY, evenly=True, scored=4, trained_norms=(0.5, 1.5))
    curriculum = Curriculum(tiny.objective(space), preset, 0)
    controller = Controller(space, preset.controller_settings(), 0)
    before = controller.state()["generator"].tobytes()
    first = [curriculum.sample(controller, step)[0] for step in range(50)]
    assert controller.state()["generator"].tobytes() == before
    assert len(np.unique(np.concatenate(first), axis=0)) > 25
    controller.logits = controller.logits + 9.0 * np.eye(controller.logits.shape[1])[0]  # all for the first choices
    again = [curriculum.sample(controller, step)[0] for step in range(50)]
    np.testing.assert_array_equal(first, again)
