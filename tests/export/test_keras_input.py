"""What stands in front of a user's Keras model: layers that normalise, augment or resize pictures, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.architecture import Architecture, Conv, Preprocessing
from mhmodels.errors import UnknownNameError
from mhmodels.export.cli.stated_rule import stated_rule_of
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.opening.open_model import keras_source, model_source
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.reading.keras_model.reader import read_model
from mhmodels.export.reading.stated_rule import StatedRule, named_rule
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.preprocessing.pictures import preprocess, sample_pixels
from tests.conftest import Command

pytestmark = pytest.mark.tensorflow

PIXELS = sample_pixels(4, (32, 32), Preprocessing())
OURS = Architecture(
    name="ours", stem=(Conv(filters=8, kernel=3, stride=2),), stages=(), input_size=(32, 32),
    preprocessing=Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3),
)  # fmt: skip


def classifier(front: Callable[[Any], Any], size: tuple[int | None, int | None] = (32, 32)) -> Any:
    """What `front` makes of a picture, a convolution that pads with zeros, and a softmax."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((*size, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="stem")(front(image))
    return keras.Model(image, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)), name="foreign")


def scores(source: ExportSource, images: Float32Array) -> Float32Array:
    """What the operations give."""
    from mhmodels.export.opening.reading_check import compute

    return compute(source.known, images)[source.known.ops[-1].name]


def fronts() -> dict[str, tuple[Callable[[Any], Any], float]]:
    """Layers in front that take pixels, and the mean of the first channel that follows."""
    import keras

    layers, sequential = keras.layers, keras.Sequential
    adapted = layers.Normalization()
    adapted.adapt(PIXELS.astype(np.float32))
    mean = float(PIXELS[..., 0].mean())
    augment = sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), sequential([layers.RandomZoom(0.2)])])
    imagenet = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])
    return {
        "to one": (layers.Rescaling(1 / 255), 0.0),
        "to minus one": (layers.Rescaling(1 / 127.5, offset=-1), 127.5),
        "by powers of two": (layers.Rescaling(1 / 128, offset=-1), 128.0),
        "one a channel": (layers.Rescaling([1 / 58, 1 / 57, 1 / 56], offset=[-2.0, -1.9, -1.8]), 116.0),
        "mean and variance": (layers.Normalization(mean=[120.0, 110, 100], variance=[3600.0, 3500, 3400]), 120.0),
        "adapted": (adapted, mean),
        "two": (lambda x: imagenet(layers.Rescaling(1 / 255)(x)), 123.675),
        "arithmetic": (lambda x: (x - 127.5) / 127.5, 127.5),
        "arithmetic the other way round": (lambda x: -1.0 + (1 / 127.5) * x, 127.5),
        "an array": (lambda x: (x - np.array([120.0, 110, 100], np.float32)) * np.float32(0.02), 120.0),
        "keras.applications": (keras.applications.mobilenet_v2.preprocess_input, 127.5),
        "after augmentation": (lambda x: layers.Rescaling(1 / 255)(augment(x)), 0.0),
        "in a model": (sequential([layers.Rescaling(1 / 255), layers.RandomContrast(0.1), layers.RandomBrightness(0.1)]), 0.0),
        "in a pipeline": (layers.Pipeline([layers.RandomTranslation(0.1, 0.1), layers.Rescaling(1 / 255)]), 0.0),
        "dropout between": (lambda x: layers.Rescaling(1 / 255)(layers.GaussianNoise(0.1)(x)), 0.0),
        "of the size that it has": (lambda x: layers.Rescaling(1 / 255)(layers.Resizing(32, 32)(x)), 0.0),
    }


def test_layers_that_normalise_pixels_become_preprocessing() -> None:
    """Following the rule gives what Keras gives on the pixels, at the borders too, where the convolution pads."""
    for name, (front, mean) in fronts().items():
        model = classifier(front)
        source = model_source(model, name)
        rule = source.architecture.preprocessing
        assert [op.kind for op in source.known.ops] == ["conv", "pool", "conv", "reshape", "softmax"], name
        assert rule.mean[0] == pytest.approx(mean, abs=1e-3), name
        expected = np.asarray(model(PIXELS.astype(np.float32), training=False))
        np.testing.assert_allclose(scores(source, preprocess(PIXELS, rule)), expected, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(source.outputs_of(preprocess(PIXELS, rule))[0], expected, atol=2e-6, err_msg=name)
        assert source.rule_known, name


@pytest.mark.parametrize(
    "front",
    [
        lambda _, x: x,
        lambda layers, x: layers.RandomFlip()(x),
        lambda layers, x: layers.Rescaling(2.0, offset=-1)(x),  # of values from 0 to 1
        lambda layers, x: layers.Rescaling(255.0)(x),
        lambda layers, x: layers.Normalization(mean=[0.45] * 3, variance=[0.06] * 3)(x),
        lambda layers, x: layers.Normalization(mean=[0.01, -0.02, 0.0], variance=[0.9, 1.1, 1.0])(x),
        lambda layers, x: layers.Rescaling(-1 / 255, offset=1.0)(x),  # no deviation above 0 makes a negative
        lambda layers, x: layers.Normalization(mean=[0.45] * 3, variance=[0.06] * 3, invert=True)(x),
    ],
)
def test_without_a_word_on_pixels_only_float_files_are_written(front: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    import keras

    model = classifier(lambda x: front(keras.layers, x))
    source = model_source(model, "in memory")
    with pytest.raises(ExportError, match=r"state what the model was trained on: argument 'mean' and argument 'std'"):
        list(export_model(source, ExportOptions(directory=tmp_path, formats=("int8",))))
    stated = source.stated(StatedRule((10.0,), (50.0,)))
    rule = stated.architecture.preprocessing
    entering = (PIXELS.astype(np.float32) - 10) / 50
    np.testing.assert_allclose(scores(stated, preprocess(PIXELS, rule)), np.asarray(model(entering, training=False)), atol=1e-5)


@pytest.mark.slow
def test_a_float_file_says_that_its_preprocessing_is_unknown(command: Command) -> None:
    classifier(lambda x: x).save("foreign.keras")
    Path("labels.txt").write_text("a\nb\nc\nd\n")
    done = command("export", "foreign.keras", "--labels", "labels.txt", "-o", "unknown")
    assert done.returncode == 0, done.stderr
    assert "the preprocessing of its pictures is unknown, so that manifest and file state none" in done.stderr
    manifest = load_manifest("unknown/foreign_w1_32_float32.manifest.json")
    assert (manifest.input.mean, manifest.input.std, manifest.metadata) == (None, None, False)
    assert command("verify", "unknown/foreign_w1_32_float32.tflite", "--against", "foreign.keras").returncode == 0
    for options in (("--format", "int8"), ("--normalise-in-model",), ("--metadata", "--labels", "labels.txt")):
        refused = command("export", "foreign.keras", *options, "-o", "refused")
        assert refused.returncode == 1
        assert "--preprocessing NAME" in refused.stderr
    assert command("consistency", "foreign.keras").returncode == 1
    done = command("export", "foreign.keras", "--format", "int8", "--mean", "100", "--std", "50,60,70", "-o", "stated")
    assert done.returncode == 0, done.stderr
    entry = load_manifest("stated/foreign_w1_32_int8.manifest.json").input
    assert (entry.mean, entry.std, entry.crop_fraction) == ((100.0,) * 3, (50.0, 60.0, 70.0), 1.0)


def test_augmentation_and_normalisation_are_told(command: Command) -> None:
    import keras

    layers = keras.layers
    classifier(lambda x: layers.Rescaling(1 / 255, name="to_one")(layers.RandomFlip(name="flips")(x))).save("tutorial.keras")
    done = command("export", "tutorial.keras", "--format", "float32", "--format", "uint8", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "left out, because they change pictures in training only: 'flips' (RandomFlip)" in done.stderr
    assert "a part of the file's preprocessing, which its manifest states, and no longer of the network: 'to_one'" in done.stderr
    for fmt in ("float32", "uint8"):
        entry = load_manifest(f"out/tutorial_w1_32_{fmt}.manifest.json".replace("tutorial_", "foreign_")).input
        assert (entry.mean, entry.std, entry.takes_pixels) == ((0.0,) * 3, (255.0,) * 3, fmt == "uint8")


def ours(front: Callable[[Any], Any]) -> Any:
    """A network of `create_model`, which carries 128 / 128, behind layers of the user's."""
    import keras

    from mhmodels.builder import create_model

    image = keras.Input((32, 32, 3))
    base = create_model(OURS, include_top=False)
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(base(front(image)))), name="both")


def test_what_a_layer_carries_and_layers_in_front_must_agree() -> None:
    import keras

    rescaling = keras.layers.Rescaling
    agreeing = {"none": lambda x: x, "pixels": rescaling(1 / 128, offset=-1), "unit": rescaling(255 / 128, offset=-1)}
    for name, front in agreeing.items():
        model = ours(front)
        source = model_source(model, name)
        assert source.architecture.preprocessing == OURS.preprocessing, name
        entering = {"none": (PIXELS - 128.0) / 128, "pixels": PIXELS * 1.0, "unit": PIXELS / 255}[name].astype(np.float32)
        found = scores(source, preprocess(PIXELS, OURS.preprocessing))
        np.testing.assert_allclose(found, np.asarray(model(entering, training=False)), atol=2e-5, err_msg=name)
    source = model_source(ours(rescaling(1 / 255)), "contradicting")
    with pytest.raises(ExportError, match=r"normalise pixels, and do not give what layer 'preprocessing_mean_128x3"):
        source.check_rule()
    assert source.stated(StatedRule((0.0,), (1.0,))).architecture.preprocessing.std == (255.0,) * 3


def test_a_network_of_ours_is_exported_by_the_rule_of_its_weights(command: Command) -> None:
    """Of the weights, not of the zoo's entry; with an output stride too; what is stated goes before."""
    from mhmodels.builder import create_model

    rule = OURS.preprocessing
    trained = msgspec.structs.replace(OURS, name="trained", classes=4)
    create_model(trained).save("trained.keras")
    Path("trained.json").write_bytes(trained.to_json())
    create_model("multi_avg_seg@0.25", input_shape=(32, 32, 3), features=True, output_stride=16).save("dilated.keras")
    dilated = keras_source("dilated.keras")
    assert dilated.architecture.preprocessing.mean == (123.675, 116.28, 103.53)
    assert dilated.backbone == "multi_avg_seg@0.25"
    source = keras_source("trained.keras")
    assert source.architecture.preprocessing == rule
    assert source.stated(StatedRule((90.0,) * 3, (80.0,) * 3)).architecture.preprocessing.crop_fraction == rule.crop_fraction
    for i, (options, mean) in enumerate({(): 128.0, ("--mean", "90", "--std", "80"): 90.0}.items()):
        for model in ("trained.keras", "trained.json"):
            done = command("export", model, *options, "-o", f"{model}{i}")
            assert done.returncode == 0, done.stderr
            (path,) = Path(f"{model}{i}").glob("*.manifest.json")
            assert load_manifest(path).input.mean == (mean,) * 3, (model, options)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ((None, "128", None), "--mean without --std"),
        ((None, None, "128"), "--std without --mean"),
        (("imagenet", "128", "128"), "give one of them"),
        ((None, "0.485,0.456,0.406", "0.229,0.224,0.225"), r"--mean 123\.675,116\.28,103\.53 --std 58\.395,57\.12,57\.375"),
        ((None, "1,2", "1,2,3"), "--mean has 2 values and --std 3"),
        ((None, "nan", "1"), "--mean is 'nan'"),
        ((None, "1e9", "1"), "--mean is '1e9'"),
        ((None, "1_0", "1"), "--mean is '1_0'"),
        ((None, "", "1"), "--mean is ''"),
        ((None, "128", "0"), "expected at least 1"),
        ((None, "128", "-1"), "expected at least 1"),
    ],
)
def test_what_cannot_be_stated(stated: tuple[str | None, str | None, str | None], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        stated_rule_of(*stated)


def test_what_can_be_stated() -> None:
    assert stated_rule_of(None, None, None) is None
    assert stated_rule_of(None, "128", "127.5,128,1") == StatedRule((128.0,) * 3, (127.5, 128.0, 1.0))
    assert stated_rule_of(None, " 123.675, 116.28 ,103.53", "58 57 57") == StatedRule(
        (123.675, 116.28, 103.53), (58.0, 57.0, 57.0)
    )
    assert named_rule("pixels").std == (1.0,)
    assert named_rule("unit").std == (255.0,)
    assert named_rule("digits64").mean == (128.0,) * 3
    assert named_rule("multi_max@0.5") == named_rule("multi_max")
    with pytest.raises(UnknownNameError, match="unknown preprocessing 'imagnet'"):
        named_rule("imagnet")
    with pytest.raises(ExportError, match="takes 3 channels, and the stated mean and std have 2 values"):
        model_source(classifier(lambda x: x), "m").stated(StatedRule((1.0, 2.0), (1.0, 1.0)))


def test_resizing_is_refused_by_name() -> None:
    import keras

    layers = keras.layers
    for layer in (layers.Resizing(24, 24, name="smaller"), layers.CenterCrop(24, 24, name="smaller")):
        with pytest.raises(
            ExportError, match=r"layer 'smaller' .*: makes 24x24 pixels of 32x32, .* build the model on 24x24 pixels"
        ):
            read_model(classifier(layer))
    assert read_model(classifier(layers.Resizing(24, 24), (None, None)), (24, 24)).ops[0].size == (12, 12)


def test_a_picture_that_is_read_before_and_after_it_is_scaled() -> None:
    """What stays in the network is a 1x1 depthwise convolution; a picture that was scaled away is refused by name."""
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    raw = layers.Conv2D(4, 3, padding="same", name="raw")(image)
    scaled = layers.Conv2D(4, 3, padding="same", name="scaled")(layers.Rescaling(1 / 255, name="later")(raw))
    pooled = layers.GlobalAveragePooling2D()(scaled)
    model = keras.Model(image, layers.Dense(2)(pooled))
    source = model_source(model, "in the middle").stated(StatedRule((0.0,), (255.0,)))
    assert [op.kind for op in source.known.ops] == ["conv", "depthwise", "conv", "pool", "conv", "reshape"]
    images = preprocess(PIXELS, source.architecture.preprocessing)
    np.testing.assert_allclose(scores(source, images), np.asarray(model(images)), atol=1e-5)
    both = layers.Add()(
        [layers.Conv2D(4, 1, name="one")(image), layers.Conv2D(4, 1, name="two")(layers.Rescaling(1 / 255)(image))]
    )
    with pytest.raises(ExportError, match="reads the picture before another layer scales it"):
        read_model(keras.Model(image, layers.GlobalAveragePooling2D()(both)))
