"""How fast files are written, and how ours compare in latency, size and scores with those of the other converters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mhmodels.architecture import Architecture
from mhmodels.hardware import measure
from mhmodels.hardware.interleaved import compare_files
from mhmodels.tflite.file import read_tflite

from .figures import SHORT, Figures, choose, network

MODEL = "multi_max"
PICTURES = choose(26, 13)
ROOT = Path(__file__).parents[2]
NPUS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
FASTER, FASTER_ANYWHERE = 60, 20
"""How many times faster the direct writer is than Keras and the converter: the target, and what is asserted on any machine."""
FILES_PER_SECOND = {"int8": 10.0, "float32": 4.0}
CPU_TOLERANCE = 0.05
"""By how much a file may be slower than another converter's of the same operators, on CPUs of which no bar was set."""


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


DIRECT = """
import sys, time
from types import SimpleNamespace
import msgspec, numpy as np
from mhmodels.export.graph.operations import fold_layers
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.network import lower
from tests.benchmarks.figures import network

layers = {}
with np.load("weights.npz") as arrays:
    for key in arrays:
        name, role = key.rsplit("/", 1)
        layers.setdefault(name, SimpleNamespace(epsilon=1e-3, bias=None, gamma=None, beta=None))
        setattr(layers[name], role, arrays[key])
ranges = msgspec.json.decode(open("ranges.json", "rb").read(), type=dict[str, tuple[float, float]])

def direct():
    architecture = network("MODEL")
    lowered = lower(architecture)
    graph = fold_layers("MODEL", layers, architecture, lowered.ops, lowered.endpoints)
    return write_float(graph) if "FORMAT" == "float32" else write_quantised(quantise(graph, ranges, "uint8"))

def seconds():
    start = time.perf_counter()
    direct()
    return time.perf_counter() - start

open("direct.tflite", "wb").write(direct())
assert "tensorflow" not in sys.modules
print(min(seconds() for _ in range(RUNS)))
"""


@pytest.mark.parametrize("fmt", ["float32", "uint8"])
def test_direct_writer_against_keras_and_the_converter(benchmark: Any, figures: Figures, fmt: str, tmp_path: Path) -> None:
    """From weights to a file's bytes: fold, quantise and write, against Keras build and converter; each in its own process."""
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    import msgspec

    from mhmodels.builder import create_model
    from mhmodels.export.graph.operations import fold
    from mhmodels.export.quantisation.scheme import quantise
    from mhmodels.export.writing.converter import convert_float, convert_quantised
    from mhmodels.export.writing.latency import latency_ranges
    from mhmodels.export.writing.writer import write_float, write_quantised

    architecture = network(MODEL)
    model = create_model(architecture)
    graph = fold(model, architecture)
    ranges = latency_ranges(graph)
    np.savez(tmp_path / "weights.npz", **arrays_of(model))
    (tmp_path / "ranges.json").write_bytes(msgspec.json.encode(ranges))
    script = DIRECT.replace("MODEL", MODEL).replace("FORMAT", fmt).replace("RUNS", str(choose(9, 1)))
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def direct() -> float:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout)

    def reference() -> bytes:
        built = create_model(architecture)
        return (
            convert_float(built) if fmt == "float32" else convert_quantised(quantise(fold(built, architecture), ranges, "uint8"))
        )

    turns = [(direct(), seconds(reference)) for _ in range(choose(3, 1))]
    # The best of each: what else the machine does only ever adds.
    ours, theirs = (min(times) for times in zip(*turns, strict=True))
    benchmark.pedantic(direct, rounds=1)
    expected = write_float(graph) if fmt == "float32" else write_quantised(quantise(graph, ranges, "uint8"))
    figures.holds((tmp_path / "direct.tflite").read_bytes() == expected, "both ways from the weights give the same file")
    figures.report(
        f"{fmt}: {ours * 1e3:.0f} ms against {theirs:.2f} s: {theirs / ours:.0f} times faster, target {FASTER}",
        times_faster=theirs / ours, direct_s=ours, reference_s=theirs, target=FASTER,
    )  # fmt: skip
    assert SHORT or theirs / ours >= FASTER_ANYWHERE


def arrays_of(model: Any) -> dict[str, Any]:
    """A model's weights as a weights file gives them: arrays by layer and role."""
    roles = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    found = {f"{layer.name}/{role}": getattr(layer, role, None) for layer in model.layers for role in roles}
    return {name: value.numpy() for name, value in found.items() if value is not None}


PEAK = """
def peak():
    # Not getrusage: what the parent held counts there too.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""
MEMORY = {
    "direct": """
from mhmodels.export.writing.latency import latency_bytes
from tests.benchmarks.figures import network
imported = peak()
latency_bytes(network("{model}"), "{fmt}")
print(peak() - imported, peak())
""",
    "reference": """
from mhmodels.system.quiet import load_tensorflow
load_tensorflow()
from mhmodels.export.writing.converter import convert_float, convert_quantised
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.builder import create_model
from tests.benchmarks.figures import network
imported = peak()
if "{fmt}" == "float32":
    convert_float(create_model(network("{model}")))
else:
    graph = random_graph(network("{model}"))
    convert_quantised(quantise(graph, latency_ranges(graph), "{fmt}"))
print(peak() - imported, peak())
""",
}


@pytest.mark.parametrize("fmt", ["float32", "uint8"])
def test_peak_memory_of_writing(benchmark: Any, figures: Figures, fmt: str) -> None:
    """Peak resident memory of a process that writes one file: on top of the imports, and with them."""
    peaks = {}

    def write() -> None:
        for name, script in MEMORY.items():
            command = [sys.executable, "-c", PEAK + script.format(model=MODEL, fmt=fmt)]
            said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            peaks[name] = tuple(int(part) / 1024 for part in said.split())

    benchmark.pedantic(write, rounds=1)
    figures.report(
        f"{fmt}: "
        + ", ".join(f"{name} {on_top:.0f} MiB on top, {all_:.0f} MiB in all" for name, (on_top, all_) in peaks.items()),
        **{f"{name}_mib": peak for name, peak in peaks.items()},
    )
    figures.holds(peaks["direct"][1] < peaks["reference"][1], "the direct writer's process holds less memory")


def sampled(count: int) -> list[Architecture]:
    """Members of the paper's search space with 0.2 to 0.8 G MAdds at 224 pixels."""
    from mhmodels.complexity import complexity
    from mhmodels.search.space.catalogue import get_space
    from mhmodels.search.space.sampling import sample

    space = get_space("multi_hardware")
    found = []
    for encoding in sample(space, 20 * count, seed=3, distribution="window=0.3:1.5").encodings:
        architecture = space.build(encoding).at(input_size=224)  # type: ignore[attr-defined]
        if 0.2e9 <= complexity(architecture).madds <= 0.8e9:
            found.append(architecture)
    assert len(found) >= count
    return found[:count]


@pytest.mark.parametrize("fmt", ["int8", "float32"])
def test_sampled_networks_a_second(benchmark: Any, figures: Figures, fmt: str, tmp_path: Path) -> None:
    """Files with random weights on disk, one core, no TensorFlow."""
    from mhmodels.export.writing.latency import latency_bytes, latency_file

    rounds, each = choose(3, 1), choose(20, 2)
    networks, written = sampled(rounds * each), list[Path]()
    latency_bytes(networks[0], fmt)  # type: ignore[arg-type]
    batches = [networks[i : i + each] for i in range(0, rounds * each, each)]

    def write() -> None:
        for architecture in batches.pop():
            written.append(latency_file(architecture, fmt, tmp_path))  # type: ignore[arg-type]

    benchmark.pedantic(write, rounds=rounds)
    rate = each / benchmark.stats["min"]
    target = FILES_PER_SECOND[fmt]
    figures.report(f"{fmt}: {rate:.1f} files a second, target {target}", files_per_second=rate, target=target)
    figures.holds(len({path.read_bytes() for path in written}) == rounds * each, "every network has a file of its own")
    kinds = {operator.kind for operator in read_tflite(written[0]).operators}
    figures.holds("CONV_2D" in kinds, "a file holds a network")


class Files(NamedTuple):
    """One network with the same weights and calibration pictures, by converter."""

    ours: dict[str, Path]
    others: dict[str, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Ours (int8 with ends of every type, uint8), ai-edge-quantizer's int8, the converter's int8, compat.v1's uint8."""
    from mhmodels.system.quiet import load_tensorflow, quiet_native

    load_tensorflow()
    import tensorflow as tf

    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.pipeline import export_source
    from mhmodels.export.reading.pictures import read_pictures

    folder = tmp_path_factory.mktemp("files")
    architecture = network(MODEL)
    pictures = read_pictures(None, architecture)
    source = open_model(ModelRequest(model=architecture), pictures.images)
    ours, others = {}, {}
    for kind, formats, settings in (
        ("uint8 ends", ("int8", "uint8", "float32"), {}),
        ("int8 ends", ("int8",), {"io": "int8"}),
        ("float32 ends", ("int8",), {"io": "float32"}),
        ("of compat.v1", ("uint8",), {"engine": "tensorflow"}),
    ):
        options = ExportOptions(directory=folder / kind, formats=formats, **settings)  # type: ignore[arg-type]
        for one in export_source(source, pictures, options):
            ours[f"{one.manifest.precision}, {kind}"] = one.path
    others["compat.v1 uint8"] = ours.pop("uint8, of compat.v1")
    with quiet_native():
        converter = tf.lite.TFLiteConverter.from_keras_model(source.model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in pictures.images[:PICTURES])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        (folder / "stock.tflite").write_bytes(converter.convert())
    others["stock int8"] = folder / "stock.tflite"
    others["ai-edge-quantizer int8"] = quantised(ours["float32, uint8 ends"], pictures.images[:PICTURES], folder)
    return Files(ours, others)


def quantised(float_file: Path, images: Any, folder: Path) -> Path:
    """ai-edge-quantizer's static int8 of our float file."""
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    from ai_edge_quantizer import recipe

    from mhmodels.system.quiet import quiet_native

    path = folder / "ai_edge.tflite"
    with quiet_native():
        made = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
        statistics_ = made.calibrate({"serving_default": [{"image": image[None]} for image in images]})
        path.write_bytes(bytes(made.quantize(statistics_).quantized_model))
    return path


PAIRS = [
    ("int8", "stock int8"),
    ("int8", "ai-edge-quantizer int8"),
    ("uint8", "compat.v1 uint8"),
]


def equal_ends(files: Files, fmt: str, other: str) -> tuple[Path, Path, str]:
    """Our file with the types of input and output that another one has, that file, and the name of ours.

    A conversion of the picture at the input alone takes 2 % of the time of this network.
    """
    theirs = files.others[other]
    content = read_tflite(theirs)
    ours = f"{fmt}, {content.tensors[content.inputs[0]].dtype} ends"
    return files.ours[ours], theirs, ours


@pytest.mark.parametrize(("fmt", "other"), PAIRS, ids=[pair[1] for pair in PAIRS])
def test_latency_and_size_against_other_converters(benchmark: Any, figures: Figures, files: Files, fmt: str, other: str) -> None:
    mine, theirs, ours = equal_ends(files, fmt, other)
    size = mine.stat().st_size / theirs.stat().st_size
    figures.report(f"{ours} against {other}: size {size:.3f}", size=size)
    figures.holds(size <= 1.02, "our file is at most 2 % larger")
    figures.holds(correlation(mine, theirs) > 0.9, "both files are of the same network: their logits agree")
    ratio = benchmark.pedantic(
        lambda: compare_files(mine, theirs, f"host-cpu-{fmt}", processes=choose(8, 2), runs=choose(10, 1)), rounds=1
    )
    figures.at_most(ratio, bar=1.00, tolerance=CPU_TOLERANCE)


def correlation(mine: Path, theirs: Path) -> float:
    """Of the logits of two files on sample pictures."""
    from mhmodels.export.verification.file_graph import file_logits
    from mhmodels.preprocessing.pictures import sample_pictures

    architecture = network(MODEL)
    images = sample_pictures(choose(13, 4), architecture.input_size, architecture.preprocessing)
    logits = [file_logits(path, images).ravel() for path in (mine, theirs)]
    return float(np.corrcoef(*logits)[0, 1])


@pytest.mark.parametrize("npu", NPUS)
@pytest.mark.parametrize(("fmt", "other"), PAIRS, ids=[pair[1] for pair in PAIRS])
def test_estimate_against_other_converters(
    benchmark: Any, figures: Figures, files: Files, fmt: str, other: str, npu: str
) -> None:
    """Vela's estimate, where it takes both files: a file with float ends leaves their conversion on the CPU."""
    paths = equal_ends(files, fmt, other)
    ours = paths[2]
    rows = benchmark.pedantic(lambda: [measure(path, npu) for path in paths[:2]], rounds=1)
    mine, theirs = (row.median_ms for row in rows)
    if mine is None or theirs is None:
        figures.report(f"{npu}: not all of it on the NPU: {[row.reason for row in rows]}")
        figures.holds(all(row.reason or row.median_ms for row in rows), "a file without an estimate has a reason")
        return
    figures.report(
        f"{npu}: {ours} {mine:.3f} ms, {other} {theirs:.3f} ms, ratio {mine / theirs:.4f}",
        ours_ms=mine, other_ms=theirs, ratio=mine / theirs,
    )  # fmt: skip
    # The estimate is deterministic; beyond rounding nothing may be slower.
    figures.holds(mine <= theirs * 1.0005, "our file is not estimated to be slower")
