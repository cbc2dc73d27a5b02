"""Tables, vectors and constants lie where FlatBuffers' own builder puts them, and weights become integers as one formula says."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.export.graph.operations import Graph, random_graph
from mhmodels.export.quantisation.kernels import quantised_kernel
from mhmodels.export.quantisation.parameters import Quantisation, QuantisedFormat
from mhmodels.export.writing.flatbuffer.tables import TableBuilder, TableForm
from mhmodels.registry import resolve

ALIGNMENT = 16
PAIR = TableForm(text=(0, "O"), number=(2, "I"), flag=(3, "B"))

parts = st.lists(
    st.one_of(
        st.text(max_size=9),
        st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
        st.tuples(st.integers(1, 3), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=8,
)


def array(shape: tuple[int, int]) -> np.ndarray:
    """A transposed float array, whose place in a file is bytes in another order."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape).T


def ours(parts) -> bytes:
    builder = TableBuilder(1 << 16, ALIGNMENT)
    offsets = []
    for part in parts:
        if isinstance(part, str):
            offsets.append(builder.string(part))
        elif isinstance(part, tuple):
            offsets.append(builder.constant(array(part), np.dtype(np.int16), ALIGNMENT))
        else:
            offsets.append(builder.vector(np.array(part, "<i4").tobytes(), len(part)))
    tables = [builder.table(PAIR, offset, 7, 1) for offset in offsets]
    builder.builder.Finish(builder.offsets(tables))
    return builder.content()


def theirs(parts) -> bytes:
    """The same without tables, by FlatBuffers' own builder."""
    builder = flatbuffers.Builder(0)
    for part in parts:
        if isinstance(part, str):
            builder.CreateString(part)
            continue
        constant = isinstance(part, tuple)
        content = (array(part).astype("<i2") if constant else np.array(part, "<i4")).tobytes()
        builder.StartVector(1 if constant else 4, len(content) if constant else len(part), ALIGNMENT if constant else 4)
        for byte in reversed(content):
            builder.Place(byte, flatbuffers.number_types.Uint8Flags)
        builder.EndVector()
    return bytes(builder.Bytes[builder.Head() :])


@settings(max_examples=60, deadline=None)
@given(parts)
def test_strings_vectors_and_constants_lie_as_flatbuffers_puts_them(parts) -> None:
    """Tables are left out: FlatBuffers puts the description of their fields in front of the first, this builder behind it."""
    assert ours(parts).endswith(theirs(parts))


@settings(max_examples=60, deadline=None)
@given(parts)
def test_tables_are_read_back(parts) -> None:
    content = ours(parts)
    vector = int.from_bytes(content[:4], "little")
    table = flatbuffers.table.Table(bytearray(content), 0)
    assert int.from_bytes(content[vector : vector + 4], "little") == len(parts)
    for i, part in enumerate(parts):
        here = vector + 4 + 4 * i
        table.Pos = here + table.Get(flatbuffers.number_types.UOffsetTFlags, here)
        assert table.Get(flatbuffers.number_types.Int32Flags, table.Pos + table.Offset(8)) == 7
        assert table.Get(flatbuffers.number_types.Uint8Flags, table.Pos + table.Offset(10)) == 1
        start = table.Pos + table.Offset(4)
        if isinstance(part, str):
            assert table.String(start).decode() == part
        if isinstance(part, tuple):
            place = start + table.Get(flatbuffers.number_types.UOffsetTFlags, start) + 4
            assert place % ALIGNMENT == 0
            assert np.array_equal(np.frombuffer(content, "<i2", np.prod(part), place).reshape(part[::-1]), array(part))


@pytest.mark.parametrize("rows", [1, 511, 512, 1200])
def test_constants_of_any_length_are_transposed(rows: int) -> None:
    values = np.random.default_rng(rows).integers(0, 255, (rows, 3), np.uint8).T
    builder = TableBuilder(1 << 16, ALIGNMENT)
    builder.constant(values, np.dtype(np.uint8), ALIGNMENT)
    assert builder.content()[4 : 4 + values.size] == np.ascontiguousarray(values).tobytes()


def test_a_single_number_is_a_constant() -> None:
    builder = TableBuilder(1 << 10, ALIGNMENT)
    builder.constant(np.array(0.5), np.dtype(np.float32), ALIGNMENT)
    assert np.frombuffer(builder.content(), "<f4", 1, 4) == 0.5


def formula(weights: np.ndarray, quantisation: Quantisation, lowest: int) -> np.ndarray:
    rows = weights.reshape(-1, weights.shape[-1])
    return np.clip(np.rint(rows / quantisation.scale) + quantisation.zero_point, lowest, lowest + 254)


@pytest.mark.parametrize(("fmt", "per_channel"), [("int8", True), ("int8", False), ("uint8", False)])
@pytest.mark.parametrize("offset", [-4.0, 0.0, 4.0])
@pytest.mark.parametrize("step", [None, 0.01])
def test_weights_become_integers_by_one_formula(
    fmt: QuantisedFormat, per_channel: bool, offset: float, step: float | None
) -> None:
    """Clipping is left out where the ends show that nothing is clipped: the integers are those with clipping."""
    graph = drawn(offset, step)
    op = graph.convolutions[0]
    source = Quantisation(np.array([0.05], np.float32), 3)
    kernel = quantised_kernel(graph, op, source, fmt, per_channel)
    expected = formula(graph.kernels[op.name], kernel.quantisation, 1 if fmt == "uint8" else -127)
    assert np.array_equal(kernel.weights.reshape(expected.shape), expected)
    assert kernel.weights.dtype == fmt
    bias = np.rint(graph.biases[op.name] / (np.float64(source.scale[0]) * kernel.quantisation.scale.astype(np.float64)))
    assert np.array_equal(kernel.bias, bias)


def drawn(offset: float, step: float | None) -> Graph:
    """A graph whose first kernel has ends on both sides of 0, or on one; with a step, most of it beyond 255 integers."""
    graph = random_graph(resolve("mobilenet_v1@0.25").at(input_size=32))
    op = graph.convolutions[0]
    random = np.random.default_rng(3)
    kernel = (random.normal(0, 1, graph.kernels[op.name].shape) + offset).astype(np.float32)
    biases = random.normal(0, 1, op.channels).astype(np.float32)
    steps = {} if step is None else {op.name: step}
    return graph._replace(kernels={op.name: kernel}, biases={op.name: biases}, kernel_steps=steps)
