"""A search with numbers that are no longer finite ends in the step in which they became so, on any CPU kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mhmodels.search.errors import SearchError
from mhmodels.training.run import checkpoint

from . import tiny
from .test_loop import Interrupted, Watcher

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]
NAN, INFINITE = float("nan"), float("inf")


def spoil(trainer: Any, ending: str, value: float) -> None:
    """Sets one number of the first weight whose name ends so."""
    name = next(name for name in trainer.network.weights if name.endswith(ending))
    values = trainer.network.weights[name].numpy()
    values.flat[0] = value
    trainer.network.weights[name].assign(values)


@pytest.mark.slow
def test_kernels_that_swallow_nan_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As oneDNN's ReLU6 does on some CPUs: the loss stays finite."""
    import tensorflow as tf

    from mhmodels.search.supernet.loop import WeightSharingSearch
    from mhmodels.search.supernet.network import branch
    from mhmodels.search.supernet.network import sliced as network

    seen = []

    def swallowing(x: Any) -> Any:
        return tf.where(tf.math.is_finite(x), tf.nn.relu6(x), tf.zeros_like(x))

    monkeypatch.setattr(branch, "_ACTIVATIONS", dict.fromkeys(branch._ACTIVATIONS, swallowing))
    network._compiled.cache_clear()
    search = WeightSharingSearch(tiny.request(tmp_path, space=tiny.small()), Watcher())
    train = search.trainer.train
    monkeypatch.setattr(search.trainer, "train", lambda *given: seen.append(train(*given)) or seen[-1])
    spoil(search.trainer, "conv_3x3/kernel", NAN)
    with pytest.raises(SearchError, match=r"^step 1 of 12: .*small:.*no checkpoint was written before"):
        search.to_end()
    network._compiled.cache_clear()
    assert np.isfinite(seen[0].loss).all()


class Begun(NamedTuple):
    """A search whose first two steps were finite."""

    search: Any
    good: Path

    def injected(self, inject: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> str:
        """The error that ends the search when it goes on from its checkpoint with something injected."""
        assert self.search.load()
        inject(self.search.trainer)
        with pytest.raises(SearchError) as caught:
            self.search.to_end()
        monkeypatch.undo()
        assert checkpoint.latest(self.good.parent) == self.good
        return str(caught.value)


@pytest.fixture(
    scope="module", params=["masked", *(pytest.param(form, marks=pytest.mark.slow) for form in ("sliced", "compiled"))]
)
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """In both forms of the super-network, operation by operation, because XLA compiles for long; the sliced one compiled, too."""
    import tensorflow as tf

    from mhmodels.search.supernet.loop import WeightSharingSearch

    folder, masked = tmp_path_factory.mktemp("search"), request.param == "masked"
    tf.config.run_functions_eagerly(request.param != "compiled")
    changes = {"space": tiny.small(), "static_shapes": masked, "preset": tiny.preset(architectures=2, steps=4)}
    with pytest.raises(Interrupted):
        WeightSharingSearch(tiny.request(folder, **changes, checkpoint_seconds=0), Watcher(stop_at=3)).to_end()
    good = checkpoint.latest(folder / "checkpoints")
    assert good is not None
    assert good.name == "step_00000002.npz"
    yield Begun(WeightSharingSearch(tiny.request(folder, **changes, resume=True), Watcher()), good)
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("ending", "value"),
    [
        ("conv_3x3/kernel", NAN),
        pytest.param("conv_3x3/gamma", INFINITE, marks=pytest.mark.slow),
        ("conv_3x3/beta", -INFINITE),
        pytest.param("logits/kernel", NAN, marks=pytest.mark.slow),
    ],
)
def test_a_weight_that_is_not_finite(begun: Begun, ending: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    said = begun.injected(lambda trainer: spoil(trainer, ending, value), monkeypatch)
    assert said.startswith("step 3 of 4: ")
    assert "small:" in said
    assert f"the last good checkpoint is {begun.good}" in said


@pytest.mark.parametrize("value", [NAN, pytest.param(INFINITE, marks=pytest.mark.slow)])
def test_a_gradient_that_is_not_finite(begun: Begun, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses stay finite: the step must look at the gradient itself."""
    import tensorflow as tf

    def inject(trainer: Any) -> None:
        real = tf.GradientTape.gradient

        def gradient(tape: Any, target: Any, sources: Any, *arguments: Any, **options: Any) -> Any:
            found = real(tape, target, sources, *arguments, **options)
            if isinstance(found, dict):
                found[next(iter(found))] *= value
            elif len(found) == len(trainer.network.weights):
                found = [found[0] * value, *found[1:]]
            return found

        monkeypatch.setattr(tf.GradientTape, "gradient", gradient)

    said = begun.injected(inject, monkeypatch)
    assert said.startswith("step 3 of 4: the gradient norm of small:")
    assert f"the last good checkpoint is {begun.good}" in said


def test_weights_that_leave_the_range_in_the_update(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients are finite, the update is not."""
    said = begun.injected(lambda trainer: monkeypatch.setattr(trainer, "_rate", lambda _: INFINITE), monkeypatch)
    assert said.startswith("step 3 of 4: variable 'weights/")
    assert "is no longer finite after the update by small:" in said
