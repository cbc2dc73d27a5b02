"""Hostile files: our own parser answers every one of them with a file or a FileFormatError, in little time and memory."""

from __future__ import annotations

import json
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest

from mhmodels.architecture import Architecture, Conv, InvertedBottleneck, SqueezeExcite
from mhmodels.errors import FileFormatError, MhmodelsError
from mhmodels.export.cli.verify import _layers
from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.verification.facts import contradictions
from mhmodels.export.verification.file_graph import compared_tensors
from mhmodels.export.verification.layers import LayerReport
from mhmodels.export.verification.runtimes import differences
from mhmodels.export.verification.verify import verify
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.tflite.file import parse_tflite
from tests.conftest import Run

SMALL = Architecture(
    name="small",
    stem=(Conv(filters=8, kernel=3, stride=2),),
    stages=((InvertedBottleneck(filters=8, expansion=2, squeeze_excite=SqueezeExcite()),),),
    input_size=(32, 32),
    classes=4,
)
GRAPH = random_graph(SMALL)
INTERESTING = (0, 1, 2, 3, 4, 127, 128, 254, 255)
WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 1 << 20)
FILES = {
    "float32": write_float(GRAPH),
    "int8": write_quantised(quantise(GRAPH, latency_ranges(GRAPH), "int8")),
    "uint8": write_quantised(quantise(GRAPH, latency_ranges(GRAPH), "uint8")),
}


def tables(content: bytes) -> list[int]:
    """Where the structure lies: everything but the weights."""
    model = schema.Model.GetRootAs(content, 0)
    weights = bytearray(len(content))
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if not buffer.DataIsNone():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            weights[start : start + buffer.DataLength()] = b"\1" * buffer.DataLength()
    return [i for i, weight in enumerate(weights) if not weight]


PLACES = {name: tables(content) for name, content in FILES.items()}


def mutated(rng: random.Random) -> bytes:
    """One file with bytes or whole words changed, mostly in its tables, or cut, or with a part repeated."""
    name = rng.choice(list(FILES))
    content, places = bytearray(FILES[name]), PLACES[name]
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.choice(places) if rng.random() < 0.9 else rng.randrange(len(content))
        if rng.random() < 0.4:
            place = min(place & ~3, len(content) - 4)
            content[place : place + 4] = struct.pack("<I", rng.choice((*WORDS, len(content), rng.randrange(len(content)))))
        else:
            content[place] = rng.choice((*INTERESTING, rng.randrange(256)))
    if rng.random() < 0.1:
        del content[rng.randrange(len(content)) :]
    elif rng.random() < 0.1:
        at, size = rng.randrange(len(content)), rng.randrange(64)
        content[at:at] = content[at : at + size]
    return bytes(content)


def parse_many(count: int, seed: int) -> tuple[int, int]:
    """(accepted, refused) of so many mutated files; anything but a refusal is the test's failure."""
    rng, accepted, refused, slowest = random.Random(seed), 0, 0, 0.0
    for _ in range(count):
        content, start = mutated(rng), time.process_time()
        try:
            parse_tflite(content)
            accepted += 1
        except FileFormatError:
            refused += 1
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 5.0  # a whole file takes milliseconds; a loop over what a file merely claims would take minutes
    return accepted, refused


def test_mutated_files_are_read_or_refused() -> None:
    accepted, refused = parse_many(300, seed=1)
    assert accepted > 30
    assert refused > 30


@pytest.mark.slow
def test_ten_thousand_mutated_files() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted, refused = parse_many(10_000, seed=2)
    assert accepted > 1_000
    assert refused > 1_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024  # kB


def vector_of(table: Any, field: int) -> int:
    """Where a table's vector says how long it is."""
    return int(table._tab.Vector(table._tab.Offset(field))) - 4


@pytest.mark.parametrize("claimed", [10_000, 1_000_000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("what", ["tensors", "operators", "inputs", "shape", "scale"])
def test_claimed_lengths_cost_nothing(what: str, claimed: int) -> None:
    content = bytearray(FILES["int8"] + bytes(1 << 20))  # room to read into
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    place = {
        "tensors": lambda: vector_of(graph, 4),
        "operators": lambda: vector_of(graph, 10),
        "inputs": lambda: vector_of(graph, 6),
        "shape": lambda: vector_of(graph.Tensors(0), 4),
        "scale": lambda: vector_of(graph.Tensors(0).Quantization(), 8),
    }[what]()
    content[place : place + 4] = struct.pack("<I", claimed)
    start = time.process_time()
    with pytest.raises(FileFormatError):
        parse_tflite(bytes(content))
    assert time.process_time() - start < 3.0


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    """A file with something else in its tables."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("inputs", [[], [-1]])
def test_a_softmax_that_reads_nothing(inputs: list[int]) -> None:
    def change(model: Any) -> None:
        model.subgraphs[0].operators[-1].inputs = np.array(inputs, np.int32)

    file = parse_tflite(changed(FILES["float32"], change))
    assert compared_tensors(file) == {"scores": file.tensors[file.outputs[0]]}


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_steps_of_size_zero_are_refused(end: str, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[getattr(graph, end)[0]].quantization.scale = np.zeros(1, np.float32)

    logits = write_quantised(quantise(GRAPH, latency_ranges(GRAPH), "uint8"), options=WriterOptions(softmax=False))
    (tmp_path / "zero.tflite").write_bytes(changed(logits, change))
    with pytest.raises(ParityError, match=r"scales \[0\.0\]"):
        verify(tmp_path / "zero.tflite")


def test_outputs_without_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fine.tflite").write_bytes(FILES["float32"])
    monkeypatch.setattr(differences, "run_file", lambda _path, inputs, _tensors, **_: [np.empty((len(inputs), 0))])
    with pytest.raises(ParityError, match=r"output 'scores' is \(0,\) with scales \[\], expected values"):
        verify(tmp_path / "fine.tflite")


def test_outputs_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        """One more output, a constant complex number."""
        graph = model.subgraphs[0]
        model.buffers.append(schema.BufferT(data=np.zeros(8, np.uint8)))
        kind = schema.TensorType.COMPLEX64
        graph.tensors.append(schema.TensorT(shape=[1], type=kind, buffer=len(model.buffers) - 1, name=b"odd"))
        graph.outputs = np.append(graph.outputs, len(graph.tensors) - 1).astype(np.int32)
        model.signatureDefs = None

    (tmp_path / "odd.tflite").write_bytes(changed(FILES["float32"], change))
    with pytest.raises(ExportError, match="holds complex64, expected numbers"):
        verify(tmp_path / "odd.tflite")


def test_a_report_without_layers_can_be_told() -> None:
    assert _layers(LayerReport(method="", limit=1.0, first_departing=None, layers=())) == "none to compare"


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal texts once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.names: dict[bytes, int] = {}

    def CreateString(self, s: Any, *rest: Any) -> int:
        key = s if isinstance(s, bytes) else s.encode()
        if key not in self.names:
            self.names[key] = super().CreateString(s, *rest)
        return self.names[key]


def test_tables_that_share_one_long_vector_do_not_multiply_it() -> None:
    """All tensors of a file point to one description of megabytes: copies of it would fill the memory."""
    model = schema.ModelT.InitFromPackedBuf(FILES["int8"], 0)
    tensors = model.subgraphs[0].tensors
    tensors[0].name = b"n" * (1 << 20)
    tensors.extend([tensors[0]] * 300)
    builder = _SharingBuilder(1 << 21)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    assert len(content) < 4 << 20
    with pytest.raises(FileFormatError, match="refer to more than it holds"):
        parse_tflite(content)


def changed_manifest(rng: random.Random, document: Any) -> Any:
    """The document with one value somewhere replaced, removed or renamed."""
    values: tuple[Any, ...] = (None, -1, 0, 1e308, "", "x" * 1000, [], {}, [[[]]], True, 2**70, "\u0000")
    node, key = document, None
    while isinstance(node, (dict, list)) and node and (key is None or rng.random() < 0.7):
        parent = node
        key = rng.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
        node = node[key]
    if key is not None:
        if rng.random() < 0.2 and isinstance(parent, dict):
            parent[str(key) + "x"] = parent.pop(key)
        else:
            parent[key] = rng.choice(values)
    return document


@pytest.mark.tensorflow
def test_mutated_manifests_are_read_or_refused(exported: Path, tmp_path: Path) -> None:
    original = (exported / "tiny_w1_65x48_int8.manifest.json").read_text()
    data = (exported / "tiny_w1_65x48_int8.tflite").read_bytes()
    file, path, rng = parse_tflite(data), tmp_path / "m.manifest.json", random.Random(3)
    seen = {"agrees": 0, "contradicts": 0, "refused": 0}
    for i in range(400):
        if i % 4 == 0:
            raw = bytearray(original.encode())
            raw[rng.randrange(len(raw))] = rng.randrange(256)
            path.write_bytes(bytes(raw))
        else:
            path.write_text(json.dumps(changed_manifest(rng, json.loads(original))))
        try:
            seen["contradicts" if contradictions(load_manifest(path), file, data) else "agrees"] += 1
        except MhmodelsError:
            seen["refused"] += 1
    assert all(seen.values()), seen


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_whole_command_on_mutated_files(tmp_path: Path, mhmodels: Run) -> None:
    """The runtime may crash on what our parser lets through: the command then says so and ends with 1."""
    rng, codes = random.Random(4), []
    for _ in range(16):
        (tmp_path / "hostile.tflite").write_bytes(mutated(rng))
        done = mhmodels("verify", "hostile.tflite", timeout=120)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or done.stderr.strip()
        codes.append(done.returncode)
    assert set(codes) == {0, 1}
