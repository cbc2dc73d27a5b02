"""Costs of layers: the profile as data, Vela's table, LiteRT's profiler, and how both are matched with a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mhmodels import get_architecture
from mhmodels.errors import FileFormatError, MeasurementError, UnknownNameError
from mhmodels.export.writing.latency import LatencyFormat, latency_file
from mhmodels.hardware import (
    LayerCost,
    LayerProfile,
    LayerProfiler,
    get_hardware,
    list_hardware,
    measure,
    prepare,
    profile_layers,
)
from mhmodels.hardware.host import layers as host
from mhmodels.hardware.host import runner as host_runner
from mhmodels.hardware.host.matching import ProfiledOperator, match_operators
from mhmodels.hardware.layers.file_layers import FileLayer, file_layers
from mhmodels.hardware.layers.profile import with_shares
from mhmodels.hardware.layers.reading import read_layers
from mhmodels.hardware.vela import layers as vela_layers
from mhmodels.hardware.vela.layers import VelaRow, match_rows, read_rows
from mhmodels.tflite.file import read_tflite

from . import tiny

ESTIMATED = ("ethos-u55-32", "ethos-u55-128", "ethos-u65-256", "ethos-u65-512", "ethos-u85-128", "ethos-u85-2048")
HEADER = (
    "Original Operator,NNG Operator,Target,Staging Usage,Peak% (Staging),Op Cycles,Network% (cycles),NPU,SRAM AC,DRAM AC,"
    "OnFlash AC,OffFlash AC,MAC Count,Network% (MAC),Util% (MAC),Name"
)
RECORDED = (
    "Conv2D,Conv2D,NPU,228240,58.5,335194,10.5,156185,36580,335194,0,0,10838016,3.1,12.6,stem_conv",
    "Conv2D,Relu,NPU,0,0.0,0,0.0,0,0,0,0,0,0,0.0,100,stem_conv",
    "DepthwiseConv2D,DepthwiseConv2D,NPU,228240,58.5,132807,4.1,132807,79764,15184,0,0,3763200,1.08,11.1,depthwise",
    "Softmax,MaxPool,NPU,1024,0.26,5378,0.17,5378,313,0,0,0,1000,0.0,0.07,depthwise_softmax_0",
    "Softmax,Asr,NPU,5104,1.3,1134,0.04,1134,319,0,0,0,0,0.0,0.0,predictions",
)
"""Rows of Vela 5.2.0 for parts of multi_max on ethos-u65-256."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of inverted bottlenecks with hard-swish and squeeze-excite, at 64 pixels."""
    network = get_architecture("mobilenet_v3_small").at(width_multiplier=0.5, input_size=64)
    return latency_file(network, "int8", tmp_path_factory.mktemp("small"))


def layer(position: int, operator: str = "CONV_2D", name: str = "", macs: int = 1000, source: int | None = None) -> FileLayer:
    before = position - 1 if source is None else source
    return FileLayer(position, name or f"layer{position}", operator, macs, 100, (1, 1), 8, 8, (4, 4), before)


def operator(name: str, place: int = 0, ms: float = 1.0, *, delegated: bool = True) -> ProfiledOperator:
    return ProfiledOperator(name, delegated, place, ms, 0.1)


@pytest.mark.parametrize("hardware", ESTIMATED)
def test_the_layers_add_up_to_the_estimate_that_bench_gives(small: Path, hardware: str) -> None:
    profile = profile_layers(prepare(small, label="small"), hardware)
    assert profile.total == measure(small, hardware).median_ms
    assert profile.covered == pytest.approx(1.0, abs=1e-9)
    assert sum(each.share for each in profile.layers) == pytest.approx(1.0)
    assert (profile.kind, profile.unit, profile.model) == ("estimated", "ms", "small")
    assert all(each.bound for each in profile.layers)
    assert all(0 <= (each.utilisation or 0) <= 1 for each in profile.layers)


def test_layers_are_those_of_the_file_in_its_order(small: Path) -> None:
    layers = file_layers(read_tflite(small))
    profile = profile_layers(prepare(small), "ethos-u65-256")
    positions = [each.position for each in profile.layers]
    assert positions == sorted(set(positions))
    assert all(each.name == layers[each.position].name for each in profile.layers)
    assert {each.name for each in layers} == {each.name for each in profile.layers} | set(profile.merged)
    convolutions = [each for each in profile.layers if each.operator == "CONV_2D"]
    assert all(each.macs == layers[each.position].macs for each in convolutions)
    assert "stem_conv" in profile.merged, "the hard-swish is a part of the convolution"


@pytest.mark.parametrize(("formats"), [("int8", "onnx-int8"), ("float32", "onnx-float32")])
def test_layers_of_an_onnx_file_are_those_of_the_tflite_file(
    tmp_path: Path, formats: tuple[LatencyFormat, LatencyFormat]
) -> None:
    pytest.importorskip("onnx")
    network = get_architecture("multi_max").at(width_multiplier=0.5, input_size=64)
    tflite, onnx = (
        {each.name: each for each in read_layers(latency_file(network, fmt, tmp_path)) if each.macs} for fmt in formats
    )
    renamed = {name.removesuffix("/unlimited"): each for name, each in onnx.items()}
    assert list(renamed) == list(tflite)
    for name, layer in tflite.items():
        same = renamed[name]
        assert (same.macs, same.kernel, same.in_channels, same.channels, same.size) == (
            layer.macs, layer.kernel, layer.in_channels, layer.channels, layer.size,
        )  # fmt: skip
        assert same.moved_bytes == pytest.approx(layer.moved_bytes, rel=0.01)
        assert same.operator == layer.operator


def test_an_activation_that_a_tool_joins_with_a_convolution_is_the_convolution(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from mhmodels.hardware.layers.onnx_layers import read_onnx_layers

    file = latency_file(get_architecture("multi_max").at(input_size=32), "onnx-float32", tmp_path)
    layers = read_onnx_layers(file)
    relu, conv = layers.writers["stem_conv"], layers.writers["stem_conv/unlimited"]
    assert layers.owner(relu, {relu}) == conv
    assert layers.owner(relu, {relu, conv}) == relu, "it has a cost of its own"
    assert layers.find("stem_conv/unlimited_token_7") == conv
    assert layers.find("Transpose_token_7") is None


def test_one_layer_waits_for_memory_and_one_computes(tmp_path: Path) -> None:
    wide = tiny.convolutions(tmp_path / "wide.tflite", "int8", layers=1, size=64, channels=128)
    flat = tiny.convolutions(tmp_path / "flat.tflite", "int8", layers=1, size=1, channels=512)
    computes, waits = (profile_layers(prepare(file), "ethos-u55-128").layers[0] for file in (wide, flat))
    assert (computes.bound, computes.memory) == ("compute", "")
    assert (computes.utilisation or 0) > 0.8
    assert (waits.bound, waits.memory) == ("memory", "off-chip flash")
    assert (waits.utilisation or 0) < 0.05


def test_rows_of_one_layer_are_added_up() -> None:
    rows = [_row("Conv2D", "a", 100), _row("Conv2D", "a", 0), _row("Softmax", "own1", 10, sram=20), _row("Softmax", "b", 30)]
    layers = (layer(0, name="a"), layer(1, "RESHAPE", "r", 0), layer(2, "SOFTMAX", "b", 0))
    costs, merged = match_rows(rows, layers, 1e6, 256)
    assert [(cost.name, cost.cost, cost.parts) for cost in costs] == [("a", 0.1, 1), ("b", 0.05, 2)]
    assert merged == ("r",)
    assert costs[1].bound == "compute", "30 of 50 cycles"


def test_a_fused_activation_bears_the_name_and_the_convolution_gets_the_cost() -> None:
    layers = (layer(0, name="conv/pre"), layer(1, "HARD_SWISH", "conv", 0))
    costs, merged = match_rows([_row("Conv2D", "conv", 7), _row("HardSwish", "conv", 0)], layers, 1e6, 256)
    assert [cost.name for cost in costs] == ["conv/pre"]
    assert merged == ("conv",)


def test_rows_at_the_end_without_a_name_of_the_file_are_kept() -> None:
    costs, _ = match_rows([_row("Conv2D", "a", 5), _row("Conv2D", "vela's", 5)], (layer(0, name="a"),), 1e6, 256)
    assert costs[0].cost == pytest.approx(0.01)


def _row(kind: str, name: str, cycles: int, sram: int = 0) -> VelaRow:
    access = {"SRAM": sram, "DRAM": 0, "on-chip flash": 0, "off-chip flash": 0}
    return VelaRow(kind, name, max(cycles, sram), cycles, access, 0)


def test_a_recorded_table(tmp_path: Path) -> None:
    rows = read_rows(_table(tmp_path, HEADER, *RECORDED), Path("net.tflite"))
    layers = (
        layer(0, name="stem_conv"),
        layer(1, "DEPTHWISE_CONV_2D", "depthwise"),
        layer(2, "SOFTMAX", "predictions", 0),
    )
    costs, merged = match_rows(rows, layers, 1e9, 256)
    assert [cost.name for cost in costs] == ["stem_conv", "depthwise", "predictions"]
    assert [cost.memory for cost in costs] == ["DRAM", "", ""]
    assert [round(cost.utilisation or 0, 3) for cost in costs[:2]] == [0.126, 0.111]
    assert sum(cost.cost for cost in costs) == pytest.approx((335194 + 132807 + 5378 + 1134) / 1e6)
    assert merged == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "column 'Original Operator' is missing"),
        ((HEADER.replace(",DRAM AC", ""), *RECORDED), "column 'DRAM AC' is missing"),
        ((HEADER,), "no rows"),
        ((HEADER, RECORDED[0][:40]), "line 2: column 'NPU' is None, expected a number"),
        ((HEADER, RECORDED[0], RECORDED[2].removesuffix("depthwise")), "line 3 ends before column 'Name'"),
        ((HEADER, RECORDED[0].replace("335194", "many")), "line 2: column 'Op Cycles' is 'many', expected a number"),
        ((HEADER, RECORDED[0].replace("335194", "-1")), "line 2: column 'Op Cycles' is '-1', expected at least 0"),
        ((HEADER, RECORDED[0].replace("335194", "inf")), "line 2: column 'Op Cycles' is 'inf', expected a number"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(MeasurementError) as error:
        read_rows(_table(tmp_path, *lines), Path("net.tflite"))
    assert str(error.value).startswith("net.tflite: Vela left no readable table of layers (network_per-layer.csv: ")
    assert message in str(error.value)


def test_a_table_without_its_last_rows(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vela_layers, "read_rows", lambda *paths: read_rows(*paths)[:-9])
    with pytest.raises(
        MeasurementError, match=r"_int8\.tflite: the rows of Vela's table of layers add up to \d+ cycles, .* cut off"
    ):
        profile_layers(prepare(small), "ethos-u55-128")


def test_a_table_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"net\.tflite: Vela left no readable table"):
        read_rows(tmp_path / "none.csv", Path("net.tflite"))


def _table(folder: Path, *lines: str) -> Path:
    path = folder / "network_per-layer.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_network_that_does_not_run_as_a_whole(tiny_tflite: dict[str, Path]) -> None:
    with pytest.raises(MeasurementError, match=r"ethos-u55-128 does not run 'sine' as a whole.*SIN: Unsupported opType"):
        profile_layers(prepare(tiny_tflite["sine"]), "ethos-u55-128")


def test_hardware_that_does_not_tell(tiny_tflite: dict[str, Path]) -> None:
    with pytest.raises(
        MeasurementError, match=r"roofline-40 does not tell what each layer costs; .*host-cpu-int8.*ethos-u85-2048"
    ):
        profile_layers(prepare(tiny_tflite["int8"]), "roofline-40")
    with pytest.raises(UnknownNameError, match="unknown hardware 'ethos'"):
        profile_layers(prepare(tiny_tflite["int8"]), "ethos")
    with pytest.raises(FileFormatError, match="computes in int8, but host-cpu-float32 takes float32"):
        profile_layers(prepare(tiny_tflite["int8"]), "host-cpu-float32")


def test_who_tells() -> None:
    able = {entry.hardware.id.split("-")[0] for entry in list_hardware() if isinstance(entry.runner, LayerProfiler)}
    assert able == {"host", "ethos", "rknn", "hexagon"}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few blocks: the numbers are not looked at."""
    monkeypatch.setattr(host, "BLOCKS", 2)
    monkeypatch.setattr(host, "LEAST_BLOCKS", 1)
    return


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("hardware", "fmt"), [("int8", "int8"), ("uint8", "uint8"), ("float32", "float32"), ("builtin", "float32")]
)
def test_litert_profiles_a_file(tmp_path: Path, hardware: str, fmt: str) -> None:
    file = tiny.convolutions(tmp_path / "wide.tflite", fmt, size=32, channels=64)
    profile = profile_layers(prepare(file), f"host-cpu-{hardware}")
    assert [each.name for each in profile.layers] == ["conv0", "conv1"]
    assert [each.macs for each in profile.layers] == [32 * 32 * 64 * 64] * 2
    assert profile.kind == "measured"
    assert profile.total > 0
    assert all(each.standard_error is not None and not each.bound for each in profile.layers)


@pytest.mark.usefixtures("short")
def test_litert_profiles_a_network_with_operators_outside_of_the_delegate(small: Path) -> None:
    profile = profile_layers(prepare(small), "host-cpu-int8")
    layers = file_layers(read_tflite(small))
    assert len(profile.layers) + len(profile.merged) == len(layers)
    weighted = {each.name for each in layers if each.macs}
    assert weighted <= {each.name for each in profile.layers}
    assert "could not be matched" not in " ".join(profile.notes)


@pytest.mark.usefixtures("short")
def test_a_slow_machine_is_told(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "remember_pace", lambda _, seen: seen / 1.5)
    profile = profile_layers(prepare(small), "host-cpu-int8")
    assert profile.noisy
    assert "slower than it can be, by 50 %" in " ".join(profile.notes)


@pytest.mark.usefixtures("short")
def test_layers_that_are_too_fast(tiny_tflite: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_timed", lambda name, _: operator(str(name[0]), ms=0.0))
    with pytest.raises(MeasurementError, match=r"int8\.tflite: no layer takes a microsecond, in which LiteRT's profiler counts"):
        profile_layers(prepare(tiny_tflite["int8"]), "host-cpu-int8")


def test_a_profiler_of_another_form(tiny_tflite: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, sys\nos.write(int(sys.argv[1]), json.dumps({'error': 'LiteRtX failed'}).encode() + b'\\n')"
    )
    monkeypatch.setattr(host, "CHILD", child)
    with pytest.raises(MeasurementError, match=r"int8\.tflite: LiteRT refuses this file: LiteRtX failed"):
        host_runner.RUNNER.profile_layers(prepare(tiny_tflite["int8"]), get_hardware("host-cpu-int8").hardware)


def test_operators_are_matched_in_order() -> None:
    layers = (
        layer(0, "QUANTIZE", macs=0),
        layer(1, "PAD", macs=0),
        layer(2),
        layer(3, "DEPTHWISE_CONV_2D"),
        layer(4, "ADD", macs=0),
    )
    operators = [
        operator("QUANTIZE", 0, delegated=False),
        operator("Convolution (NHWC, QC8) IGEMM", 0),
        operator("Convert (NC)", 1),
        operator("Convolution (NHWC, QC8) DWConv", 2),
        operator("Add (ND)", 3),
    ]
    costs, merged, note = match_operators(operators, layers)
    assert [(cost.position, cost.cost, cost.parts) for cost in costs] == [(0, 1, 1), (2, 2, 2), (3, 1, 1), (4, 1, 1)]
    assert merged == ("layer1",)
    assert note == ""


@pytest.mark.parametrize(
    "operators",
    [
        [operator("Convolution (NHWC, QC8) IGEMM")],
        [operator("Convolution (NHWC, QC8) IGEMM"), operator("Softmax (NC)")],
        [operator("CONV_2D", 7, delegated=False), operator("Convolution (NHWC, QC8) IGEMM")],
    ],
)
def test_operators_that_do_not_fit_keep_their_own_names(operators: list[ProfiledOperator]) -> None:
    costs, merged, note = match_operators(operators, (layer(0), layer(1)))
    assert [cost.operator for cost in costs] == [each.name for each in operators]
    assert merged == ()
    assert "could not be matched" in note


def test_a_profile_is_checked() -> None:
    costs = with_shares([LayerCost(name="a", operator="ADD", position=0, cost=1.0)])
    fields = {"hardware": "h", "model": "m", "kind": "estimated", "unit": "ms"}
    assert LayerProfile(**fields, layers=costs, total=2.0).covered == 0.5  # type: ignore[arg-type]
    for layers, total in (((), 1.0), (costs, 0.0), (costs, float("nan")), ((*costs, *costs), 1.0)):
        with pytest.raises(MeasurementError, match="layers of 'm' on h"):
            LayerProfile(**fields, layers=layers, total=total)  # type: ignore[arg-type]
    with pytest.raises(MeasurementError, match="add up to 0"):
        with_shares([LayerCost(name="a", operator="ADD", position=0, cost=0.0)])
    with pytest.raises(MeasurementError, match="layer 'a': field 'cost' is -1"):
        LayerCost(name="a", operator="ADD", position=0, cost=-1)
    with pytest.raises(MeasurementError, match=r"layer 'a': field 'utilisation' is 1\.5"):
        LayerCost(name="a", operator="ADD", position=0, cost=1, utilisation=1.5)
