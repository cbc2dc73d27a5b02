"""Keras models of our builders, with heads of the user's own, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.architecture import Architecture, Conv, InvertedBottleneck
from mhmodels.errors import WeightsError
from mhmodels.export.errors import ExportError
from mhmodels.export.opening.open_model import keras_source, model_source
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.reading.keras_model.reader import read_model
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.export.verification.file_graph import file_logits, file_outputs
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.network import lower
from mhmodels.preprocessing.pictures import sample_pictures
from mhmodels.registry import list_models, resolve
from tests.conftest import Command
from tests.export.writer_helpers import BOTTLENECKS, TINY

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]

SYMMETRIC = StatedRule((127.5,), (127.5,))

SMALL = Architecture(
    name="small",
    stem=(Conv(filters=8, kernel=3, stride=2),),
    stages=((InvertedBottleneck(filters=8, expansion=2, activation="hard_swish"),),),
    input_size=(32, 32),
)


def backbone(model: str | Architecture = SMALL) -> Any:
    import keras

    from mhmodels.builder import create_model

    keras.utils.set_random_seed(0)
    return create_model(model, input_shape=(32, 32, 3), include_top=False)


@pytest.mark.parametrize(
    "name", ["tiny", "bottlenecks", "mobilenet_v3_small", *(pytest.param(n, marks=pytest.mark.slow) for n in list_models())]
)
def test_a_built_model_reads_back_as_its_operations(name: str) -> None:
    from mhmodels.builder import create_model

    own = {"tiny": TINY, "bottlenecks": BOTTLENECKS}
    architecture = own[name] if name in own else resolve(name).at(width_multiplier=0.25, input_size=64)
    read = read_model(create_model(architecture))
    assert read.ops == lower(architecture).ops


@pytest.mark.slow
def test_a_head_of_ones_own(command: Command) -> None:
    """Dense layers with and without batch normalisation, and a softmax that is the last layer's activation."""
    import keras

    base = backbone("mobilenet_v3_small@0.35")
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    x = keras.layers.Dense(24, name="first", activation="relu")(x)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(16, name="second", use_bias=False)(x)
    x = keras.layers.ReLU(max_value=6.0)(keras.layers.BatchNormalization()(x))
    model = keras.Model(base.input, keras.layers.Dense(7, name="mine", activation="softmax")(x), name="flowers")
    model.save("flowers.keras")
    done = command("export", "flowers.keras", "--format", "float32", "--format", "int8", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v3_small@0.35" in done.stderr
    path = Path("out", "flowers_w0.35_32_float32.tflite")
    assert [Path(file["path"]).name for file in json.loads(done.stdout)["files"]] == [
        path.name,
        path.name.replace("float32", "int8"),
    ]
    manifest = load_manifest("out/flowers_w0.35_32_int8.manifest.json")
    assert (manifest.architecture, manifest.backbone) == (None, "mobilenet_v3_small@0.35")
    assert manifest.params_total == model.count_params()
    pictures = sample_pictures(5, (32, 32), resolve("mobilenet_v3_small").preprocessing)
    logits = file_logits(path, pictures)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(scores, np.asarray(model(pictures, training=False)), atol=1e-5)
    against = command("verify", str(path), "--against", "flowers.keras")
    assert against.returncode == 0, against.stderr
    assert "none departs" in against.stdout


def test_a_model_used_as_a_layer(tmp_path: Path) -> None:
    import keras

    nested = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            backbone(),
            keras.layers.GlobalAveragePooling2D(keepdims=True),
            keras.layers.Conv2D(5, 1, name="out"),
            keras.layers.Flatten(),
            keras.layers.Softmax(),
        ],
        name="nested",
    )
    source = model_source(nested, "in memory")
    (one,) = export_model(source, ExportOptions(directory=tmp_path))
    assert one.manifest.parity.max_error < 1e-3
    assert (one.manifest.backbone, one.manifest.input.mean) == (None, (127.5,) * 3)


def test_a_model_of_feature_maps(tmp_path: Path) -> None:
    from mhmodels.builder import create_model

    model = create_model("mobilenet_v2@0.35", input_shape=(64, 64, 3), features=True)
    source = model_source(model, "in memory")
    with pytest.raises(ExportError, match="give argument 'features'"):
        list(export_model(source, ExportOptions(directory=tmp_path)))
    from mhmodels.export.graph.outputs import WriterOptions

    (one,) = export_model(source, ExportOptions(directory=tmp_path, writer=WriterOptions(features=True)))
    expected = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    assert [output.shape[1:] for output in one.manifest.outputs] == expected


def small_classifier(*layers: Any, size: int | None = 32, **head: Any) -> Any:
    """A convolution, global pooling, a dense layer, and what follows."""
    import keras

    image = keras.Input((size, size, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(image))
    x = keras.layers.Dense(12, name="dense", **head)(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="classifier")


def test_reshaping_that_divides_the_channels_is_refused() -> None:
    from keras.layers import Flatten, Reshape, Softmax

    for shape in ((3, 4), (12, 1)):
        with pytest.raises(ExportError, match="expected all values in the last dimension"):
            read_model(small_classifier(Reshape(shape), Softmax()))
    with pytest.raises(ExportError, match="axis is 1 of 4 dimensions, expected the last"):
        read_model(small_classifier(Reshape((1, 1, 12)), Softmax(axis=1)))
    read = read_model(small_classifier(Reshape((1, -1, 12)), Flatten(), Softmax(axis=1)))
    assert [op.kind for op in read.ops] == ["conv", "pool", "conv", "reshape", "softmax"]


def test_a_layer_as_an_activation() -> None:
    import keras

    read = read_model(small_classifier(activation=keras.layers.ReLU(max_value=6.0)))
    assert read.ops[2].activation == "relu6"
    with pytest.raises(ExportError, match=r"layer 'dense' .*'LeakyReLU' has no operator"):
        read_model(small_classifier(activation=keras.layers.LeakyReLU()))


def test_the_small_one_of_two_may_stand_first(tmp_path: Path) -> None:
    """A gate times a map is the map's size, whichever is named first; and the file says so too."""
    import keras

    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gated = keras.layers.Multiply(name="gated")([keras.layers.Conv2D(8, 1, activation="hard_sigmoid")(pooled), x])
    spot = keras.layers.Conv2D(1, 3, padding="same")(gated)
    both = keras.layers.Add(name="both")([spot, gated])
    scores = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(both))
    source = model_source(keras.Model(image, scores, name="gates"), "in memory")
    shapes = {op.name: (*op.size, op.channels) for op in source.known.ops}
    assert (shapes["gated"], shapes["both"]) == ((16, 16, 8), (16, 16, 8))
    options = ExportOptions(directory=tmp_path, formats=("float32", "int8"))
    assert [one.manifest.precision for one in export_model(source.stated(SYMMETRIC), options)] == ["float32", "int8"]


def test_a_file_whose_shapes_are_not_those_it_runs_with_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mhmodels.export.file_export as file_export

    honest = file_export.write_quantised

    def tampered(quantised, **options):  # type: ignore[no-untyped-def]
        ops = tuple(op._replace(size=(1, 1)) if op.name == "stem" else op for op in quantised.graph.ops)
        return honest(quantised._replace(graph=quantised.graph._replace(ops=ops)), **options)

    monkeypatch.setattr(file_export, "write_quantised", tampered)
    source = model_source(small_classifier(), "in memory")
    with pytest.raises(ExportError, match=r"tensor 'stem' is \(1, 1, 1, 8\) in the file and \(1, 16, 16, 8\) when it runs"):
        export_model(source.stated(SYMMETRIC), ExportOptions(directory=tmp_path, formats=("int8",)))


def heads(odd: bool = False) -> Any:
    """A network with a softmax, a sigmoid and an output without activation, whose names do not sort as they come."""
    import keras

    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    pooled = keras.layers.LayerNormalization(name="odd")(pooled) if odd else pooled
    ends = (("shape", 3, "softmax"), ("colour", 3, "sigmoid"), ("aim", 2, None))
    outputs = [keras.layers.Dense(n, name=name, activation=activation)(pooled) for name, n, activation in ends]
    return keras.Model(image, outputs, name="twins")


STATED = ("--preprocessing", "symmetric")


@pytest.mark.parametrize("engine", ["direct", pytest.param("tensorflow", marks=pytest.mark.slow)])
def test_several_outputs_are_written_and_compared_each(command: Command, engine: str) -> None:
    model = heads()
    model.save("twins.keras")
    formats = ("--format", "float32", "--format", "int8")
    done = command("export", "twins.keras", "-o", "out", "--engine", engine, *formats, *STATED, "--json")
    assert done.returncode == 0, done.stderr
    for file in json.loads(done.stdout)["files"]:
        assert [output["name"] for output in file["parity"]["outputs"]] == ["shape", "colour", "aim"]
        assert file["parity"]["top1_agreement"] is None
        against = command("verify", file["path"], "--against", "twins.keras")
        assert against.returncode == 0, against.stderr
    pictures = sample_pictures(4, (32, 32), resolve("mobilenet_v2").preprocessing)
    found = file_outputs("out/twins_w1_32_float32.tflite", pictures, before_softmax=False).values()
    for values, expected in zip(found, model(pictures, training=False), strict=True):
        np.testing.assert_allclose(values, np.asarray(expected), atol=1e-5)


@pytest.mark.slow
def test_several_outputs_that_only_tensorflow_writes(command: Command) -> None:
    """Of equal shapes, so that outputs in another order would be told by their values alone."""
    heads(odd=True).save("twins.keras")
    done = command("export", "twins.keras", "-o", "out", "--engine", "tensorflow")
    assert done.returncode == 0, done.stderr
    assert command("verify", "out/twins_w1_32_float32.tflite", "--against", "twins.keras").returncode == 0


def test_what_several_outputs_cannot_have_is_said_with_what_to_do(command: Command) -> None:
    import keras

    model = heads()
    model.save("twins.keras")
    maps = command("export", "twins.keras", "-o", "out", "--features")
    assert maps.returncode == 1
    assert "output 'shape' is scores, not a map: leave --features out" in maps.stderr
    Path("labels.txt").write_text("a\nb\nc\n")
    labels = command("export", "twins.keras", "-o", "out", "--labels", "labels.txt")
    assert labels.returncode == 1
    assert "--labels: model 'twins' has 3 outputs (shape, colour, aim)" in labels.stderr
    drifts = command("consistency", "twins.keras", "--format", "float32", *STATED)
    assert drifts.returncode == 1
    assert "keras.Model(model.input, model.outputs[0]).save(PATH)" in drifts.stderr
    keras.Model(model.input, model.outputs[0]).save("one.keras")
    assert command("consistency", "one.keras", "--format", "float32", *STATED).returncode == 0
    with pytest.raises(ExportError, match="an output of the model is its input"):
        read_model(keras.Model(model.input, [model.input, *model.outputs]))


@pytest.mark.parametrize("activation", ["softmax", *(pytest.param(a, marks=pytest.mark.slow) for a in ("sigmoid", None))])
def test_the_engine_that_the_direct_writers_error_names_writes_the_model(command: Command, activation: str | None) -> None:
    """Scores are compared with scores: whatever the last activation, the advice of the error works."""
    import keras

    image = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, padding="same")(image))
    x = keras.layers.Dense(5, activation=activation)(keras.layers.LayerNormalization(name="odd")(x))
    keras.Model(image, x, name="strange").save("strange.keras")
    refused = command("export", "strange.keras", "-o", "out")
    assert refused.returncode == 1
    assert "--engine tensorflow" in refused.stderr
    formats = ("--format", "float32", "--format", "int8", "--format", "float16")
    done = command("export", "strange.keras", "-o", "out", "--engine", "tensorflow", *formats, *STATED, "--json")
    document = json.loads(done.stdout)
    # The integer format fails, which keeps neither of the others from being written.
    assert done.returncode == 1
    assert [file["format"] for file in document["files"]] == ["float32", "float16"]
    assert [failure["format"] for failure in document["failed"]] == ["int8"]
    assert "strange.keras, int8: layer 'odd'" in done.stderr
    for file in document["files"]:
        against = command("verify", file["path"], "--against", "strange.keras")
        assert against.returncode == 0, against.stderr
        assert "not compared: layer 'odd'" in against.stdout


def test_feature_maps_of_models_that_end_in_one_map(tmp_path: Path) -> None:
    """Of a whole backbone its endpoints, of a part of it or of a decoder the model's own; named by the strides on their way."""
    import keras

    from mhmodels.builder import create_model
    from mhmodels.export.graph.outputs import WriterOptions

    def endpoints(model: Any) -> list[tuple[str, int]]:
        return [(endpoint.layer, endpoint.stride) for endpoint in model_source(model, "in memory").known.endpoints]

    base = create_model("mobilenet_v2@0.35", input_shape=(72, 72, 3), include_top=False)
    assert [stride for _, stride in endpoints(base)] == [4, 8, 16, 32]
    decoder = keras.layers.Conv2D(6, 1, name="mask")(base.output)
    assert endpoints(keras.Model(base.input, decoder, name="segments")) == [("mask", 32)]
    part = keras.Model(base.input, base.get_layer("stage5_block1_expand_act").output, name=base.name)
    source = model_source(part, "in memory")
    (one,) = export_model(source, ExportOptions(directory=tmp_path, writer=WriterOptions(features=True)))
    assert [(output.name, output.shape) for output in one.manifest.outputs] == [("stride8", (1, 9, 9, 96))]


def test_a_model_of_any_size_goes_through_tensorflow(command: Command) -> None:
    small_classifier(size=None).save("any.keras")
    done = command("export", "any.keras", "--input-size", "48x32", "--engine", "tensorflow", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert load_manifest("out/classifier_w1_48x32_float32.manifest.json").input.shape == (1, 48, 32, 3)


def strange(layer: Any) -> Any:
    import keras

    base = backbone()
    x = layer(keras.layers.GlobalAveragePooling2D(name="pooled")(base.output))
    return keras.Model(base.input, keras.layers.Dense(4, name="scores")(x), name="strange")


@pytest.mark.slow
def test_a_layer_without_operator_is_named_and_tensorflow_takes_it(command: Command) -> None:
    import keras

    strange(keras.layers.LayerNormalization(name="odd")).save("strange.keras")
    done = command("export", "strange.keras", "-o", "out")
    assert done.returncode == 1
    assert "layer 'odd' (LayerNormalization): the direct writer has no operator" in done.stderr
    assert "--engine tensorflow" in done.stderr
    assert command("export", "strange.keras", "-o", "out", "--engine", "tensorflow").returncode == 0
    integer = command("export", "strange.keras", "-o", "int8", "--engine", "tensorflow", "--format", "int8")
    assert integer.returncode == 1
    assert "'odd'" in integer.stderr


def test_layers_that_cannot_be_fused_are_named() -> None:
    import keras

    def refused(model: Any) -> str:
        with pytest.raises(ExportError) as caught:
            read_model(model)
        return str(caught.value)

    assert "'tanh' has no operator" in refused(strange(keras.layers.Activation("tanh", name="t")))
    assert "layer 'alone'" in refused(strange(keras.layers.ReLU(name="alone")))
    assert "layer 'bn'" in refused(strange(keras.layers.BatchNormalization(name="bn")))
    relu = keras.layers.ReLU
    image = keras.Input((32, 32, 3))
    before = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)
    after = keras.layers.ReLU(name="act")(before)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Add(name="sum")([before, after]))
    assert "'sum' reads it before" in refused(keras.Model(image, pooled))
    for backwards in (False, True):  # whichever is met first: what is read early, or what would be fused
        for early in (before, keras.layers.Add(name="early")([before, keras.layers.Conv2D(4, 1)(image)])):
            both = [keras.layers.GlobalAveragePooling2D(name="raw")(early), keras.layers.GlobalAveragePooling2D()(relu()(early))]
            last = keras.layers.Add()(both[::-1] if backwards else both)
            assert "reads it before" in refused(keras.Model(image, last))
        outputs = [before, relu()(before)]
        assert "'output' reads it before" in refused(keras.Model(image, outputs[::-1] if backwards else outputs))
    sum_ = keras.layers.Add(name="sum_")([before, keras.layers.Conv2D(4, 1)(image)])
    assert "that could do it" in refused(keras.Model(image, keras.layers.Activation("hard_silu")(sum_)))


def test_files_that_are_no_keras_models_are_one_message(command: Command) -> None:
    Path("text.keras").write_text("no zip")
    with pytest.raises(WeightsError, match=r"text\.keras: cannot be read as a Keras model"):
        keras_source("text.keras")
    done = command("export", "missing.keras", "-o", "out")
    assert done.returncode == 1
    assert "missing.keras: no such file" in done.stderr
    for arguments in (("export", "text.keras", "-o", "out"), ("consistency", "text.keras")):
        wrong = command(*arguments, "--classes", "3")
        assert wrong.returncode == 2
        assert "--classes: text.keras is a built model, which has its own" in wrong.stderr


def test_weights_beside_a_built_model_are_wrong_usage(command: Command) -> None:
    """They were ignored: the files had the model's own weights."""
    small_classifier().save("own.keras")
    small_classifier().save_weights("other.weights.h5")
    runs = (
        ("export", "own.keras", "-o", "out"),
        ("consistency", "own.keras"),
        ("verify", "any.tflite", "--against", "other.tflite"),
        ("verify", "any.tflite"),
    )
    for arguments in runs:
        done = command(*arguments, "--weights", "other.weights.h5")
        assert done.returncode == 2, done.stderr
        assert "--weights: " in done.stderr
    assert "own.keras is a built model, which has its own" in command(*runs[0], "--weights", "x").stderr
    assert not Path("out").exists()
    for option, value in (("--classes", "3"), ("--width-multiplier", "0.5"), ("--input-channels", "1")):
        done = command("export", "own.keras", "-o", "out", option, value)
        assert (done.returncode, f"{option}: own.keras" in done.stderr) == (2, True)
