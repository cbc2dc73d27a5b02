"""Quantisation-aware training: does it learn with exactly the roundings that the file will have?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat, activation_quantisation, representable
from mhmodels.export.quantisation.scheme import SHARING, QuantisedGraph, pre_activation, quantise, separate_activation
from mhmodels.network import IMAGE, Op
from mhmodels.preprocessing.pictures import sample_pictures
from tests.conftest import Command
from tests.export.writer_helpers import MINI, TINY

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]

SCHEMES: list[tuple[QuantisedFormat, Granularity]] = [("int8", "channel"), ("int8", "tensor"), ("uint8", "tensor")]


def pictures(count: int = 12) -> Any:
    return sample_pictures(count, TINY.input_size, TINY.preprocessing)


def make(fmt: QuantisedFormat, granularity: Granularity, network: Architecture = TINY, **settings_: Any) -> tuple[Any, Any]:
    """A float model with sensible statistics, and its quantisation-aware form with calibrated ranges."""
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.calibration import calibrate

    images = sample_pictures(12, network.input_size, network.preprocessing)
    source = open_model(ModelRequest(model=network), images)
    ranges = calibrate(source.graph, images)
    return source.model, quantize_aware(source.model, network, fmt, granularity=granularity, ranges=ranges, **settings_)


def train_step(model: Any, images: Any, rate: float = 0.01) -> list[Any]:
    """One step of gradient descent towards arbitrary labels; returns the gradients."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        scores = model(images, training=True)
        loss = -tf.reduce_mean(tf.math.log(tf.gather(scores, [i % 10 for i in range(len(images))], batch_dims=1) + 1e-6))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    return gradients


def integers(model: Any) -> QuantisedGraph:
    from mhmodels.export.quantisation.aware_model import aware_graph, made_as

    made = made_as(model)
    return quantise(*aware_graph(model), made.format, made.granularity)


# The other two formats round in other steps, which the layers' own tests try, and nothing else.
@pytest.fixture(
    scope="module",
    params=[pytest.param(s, id="-".join(s), marks=[] if s == ("int8", "channel") else [pytest.mark.slow]) for s in SCHEMES],
)
def trained(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(float model, quantisation-aware model) after two steps, which made all weights and ranges odd numbers."""
    model, aware = make(*request.param)
    for _ in range(2):
        train_step(aware, pictures())
    return model, aware


# --- one layer -------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.floats(-50, 1), st.floats(0.01, 50), st.sampled_from(["int8", "uint8"]), st.integers(0, 2**32 - 1))
def test_activations_are_rounded_to_the_files_integers(low: float, high: float, fmt: QuantisedFormat, seed: int) -> None:
    from mhmodels.export.quantisation.aware_layers import Quantise, nudged

    low, high = float(np.float32(low)), float(np.float32(high))
    layer = Quantise("x")
    x = np.random.default_rng(seed).uniform(1.3 * low - 1, 1.3 * high, 500).astype(np.float32)
    layer(x)
    layer.set_range(low, high)
    rounded = np.asarray(layer(x))
    ends = nudged(np.float32(low), np.float32(high))  # what the exporter is given
    quantisation, direct = (activation_quantisation(r, fmt) for r in ((float(ends[0]), float(ends[1])), (low, high)))
    assert quantisation.scale == pytest.approx(direct.scale, rel=1e-6)
    # A zero point halfway between two integers may go either way; once it has, it stays.
    assert abs(quantisation.zero_point - direct.zero_point) <= (abs((-low / direct.scale[0]) % 1 - 0.5) < 1e-3)
    scale, (bottom, top) = float(quantisation.scale[0]), representable(quantisation, fmt)
    exact = np.clip(x.astype(np.float64), bottom, top) / scale
    # A number halfway between two integers may go either way.
    decided = np.abs(exact - np.floor(exact) - 0.5) > 1e-3
    assert decided.mean() > 0.9
    assert np.abs(rounded[decided] - np.rint(exact[decided]) * scale).max() < 1e-3 * scale


def test_kernels_are_the_files_integers(trained: tuple[Any, Any]) -> None:
    from mhmodels.export.quantisation.aware_layers import rounded_kernel
    from mhmodels.export.quantisation.fake_quant import dequantised_kernel

    quantised = integers(trained[1])
    for op in quantised.graph.convolutions:
        layer = trained[1].get_layer(op.name)
        found = np.asarray(rounded_kernel(quantised.graph.kernels[op.name], layer.grid, 2 if op.kind == "depthwise" else 3))
        steps = quantised.kernels[op.name].quantisation.scale
        along = steps[:, None] if op.kind == "depthwise" and len(steps) > 1 else steps
        off = np.abs(found - dequantised_kernel(quantised, op)) / along
        # The two compute in different precision: a number halfway between two integers may go either way.
        assert (off > 0.01).sum() <= 1 + 1e-3 * off.size, op.name
        assert off.max() < 1.01, op.name


def test_the_gradient_passes_straight_through() -> None:
    import tensorflow as tf

    from mhmodels.export.quantisation.aware_layers import Quantise, rounded_kernel

    for grid in ("channel", "tensor", "asymmetric"):
        kernel = tf.Variable(np.random.default_rng(1).normal(size=(3, 3, 4, 5)).astype(np.float32))
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(rounded_kernel(tf.convert_to_tensor(kernel), grid, 3) * 2.0)
        # The largest weight too, although it is where the grid ends.
        assert (tape.gradient(total, kernel).numpy() == 2.0).all()
    layer = Quantise("x", fixed=representable(activation_quantisation((-1.0, 1.0), "int8"), "int8"))
    x = tf.constant([-3.0, -0.9, 0.0, 0.4, 0.9, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert tape.gradient(y, x).numpy().tolist() == [0, 1, 1, 1, 1, 0]


def test_ranges_follow_a_moving_average() -> None:
    from mhmodels.export.quantisation.aware_layers import Quantise

    layer = Quantise("x", ema=0.75)
    batches = [np.array([[-1.0, 4.0]], np.float32), np.array([[-3.0, 2.0]], np.float32), np.array([[0.5, 8.0]], np.float32)]
    layer(batches[0], training=True)
    assert np.asarray(layer.range).tolist() == [-1.0, 4.0]  # the first one sets it
    layer(batches[1], training=True)
    layer(batches[2], training=True)
    low, high = 0.75 * (0.75 * -1 + 0.25 * -3) + 0.25 * 0.5, 0.75 * (0.75 * 4 + 0.25 * 2) + 0.25 * 8
    assert np.asarray(layer.range) == pytest.approx([low, high])
    layer(batches[0], training=False)
    layer(batches[0], training=True, observe=False)
    assert np.asarray(layer.range) == pytest.approx([low, high])


@pytest.mark.parametrize("depthwise", [False, True])
def test_folded_training_is_batch_normalisation_but_for_the_rounding(depthwise: bool) -> None:
    """Section 3.2: batch statistics in training, the same moving averages as Keras', and after freezing none of both."""
    import keras

    from mhmodels.export.quantisation.aware_layers import FoldedConvolution

    rng = np.random.default_rng(3)
    x = rng.normal(0.4, 1.5, (16, 9, 9, 8)).astype(np.float32)
    make_one = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    shared = {"padding": "same", "use_bias": False, "strides": 2}
    convolution = make_one(3, **shared) if depthwise else make_one(8, 3, **shared)
    norm = keras.layers.BatchNormalization(momentum=0.5)
    twin = keras.layers.BatchNormalization(momentum=0.5)
    layer = FoldedConvolution(convolution, norm, "channel", freeze_after=2)
    layer.build(x.shape)
    twin.build((None, 5, 5, 8))
    start = [rng.uniform(0.5, 2, 8).astype(np.float32) for _ in range(4)]
    norm.set_weights(start)
    twin.set_weights(start)

    for _ in range(2):
        expected, found = np.asarray(twin(convolution(x), training=True)), np.asarray(layer(x, training=True))
        assert np.abs(found - expected).max() < 0.05 * expected.std()
        assert found.mean((0, 1, 2)) == pytest.approx(expected.mean((0, 1, 2)), abs=0.02)
        for own, keras_own in zip(norm.get_weights(), twin.get_weights(), strict=True):
            assert own == pytest.approx(keras_own, rel=1e-5)
    frozen = norm.get_weights()
    after = np.asarray(layer(x, training=True))
    assert all((one == two).all() for one, two in zip(norm.get_weights(), frozen, strict=True))
    assert after == pytest.approx(np.asarray(layer(x, training=False)), abs=1e-4)
    assert np.abs(after - expected).max() > 0.1 * expected.std()


# --- a network -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_weight_learns() -> None:
    model, aware = make("int8", "channel")
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    gradients = train_step(aware, pictures())
    assert len(gradients) == len(model.trainable_variables)
    for variable, gradient in zip(aware.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.asarray(gradient).any(), variable.path
    # The float model is the same variables.
    assert all((np.asarray(now) != old).any() for now, old in zip(model.trainable_variables, before, strict=True))


# One format stands for all: what is saved are layers, ranges and variables, whatever they round to.
@pytest.mark.parametrize("trained", SCHEMES[:1], indirect=True, ids=["int8"])
def test_a_saved_model_is_the_same(trained: tuple[Any, Any], tmp_path: Path) -> None:
    import keras

    aware = trained[1]
    aware.save(tmp_path / "aware.keras")
    again = keras.models.load_model(tmp_path / "aware.keras")
    assert (np.asarray(again(pictures())) == np.asarray(aware(pictures()))).all()
    one, two = integers(aware), integers(again)
    assert one.tensors == two.tensors
    for name, kernel in one.kernels.items():
        assert (kernel.weights == two.kernels[name].weights).all()
        assert (kernel.bias == two.kernels[name].bias).all()
    train_step(again, pictures())


def own_layer(aware: Any, op: Op, values: dict[str, Any]) -> dict[str, Any]:
    """What the quantisation-aware model's layers make of an operation's inputs."""
    layers = {layer.name: layer for layer in aware.layers}
    inputs = [values[name] for name in op.inputs]
    result = {}
    if op.kind in ("conv", "depthwise"):
        x = layers[op.name](inputs[0], training=False)
        if separate_activation(op):
            result[pre_activation(op)] = np.asarray(layers[f"{op.name}_pre_range"](x))
            x = values[pre_activation(op)]
        if f"{op.name}_act" in layers:
            x = layers[f"{op.name}_act"](x)
    else:
        x = layers[op.name](inputs if len(inputs) > 1 else inputs[0])
        if f"{op.name}_act" in layers:
            x = layers[f"{op.name}_act"](x)
    source = op.inputs[0] if op.kind in SHARING else op.name
    rounding = layers.get(f"{source}_range")
    return {**result, op.name: np.asarray(x if rounding is None else rounding(x))}


def test_each_layer_is_the_files(trained: tuple[Any, Any], tmp_path: Path) -> None:
    from mhmodels.export.verification.export_check import dequantise, encode_input, map_tensors
    from mhmodels.export.verification.runtimes.litert import run_file
    from mhmodels.export.writing.writer import write_quantised
    from mhmodels.tflite.file import read_tflite

    quantised = integers(trained[1])
    path = tmp_path / "file.tflite"
    path.write_bytes(write_quantised(quantised))
    file = read_tflite(path)
    places = map_tensors(file, quantised.graph.ops)
    arrays = run_file(path, encode_input(file, pictures(6)), list(places.values()))
    values = {name: dequantise(array, file.tensors[places[name]]) for name, array in zip(places, arrays, strict=True)}
    differing = []
    for op in quantised.graph.ops[:-1]:
        for name, found in own_layer(trained[1], op, values).items():
            off = np.abs(found.reshape(values[name].shape) - values[name]) / quantised.tensors[name].scale[0]
            assert off.max() < 1.01, name
            # Runtimes divide a pooled sum of integers without rounding.
            if op.kind != "pool":
                differing.append((off > 0.5).mean())
    assert np.mean(differing) < 0.02
    assert IMAGE in values


@pytest.mark.parametrize("padding", ["symmetric", "trailing"])
def test_zeros_around_maps_are_trained_as_files_have_them(padding: Any, tmp_path: Path) -> None:
    from mhmodels.export.verification.file_graph import file_logits
    from mhmodels.export.writing.writer import write_quantised

    network = msgspec.structs.replace(MINI, padding=padding, input_size=(64, 49) if padding == "symmetric" else (65, 50))
    _, aware = make("uint8", "tensor", network)
    images = np.random.default_rng(2).normal(0, 0.5, (8, *network.input_size, 3)).astype(np.float32)
    train_step(aware, images)
    quantised = integers(aware)
    assert "pad" in {op.kind for op in quantised.graph.ops}
    (tmp_path / "file.tflite").write_bytes(write_quantised(quantised))
    trained = np.log(np.asarray(aware(images)) + 1e-9)
    found = file_logits(tmp_path / "file.tflite", images)
    scale = quantised.tensors["flatten"].scale[0]
    difference = (trained - trained.mean(1, keepdims=True)) - (found - found.mean(1, keepdims=True))
    assert np.abs(difference).mean() < 1.5 * scale
    assert np.abs(trained - trained.mean(1, keepdims=True)).mean() > 10 * scale


def test_ranges_are_where_training_left_them(trained: tuple[Any, Any]) -> None:
    quantised, aware = integers(trained[1]), trained[1]
    for name, rounding in ((layer.tensor, layer) for layer in aware.layers if layer.name.endswith("_range")):
        if rounding.fixed is None:
            scale = float(quantised.tensors[name].scale[0])
            low, high = np.asarray(rounding.range)
            assert scale * 255 == pytest.approx(max(high, 0) - min(low, 0), rel=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize(("fmt", "granularity"), SCHEMES[::2], ids=["-".join(scheme) for scheme in SCHEMES[::2]])
def test_a_trained_network_agrees_with_its_file_end_to_end(
    fmt: QuantisedFormat, granularity: Granularity, tmp_path: Path
) -> None:
    """Roundings cascade through 59 operations, so single logits may be steps apart; the mean and the best class may not."""
    from mhmodels import create_model
    from mhmodels.export.graph.operations import fold
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.aware_model import made_as
    from mhmodels.export.quantisation.calibration import calibrate
    from mhmodels.export.verification.file_graph import file_logits
    from mhmodels.export.writing.writer import write_quantised
    from mhmodels.preprocessing.pictures import preprocess
    from mhmodels.training.data.digits64 import test_set, validation_set

    model = create_model("multi_max@0.25", weights="digits64", input_shape=(64, 64, 3), classes=10, classifier_activation=None)
    network = made_as(quantize_aware(model)).architecture
    canvases = preprocess(validation_set().pixels[::12], network.preprocessing)
    ranges = calibrate(fold(model, network), canvases)
    aware = quantize_aware(model, fmt=fmt, granularity=granularity, ranges=ranges)
    quantised = integers(aware)
    (tmp_path / "file.tflite").write_bytes(write_quantised(quantised))
    held_out = test_set()
    images = preprocess(held_out.pixels[::5], network.preprocessing)
    trained, file = aware.predict(images, batch_size=60, verbose=0), file_logits(tmp_path / "file.tflite", images)
    off = np.abs(trained - file) / quantised.tensors["flatten"].scale[0]
    assert off.mean() <= 1.0
    assert (trained.argmax(1) == file.argmax(1)).mean() >= 0.99
    assert (file.argmax(1) == held_out.labels[::5]).mean() > 0.95


# --- files and commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trained", [SCHEMES[0], pytest.param(SCHEMES[2], marks=pytest.mark.slow)], indirect=True, ids=["int8", "uint8"]
)
def test_export_takes_the_learned_ranges(trained: tuple[Any, Any], tmp_path: Path, command: Command) -> None:
    from mhmodels.export.quantisation.aware_model import aware_graph, made_as, save_aware
    from mhmodels.weights import read_info

    aware, made = trained[1], made_as(trained[1])
    info = save_aware(aware, tmp_path / "aware.weights.h5", source="test")
    assert info == read_info(tmp_path / "aware.weights.h5")
    assert info.learned is not None
    assert (info.learned.format, info.learned.granularity, info.learned.steps) == (made.format, made.granularity, 2)
    assert info.learned.ranges == aware_graph(aware)[1]

    (tmp_path / "tiny.json").write_bytes(TINY.to_json())
    done = command("export", "tiny.json", "--weights", "aware.weights.h5", "--format", made.format, "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    from mhmodels.export.writing.manifest import load_manifest

    manifest = load_manifest(tmp_path / file["path"].replace(".tflite", ".manifest.json"))
    assert manifest.calibration is not None
    assert manifest.calibration.method == "learned"
    assert manifest.granularity == made.granularity
    from mhmodels.export.verification.export_check import map_tensors
    from mhmodels.tflite.file import read_tflite

    quantised, parsed = integers(aware), read_tflite(tmp_path / file["path"])
    for name, position in map_tensors(parsed, quantised.graph.ops).items():
        assert parsed.tensors[position].scale[0] == quantised.tensors[name].scale[0], name
        assert parsed.tensors[position].zero_point[0] == quantised.tensors[name].zero_point, name


@pytest.mark.parametrize("bad", [[1.0, 1.0], [2.0, -1.0], [float("nan"), 1.0], [0.0]])
def test_tampered_ranges_are_refused(bad: list[float]) -> None:
    from mhmodels.weights import Learned

    document = msgspec.json.encode({"format": "int8", "granularity": "channel", "steps": 1, "ranges": {"logits": bad}})
    with pytest.raises(msgspec.ValidationError, match=r"ranges|logits"):
        msgspec.json.decode(document, type=Learned)


def test_the_command_refuses_what_cannot_be(tmp_path: Path, command: Command) -> None:
    base = ["train", "multi_max@0.25", "--data", "digits64", "-o", "run"]
    for options, message in (
        (["--quantize-aware", "int8"], "needs --weights"),
        (["--quantize-aware", "int8", "--weights", "w.h5", "--mixed-precision", "float16"], "--mixed-precision none"),
        (["--freeze-after", "3"], "belong to --quantize-aware"),
    ):
        done = command(*base, *options)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_wrong_models_are_named() -> None:
    import keras

    from mhmodels.builder import create_model
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.aware_model import aware_graph, made_as

    model = create_model(MINI, dropout=0.2)
    with pytest.raises(ExportError, match="not quantisation-aware"):
        made_as(model)
    with pytest.raises(ExportError, match="does not exist in uint8"):
        quantize_aware(model, MINI, "uint8", granularity="channel")
    with pytest.raises(ExportError, match="ema is 1"):
        quantize_aware(model, MINI, ema=1.0)
    with pytest.raises(ExportError, match="no range was given"):
        quantize_aware(model, MINI, ranges={})
    bare = create_model(MINI)
    next(layer for layer in bare.layers if layer.name.startswith("preprocessing_")).name = "bare"
    with pytest.raises(ExportError, match="says nothing of its preprocessing: give quantize_aware an architecture"):
        quantize_aware(keras.Model(bare.input, bare.output))
    fresh = quantize_aware(model)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in fresh.layers)
    with pytest.raises(ExportError, match="'stem_conv/pre' has no range yet"):
        aware_graph(fresh)
    fresh.get_layer("stem_conv_pre_range").set_range(0.0, 0.0)
    with pytest.raises(ExportError, match="nothing passes through it"):
        aware_graph(fresh)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = create_model(MINI)
        with pytest.raises(ExportError, match="expected float32"):
            quantize_aware(half)
    finally:
        keras.config.set_dtype_policy(policy)


# --- a head of one's own ---------------------------------------------------------------------------------------------


def own_head(*, nested: bool = False, pixels: bool = False) -> Any:
    """A small network with dense layers, batch normalisation without a scale, dropout and a sigmoid behind the pooling."""
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, -1)(image) if pixels else image
    inner = keras.Input((32, 32, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inner)
    y = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depth")(y)
    base = keras.Model(inner, y, name="base")
    x = layers.GlobalAveragePooling2D()(base(x) if nested or pixels else y)
    x = layers.BatchNormalization(scale=False)(layers.Dense(12, use_bias=False)(x))
    x = layers.Dropout(0.2)(layers.ReLU()(x))
    scores = layers.Dense(3, activation="sigmoid", name="mine")(x)
    return keras.Model(image if nested or pixels else inner, scores, name="own")


def stated() -> Any:
    from mhmodels.architecture import Architecture, Conv

    return Architecture(name="any", stem=(Conv(filters=4),), stages=(), input_size=(32, 32))


# Of pixels, too, the backbone is nested.
@pytest.mark.parametrize("form", ["flat", pytest.param("nested", marks=pytest.mark.slow), "pixels"])
def test_a_head_of_ones_own_learns_and_exports_what_it_computes(form: str, tmp_path: Path) -> None:
    import keras

    from mhmodels.export.opening.open_model import keras_source
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.pipeline import export_model
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.verification.file_graph import file_outputs

    model = own_head(nested=form == "nested", pixels=form == "pixels")
    aware = quantize_aware(model, None if form == "pixels" else stated())
    normalised = sample_pictures(12, (32, 32), stated().preprocessing)
    images = normalised * 127.5 + 127.5 if form == "pixels" else normalised
    assert any(isinstance(layer, keras.layers.Dropout) for layer in aware.layers)
    shared = {id(variable) for variable in aware.variables}
    assert {id(variable) for variable in model.trainable_variables} <= shared
    for _ in range(3):
        aware(images, training=True)
    aware.save(tmp_path / "aware.keras")
    expected = np.asarray(aware(images, training=False))
    source = keras_source(tmp_path / "aware.keras")
    assert source.learned is not None
    options = ExportOptions(directory=tmp_path, formats=("int8",), io="float32")
    (one,) = export_model(source, options)
    assert one.manifest.calibration is not None
    assert one.manifest.calibration.method == "learned"
    found = next(iter(file_outputs(one.path, normalised, before_softmax=False).values()))
    assert np.abs(found - expected).max() <= 2.5 / 256  # steps of the sigmoid's output


def test_what_cannot_be_made_aware_is_said_with_what_to_do(tmp_path: Path) -> None:
    import keras

    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.aware_model import save_aware

    model = own_head()
    with pytest.raises(ExportError, match="says nothing of its preprocessing: give quantize_aware an architecture that has it"):
        quantize_aware(model)
    aware = quantize_aware(model, stated())
    with pytest.raises(ExportError, match="is quantisation-aware already"):
        quantize_aware(aware)
    with pytest.raises(ExportError, match=r"save the model, model.save\('NAME.keras'\), and export that file"):
        save_aware(aware, tmp_path / "x.weights.h5")
    two = keras.Model(model.input, [model.output, keras.layers.Dense(2, name="second")(model.get_layer("mine").input)])
    with pytest.raises(ExportError, match=r"has 2 outputs.*keras.Model\(model.input, model.outputs\[0\]\)"):
        quantize_aware(two, stated())
    quantize_aware(keras.Model(two.input, two.outputs[0]), stated())
