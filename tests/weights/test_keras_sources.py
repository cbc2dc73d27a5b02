"""keras.applications as a source: its models with random weights, from the object and from its file formats, same scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mhmodels.errors import WeightsError
from mhmodels.weights import import_weights

pytestmark = pytest.mark.tensorflow

V3 = {"include_preprocessing": False}
MINIMALISTIC = {"include_preprocessing": False, "minimalistic": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet_v1": ("MobileNet", {}),
    "mobilenet_v2": ("MobileNetV2", {}),
    "mobilenet_v3_large": ("MobileNetV3Large", V3),
    "mobilenet_v3_small": ("MobileNetV3Small", V3),
    "mobilenet_v3_large_minimalistic": ("MobileNetV3Large", MINIMALISTIC),
    "mobilenet_v3_small_minimalistic": ("MobileNetV3Small", MINIMALISTIC),
}
# Each width with public weights once or twice; that a network is Keras' at all of them is in test_keras_applications.py.
ALPHAS = {"mobilenet_v1": (0.25, 0.5), "mobilenet_v2": (0.35, 1.3, 1.4), "mobilenet_v3_large_minimalistic": (1.0,)}
V3_ALPHAS = (0.75, 1.0)
# The default run takes one width and one format of one family, and transfer-learning models of another.
FIRST = {"mobilenet_v3_small": (0.75, "legacy")}
FORMATS = ("object", ".weights.h5", ".h5", "legacy", ".keras")
CASES = [
    pytest.param(name, alpha, form, marks=() if FIRST.get(name) == (alpha, form) else pytest.mark.slow)
    for name in FAMILIES
    for i, alpha in enumerate(ALPHAS.get(name, V3_ALPHAS))
    for form in (FORMATS if i == 0 and name in ("mobilenet_v2", "mobilenet_v3_small") else ("object",))
]


def reference(name: str, alpha: float, **arguments: Any) -> Any:
    """keras.applications' model with every weight random, batch statistics included."""
    import keras

    function, fixed = FAMILIES[name]
    model = getattr(keras.applications, function)(
        input_shape=(64, 64, 3), alpha=alpha, weights=None, classifier_activation=None, **fixed, **arguments
    )
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def stored(model: Any, form: str, folder: Path) -> Any:
    """The model in one of the formats."""
    if form == "object":
        return model
    path = folder / f"model{'.h5' if form == 'legacy' else form}"
    if form == ".weights.h5":
        model.save_weights(path)
    elif form == "legacy":
        # As tf.keras' save_weights wrote it, which is how keras.applications publishes its weights.
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, model)
    else:
        model.save(path)
    return path


@pytest.mark.parametrize(("name", "alpha", "form"), CASES)
def test_same_scores_from_every_format(name: str, alpha: float, form: str, tmp_path: Path) -> None:
    from mhmodels import create_model

    model = reference(name, alpha, classes=7)
    done = import_weights(stored(model, form, tmp_path), name, tmp_path / "x.weights.h5")
    assert (done.architecture.width_multiplier, done.architecture.classes, done.unused) == (alpha, 7, ())
    assert done.info.preprocessing.mean == (127.5, 127.5, 127.5)
    arguments = {"width_multiplier": alpha, "classes": 7, "input_shape": (64, 64, 3), "classifier_activation": None}
    ours = create_model(name, weights=done.path, **arguments)
    pictures = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype("float32")
    expected = np.asarray(model(pictures, training=False))
    assert np.abs(np.asarray(ours(pictures, training=False)) - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.slow
def test_without_the_top(tmp_path: Path) -> None:
    from mhmodels import create_model

    model = reference("mobilenet_v3_small", 0.75, include_top=False)
    done = import_weights(model, "mobilenet_v3_small", tmp_path / "x.weights.h5", width_multiplier=0.75)
    assert done.info.holds == "the network without its top"
    ours = create_model("mobilenet_v3_small@0.75", include_top=False, input_shape=(64, 64, 3), weights=done.path)
    pictures = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype("float32")
    expected = np.asarray(model(pictures, training=False))
    assert np.abs(np.asarray(ours(pictures, training=False)) - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.slow
def test_a_width_where_keras_rounds_otherwise_names_its_variant(tmp_path: Path) -> None:
    import keras

    model = keras.applications.MobileNetV3Large(
        input_shape=(64, 64, 3), alpha=0.35, weights=None, include_top=False, minimalistic=True, include_preprocessing=False
    )
    with pytest.raises(WeightsError, match=r"it fits mobilenet_v3_large_minimalistic\.keras@0\.35"):
        import_weights(model, "mobilenet_v3_large_minimalistic", tmp_path / "x.weights.h5")


@pytest.mark.slow
def test_another_network_of_keras_is_told(tmp_path: Path) -> None:
    import keras

    model = keras.applications.EfficientNetB0(input_shape=(64, 64, 3), weights=None)
    with pytest.raises(WeightsError, match=r"not mobilenet_v2"):
        import_weights(model, "mobilenet_v2", tmp_path / "x.weights.h5")


def transfer(outer: int = 1) -> Any:
    """The usual transfer-learning model: a network of keras.applications as one layer, with a head of so many dense layers."""
    import keras

    base = reference("mobilenet_v2", 0.35, include_top=False)
    image = keras.Input((64, 64, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(keras.layers.RandomFlip()(image), training=False))
    for _ in range(outer - 1):
        x = keras.layers.Dense(6, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(5)(keras.layers.Dropout(0.2)(x)))


@pytest.mark.parametrize("form", [".keras", ".weights.h5", *(pytest.param(f, marks=pytest.mark.slow) for f in ("object", ".h5"))])
def test_a_network_used_as_a_layer_is_found_in_every_format(form: str, tmp_path: Path) -> None:
    from mhmodels import create_model

    model = transfer()
    done = import_weights(stored(model, form, tmp_path), "mobilenet_v2", tmp_path / "x.weights.h5")
    assert (done.architecture.width_multiplier, done.info.holds, done.unused) == (0.35, "the whole network", ())
    ours = create_model(
        "mobilenet_v2", weights=done.path, width_multiplier=0.35, classes=5, input_shape=(64, 64, 3), classifier_activation=None
    )
    pictures = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype("float32")
    expected = np.asarray(model(pictures, training=False))
    assert np.abs(np.asarray(ours(pictures, training=False)) - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("form", ["object", *(pytest.param(f, marks=pytest.mark.slow) for f in (".keras", ".weights.h5"))])
def test_under_another_head_the_backbone_is_taken_and_the_rest_is_named(form: str, tmp_path: Path) -> None:
    done = import_weights(stored(transfer(outer=2), form, tmp_path), "mobilenet_v2", tmp_path / "x.weights.h5")
    assert (done.info.holds, len(done.unused)) == ("the network without its top", 4)


@pytest.mark.slow
def test_a_frozen_backbone_is_found_in_every_format(tmp_path: Path) -> None:
    model = transfer()
    model.layers[2].trainable = False
    for form in (".keras", ".h5", ".weights.h5"):
        done = import_weights(stored(model, form, tmp_path), "mobilenet_v2", tmp_path / f"x{form[1:2]}.weights.h5")
        assert done.info.holds == "the whole network"
