"""What is read of a Keras model is what Keras computes: classes and functions by identity, and both compared in float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.opening.open_model import model_source, open_model
from mhmodels.export.opening.reading_check import check_reading, compute
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.reading.keras_model.precision import in_float32, single_precision
from mhmodels.export.reading.keras_model.reader import read_model
from mhmodels.export.reading.stated_rule import StatedRule
from tests.conftest import Command
from tests.export.writer_helpers import TINY

pytestmark = pytest.mark.tensorflow

RULE = StatedRule((127.5,), (127.5,))
IMAGES: Float32Array = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)


def classifier(conv: Any = None, head: Any = None, act: Callable[[Any], Any] = lambda x: x, dtype: str = "float32") -> Any:
    """A convolution, what `act` makes of its output, global pooling, and a dense layer."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    conv = conv or layers.Conv2D(8, 3, strides=2, padding="same", name="conv", dtype=dtype)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(act(conv(image)))
    return keras.Model(image, (head or layers.Dense(4, activation="softmax", name="dense", dtype=dtype))(x), name="mine")


def scores(model: Any, images: Float32Array = IMAGES) -> Float32Array:
    """What the operations of a model give."""
    graph = model_source(model, "in memory").known
    return compute(graph, images)[graph.ops[-1].name]


def test_activations_are_told_apart_by_identity() -> None:
    import keras
    import tensorflow as tf

    layers, ops = keras.layers, keras.ops
    known: tuple[Any, ...] = (
        keras.activations.relu, ops.relu, tf.nn.relu, keras.activations.relu6, ops.relu6, keras.activations.hard_silu,
        "hard_swish", keras.activations.hard_sigmoid, ops.sigmoid, "sigmoid", "linear", layers.ReLU(max_value=6.0),
    )  # fmt: skip
    for function in known:
        model = classifier(layers.Conv2D(8, 3, padding="same", activation=function))
        np.testing.assert_allclose(scores(model), np.asarray(model(IMAGES)), atol=1e-6, err_msg=str(function))
    for function in (ops.relu, ops.relu6, ops.hard_silu, ops.hard_sigmoid, ops.sigmoid):
        model = classifier(act=function)
        np.testing.assert_allclose(scores(model), np.asarray(model(IMAGES)), atol=1e-6, err_msg=str(function))
    model = classifier(head=lambda x: ops.softmax(layers.Dense(4)(x)))
    np.testing.assert_allclose(scores(model), np.asarray(model(IMAGES)), atol=1e-6)


def impostors() -> dict[str, Any]:
    """Functions that bear the names of Keras' own."""

    def hard_sigmoid(x: Any) -> Any:
        import keras

        return keras.ops.clip(0.2 * x + 0.5, 0, 1)  # as Keras 2 had it

    def softmax(x: Any) -> Any:
        import keras

        return keras.ops.softmax(2.0 * x)

    def relu(x: Any) -> Any:
        import keras

        return keras.ops.leaky_relu(x)

    def linear(x: Any) -> Any:
        return 2.0 * x

    return {function.__name__: function for function in (hard_sigmoid, softmax, relu, linear)}


@pytest.mark.parametrize("name", ["hard_sigmoid", "softmax", "relu", "linear"])
def test_a_function_that_only_bears_a_name_is_refused(name: str) -> None:
    import keras

    model = classifier(head=keras.layers.Dense(4, activation=impostors()[name], name="dense"))
    with pytest.raises(
        ExportError, match=rf"layer 'dense' .*activation '{name}' has no operator; a function of that name that is"
    ):
        read_model(model)


def test_subclasses_are_no_layers_of_keras() -> None:
    import keras

    layers = keras.layers

    class Conv2D(layers.Conv2D):
        """Of the same name."""

        def call(self, inputs: Any) -> Any:
            return -super().call(inputs)

    class Mine(layers.Dense):
        """Of another name, which changes nothing."""

    class Identity(layers.Layer):
        """Which is none."""

        def call(self, inputs: Any) -> Any:
            return 3.0 * inputs

    class Wrapped(keras.Model):
        """A model with a call of its own."""

        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return 1.0 - super().call(inputs, training=training, mask=mask)

    with pytest.raises(ExportError, match=r"layer 'c' \(Conv2D\): .*derived from Conv2D and may compute something else"):
        read_model(classifier(Conv2D(8, 3, padding="same", name="c")))
    with pytest.raises(ExportError, match=r"layer 'd' \(Mine\): .*derived from Dense"):
        read_model(classifier(head=Mine(4, name="d")))
    with pytest.raises(ExportError, match=r"layer 'i' \(Identity\): the direct writer has no operator"):
        read_model(classifier(act=Identity(name="i")))
    plain = classifier()
    with pytest.raises(ExportError, match=r"model 'w' \(Wrapped\): has a `call` of its own"):
        read_model(Wrapped(plain.inputs, plain.outputs, name="w"))
    nested = keras.Sequential([keras.Input((32, 32, 3)), Wrapped(plain.inputs, plain.outputs, name="w")])
    with pytest.raises(ExportError, match="has a `call` of its own"):
        read_model(nested)


def test_operations_beside_layers() -> None:
    """`x + y` and `x * y` are additions and multiplications, with a constant they scale and shift."""
    import keras

    layers = keras.layers

    def joined(x: Any) -> Any:
        other = layers.Conv2D(8, 3, padding="same")(x)
        gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(other))
        return (0.5 * (x + other) - 0.25) * gate

    model = classifier(act=joined)
    np.testing.assert_allclose(scores(model), np.asarray(model(IMAGES)), atol=1e-6)


def test_dropout_that_is_called_with_training_is_off_in_inference() -> None:
    import keras

    model = classifier(act=lambda x: keras.layers.Dropout(0.9)(x, training=True))
    np.testing.assert_allclose(scores(model), np.asarray(model(IMAGES, training=False)), atol=1e-6)


def test_a_layer_that_is_read_wrongly_is_not_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every format, before anything is written, by Keras' own outputs; the message names the layer."""
    import keras

    from mhmodels.export.reading.keras_model import layers as keras_layers

    monkeypatch.setitem(keras_layers._RULES, keras.layers.LeakyReLU, keras_layers.function_of("relu"))
    source = model_source(classifier(act=keras.layers.LeakyReLU(name="leaky")), "in memory")
    for fmt in ("float32", "float16", "int8", "uint8"):
        with pytest.raises(
            ParityError, match=r"read as operations that give other outputs than Keras.*the first that departs is 'conv'"
        ):
            list(export_model(source.stated(RULE), ExportOptions(directory=tmp_path, formats=(fmt,))))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    after = model_source(classifier(head=keras.layers.Dense(4, activation="softmax")), "in memory")
    check_reading(after, IMAGES)
    ops = after.known.ops
    wrong = after._replace(graph=after.known._replace(ops=(*ops[:-1], ops[-1]._replace(kind="reshape"))))  # no softmax at the end
    with pytest.raises(ParityError, match="other outputs than Keras"):
        check_reading(wrong, IMAGES)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_what_keras_quantised_is_refused_by_name(mode: str, command: Command) -> None:
    import keras

    model = classifier(head=keras.layers.Dense(4, activation="softmax", name="dense"))
    model.get_layer("dense").quantize(mode)
    with pytest.raises(ExportError, match=r"layer 'dense' \(Dense\): was quantised by Keras \(dtype policy '.*before quantize"):
        read_model(model)
    if mode == "int8":
        model.save("q.keras")
        done = command("export", "q.keras", "--format", "int8", "--mean", "127.5", "--std", "127.5", "-o", "out")
        assert done.returncode == 1
        assert "was quantised by Keras" in done.stderr


@pytest.mark.parametrize(
    "policy",
    ["mixed_float16", "bfloat16", "float64", *(pytest.param(p, marks=pytest.mark.slow) for p in ("mixed_bfloat16", "float16"))],
)
def test_models_of_any_precision_are_read_and_compared_in_float32(policy: str, tmp_path: Path) -> None:
    """The reference is that of the same weights in float32, which half precision misses by far more."""
    import keras

    layers = keras.layers

    def normalised(dtype: str) -> Callable[[Any], Any]:
        return lambda x: layers.Activation("relu", dtype=dtype)(layers.BatchNormalization(dtype=dtype)(x))

    half = classifier(act=normalised(policy), dtype=policy)
    before = half.dtype_policy, [layer.dtype_policy.name for layer in half.layers]
    single = in_float32(half)
    assert {layer.dtype_policy.name for layer in single.layers} == {"float32"}
    full = classifier(act=normalised("float32"))
    full.set_weights([np.asarray(keras.ops.convert_to_numpy(value), np.float32) for value in half.weights])
    expected = np.asarray(full(IMAGES, training=False))
    np.testing.assert_allclose(scores(half), expected, atol=1e-6)
    assert (half.dtype_policy, [layer.dtype_policy.name for layer in half.layers]) == before
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    np.testing.assert_allclose(scores(loaded), expected, atol=1e-6)
    if policy == "mixed_float16":
        options = ExportOptions(directory=tmp_path, formats=("float32", "int8"))
        source = model_source(loaded, "half").stated(RULE)
        found = [one.manifest.parity.max_error for one in export_model(source, options)]
        assert found[0] < 1e-4


def test_adapted_normalisation_in_half_precision() -> None:
    import keras

    pixels = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3)).astype(np.float32)
    layer = keras.layers.Normalization(dtype="mixed_float16")
    layer.adapt(pixels)
    model = classifier(act=lambda x: x, conv=lambda x: keras.layers.Conv2D(8, 3, padding="same")(layer(x)))
    source = model_source(model, "half")
    np.testing.assert_allclose(source.architecture.preprocessing.mean, pixels.mean((0, 1, 2)), rtol=1e-3)
    check_reading(source, IMAGES)


@pytest.fixture
def settings() -> Iterator[Any]:
    """Keras' settings, put back afterwards."""
    import keras

    with single_precision():
        yield keras.config


@pytest.mark.parametrize("floatx", ["float64", "float16", "bfloat16"])
@pytest.mark.slow
def test_settings_of_keras_json_change_nothing(floatx: str, settings: Any, tmp_path: Path) -> None:
    settings.set_floatx(floatx)
    settings.set_dtype_policy(floatx)
    settings.set_image_data_format("channels_first")
    source = open_model(TINY)
    assert {value.dtype for value in source.model.weights} == {"float32"}
    (one,) = export_model(TINY, ExportOptions(directory=tmp_path))
    assert one.manifest.parity.max_error < 1e-4
    assert (settings.floatx(), settings.dtype_policy().name, settings.image_data_format()) == (floatx, floatx, "channels_first")


@pytest.mark.slow
def test_commands_do_not_follow_keras_json(tmp_path: Path) -> None:
    document = {"floatx": "float16", "epsilon": 1e-7, "backend": "tensorflow", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "mhmodels", "export", "multi_max@0.25", "--input-size", "32", "-o", "out"]
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    formats = ["--format", "float32", "--format", "int8"]
    done = subprocess.run([*command, *formats], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("size", [(33, 47), (32, 32)])
def test_global_max_pooling_in_every_format(size: tuple[int, int], tmp_path: Path) -> None:
    """Of create_model, at maps of one pixel, of odd sizes and of other shapes, on every kernel that LiteRT has."""
    from mhmodels.builder import create_model
    from mhmodels.export.verification.file_graph import dequantise, encode_input
    from mhmodels.export.verification.runtimes.litert import run_file
    from mhmodels.tflite.file import read_tflite

    model = create_model(TINY, input_shape=(*size, 3), include_top=False, pooling="max")
    source = model_source(model, "in memory")
    images = np.random.default_rng(0).uniform(-1, 1, (3, *size, 3)).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    for one in export_model(source, ExportOptions(directory=tmp_path, formats=("float32", "int8", "uint8"))):
        file = read_tflite(one.path)
        assert [operator.kind for operator in file.operators].count("MAX_POOL_2D") == 2  # the network has one of its own
        tensor = file.tensors[file.outputs[0]]
        for kernels in ("xnnpack", "builtin", "reference"):
            (values,) = run_file(one.path, encode_input(file, images), [tensor.position], kernels=kernels)  # type: ignore[arg-type]
            error = np.abs(dequantise(values, tensor).reshape(expected.shape) - expected).mean() / expected.std()
            assert error < (1e-5 if one.manifest.precision == "float32" else 0.2), (one.manifest.precision, kernels)


def test_pooling_of_another_data_format_is_refused() -> None:
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, padding="same")(image)
    for pooling in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D):
        model = keras.Model(image, layers.Dense(3)(pooling(data_format="channels_first", name="odd")(x)))
        with pytest.raises(ExportError, match=r"layer 'odd' .*data_format is 'channels_first'"):
            read_model(model)


def test_a_softmax_over_one_class_is_told(command: Command, tiny: str) -> None:
    done = command("export", tiny, "--classes", "1", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "'predictions' is a softmax over one class, whose score is 1 whatever the picture" in done.stderr


@pytest.mark.parametrize("size", [44, pytest.param(36, marks=pytest.mark.slow)])
def test_the_model_of_the_image_classification_tutorial(size: int, tmp_path: Path) -> None:
    """Augmentation, Rescaling, poolings that pad nothing (of odd maps at 44), a map that is flattened, dense layers."""
    import keras

    from mhmodels.preprocessing.pictures import preprocess, sample_pixels

    layers = keras.layers
    keras.utils.set_random_seed(0)
    augmentation = keras.Sequential(
        [keras.Input((size, size, 3)), layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)]
    )
    model = keras.Sequential([keras.Input((size, size, 3)), augmentation, layers.Rescaling(1.0 / 255)], name="tutorial")
    for i, filters in enumerate((8, 12, 16)):
        model.add(layers.Conv2D(filters, 3, padding="valid" if i == 2 else "same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Dropout(0.2), layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(5, name="outputs")):
        model.add(layer)
    pixels = sample_pixels(6, (size, size))
    source = model_source(model, "in memory")
    expected = np.asarray(model(pixels.astype(np.float32), training=False))
    images = preprocess(pixels, source.architecture.preprocessing)
    np.testing.assert_allclose(compute(source.known, images)[source.known.ops[-1].name], expected, atol=1e-5)
    options = ExportOptions(directory=tmp_path, formats=("float32", "int8", "uint8"))
    errors = {one.manifest.precision: one.manifest.parity for one in export_model(source, options)}
    assert errors["float32"].max_error < 1e-4
    assert all(errors[fmt].float_correlation > 0.98 for fmt in ("int8", "uint8"))
