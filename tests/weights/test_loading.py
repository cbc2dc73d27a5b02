"""`create_model(weights=…)`: what fits is loaded whole, what does not is told, and nothing is loaded by halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError, UnknownNameError, WeightsError
from mhmodels.registry import resolve
from mhmodels.weights import Labels, load_weights, model_arrays, save_weights, write_weights
from tests.weights.helpers import random_arrays

pytestmark = pytest.mark.tensorflow

ARCHITECTURE = resolve("multi_max@0.25").at(classes=4)
SMALL: dict[str, Any] = {"width_multiplier": 0.25, "input_shape": (32, 32, 3)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "x.weights.h5"
    write_weights(path, ARCHITECTURE, random_arrays(ARCHITECTURE), labels=Labels(names=("a", "b", "c", "d")))
    return path


def build(name: str = "multi_max", **arguments: Any) -> Any:
    from mhmodels import create_model

    return create_model(name, **{**SMALL, **arguments})


def test_every_array_arrives_at_any_input_size(weights: Path) -> None:
    model = build(classes=4, weights=str(weights), input_shape=(64, 32, 3))
    found, expected = model_arrays(model, ARCHITECTURE), random_arrays(ARCHITECTURE)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_without_the_top_the_class_count_does_not_matter(weights: Path) -> None:
    expected = random_arrays(ARCHITECTURE)
    for model in (
        build(include_top=False, weights=str(weights)),
        build(features=True, out_strides=(4, 16), weights=str(weights)),
    ):
        names = {layer.name for layer in model.layers}
        assert "logits" not in names
        found = {(layer, role): getattr(model.get_layer(layer), role).numpy() for layer, role in expected if layer in names}
        assert len(found) > 50
        assert all(np.array_equal(found[key], expected[key]) for key in found)


@pytest.fixture(scope="module")
def model() -> Any:
    """A model of four classes; tests that change its weights load into it what they then compare with."""
    return build(classes=4)


def test_networks_are_told_apart_by_what_they_compute(weights: Path, model: Any) -> None:
    with pytest.raises(WeightsError, match=r"4 classes, expected 1000 as the model has; build it with classes=4"):
        build(classes=1000, weights=str(weights))
    for other, message in (
        (resolve("multi_max@0.5").at(classes=4), r"weights of multi_max at width 0\.25 .* expected multi_max at width 0\.5"),
        (resolve("mobilenet_v2").at(classes=4), r"weights of multi_max .* expected mobilenet_v2 .*build 'multi_max@0\.25'"),
        (ARCHITECTURE.at(input_channels=1), r"for pictures of 3 channels, expected 1"),
        # Same shapes throughout, another function: a residual connection less.
        (_without_a_residual(ARCHITECTURE), r"weights of multi_max at width 0\.25 .* expected multi_max at width 0\.25"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_weights(model, weights, other)


def test_weights_state_classes_and_size(tmp_path: Path) -> None:
    from mhmodels import create_model

    network = ARCHITECTURE.at(input_size=(48, 64))
    path = str(tmp_path / "x.weights.h5")
    write_weights(path, network, random_arrays(network))
    model = create_model("multi_max@0.25", weights=path)
    assert (model.input_shape, model.output_shape) == ((None, 48, 64, 3), (None, 4))
    wider = create_model("multi_max@0.25", weights=path, input_shape=(32, 32, 3))
    assert (wider.input_shape, wider.output_shape) == ((None, 32, 32, 3), (None, 4))
    with pytest.raises(WeightsError, match="4 classes, expected 5 as the model has"):
        create_model("multi_max@0.25", weights=path, classes=5)
    # An architecture object says it all itself.
    with pytest.raises(WeightsError, match="4 classes, expected 1000 as the model has"):
        create_model(resolve("multi_max@0.25"), weights=path)


def _without_a_residual(architecture: Architecture) -> Architecture:
    *before, last = architecture.stages
    changed = (*last[:-1], msgspec.structs.replace(last[-1], residual=False))
    return msgspec.structs.replace(architecture, stages=(*before, changed))


def test_widths_that_round_to_one_network_share_weights(tmp_path: Path) -> None:
    one, other = resolve("mobilenet_v1@0.25").at(classes=2), resolve("mobilenet_v1@0.2501").at(classes=2)
    assert one.architecture_id != other.architecture_id
    write_weights(tmp_path / "x.weights.h5", other, random_arrays(other))
    model = build("mobilenet_v1", classes=2, weights=str(tmp_path / "x.weights.h5"))
    assert np.array_equal(model.get_layer("logits").bias.numpy(), random_arrays(one)["logits", "bias"])


def test_a_failed_load_changes_nothing(weights: Path, model: Any) -> None:
    before = model_arrays(model, ARCHITECTURE)
    damaged = weights.with_name("damaged.weights.h5")
    data = bytearray(weights.read_bytes())
    at = data.index(random_arrays(ARCHITECTURE)["stage6_block4_project", "kernel"].tobytes())
    data[at] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(WeightsError, match="altered or damaged"):
        load_weights(model, damaged)
    after = model_arrays(model, ARCHITECTURE)
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", pytest.param(".h5", marks=pytest.mark.slow)])
def test_plain_keras_files_still_load(model: Any, weights: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain{suffix}"
    expected = model_arrays(model, ARCHITECTURE)
    if suffix == ".weights.h5":
        model.save_weights(path)
    else:
        model.save(path)
    load_weights(model, weights)
    assert load_weights(model, path) is None
    assert all(np.array_equal(value, expected[key]) for key, value in model_arrays(model, ARCHITECTURE).items())
    for other, message in (
        (ARCHITECTURE.at(classes=7), r"4 classes, expected 7"),
        (ARCHITECTURE.at(width_multiplier=0.75), r"holds multi_max at width 0\.25, expected 0\.75"),
        (resolve("mobilenet_v2").at(classes=4), r"not mobilenet_v2"),
    ):
        with pytest.raises(WeightsError, match=message):
            load_weights(model, path, other)


def test_what_save_weights_writes_comes_back(model: Any, weights: Path, tmp_path: Path) -> None:
    expected = model_arrays(model, ARCHITECTURE)
    info = save_weights(model, ARCHITECTURE, tmp_path / "x.weights.h5", source="a test", licence="CC0-1.0")
    assert (info.licence, info.holds) == ("CC0-1.0", "the whole network")
    load_weights(model, weights)
    load_weights(model, tmp_path / "x.weights.h5")
    assert all(np.array_equal(value, expected[key]) for key, value in model_arrays(model, ARCHITECTURE).items())
    bare = build(include_top=False)
    assert save_weights(bare, ARCHITECTURE, tmp_path / "y.weights.h5").holds == "the network without its top"
    with pytest.raises(WeightsError, match=r"no (logits|hidden1_conv\w*)/\w+ in it, the model has one"):
        load_weights(model, tmp_path / "y.weights.h5")


def test_names_and_paths_that_mean_nothing(model: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(model, str(tmp_path / "nowhere.weights.h5"))
    with pytest.raises(UnknownNameError, match=r"unknown weights 'imagnet': did you mean imagenet"):
        load_weights(model, "imagnet")
    with pytest.raises(WeightsError, match=r"weights 'imagenet' are of .*mobilenet_v3_small.* not of multi_max@0\.25"):
        load_weights(model, "imagenet")
    (tmp_path / "ckpt.index").touch()
    with pytest.raises(WeightsError, match=r"a TensorFlow checkpoint; import it first: mhmodels weights import"):
        load_weights(model, str(tmp_path / "ckpt"))
    (tmp_path / "text.h5").write_text("x")
    with pytest.raises(MhmodelsError, match="cannot be read as Keras weights"):
        load_weights(model, str(tmp_path / "text.h5"))


def test_a_model_of_somebody_else() -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="theirs")
    with pytest.raises(WeightsError, match="'theirs' does not say what network it is"):
        load_weights(model, "x.weights.h5")
