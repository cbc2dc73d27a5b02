"""Weights of keras.applications' V1: where its padding gives the scores of ours, and that other sizes are told."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels import resolve
from mhmodels.errors import PaddingWarning
from mhmodels.weights.padding import agreeing_sizes, is_exact


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v1@0.25"])
def test_sizes_agree_where_every_map_before_a_depthwise_stride_is_even(name: str) -> None:
    network = resolve(name)
    assert agreeing_sizes(network, "trailing") == (223, 224, 255)
    exact = [
        size for size in (96, 97, 100, 112, 128, 160, 192, 224, 225, 240, 256) if is_exact(network, "trailing", (size, size))
    ]
    assert exact == [96, 128, 160, 192, 224, 256]
    assert is_exact(network, "trailing", (96, 224))
    assert not is_exact(network, "trailing", (96, 112))
    assert not is_exact(network, "trailing", (None, 224))
    assert is_exact(network, "same", (None, None))


def test_symmetric_padding_agrees_where_every_map_before_a_stride_is_odd() -> None:
    network = resolve("mobilenet_v2")
    assert agreeing_sizes(network, "symmetric") == (193, 225, 257)
    assert not is_exact(network, "symmetric", (224, 224))


def test_the_network_of_keras_is_exact_at_every_size() -> None:
    assert is_exact(resolve("mobilenet_v1.keras"), "trailing", (None, 225))


@pytest.mark.tensorflow
@pytest.mark.slow
def test_import_and_use_at_another_size_warn(tmp_path: Path) -> None:
    """The warning says the truth: scores are equal at the sizes that it names, and differ at those at which it comes."""
    import keras

    from mhmodels import create_model
    from mhmodels.weights import import_weights, load_weights, save_weights

    def keras_model(size: int) -> Any:
        keras.utils.set_random_seed(0)
        model = keras.applications.MobileNet(
            input_shape=(size, size, 3), alpha=0.25, weights=None, classes=3, classifier_activation=None
        )
        rng = np.random.default_rng(0)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
        return model

    ours = {"input_shape": (64, 64, 3), "classes": 3, "classifier_activation": None}
    with pytest.warns(PaddingWarning, match="differ .* except at input sizes such as 223, 224, 255"):
        done = import_weights(keras_model(64), "mobilenet_v1@0.25", tmp_path / "x.weights.h5")
    assert done.info.padding == "trailing"
    with warnings.catch_warnings():
        warnings.simplefilter("error", PaddingWarning)
        same = create_model("mobilenet_v1@0.25", weights=done.path, **ours)
    with pytest.warns(PaddingWarning, match="scores differ from those in training at 48x48"):
        other = create_model("mobilenet_v1@0.25", weights=done.path, **(ours | {"input_shape": (48, 48, 3)}))
    rng = np.random.default_rng(1)
    for model, size, agree in ((same, 64, True), (other, 48, False)):
        picture = rng.normal(size=(2, size, size, 3)).astype("float32")
        expected = np.asarray(keras_model(size)(picture, training=False))
        difference = np.abs(np.asarray(model(picture, training=False)) - expected).max() / np.ptp(expected)
        assert (difference < 1e-5) == agree
    # What was trained here is padded as here.
    save_weights(other, resolve("mobilenet_v1@0.25").at(classes=3), tmp_path / "trained.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error", PaddingWarning)
        load_weights(other, tmp_path / "trained.weights.h5")
