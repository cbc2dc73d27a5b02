"""Files that no latency means anything of are refused by name, on every hardware, and nothing is stored of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mhmodels.errors import FileFormatError
from mhmodels.hardware import measure, prepare
from mhmodels.store import Store

from .tiny import CONV_2D, TinyModel

DEPTHWISE_CONV_2D, FULLY_CONNECTED, CUSTOM, TRANSPOSE_CONV = 4, 9, 32, 67
HUGE = 2**31 - 1
Change = Callable[[TinyModel], Any]


def network(path: Path, change: Change, code: int = CONV_2D) -> Path:
    """One 1x1 convolution of 8 channels in int8; `change` damages it."""
    model = TinyModel("int8")
    source = model.tensor("input", (1, 8, 8, 8), "int8")
    output = model.conv(source, "conv", 8, 8)
    model.codes = [code]
    change(model)
    return model.save(path, [source], [output])


def shaped(position: int, *shape: int) -> Change:
    """Tensors: 0 input, 1 kernel, 2 bias, 3 output. A kernel loses its data, whose size would not fit."""

    def change(model: TinyModel) -> None:
        model.tensors[position].shape = list(shape)
        if position in (1, 2):
            data = model.buffers[model.tensors[position].buffer].data
            size = 1
            for side in shape:
                size *= side
            model.buffers[model.tensors[position].buffer].data = data[:size]

    return change


def unwritten(model: TinyModel) -> None:
    model.tensors[1].buffer = 0


def dynamic(model: TinyModel) -> None:
    model.tensors[0].shapeSignature = [-1, -1, -1, 3]


def one_input(model: TinyModel) -> None:
    model.operators[0].inputs = [0]


def no_kernel(model: TinyModel) -> None:
    model.operators[0].inputs = [0, -1, 2]


CASES: dict[str, tuple[Change, int, str]] = {
    "a product beyond int64": (shaped(0, HUGE, HUGE, HUGE, 8), CONV_2D, "over 4 GiB"),
    "a product that is 0 modulo 2 to the 64": (shaped(3, 1 << 30, 1 << 30, 16, 8), CONV_2D, "over 4 GiB"),
    "a product just too large": (shaped(3, 1, 1 << 15, 1 << 15, 8), CONV_2D, "over 4 GiB"),
    "a size of 0": (shaped(0, 1, 0, 8, 8), CONV_2D, "expected sizes of at least 1"),
    "a size below 0": (shaped(3, 1, -8, -8, 8), CONV_2D, "expected sizes of at least 1"),
    "no data": (unwritten, CONV_2D, "no data for it, and no operator writes it"),
    "a size known when it runs": (dynamic, CONV_2D, "no fixed size"),
    "no kernel": (one_input, CONV_2D, "has no kernel"),
    "an absent kernel": (no_kernel, CONV_2D, "has no kernel"),
    "another number of channels": (shaped(3, 1, 8, 8, 9), CONV_2D, "expected 8 channels"),
    **{
        f"a kernel of rank {len(shape)} of operator {code}": (shaped(1, *shape), code, f"expected {rank} dimensions")
        for code, rank in ((CONV_2D, 4), (DEPTHWISE_CONV_2D, 4), (FULLY_CONNECTED, 2), (TRANSPOSE_CONV, 4))
        for shape in ((), (8,), (8, 8), (8, 1, 8), (1, 8, 1, 8))
        if len(shape) != rank
    },
}


@pytest.mark.parametrize(("change", "code", "message"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("hardware", ["roofline-40", "host-cpu-int8", "ethos-u55-128"])
def test_a_file_without_a_meaningful_latency(tmp_path: Path, change: Change, code: int, message: str, hardware: str) -> None:
    file = network(tmp_path / "net.tflite", change, code)
    with Store(tmp_path / "results.db") as store:
        with pytest.raises(FileFormatError, match=rf"net\.tflite: .*{message}"):
            measure(file, hardware, store=store)
        assert len(store) == 0


@pytest.mark.parametrize(("name", "maker"), [("ethos-u", "Vela"), ("edgetpu-custom-op", "Coral"), ("DISPATCH_OP", "LiteRT")])
@pytest.mark.parametrize("hardware", ["roofline-40", "host-cpu-int8", "ethos-u55-128"])
def test_a_file_compiled_for_an_accelerator(tmp_path: Path, name: str, maker: str, hardware: str) -> None:
    file = custom(tmp_path / "net_vela.tflite", name)
    with Store(tmp_path / "results.db") as store:
        with pytest.raises(FileFormatError, match=rf"net_vela\.tflite: compiled .*{maker}.*{name}.*compiled from"):
            measure(file, hardware, store=store)
        assert len(store) == 0


def test_velas_own_output_is_refused(tiny_tflite: dict[str, Path], tmp_path: Path) -> None:
    from mhmodels.hardware.vela.process import run_vela

    (tmp_path / "net.tflite").symlink_to(tiny_tflite["int8"])
    assert run_vela(["--accelerator-config=ethos-u55-128", "--output-dir=out", "net.tflite"], tmp_path, 120).returncode == 0
    with pytest.raises(FileFormatError, match="compiled by Vela"):
        prepare(tmp_path / "out/net_vela.tflite")


def test_a_roofline_refuses_operators_whose_work_it_does_not_know(tmp_path: Path) -> None:
    row = measure(custom(tmp_path / "net.tflite", "MyOwn"), "roofline-40")
    assert (row.median_ms, row.reason) == (None, "a roofline cannot tell how much work these operators are: CUSTOM:MyOwn")


def test_what_is_legitimate_stays(tmp_path: Path, tiny_tflite: dict[str, Path]) -> None:
    """A batch that is known when it runs, an empty constant that nobody needs, a scalar, a variable."""

    def change(model: TinyModel) -> None:
        model.tensors[0].shapeSignature = [-1, 8, 8, 8]
        for name, shape in (("empty", (0,)), ("state", (1, 8))):
            model.operators[0].inputs.append(model.tensor(name, shape, "int8"))
        model.tensors[-1].isVariable = True
        model.operators[0].inputs.append(model.tensor("scalar", (), "int8", 1))

    assert prepare(network(tmp_path / "net.tflite", change)).format == "int8"
    for file in tiny_tflite.values():
        prepare(file)


def custom(path: Path, name: str) -> Path:
    """A file of one custom operator."""
    model = TinyModel("int8")
    source, output = (model.tensor(tensor, (1, 8, 8, 8), "int8") for tensor in ("input", "output"))
    model.operator(CUSTOM, [source], [output])
    plain = model.schema.OperatorCodeT

    def named() -> Any:
        code = plain()
        code.customCode = name
        return code

    model.schema = _With(model.schema, OperatorCodeT=named)
    return model.save(path, [source], [output])


class _With:
    """A module with some names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
