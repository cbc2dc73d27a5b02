"""The layer that carries a network's preprocessing through `.keras` files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels import preprocess_input
from mhmodels.architecture import Architecture, Conv, Preprocessing
from mhmodels.inference import preprocessing_of
from mhmodels.preprocessing.layer import file_rule, layer_name, model_rule, stated_rule
from mhmodels.weights.importing import import_weights

RULES = (
    Preprocessing(),
    Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3),
    Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), crop_fraction=1.0, interpolation="bicubic"),
    Preprocessing(mean=(-1e-7, 1e6), std=(1 / 3, 1e-6), crop_fraction=0.3333333333333333),
    Preprocessing(mean=(0.0,), std=(255.0,)),
    Preprocessing(mean=(33.25,) * 1024, std=(78.5,) * 1024),
)
MINE = RULES[2]
SMALL = Architecture(
    name="small", stem=(Conv(filters=8, kernel=3, stride=2, endpoint=True),), stages=(), input_size=(32, 32), preprocessing=MINE
)


@pytest.mark.parametrize("rule", RULES)
def test_a_name_states_a_rule_exactly(rule: Preprocessing) -> None:
    name = layer_name(rule)
    assert stated_rule(name) == rule
    assert "/" not in name
    assert "+" not in name


@pytest.mark.parametrize(
    "name",
    [
        "preprocessing", "preprocessing_mean_1_std_0_crop_1_bilinear", "preprocessing_mean_1_2_std_1_crop_1_bilinear",
        "preprocessing_mean_1_std_1_crop_2_bilinear", "preprocessing_mean_1_std_1_crop_1_nearest",
        "preprocessing_mean_x3_std_1_crop_1_bilinear", "my_preprocessing_mean_1_std_1_crop_1_bilinear", "stem",
        "preprocessing_mean_1e999_std_1_crop_1_bilinear", "preprocessing_mean_1x0_std_1x0_crop_1_bilinear",
    ],
)  # fmt: skip
def test_other_names_state_none(name: str) -> None:
    assert stated_rule(name) is None


def test_files_that_state_nothing(tmp_path: Path) -> None:
    def saved(name: str, content: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("config.json", content)
        return tmp_path / name

    layer = {"class_name": "Identity", "config": {"name": layer_name(MINE)}}
    other = {"class_name": "Identity", "config": {"name": layer_name(RULES[0])}}
    assert file_rule(saved("one.keras", json.dumps({"layers": [layer, layer]}).encode())) == MINE
    assert file_rule(saved("two.keras", json.dumps({"layers": [layer, other]}).encode())) is None
    assert file_rule(saved("broken.keras", b"{")) is None
    assert file_rule(saved("deep.keras", b"[" * 200_000)) is None
    assert file_rule(saved("latin.keras", b'{"name": "\xff"}')) is None
    (tmp_path / "text.keras").write_text("no zip")
    assert file_rule(tmp_path / "text.keras") is None
    assert file_rule(tmp_path / "missing.keras") is None


def wrapped(kind: str) -> Any:
    """A model that has a network of ours in it, as users build them."""
    import keras

    from mhmodels.builder import create_model

    layers = keras.layers
    base = create_model(
        SMALL, include_top=kind == "with top", features=kind == "features",
        output_stride=8 if kind == "output stride" else None,
    )  # fmt: skip
    if kind in ("with top", "features", "output stride"):
        return base
    if kind == "nested":
        return keras.Sequential([keras.Input((32, 32, 3)), layers.RandomFlip(), base, layers.GlobalAveragePooling2D()])
    if kind == "nested twice":
        return keras.Sequential([keras.Input((32, 32, 3)), keras.Sequential([base]), layers.Flatten(), layers.Dense(2)])
    if kind == "on a tensor":
        image = keras.Input((32, 32, 3))
        return create_model(SMALL, input_tensor=layers.RandomRotation(0.1)(image), include_top=False)
    return keras.Model(base.input, layers.Dense(3, name="mine")(layers.GlobalAveragePooling2D()(base.output)), name="own")


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["with top", "functional", "nested", "nested twice", "features", "output stride", "on a tensor"])
def test_the_rule_survives_saving_loading_and_saving_again(kind: str, tmp_path: Path) -> None:
    import keras

    model = wrapped(kind)
    for _ in range(2):
        model.save(tmp_path / "m.keras")
        model = keras.models.load_model(tmp_path / "m.keras")
    assert model_rule(model) == file_rule(tmp_path / "m.keras") == MINE
    assert model_rule(keras.models.clone_model(model)) == MINE
    assert preprocessing_of(model) == preprocessing_of(tmp_path / "m.keras") == MINE
    pixels = np.full((1, 32, 32, 3), 200, np.uint8)
    np.testing.assert_array_equal(preprocess_input(pixels, model), preprocess_input(pixels, SMALL))


@pytest.mark.tensorflow
def test_weights_bring_their_rule(tmp_path: Path) -> None:
    """Into a model, into one that is built upon it already, and out of its `.keras` file into others."""
    import keras

    from mhmodels.builder import create_model
    from mhmodels.weights.files import read_info
    from mhmodels.weights.loading import load_weights, save_weights

    trained = SMALL.at(classes=4)
    save_weights(create_model(trained), trained, tmp_path / "w.weights.h5")
    zoo = Architecture(**{field: getattr(trained, field) for field in trained.__struct_fields__ if field != "preprocessing"})
    assert zoo.preprocessing != MINE
    model = create_model(zoo)
    head = keras.Model(model.input, keras.layers.Dense(2)(model.output))
    assert model_rule(head) == zoo.preprocessing
    load_weights(model, tmp_path / "w.weights.h5", zoo)
    assert model_rule(model) == model_rule(head) == preprocessing_of(model) == MINE
    model.save(tmp_path / "w.keras")
    assert preprocessing_of(create_model(zoo, weights=str(tmp_path / "w.keras"))) == MINE
    (tmp_path / "zoo.json").write_bytes(zoo.to_json())
    for origin in (tmp_path / "w.keras", model):
        import_weights(origin, str(tmp_path / "zoo.json"), tmp_path / "again.weights.h5")
        info = read_info(tmp_path / "again.weights.h5")
        assert info is not None
        assert info.preprocessing == MINE
