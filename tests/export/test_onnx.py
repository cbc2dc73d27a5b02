"""ONNX files: the numbers of the TFLite file in ONNX' operators, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Conv, InvertedBottleneck, MaxPool
from mhmodels.errors import FileFormatError
from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.file_export import Exported
from mhmodels.export.graph.operations import Graph
from mhmodels.export.graph.outputs import DEFAULT_OPTIONS, WriterOptions, written_ops
from mhmodels.export.options import ExportOptions
from mhmodels.export.quantisation.parameters import QuantisedFormat
from mhmodels.export.quantisation.scheme import QuantisedGraph, pre_activation, quantise, separate_activation
from mhmodels.export.verification.file_graph import map_tensors
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.export.writing.writer import InterfaceType, write_float, write_quantised
from mhmodels.hardware import measure
from mhmodels.network import IMAGE, Op
from mhmodels.tflite.file import parse_tflite, read_tflite
from tests.conftest import Command
from tests.export.writer_helpers import BOTTLENECKS, MINI, TINY, pixels, random_weights, run

pytestmark = pytest.mark.tensorflow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5
"""Largest difference of float logits between both files, as a share of their standard deviation."""

LEADING = Architecture(
    name="leading",
    stem=(Conv(filters=8, kernel=3, stride=2), MaxPool()),
    stages=(
        (InvertedBottleneck(filters=16, expansion=2, stride=2, kernel=5, endpoint=True),),
        (InvertedBottleneck(filters=16, expansion=2, stride=2, endpoint=True),),
    ),
    input_size=(65, 48),
    classes=10,
    padding="symmetric",
    preprocessing=MINI.preprocessing,
)
"""PyTorch's padding: zeros around a map are an operation of their own, in front of convolutions and of a maximum."""


def float_onnx(graph: Graph, options: WriterOptions = DEFAULT_OPTIONS) -> bytes:
    from mhmodels.export.writing.onnx.writer import write_onnx_float

    return write_onnx_float(graph, options)


def integer_onnx(quantised: QuantisedGraph, io: InterfaceType, options: WriterOptions = DEFAULT_OPTIONS) -> bytes:
    from mhmodels.export.writing.onnx.writer import write_onnx_quantised

    return write_onnx_quantised(quantised, io, options)


def run_onnx(content: bytes, inputs: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None) -> list[NDArray[Any]]:
    """Runs a file in this process, as a user does."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(names, dict(inputs)))


def picture(architecture: Architecture, seed: int = 1) -> NDArray[np.float32]:
    shape = (1, *architecture.input_size, architecture.input_channels)
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def counts(content: bytes) -> dict[str, int]:
    nodes = [node.op_type for node in onnx.load_model_from_string(content).graph.node]
    return {kind: nodes.count(kind) for kind in nodes}


def quantised_graph(architecture: Architecture, fmt: QuantisedFormat) -> QuantisedGraph:
    graph = random_weights(architecture)
    return quantise(graph, latency_ranges(graph), fmt)


def spread_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(found - expected).max() / expected.std())


@pytest.mark.parametrize("architecture", [TINY, BOTTLENECKS, LEADING], ids=lambda a: a.name)
@pytest.mark.parametrize("pooling", ["mean", "avgpool"])
def test_float_logits_are_those_of_the_tflite_file(architecture: Architecture, pooling: str) -> None:
    graph = random_weights(architecture)
    options = WriterOptions(softmax=False, pooling=pooling)  # type: ignore[arg-type]
    image = picture(architecture)
    expected = run(write_float(graph, options=options), image)["scores"]
    (found,) = run_onnx(float_onnx(graph, options), {"image": image})
    assert found.shape == (1, architecture.classes)
    assert spread_error(found, expected) < TOLERANCE


@pytest.mark.parametrize("architecture", [TINY, BOTTLENECKS, LEADING], ids=lambda a: a.name)
def test_float_maps_are_those_of_the_tflite_file(architecture: Architecture) -> None:
    graph = random_weights(architecture)
    options, image = WriterOptions(features=True), picture(architecture)
    expected = run(write_float(graph, options=options), image)
    found = run_onnx(float_onnx(graph, options), {"image": image}, list(expected))
    for (name, value), map_ in zip(expected.items(), found, strict=True):
        assert map_.shape == value.shape, name
        assert spread_error(map_, value) < TOLERANCE, name


def test_scores_are_a_softmax() -> None:
    graph, image = random_weights(MINI), picture(MINI)
    (found,) = run_onnx(float_onnx(graph), {"image": image})
    np.testing.assert_allclose(found, run(write_float(graph), image)["scores"], atol=1e-5)


def test_a_file_is_plain_onnx() -> None:
    model = onnx.load_model_from_string(float_onnx(random_weights(TINY)))
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    assert [one.name for one in model.graph.input] == ["image"]
    assert [one.name for one in model.graph.output] == ["scores"]
    assert [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim] == [1, 65, 48, 3]


def test_equal_networks_give_equal_bytes() -> None:
    assert float_onnx(random_weights(MINI)) == float_onnx(random_weights(MINI))
    assert integer_onnx(quantised_graph(MINI, "int8"), "uint8") == integer_onnx(quantised_graph(MINI, "int8"), "uint8")


def test_convolutions_do_the_padding_in_front_of_them() -> None:
    """That in front of a maximum stays: MaxPool's own padding is no zeros."""
    graph = random_weights(LEADING)
    pads = [op for op in graph.ops if op.kind == "pad"]
    assert len(pads) > 2
    assert counts(float_onnx(graph))["Pad"] == 1
    assert counts(integer_onnx(quantised_graph(LEADING, "int8"), "int8"))["Pad"] == 1


def test_same_padding_is_tensorflows() -> None:
    """Of an odd number of zeros TensorFlow puts most behind the map; 65 rows need one on both sides, 48 columns one behind."""
    model = onnx.load_model_from_string(float_onnx(random_weights(MINI)))
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    attributes = {one.name: list(one.ints) for one in stem.attribute}
    assert attributes["pads"] == [1, 0, 1, 1]


@pytest.mark.parametrize("fmt", ["int8", "uint8"])
@pytest.mark.parametrize("architecture", [TINY, BOTTLENECKS, LEADING], ids=lambda a: a.name)
def test_integers_are_those_of_the_tflite_file(architecture: Architecture, fmt: QuantisedFormat) -> None:
    """Kernels, biases, scales and zero points of every tensor."""
    quantised = quantised_graph(architecture, fmt)
    file = parse_tflite(write_quantised(quantised, io=fmt), source="file")
    graph = onnx.load_model_from_string(integer_onnx(quantised, fmt)).graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    ops, depthwise = written_ops(quantised.graph, WriterOptions()), {o.name for o in quantised.graph.ops if o.kind == "depthwise"}
    for name, place in map_tensors(file, ops).items():
        tensor, expected = _tensor(name, ops), file.tensors[place]
        if tensor:
            assert constants[f"{tensor}/scale"] == expected.scale[0], name
            assert constants[f"{tensor}/zero_point"] == expected.zero_point[0], name
    stored = {tensor.name: tensor for tensor in file.tensors}
    for op in (op for op in ops if op.kind in ("conv", "depthwise")):
        kernel, bias = stored[f"{op.name}/kernel"], stored[f"{op.name}/bias"]
        assert kernel.data is not None
        assert bias.data is not None
        order = (3, 0, 1, 2) if op.name in depthwise else (0, 3, 1, 2)
        assert np.array_equal(constants[f"{op.name}/kernel"], kernel.data.transpose(order)), op.name
        assert np.array_equal(constants[f"{op.name}/bias"], bias.data), op.name
        for what, tensor in (("kernel", kernel), ("bias", bias)):
            assert np.array_equal(np.ravel(constants[f"{op.name}/{what}/scale"]), tensor.scale), op.name
            assert set(np.ravel(constants[f"{op.name}/{what}/zero_point"])) == set(tensor.zero_point), op.name


def _folded(ops: Sequence[Op]) -> dict[str, str]:
    """What paddings without a tensor of their own read, by their names."""
    readers = {op.name: {other.kind for other in ops if op.name in other.inputs} for op in ops if op.kind == "pad"}
    return {op.name: op.inputs[0] for op in ops if op.kind == "pad" and readers[op.name] <= {"conv", "depthwise"}}


def _tensor(name: str, ops: Sequence[Op]) -> str:
    """The tensor of an operation in a file of the network's own type; empty for one without."""
    return "" if name in _folded(ops) else {IMAGE: "image/first", "predictions": "scores"}.get(name, name)


@pytest.mark.parametrize("fmt", ["int8", "uint8"])
@pytest.mark.parametrize("architecture", [TINY, BOTTLENECKS, LEADING], ids=lambda a: a.name)
def test_every_layer_gives_what_the_tflite_layer_gives(tmp_path: Path, architecture: Architecture, fmt: QuantisedFormat) -> None:
    """Each layer alone, by ONNX Runtime's integer kernels, on what the TFLite file's own layers read: within one step."""
    quantised = quantised_graph(architecture, fmt)
    path = tmp_path / "network.tflite"
    path.write_bytes(write_quantised(quantised, io=fmt))
    file, ops = read_tflite(path), written_ops(quantised.graph, WriterOptions())
    places = map_tensors(file, ops)
    image = pixels(architecture).astype(np.int16)
    arrays = run_file(path, (image - (128 if fmt == "int8" else 0)).astype(fmt), list(places.values()))
    values = {name: _first(array) for name, array in zip(places, arrays, strict=True)}
    layers = list(_layers(integer_onnx(quantised, fmt), ops))
    assert len(layers) >= len([op for op in ops if op.kind != "pad"])
    worst = {}
    for name, inputs, output, content in layers:
        (found,) = run_onnx(content, {tensor: values[source] for tensor, source in inputs.items()}, [output])
        worst[name] = int(np.abs(found.astype(np.int32) - values[name]).max())
    assert max(worst.values()) <= 1, {name: steps for name, steps in worst.items() if steps > 1}


def _first(array: NDArray[Any]) -> NDArray[Any]:
    """With the channels first, as ONNX has them."""
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def _layers(content: bytes, ops: Sequence[Op]) -> Iterator[tuple[str, dict[str, str], str, bytes]]:
    """Each layer as a file of its own: what it writes, the operations that its inputs hold by tensor, its output, the file."""
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    extractor, folded = onnx.utils.Extractor(model), _folded(ops)
    for op in (op for op in ops if op.name not in folded):
        inputs = [folded.get(name, name) for name in op.inputs]
        steps = [(inputs, op.name)]
        if op.kind in ("conv", "depthwise") and separate_activation(op):
            steps = [(inputs, pre_activation(op)), ([pre_activation(op)], op.name)]
        for read, name in steps:
            tensors = {_tensor(source, ops): source for source in read}
            part = extractor.extract_model(list(tensors), [_tensor(name, ops)])
            yield name, tensors, _tensor(name, ops), part.SerializeToString()


@pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
def test_ends_of_an_int8_file(io: InterfaceType) -> None:
    quantised, image = quantised_graph(MINI, "int8"), pixels(MINI)
    entry = {"uint8": image, "int8": (image.astype(np.int16) - 128).astype(np.int8), "float32": picture(MINI)}[io]
    content = integer_onnx(quantised, io)
    graph = onnx.load_model_from_string(content).graph
    assert [one.name for one in (*graph.input, *graph.output)] == ["image", "scores"]
    (found,) = run_onnx(content, {"image": entry})
    expected = run(write_quantised(quantised, io=io), entry)["scores"]
    assert found.dtype == expected.dtype == io
    assert np.abs(found.astype(float) - expected.astype(float)).max() <= (2 / 256 if io == "float32" else 2)


@pytest.mark.parametrize("io", ["uint8", "int8"])
def test_a_sure_score_does_not_wrap_around(io: InterfaceType) -> None:
    """ONNX Runtime's own softmax of int8 gives -128 where the score is 1."""
    graph = random_weights(MINI)
    sure = graph.biases["logits"] * 0 + np.array([40.0] + [-40.0] * 9, np.float32)
    graph = graph._replace(biases={**graph.biases, "logits": sure})
    ranges = {**latency_ranges(graph), "logits": (-60.0, 60.0)}
    (found,) = run_onnx(integer_onnx(quantise(graph, ranges, "int8"), io), {"image": pixels(MINI).astype(io)})
    assert found.argmax() == 0
    assert found[0, 0] == np.iinfo(io).max


def test_limits_of_integers_replace_activations_only_where_they_are_the_same() -> None:
    graph = random_weights(MINI)
    narrow = quantise(graph, latency_ranges(graph), "int8")
    wide = quantise(graph, dict.fromkeys(latency_ranges(graph), (-8.0, 8.0)), "int8")
    assert not {"Relu", "Clip"} & set(counts(integer_onnx(narrow, "int8")))
    assert {"Relu", "Clip"} <= set(counts(integer_onnx(wide, "int8")))
    image = (pixels(MINI).astype(np.int16) - 128).astype(np.int8)
    options = WriterOptions(softmax=False)
    (found,) = run_onnx(integer_onnx(wide, "int8", options), {"image": image})
    expected = run(write_quantised(wide, io="int8", options=options), image, "reference")["scores"]
    assert np.abs(found.astype(np.int32) - expected).max() <= 2


def export(architecture: Architecture, folder: Path, *formats: str, **options: Any) -> dict[str, Exported]:
    from mhmodels.export.pipeline import export_model

    wanted = ExportOptions(directory=folder, formats=formats, **options)  # type: ignore[arg-type]
    return {one.manifest.precision: one for one in export_model(architecture, wanted)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    return export(MINI, tmp_path_factory.mktemp("onnx"), "int8", "onnx-float32", "onnx-int8", "onnx-uint8")


def test_the_manifest_says_what_the_file_is(files: dict[str, Exported]) -> None:
    for fmt in ("onnx-float32", "onnx-int8", "onnx-uint8"):
        path, manifest = files[fmt].path, files[fmt].manifest
        assert path.name == f"tiny_w1_65x48_{fmt}.onnx"
        assert load_manifest(path) == manifest
        assert manifest.operators == dict(sorted(counts(path.read_bytes()).items()))
        assert (manifest.input.shape, manifest.outputs[0].shape) == ((1, 65, 48, 3), (1, 10))
        assert {"onnx", "onnxruntime"} <= set(manifest.tools)
        assert manifest.parity.max_error < TOLERANCE if fmt == "onnx-float32" else manifest.parity.correlation > 0.995
    integer, tflite = files["onnx-int8"].manifest, files["int8"].manifest
    assert (integer.input.dtype, integer.input.takes_pixels) == ("uint8", True)
    assert (integer.input.scale, integer.input.zero_point) == (tflite.input.scale, tflite.input.zero_point)
    assert integer.quantisation["logits"] == tflite.quantisation["logits"]
    assert integer.calibration == tflite.calibration
    assert integer.parity.worst_layer_lsb is not None
    assert integer.parity.worst_layer_lsb <= 1.0
    assert (integer.params, integer.madds, integer.granularity) == (tflite.params, tflite.madds, "channel")


def test_options_of_a_file_hold_for_onnx(tmp_path: Path) -> None:
    options = WriterOptions(softmax=False, pooling="avgpool")
    one = export(MINI, tmp_path, "onnx-int8", io="float32", granularity="tensor", writer=options)["onnx-int8"]
    assert one.path.name == "tiny_w1_65x48_onnx-int8-avgpool-pt-nosm.onnx"
    assert (one.manifest.input.dtype, one.manifest.outputs[0].dtype) == ("float32", "float32")
    assert not {"Softmax", "GlobalAveragePool"} & set(one.manifest.operators)
    assert one.manifest.granularity == "tensor"
    options = WriterOptions(features=True)
    maps = export(MINI, tmp_path, "onnx-uint8", writer=options, normalise_in_model=True)["onnx-uint8"]
    assert [(output.name, output.dtype) for output in maps.manifest.outputs] == [("stride4", "uint8"), ("stride8", "uint8")]
    assert maps.manifest.input.takes_pixels
    assert (maps.manifest.input.scale, maps.manifest.input.zero_point) == (1.0, 0)


def test_heads_of_a_users_model(tmp_path: Path) -> None:
    """A flattened map keeps TensorFlow's order, and an output may bear the name of another layer's operation."""
    import keras

    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.pipeline import export_model
    from mhmodels.export.reading.stated_rule import StatedRule

    keras.utils.set_random_seed(3)
    image = keras.Input((32, 40, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", padding="same")(image)
    x = keras.layers.Conv2D(8, 3, groups=2, activation="relu6", padding="same")(x)
    flat = keras.layers.Flatten()(x)
    one = keras.layers.Dense(5, name="kind", activation="softmax")(flat)
    other = keras.layers.Dense(1, name="score", activation="sigmoid")(keras.layers.GlobalMaxPooling2D()(x))
    options = ExportOptions(directory=tmp_path, formats=("onnx-float32", "onnx-int8"))
    source = open_model(keras.Model(image, [one, other], name="heads")).stated(StatedRule(mean=(128.0,), std=(64.0,)))
    for exported in export_model(source, options):
        assert [output.name for output in exported.manifest.outputs] == ["kind", "score"]
        assert exported.manifest.parity.correlation > 0.99
        assert exported.manifest.operators["Transpose"] == 2


def test_a_wrong_bias_fails_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mhmodels.export.writing.onnx.writer as writer

    honest = writer.write_onnx_quantised

    def tampered(quantised: QuantisedGraph, *rest: Any) -> bytes:
        kernel = quantised.kernels["stage2_block1_depthwise"]
        kernels = {**quantised.kernels, "stage2_block1_depthwise": kernel._replace(bias=kernel.bias + 20_000)}
        return honest(quantised._replace(kernels=kernels), *rest)

    monkeypatch.setattr(writer, "write_onnx_quantised", tampered)
    with pytest.raises(ParityError, match=r"tiny_w1_65x48_onnx-int8\.onnx: layer 'stage2_block1_depthwise' departs"):
        export(MINI, tmp_path, "onnx-int8")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_and_other_commands_refuse(tmp_path: Path, command: Command, tiny: str) -> None:
    done = command("export", tiny, "--format", "onnx-float32", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert (file["format"], Path(file["path"]).name) == ("onnx-float32", "tiny_w1_65x48_onnx-float32.onnx")
    with pytest.raises(FileFormatError, match=r"tiny_w1_65x48_onnx-float32\.onnx: computes in onnx-float32"):
        measure(tmp_path / file["path"], "host-cpu-float32")
    for words, why in (
        (("bench", file["path"]), "computes in onnx-float32, which none of the default five takes"),
        (("verify", file["path"]), "an ONNX file, expected a TFLite file"),
    ):
        refused = command(*words)
        assert refused.returncode == 1
        assert why in refused.stderr


@pytest.mark.parametrize(
    ("formats", "options", "message"),
    [
        (("onnx-int8",), {"engine": "tensorflow"}, r"'engine=tensorflow' with argument 'formats=onnx-int8': only the direct"),
        (("onnx-int8",), {"metadata": True}, r"'metadata' is of TFLite files"),
        (("onnx-uint8",), {"granularity": "tensor"}, r"'granularity' is of int8 files"),
        (("onnx-float16",), {}, r"'formats': 'onnx-float16', expected float32, .*onnx-uint8"),
    ],
)
def test_options_without_meaning_are_refused(formats: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        ExportOptions(directory=Path("out"), formats=formats, **options).check()


def test_without_the_packages_the_message_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    with pytest.raises(ExportError, match=r"'formats=onnx-int8': onnx and onnxruntime are not .*: pip install 'mhmodels\[onnx"):
        ExportOptions(directory=Path("out"), formats=("int8", "onnx-int8")).check()
    ExportOptions(directory=Path("out"), formats=("int8",)).check()


def test_an_unknown_size_or_activation_is_named() -> None:
    graph = random_weights(MINI)
    stem = graph.ops[0]
    with pytest.raises(ExportError, match=r"layer 'stem_conv': its size is \(None, None\)"):
        float_onnx(graph._replace(ops=(stem._replace(size=(None, None)), *graph.ops[1:])))
    at = next(i for i, op in enumerate(graph.ops) if op.kind == "pool")
    unknown = graph.ops[at]._replace(kind="resize")
    with pytest.raises(ExportError, match=r"layer 'pool': the ONNX writer has no operator for 'resize'"):
        float_onnx(graph._replace(ops=(*graph.ops[:at], unknown, *graph.ops[at + 1 :])))
    with pytest.raises(ExportError, match=r"uint8 file has uint8 or float32 input"):
        integer_onnx(quantised_graph(MINI, "uint8"), "int8")


@pytest.mark.slow
def test_every_network_of_the_zoo_in_float() -> None:
    """Prints the row of each network; logits of both files on one picture, as shares of their spread."""
    from mhmodels.registry import list_models, resolve

    errors = {}
    for name in list_models():
        architecture = resolve(name).at(input_size=64, width_multiplier=0.5)
        graph, options = random_weights(architecture), WriterOptions(softmax=False)
        image = picture(architecture)
        expected = run(write_float(graph, options=options), image, "reference")["scores"]
        (found,) = run_onnx(float_onnx(graph, options), {"image": image})
        errors[name] = float(np.sqrt(np.mean(np.square(found - expected))) / expected.std()), spread_error(found, expected)
        print(f"| `{name}` | {errors[name][0]:.1e}, {errors[name][1]:.1e} |")
    assert max(rms for rms, _ in errors.values()) < TOLERANCE, errors
    # LiteRT's own sets of kernels differ by up to 1.1e-5 in the deepest of these networks.
    assert max(largest for _, largest in errors.values()) < 2 * TOLERANCE, errors


@pytest.mark.slow
def test_trained_integers_decide_like_the_tflite_file(tmp_path: Path) -> None:
    """The tests of digits64 on the network that the package ships: logits and decisions of both files."""
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.pipeline import export_model
    from mhmodels.export.verification.file_graph import encode_input, file_logits
    from mhmodels.export.verification.runtimes.onnx_cpu import run_onnx_file
    from mhmodels.training.data.digits64 import test_set

    request = ModelRequest(model="multi_max@0.25", weights="digits64")
    formats = ("int8", "onnx-int8", "uint8", "onnx-uint8")
    made = {one.manifest.precision: one for one in export_model(request, ExportOptions(directory=tmp_path, formats=formats))}
    rule = made["int8"].manifest.input.preprocessing()
    assert rule is not None
    images = ((test_set().pixels[:360].astype(np.float32) - rule.mean) / rule.std).astype(np.float32)
    for fmt in ("int8", "uint8"):
        expected = file_logits(made[fmt].path, images)
        place = made[f"onnx-{fmt}"].manifest.quantisation["flatten"]
        (raw,) = run_onnx_file(made[f"onnx-{fmt}"].path, encode_input(read_tflite(made[fmt].path), images), ["flatten"])
        found = (raw.astype(np.float32) - place.zero_point) * np.float32(place.scale)
        correlation = float(np.corrcoef(found.ravel(), expected.ravel())[0, 1])
        same = float((found.argmax(1) == expected.argmax(1)).mean())
        print(f"{fmt}: correlation {correlation:.5f}, same top-1 {same:.1%}")
        assert correlation >= 0.999
        assert same >= 0.97
