"""The direct writer without TensorFlow: what is in its files, that they run, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import msgspec
import numpy as np
import pytest

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.writing.latency import latency_bytes, latency_file, latency_ranges
from mhmodels.export.writing.versions import OLDEST_RUNTIME, version
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.registry import list_models, resolve
from tests.export.writer_helpers import RESOLVERS, TINY, operators, pixels, random_weights, run, runtime_version

GRAPH = random_weights(TINY)
QUANTISED = {fmt: quantise(GRAPH, latency_ranges(GRAPH), fmt) for fmt in ("int8", "uint8")}
LOGITS = WriterOptions(softmax=False)


def normalised(image):
    return ((image.astype(np.float32) - 128.0) / 128.0).astype(np.float32)


def all_files():
    files = {fmt: write_float(GRAPH, fmt=fmt) for fmt in ("float32", "float16")}
    files |= {f"int8-{io}": write_quantised(QUANTISED["int8"], io=io) for io in ("uint8", "int8", "float32")}
    return files | {f"uint8-{io}": write_quantised(QUANTISED["uint8"], io=io) for io in ("uint8", "float32")}


@pytest.mark.parametrize("kind", list(all_files()))
def test_every_kind_of_file_runs_on_every_kernel_set(kind):
    content = all_files()[kind]
    io = kind.split("-")[-1].replace("float16", "float32")
    image = pixels(TINY)
    given = {"uint8": image, "int8": (image.astype(np.int16) - 128).astype(np.int8), "float32": normalised(image)}[io]
    scores = {name: run(content, given, name)["scores"].astype(np.float64) for name in RESOLVERS}
    for name, value in scores.items():
        assert value.shape == (1, 10), name
        # Kernel sets round differently, and roundings cascade through a network: up to 3 LSB with all of them right.
        limit = 1e-5 if kind.startswith("float") else 3 / 256 if io == "float32" else 3
        assert np.abs(value - scores["reference"]).max() <= limit, name
    assert scores["reference"].std() > 0


def test_scores_of_all_formats_agree():
    image = pixels(TINY)
    exact = run(write_float(GRAPH), normalised(image))["scores"][0]
    half = run(write_float(GRAPH, fmt="float16"), normalised(image))["scores"][0]
    assert np.abs(half - exact).max() < 2e-3
    for fmt in ("int8", "uint8"):
        got = run(write_quantised(QUANTISED[fmt]), image)["scores"][0] / 256
        assert np.corrcoef(got, exact)[0, 1] > 0.9


def test_int8_files_differ_in_their_ends_only():
    image, inner = pixels(TINY), write_quantised(QUANTISED["int8"], io="int8")
    scores = run(inner, (image.astype(np.int16) - 128).astype(np.int8), "reference")["scores"].astype(int) + 128
    uint8 = write_quantised(QUANTISED["int8"], io="uint8")
    assert np.array_equal(run(uint8, image, "reference")["scores"], scores)
    real = write_quantised(QUANTISED["int8"], io="float32")
    assert np.array_equal(run(real, normalised(image), "reference")["scores"], scores / np.float32(256))
    codes = [operator.code for operator in operators(inner)]
    assert [o.code for o in operators(uint8)] == ["QUANTIZE", *codes, "QUANTIZE"]
    assert [o.code for o in operators(real)] == ["QUANTIZE", *codes, "DEQUANTIZE"]
    assert [o.code for o in operators(write_quantised(QUANTISED["uint8"]))] == codes


def test_uint8_network_has_no_int8_ends():
    with pytest.raises(ExportError, match="uint8 file has uint8 or float32"):
        write_quantised(QUANTISED["uint8"], io="int8")


@pytest.mark.parametrize("kernels", list(RESOLVERS))
def test_average_pooling_equals_mean(kernels):
    image = normalised(pixels(TINY))
    mean = run(write_float(GRAPH, options=LOGITS), image, kernels)["scores"]
    pooled = write_float(GRAPH, options=WriterOptions(softmax=False, pooling="avgpool"))
    assert np.abs(run(pooled, image, kernels)["scores"] - mean).max() < 1e-5 * mean.std()
    codes = [operator.code for operator in operators(pooled)]
    assert "MEAN" not in codes
    assert codes.count("AVERAGE_POOL_2D") == 5  # one is a shortcut's


def test_logits_are_what_softmax_reads():
    image = normalised(pixels(TINY))
    logits, scores = run(write_float(GRAPH, options=LOGITS), image)["scores"], run(write_float(GRAPH), image)["scores"]
    powers = np.exp(logits - logits.max())
    np.testing.assert_allclose(powers / powers.sum(), scores, rtol=1e-5)


@pytest.mark.parametrize("fmt", ["float32", "int8"])
def test_features_are_the_endpoints(fmt):
    options, image = WriterOptions(features=True), pixels(TINY)
    if fmt == "float32":
        content, image = write_float(GRAPH, options=options), normalised(image)
    else:
        content = write_quantised(QUANTISED["int8"], options=options)
    maps = run(content, image)
    assert {name: value.shape for name, value in maps.items()} == {"stride4": (1, 17, 12, 16), "stride8": (1, 9, 6, 24)}
    assert all(value.std() > 0 for value in maps.values())
    assert "SOFTMAX" not in [operator.code for operator in operators(content)]
    written = {tensor.name for operator in operators(content) for tensor in operator.outputs}
    assert not any(name.startswith(("head", "hidden", "logits")) for name in written)


def test_features_need_endpoints():
    bare = msgspec.structs.replace(TINY, stages=(TINY.stages[1],))
    with pytest.raises(ExportError, match="no endpoints"):
        write_float(random_graph(bare), options=WriterOptions(features=True))


def test_tensors_bear_the_names_of_the_layers():
    names = [tensor.name for operator in operators(write_float(GRAPH)) for tensor in (*operator.inputs, *operator.outputs)]
    assert names[0] == "image"
    assert names[-1] == "scores"
    assert {"stem_conv/kernel", "stem_conv/bias", "stem_conv/pre", "stem_conv"} <= set(names)
    model = schema.ModelT.InitFromPackedBuf(write_quantised(QUANTISED["int8"]), 0)
    every = [tensor.name for tensor in model.subgraphs[0].tensors]
    assert len(every) == len(set(every))
    assert model.description == b"mhmodels"


@pytest.mark.parametrize("kind", ["float16", "int8-uint8"])
def test_constants_lie_on_16_bytes(kind):
    content = all_files()[kind]
    model = schema.Model.GetRootAs(content, 0)
    vectors = [model.Buffers(i) for i in range(model.BuffersLength())]
    offsets = [b._tab.Vector(b._tab.Offset(4)) for b in vectors if not b.DataIsNone()]
    assert len(offsets) > 40
    assert all(offset % 16 == 0 for offset in offsets)
    assert content[4:8] == b"TFL3"


def test_versions_are_the_oldest_that_do():
    assert version("CONV_2D", "float32") == version("CONV_2D", "uint8") == 1
    assert version("CONV_2D", "int8") == version("DEPTHWISE_CONV_2D", "int8") == 3
    assert version("CONV_2D", "int8", groups=2) == 6
    assert version("DEPTHWISE_CONV_2D", "uint8", dilation=2) == 2
    assert version("MUL", "int8", rescale=0.5) == 2
    assert version("MUL", "uint8", rescale=1.0) == 3
    for content in all_files().values():
        assert {(operator.code, operator.version) for operator in operators(content)} <= OLDEST_RUNTIME.keys()
        assert runtime_version(content) == "2.9.0"  # a grouped convolution
    assert runtime_version(latency_bytes(resolve("mobilenet_v1@0.25").at(input_size=32), "float32")) == "1.6.0"


def test_deeply_wrong_graphs_are_named():
    wrong = dict(GRAPH.kernels, logits=GRAPH.kernels["logits"][..., :3])
    with pytest.raises(ExportError, match=r"layer 'logits': kernel is .* expected \(1, 1, 64, 10\)"):
        write_float(GRAPH._replace(kernels=wrong))
    with pytest.raises(ExportError, match="layer 'stem_conv': the direct writer has no operator for 'warp'"):
        write_float(GRAPH._replace(ops=(GRAPH.ops[0]._replace(kind="warp"), *GRAPH.ops[1:])))
    with pytest.raises(ExportError, match="layer 'stem_conv': the direct writer has no activation 'gelu'"):
        write_float(GRAPH._replace(ops=(GRAPH.ops[0]._replace(activation="gelu"), *GRAPH.ops[1:])))
    with pytest.raises(ExportError, match="layer 'stem_conv': its input 'nowhere'"):
        write_float(GRAPH._replace(ops=(GRAPH.ops[0]._replace(inputs=("nowhere",)), *GRAPH.ops[1:])))
    with pytest.raises(ExportError, match="layer 'stem_conv': its size"):
        write_float(GRAPH._replace(ops=(GRAPH.ops[0]._replace(size=(None, 3)), *GRAPH.ops[1:])))
    tensors = {name: value for name, value in QUANTISED["int8"].tensors.items() if name != "logits"}
    with pytest.raises(ExportError, match="layer 'logits': its output has no quantisation parameters"):
        write_quantised(QUANTISED["int8"]._replace(tensors=tensors))


@pytest.mark.parametrize("value", [1e5, -1e5])
def test_float16_overflow_is_named(value):
    kernels = {name: kernel.copy() for name, kernel in GRAPH.kernels.items()}
    kernels["head1_conv"][0, 0, 0, 0] = value
    with pytest.raises(ExportError, match="layer 'head1_conv': the kernel holds 100000, float16 ends at 65504"):
        write_float(GRAPH._replace(kernels=kernels), fmt="float16")


def test_zoo_files_run_at_any_size():
    for name in list_models("*"):
        architecture = resolve(name).at(width_multiplier=0.25, input_size=(40, 33), classes=7)
        assert run(latency_bytes(architecture, "int8"), pixels(architecture))["scores"].shape == (1, 7)


def test_one_input_channel_and_many_classes():
    architecture = TINY.at(input_channels=1, classes=1001)
    assert run(latency_bytes(architecture, "uint8"), pixels(architecture))["scores"].shape == (1, 1001)


SCRIPT = """
import hashlib, sys
from pathlib import Path
from mhmodels.export.writing.latency import latency_file
from mhmodels.registry import resolve
for fmt in ("float32", "int8", "uint8"):
    path = latency_file(resolve("multi_max@0.25").at(input_size=64), fmt, Path(sys.argv[1]))
    print(hashlib.sha256(path.read_bytes()).hexdigest())
print(sorted({"tensorflow", "keras", "jax", "torch"} & set(sys.modules)))
"""


def test_no_tensorflow_and_equal_bytes_in_every_process(tmp_path):
    said = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / seed)]
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split("\n"))
    assert said[0] == said[1]
    assert said[0][3] == "[]"


def test_latency_files_are_reused_and_whole(tmp_path):
    path = latency_file(TINY, "int8", tmp_path / "deep" / "er")
    assert path.name == f"tiny_{TINY.architecture_id}_int8.tflite"
    before = path.stat().st_mtime_ns
    assert latency_file(TINY, "int8", path.parent) == path
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"cut")
    assert latency_file(TINY, "int8", path.parent).stat().st_size > 1000
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_latency_files_depend_on_the_identity_only(tmp_path):
    other = msgspec.structs.replace(TINY, name="a/b", preprocessing=resolve("multi_max").preprocessing)
    path = latency_file(other, "uint8", tmp_path)
    assert path.name.startswith("a_b_")
    assert path.read_bytes() == latency_bytes(TINY, "uint8")
    assert hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(latency_bytes(TINY.at(classes=11), "uint8")).digest()


def test_latency_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file"):
        latency_file(TINY, "int8", tmp_path / "file" / "below")


VELA = shutil.which("vela", path=str(Path(sys.executable).parent)) or shutil.which("vela")


@pytest.mark.skipif(VELA is None, reason="ethos-u-vela is not installed")
@pytest.mark.parametrize(
    ("fmt", "accelerator", "padding"),
    [
        ("int8", "ethos-u55-128", "same"),
        ("int8", "ethos-u65-256", "symmetric"),
        ("int8", "ethos-u85-256", "symmetric"),
        ("uint8", "ethos-u55-128", "symmetric"),
    ],
)
def test_vela_places_every_operator(tmp_path, fmt, accelerator, padding):
    architecture = msgspec.structs.replace(resolve("mobilenet_v3_large@0.25").at(input_size=64), padding=padding)
    path = latency_file(architecture, fmt, tmp_path)
    command = [str(VELA), "--accelerator-config", accelerator, "--output-dir", str(tmp_path), str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "CPU operators = 0 " in said
