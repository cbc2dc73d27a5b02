"""A run whose numbers are no longer finite ends in the step in which they became so, whatever the CPU's kernels make of NaN."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.training.errors import TrainingError
from mhmodels.training.run.progress import Silent, Status

from .test_loop import run

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]
NAN, INFINITE = float("nan"), float("inf")


class Spoiler(Silent):
    """Sets a number of a variable after the second step, and keeps the losses."""

    def __init__(self, ending: str = "", value: float = NAN) -> None:
        self.ending, self.value = ending, value
        self.losses, self.models = list[float](), list[Any]()

    def stepped(self, status: Status) -> None:
        self.losses.append(status.loss)
        if status.step == 2 and self.ending:
            variable = next(each for each in self.models[0].variables if each.path.endswith(self.ending))
            values = variable.value.numpy()
            values.flat[0] = self.value
            variable.assign(values)


def swallowing_network(model: Any) -> Any:
    """The model behind a layer that turns NaN and infinity into 0, as ReLU6 of some kernels does with NaN."""
    import keras

    class Swallow(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.where(keras.ops.isfinite(x), x, keras.ops.zeros_like(x))

    image = keras.Input(model.input_shape[1:])
    return keras.Model(image, Swallow()(model(image)))


@pytest.fixture
def spoiled(tmp_path: Path) -> Iterator[Any]:
    """Runs with a variable spoiled after step 2; gives the error's text and the losses."""

    def once(ending: str, value: float, **changes: Any) -> tuple[str, list[float]]:
        spoiler = Spoiler(ending, value)

        def transform(model: Any) -> Any:
            spoiler.models.append(swallowing_network(model))
            return spoiler.models[0]

        with pytest.raises(TrainingError) as caught:
            run(tmp_path / "run", spoiler, transform=transform, transform_name="swallow", **changes)
        return str(caught.value), spoiler.losses

    return once


@pytest.mark.parametrize(("ending", "value"), [("logits/kernel", NAN), ("moving_variance", INFINITE)])
def test_a_variable_that_is_not_finite_behind_a_finite_loss(spoiled: Any, ending: str, value: float) -> None:
    """Also a moving average, which no gradient reaches: evaluation and export would take it."""
    said, losses = spoiled(ending, value)
    assert said.startswith("step 3 of 12: ")
    assert "no checkpoint was written before" in said
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(("scale", "fails"), [(1.0, True), (0.5, True), (2.0, False)])
def test_scaled_gradients_may_overflow_while_their_scale_can_fall(scale: float, fails: bool) -> None:
    import tensorflow as tf

    from mhmodels.training.divergence import scaled_gradient_norm

    for value in (NAN, INFINITE):
        found = float(scaled_gradient_norm(tf.constant(value), tf.constant(scale)))
        assert np.isfinite(found) == (not fails)
    assert float(scaled_gradient_norm(tf.constant(6.0), tf.constant(scale))) == pytest.approx(6.0 / scale)


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_signs_of_divergence_are_found_in_every_place(value: float) -> None:
    import tensorflow as tf

    from mhmodels.training.divergence import all_finite, first_bad, first_not_finite, gradient_norm

    good = [tf.fill((3, 5), 2.0), None, tf.ones(7)]
    assert float(gradient_norm(good)) == pytest.approx(np.sqrt(15 * 4 + 7), rel=1e-6)
    assert bool(all_finite([*good[::2], tf.constant([1, 2])]))
    for place in (0, 8, 14):
        spoilt = np.full(15, 2.0, np.float32)
        spoilt[place] = value
        bad = tf.constant(spoilt.reshape(3, 5))
        assert not np.isfinite(float(gradient_norm([bad, *good])))
        assert not bool(all_finite([tf.ones(2), bad]))
        assert first_bad(spoilt) == place
        assert first_not_finite({"a": np.ones(2), "b": spoilt}) == "b"
    assert first_bad(np.ones(2)) is None
    assert first_not_finite({"a": np.ones(2), "n": np.ones(2, np.int32)}) is None
