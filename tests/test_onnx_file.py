"""ONNX files of strangers: format and input are read, and a file that cannot be measured is one message."""

from __future__ import annotations

import contextlib
import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper

from mhmodels import get_architecture
from mhmodels.errors import FileFormatError
from mhmodels.export.writing.latency import LatencyFormat, latency_bytes
from mhmodels.formats.onnx_file import is_onnx_path, read_onnx

SMALL = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)


@pytest.mark.parametrize("fmt", ["onnx-float32", "onnx-int8", "onnx-uint8"])
def test_files_of_our_own(tmp_path: Path, fmt: LatencyFormat) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(latency_bytes(SMALL, fmt))
    assert read_onnx(path)[:2] == (fmt, (1, 32, 32, 3))


def network(
    *nodes: onnx.NodeProto, shape: tuple[int | str, ...] = (1, 3, 8, 8), constants: tuple[onnx.TensorProto, ...] = ()
) -> bytes:
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [entry], [result], constants)
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


def scalar(name: str, kind: int) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, [], [0])


def quantised(name: str, zero: str) -> onnx.NodeProto:
    return helper.make_node("DequantizeLinear", [f"{name}i", "s", zero], [name])


RELU = helper.make_node("Relu", ["x"], ["y"])


def test_activations_and_weights_of_two_types_are_both_named(tmp_path: Path) -> None:
    """As ONNX Runtime quantises by default."""
    nodes = (quantised("a", "za"), quantised("w", "zw"), helper.make_node("Conv", ["a", "w"], ["y"]))
    path = tmp_path / "net.onnx"
    path.write_bytes(network(*nodes, constants=(scalar("za", TensorProto.UINT8), scalar("zw", TensorProto.INT8))))
    assert read_onnx(path).format == "onnx-uint8 x int8"


def constant(name: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor("", kind, [1], [0]))


CONV = helper.make_node("Conv", ["x", "w"], ["y"])
WEIGHTS = helper.make_node("DequantizeLinear", ["wi", "s"], ["w"])


@pytest.mark.parametrize(
    ("nodes", "constants", "fmt"),
    [
        ((CONV,), (scalar("w", TensorProto.FLOAT16),), "onnx-float16"),
        ((constant("w", TensorProto.FLOAT16), CONV), (), "onnx-float16"),
        ((CONV,), (scalar("w", TensorProto.FLOAT),), "onnx-float32"),
        ((CONV,), (), "onnx-float32"),
        ((WEIGHTS, CONV), (scalar("wi", TensorProto.INT8),), "onnx-float32 x int8"),
        (
            (helper.make_node("QuantizeLinear", ["x", "s"], ["ai"]), helper.make_node("DequantizeLinear", ["ai", "s"], ["a"]),
             WEIGHTS, helper.make_node("Conv", ["a", "w"], ["y"])),
            (scalar("wi", TensorProto.INT8),),
            "onnx-uint8 x int8",
        ),
        (
            (helper.make_node("QuantizeLinear", ["x", "s", "z"], ["ai"]),
             helper.make_node("DequantizeLinear", ["ai", "s", "z"], ["a"]), WEIGHTS,
             helper.make_node("Conv", ["a", "w"], ["y"])),
            (scalar("wi", TensorProto.INT8), scalar("z", TensorProto.INT8)),
            "onnx-int8",
        ),
        ((constant("za", TensorProto.INT8), quantised("a", "za"), quantised("w", "za"),
          helper.make_node("Conv", ["a", "w"], ["y"])), (), "onnx-int8"),
        ((helper.make_node("QLinearConv", list("xszwtuvr"), ["y"]),), (), "onnx-QLinearConv"),
    ],
)  # fmt: skip
def test_the_format_is_that_of_what_operators_read(
    tmp_path: Path, nodes: tuple[onnx.NodeProto, ...], constants: tuple[onnx.TensorProto, ...], fmt: str
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(network(*nodes, constants=constants))
    assert read_onnx(path).format == fmt


def test_every_input_needs_fixed_sizes(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, 3]) for name, size in (("a", 1), ("b", "n"))]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    path = tmp_path / "net.onnx"
    add = helper.make_node("Add", ["a", "b"], ["y"])
    path.write_bytes(helper.make_model(helper.make_graph([add], "g", inputs, [output])).SerializeToString())
    with pytest.raises(FileFormatError, match=r"input 'b' has shape \(\?, 3\), expected fixed sizes"):
        read_onnx(path)


def test_a_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError) as error:
        read_onnx(tmp_path / "net.onnx")
    assert str(error.value).count("net.onnx") == 1


def test_the_ending_may_be_of_either_case() -> None:
    assert is_onnx_path("NET.ONNX")
    assert not is_onnx_path("net.tflite")


def external() -> bytes:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    return network(RELU, constants=(tensor,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"", "has no nodes"),
        (lambda: b"not a model", "is not a whole ONNX file"),
        (lambda: latency_bytes(SMALL, "onnx-int8")[:5000], "is not a whole ONNX file"),
        (lambda: latency_bytes(SMALL, "int8"), "is not"),
        (lambda: network(), "has no nodes"),
        (lambda: network(RELU, shape=("batch", 3, 8, 8)), r"input 'x' has shape \(\?, 3, 8, 8\), expected fixed sizes"),
        (lambda: network(RELU, shape=(1, 3, 0, 8)), "expected fixed sizes"),
        (external, "keeps its weights in other files"),
    ],
)
def test_a_file_that_cannot_be_measured_is_one_message(tmp_path: Path, content: Callable[[], bytes], message: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content())
    with pytest.raises(FileFormatError, match=message) as error:
        read_onnx(path)
    assert str(path) in str(error.value)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    whole, draw = latency_bytes(SMALL, "onnx-int8"), random.Random(0)
    path = tmp_path / "net.onnx"
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 20)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(FileFormatError):
            assert read_onnx(path).format.startswith("onnx-")


def test_without_onnx_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FileFormatError, match=r"pip install 'mhmodels\[onnx\]'"):
        read_onnx(tmp_path / "net.onnx")
