"""Every reader of a file of a user's, with a whole file for it: what the tests of damaged and special files go through."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors.numpy import save as serialize

from mhmodels.android_bench.delegates.catalogue import load_delegates
from mhmodels.android_bench.device.cores import _memory as remembered_cores
from mhmodels.android_bench.device.names import read_names
from mhmodels.architecture import Architecture, Conv, InvertedBottleneck, load_architecture
from mhmodels.cli.phones import read_matrix
from mhmodels.errors import FileFormatError
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.formats.archives import ArchiveError, load_arrays
from mhmodels.hardware.measurement import Measurement
from mhmodels.preprocessing.decoding import open_picture
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.provenance import provenance_of
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.latencies.samples import read_samples
from mhmodels.search.cost_model.model import load_cost_model
from mhmodels.search.cost_model.shipping import FOLDER
from mhmodels.search.objective.benchmark_tables import nas_bench_201_table, nas_bench_macro_table
from mhmodels.search.objective.measured_tables import is_collected, measured_latencies
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.request import load_request
from mhmodels.search.run.results import read_network
from mhmodels.search.run.sources.accuracies import read_predictor
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.supernet.presets import PRESETS, load_preset
from mhmodels.store import Store
from mhmodels.system.files import sha256_of
from mhmodels.tflite.file import read_tflite
from mhmodels.training.named_recipes import RECIPES, load_recipe
from mhmodels.weights import open_weights, read_info, write_weights
from mhmodels.weights.downloading.registered import entries
from mhmodels.weights.labels import read_labels
from mhmodels.weights.sources.pytorch.state_dict import read_state_dict
from mhmodels.weights.sources.pytorch.timm_config import read_timm_config
from tests.weights.helpers import random_arrays
from tests.weights.torch_files import stand_ins, write_legacy, write_zip

HOME = "home"
"""Readers of files with fixed places find them in this folder, as MHMODELS_HOME."""

SMALL = Architecture(
    name="small",
    stem=(Conv(filters=8, kernel=3, stride=2),),
    stages=((InvertedBottleneck(filters=8, expansion=2),),),
    input_size=(32, 32),
    classes=4,
)
MACRO_ROW = "2:1:2:2:2:1:1:2"


class Reader(NamedTuple):
    """A reader of files.

    Attributes:
        name: of the file, relative to a test's folder.
        read: reads the file of that path completely.
        make: content of a whole file.
        packed: parts of it are compressed or checked by a checksum, so that most damage is found at once.
    """

    name: str
    read: Callable[[Path], Any]
    make: Callable[[Path], bytes]
    packed: bool = False


def _text(content: str) -> Callable[[Path], bytes]:
    return lambda _: content.encode()


def _json(document: Any) -> Callable[[Path], bytes]:
    return _text(json.dumps(document))


def _npz(**arrays: Any) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return stream.getvalue()

    return make


def _manifest(_: Path) -> bytes:
    score = {"name": "scores", "correlation": 1.0, "mean_error": 1e-6, "max_error": 1e-5}
    return json.dumps({
        "format": "mhmodels.manifest/1", "file": "x.tflite", "sha256": "ab" * 32, "file_bytes": 10, "precision": "float32",
        "engine": "direct", "granularity": None, "pooling": "mean", "softmax": True,
        "architecture": json.loads(SMALL.to_json()), "architecture_id": SMALL.architecture_id, "weights": "random",
        "input": {"dtype": "float32", "shape": [1, 32, 32, 3], "scale": None, "zero_point": None, "takes_pixels": False,
                  "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4], "crop_fraction": 0.875, "interpolation": "bicubic"},
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 4], "scale": None, "zero_point": None}],
        "quantisation": {"a": {"scale": 0.5, "zero_point": 3}}, "calibration": None, "params": 1, "params_total": 2, "madds": 3,
        "operators": {"ADD": 10}, "tools": {"python": "3.11.7"},
        "parity": {"reference": "Keras model", "pictures": 26, **score, "top1_agreement": 1.0, "outputs": [score]},
    }).encode()  # fmt: skip


def _read_arrays(path: Path) -> None:
    try:
        load_arrays(path)
    except (OSError, ArchiveError) as error:  # which every caller turns into an error that names the file
        raise FileFormatError(str(error)) from error


def _read_manifest(path: Path) -> None:
    manifest = load_manifest(path)
    manifest.network()
    manifest.input.preprocessing()


def _picture(kind: str, mode: str = "RGB") -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        stream = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(stream, kind)
        return stream.getvalue()

    return make


def _weights(folder: Path) -> bytes:
    path = folder / "made.weights.h5"
    write_weights(path, SMALL, random_arrays(SMALL))
    return path.read_bytes()


_TENSORS = {
    "conv_stem.weight": np.ones((16, 3, 3, 3), np.float32),
    **{f"bn1.{leaf}": np.ones(16, np.float32) for leaf in ("weight", "bias", "running_mean", "running_var")},
}
_TIMM = {"architecture": "mobilenetv2_100", "num_classes": 4, "pretrained_cfg": {"mean": [0.5], "std": [0.5], "crop_pct": 0.9}}


def _state_dict(write: Callable[[Path, Any], Path]) -> Callable[[Path], bytes]:
    return lambda folder: write(folder / "made", stand_ins(_TENSORS)).read_bytes()


def _read_state_dict(path: Path) -> None:
    for layer in read_state_dict(str(path)).parts[0].layers:
        for variable in layer.variables.values():
            variable.read()


def _read_weights(path: Path) -> None:
    read_info(path)
    with open_weights(path) as opened:
        for variable in opened.source.parts[0].layers[0].variables.values() if opened.source.parts else ():
            variable.read()


def measurement(**changes: Any) -> Measurement:
    """A row of a store."""
    fields: dict[str, Any] = {
        "model_hash": "ab" * 32, "model": "net", "hardware": "host-cpu-int8", "format": "int8", "kind": "measured",
        "file_bytes": 10, "time": "2026-01-01T00:00:00+00:00", "median_ms": 2.5, "runs": 50, "architecture_id": "cafe",
        "device": "CPU A", "runtime": "LiteRT 2.3.0", "configuration": {"kernels": "XNNPACK"}, **changes,
    }  # fmt: skip
    return Measurement(**fields)


def _store(folder: Path) -> bytes:
    path = folder / "made.db"
    with Store(path) as store:
        for number in range(20):
            store.add(measurement(median_ms=1.0 + number, model=f"net {number}"))
    return path.read_bytes()


def _read_store(path: Path) -> None:
    with Store(path) as store:
        list(store)
        store.latest()


def evaluations(count: int) -> Evaluations:
    """Rows of a log."""
    values = np.linspace(0.1, 0.9, count)
    encodings = np.arange(count)[:, None] % 3 * np.ones((1, 8), np.int64)
    return Evaluations(("search",) * count, encodings, values, values[:, None], values, values, ("x",) * count)


def _log(folder: Path) -> bytes:
    path = folder / "made.db"
    with SearchLog(path, {"space": "nas_bench_macro"}) as log:
        log.begin({"seed": 1})
        log.add("search", evaluations(40), {"entropy": 1.0})
    return path.read_bytes()


def _read_log(path: Path) -> None:
    with SearchLog(path) as log:
        log.header()
        log.request()
        log.evaluated()
        log.encodings()
        list(log.statistics())
    load_request(path)


def _records(folder: Path) -> bytes:
    import tensorflow as tf

    path = folder / "made.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for label in range(3):
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[_picture("JPEG")(folder)])),
                "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return path.read_bytes()


def _read_records(path: Path) -> None:
    from mhmodels.training.data.tfrecords import RecordSource

    source = RecordSource("x", [str(path)], 0)
    for index in range(len(source)):
        source.read(index, 0)


def _samples(with_ms: bool) -> Callable[[Path], bytes]:
    row = {"encoding": MACRO_ROW} | ({"ms": 2.5} if with_ms else {})
    return _text("".join(json.dumps(row | {"accuracy": 0.5}) + "\n" for _ in range(8)))


def _accuracies(_: Path) -> bytes:
    rows = zip(_macro(), range(12), strict=False)
    return b"".join(json.dumps({"encoding": row.tolist(), "accuracy": 0.5 + n / 100}).encode() + b"\n" for row, n in rows)


def _macro_table(_: Path) -> bytes:
    # Not all networks, so the reader refuses the whole file too; its parsing is what is tried.
    return b"arch,acc1,acc2,acc3\n" + b"".join(b"%08d,90.1,90.2,90.3\n" % (number % 3) for number in range(60))


def _macro() -> Any:
    return get_space("nas_bench_macro")


def _latencies(path: Path) -> Any:
    return read_latencies(path, _macro(), LatencyOrigin("host-cpu-float32"))


def _measured(path: Path) -> None:
    is_collected(path)
    measured_latencies(path, _macro())


def _tflite(fmt: str) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        graph = random_graph(SMALL)
        return write_float(graph) if fmt == "float32" else write_quantised(quantise(graph, latency_ranges(graph), "int8"))

    return make


_CSV = (
    "encoding,distribution,hardware,kind,ms,unrest,reference_ms,time\n"
    + "".join(f"{MACRO_ROW[:-1]}{number % 3},uniform,host-cpu-float32,measured,2.{number},0.007,2.99,2026-11-29T12:02:47\n"
              for number in range(3))
)  # fmt: skip
_DELEGATES = """[[delegates]]
id = "mine"
title = "Mine"
formats = ["int8"]
flags = {use_mine = "true"}
proof = {names = ["MINE"]}
"""
_ENTRY = {"name": "mine", "model": "multi_max@0.25", "url": "https://example.org/x.h5", "sha256": "ab" * 32}
_REGISTRY = {"format": "mhmodels.weights-registry/1", "entries": [{**_ENTRY, "description": "", "licence": ""}]}
_FOUND = {"format": "mhmodels.found/1", "space": "nas_bench_macro", "encoding": [1] * 8, "choices": {}, "provenance": {}}
_MODEL = next(iter(sorted(FOLDER.glob("nas_bench_macro_*.json"))), next(iter(sorted(FOLDER.glob("*.json")))))

READERS: dict[str, Reader] = {
    "architecture": Reader("x.json", load_architecture, lambda _: SMALL.to_json()),
    "result": Reader("x.json", read_network, _json(_FOUND)),
    "manifest": Reader("x.manifest.json", _read_manifest, _manifest),
    "float TFLite file": Reader("x.tflite", read_tflite, _tflite("float32")),
    "int8 TFLite file": Reader("x.tflite", read_tflite, _tflite("int8")),
    "hash": Reader("x", sha256_of, _text("content")),
    "weights": Reader("x.weights.h5", _read_weights, _weights),
    "weights that state what they are": Reader("x.weights.h5", read_info, _weights),
    "safetensors weights": Reader("x.safetensors", _read_state_dict, lambda _: serialize(_TENSORS)),
    "PyTorch weights": Reader("x.pth", _read_state_dict, _state_dict(write_zip)),
    "old PyTorch weights": Reader("x.pth", _read_state_dict, _state_dict(write_legacy)),
    "timm's configuration": Reader(
        f"{HOME}/config.json", lambda path: read_timm_config(str(path.with_name("x"))), _json(_TIMM)
    ),
    "labels": Reader("x.txt", read_labels, _text("cat\ndog\nGrünfink\n")),
    "recipe": Reader("x.json", load_recipe, lambda _: next(iter(RECIPES.values())).to_json()),
    "preset": Reader("x.json", load_preset, lambda _: next(iter(PRESETS.values())).to_json()),
    "cost model": Reader("x.json", load_cost_model, lambda _: _MODEL.read_bytes()),
    "latencies, CSV": Reader("x.csv", _latencies, _text(_CSV)),
    "latencies, JSON lines": Reader("x.jsonl", _latencies, _samples(True)),
    "samples": Reader("x.jsonl", lambda path: read_samples(path, _macro()), _samples(False)),
    "accuracies": Reader("x.jsonl", lambda path: read_predictor(path, _macro()), _accuracies),
    "measured table": Reader("x.csv", _measured, _text(_CSV)),
    "provenance": Reader("x.json", lambda path: provenance_of(path.with_suffix(".csv"), _macro()),
                         lambda _: (Path(FOLDER).parents[1] / "data" / "nas_bench_macro.json").read_bytes()),
    "table of NAS-Bench-Macro": Reader("x.csv", nas_bench_macro_table, _macro_table),
    "table of NAS-Bench-201": Reader("x.npz", nas_bench_201_table, _npz(
        ops=np.zeros((9, 6), np.int8), latency_ms=np.ones((9, 2)), devices=np.array(["a", "b"])), packed=True),
    "arrays": Reader("x.npz", _read_arrays, _npz(a=np.arange(5.0), b=np.ones((3, 2))), packed=True),
    "store": Reader("x.db", _read_store, _store),
    "search log": Reader("x.db", _read_log, _log),
    "TFRecords": Reader("x.tfrecord", _read_records, _records, packed=True),
    "JPEG": Reader("x.jpg", open_picture, _picture("JPEG")),
    "PNG": Reader("x.png", open_picture, _picture("PNG"), packed=True),
    "GIF": Reader("x.gif", open_picture, _picture("GIF")),
    "WebP": Reader("x.webp", open_picture, _picture("WEBP")),
    "TIFF": Reader("x.tif", open_picture, _picture("TIFF")),
    "BMP": Reader("x.bmp", open_picture, _picture("BMP")),
    "PPM": Reader("x.ppm", open_picture, _picture("PPM")),
    "matrix, TOML": Reader("x.toml", lambda path: read_matrix(str(path)),
                           _text('models = ["multi_max"]\ndevices = ["A"]\ndelegates = ["xnnpack"]\n')),
    "matrix, JSON": Reader("x.json", lambda path: read_matrix(str(path)), _json({"models": ["multi_max"], "devices": ["A"]})),
    "delegates": Reader("x.toml", load_delegates, _text(_DELEGATES)),
    "names of phones": Reader(f"{HOME}/phones.json", lambda _: read_names(), _json({"SERIAL": "name"})),
    "cores of phones": Reader(f"{HOME}/cache/phone-cores.json", lambda _: remembered_cores(), _json({})),
    "registered weights": Reader(f"{HOME}/weights.json", lambda _: entries(), _json(_REGISTRY)),
}  # fmt: skip
