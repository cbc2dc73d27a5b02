"""The trainer by itself: what it asks of its devices, and at which learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mhmodels.search.supernet.network.plan import SuperNetworkPlan
from mhmodels.training.recipes import LearningRate
from tests.training.tiny import CLASSES, SIDE

from . import tiny

pytestmark = pytest.mark.tensorflow


def trainer(**changes: Any) -> Any:
    from mhmodels.search.supernet.network.sliced import SuperNetwork
    from mhmodels.search.supernet.training.replicas import Trainer
    from mhmodels.training.strategies import make_strategy

    plan = SuperNetworkPlan(tiny.space(), 1.0, CLASSES)
    return Trainer(lambda: SuperNetwork(plan), tiny.preset(**changes), tiny.PREPROCESSING, make_strategy("none"))


def batches() -> Iterator[Any]:
    import tensorflow as tf

    while True:
        yield tf.zeros((4, SIDE, SIDE, 3), tf.uint8), tf.zeros(4, tf.int32)


class Number:
    """A tensor of one number that tells when it is read."""

    def __init__(self, tensor: Any, events: list[str]) -> None:
        import tensorflow as tf

        assert tf.is_tensor(tensor)
        self.tensor, self.events = tensor, events

    def __float__(self) -> float:
        self.events.append("read")
        return float(self.tensor)


def telling(run: Callable[..., Any], events: list[str], numbers: Callable[[Any], Any]) -> Callable[..., Any]:
    def told(*arguments: Any) -> Any:
        events.append("run")
        return numbers(run(*arguments))

    return told


@pytest.mark.slow
def test_no_number_is_read_before_all_architectures_are_under_way(monkeypatch: pytest.MonkeyPatch, eager: None) -> None:
    """A read waits for its device; the other replicas' devices would stand still meanwhile."""
    made, events = trainer(architectures=2), list[str]()
    paths = [made.network.plan.path(row) for row in tiny.space().draw(2, np.random.default_rng(0))]

    def of_gradients(told: Any) -> Any:
        return told[0], *(Number(tensor, events) for tensor in told[1:])

    monkeypatch.setattr(made, "_apply", lambda *_: True)
    monkeypatch.setattr(made, "_gradients", telling(made._gradients, events, of_gradients))
    monkeypatch.setattr(made, "_right", telling(made._right, events, lambda tensor: Number(tensor, events)))
    trained = made.train(0, paths, batches())
    assert events == 2 * ["run"] + 6 * ["read"]
    assert (trained.loss > 0).all()
    events.clear()
    made.judge(paths, batches(), one_batch=False)
    assert events == 2 * ["run"] + 2 * ["read"]


def test_the_learning_rate_is_for_all_pictures_of_a_step() -> None:
    rate = LearningRate(peak=0.5, reference_batch=16, decay="constant")
    assert trainer(architectures=4, batch_size=8, learning_rate=rate).schedule == 0.5 * 32 / 16


def test_a_network_that_tells_nothing_apart_is_not_always_right() -> None:
    import tensorflow as tf

    from mhmodels.search.supernet.training.replicas import share_right

    compiled = tf.function(share_right, jit_compile=True)
    assert float(compiled(tf.constant([0, 1, 2, 3]), tf.zeros((4, 4)))) == 0.25
