"""Rockchip's NPUs: the compiler's table becomes a latency only where the NPU runs the whole network and all of it has cycles.

Recorded logs are those of RKNN-Toolkit2 2.5.0. A stand-in for its package prints them, in an environment that has nothing else of
Rockchip's, through the program and the process that the real one runs in. Tests with `real` run where the tool is installed in
the user's own home.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("onnx")
import onnx
from onnx import helper

from mhmodels import get_architecture
from mhmodels.advice import advise
from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.export.writing.latency import latency_file, latency_job
from mhmodels.hardware import Job, get_hardware, measure, prepare, profile_layers
from mhmodels.hardware.layers.onnx_layers import read_onnx_layers
from mhmodels.hardware.rknn import runner as rknn
from mhmodels.hardware.rknn.chips import CHIPS
from mhmodels.hardware.rknn.layers import match_rows
from mhmodels.hardware.rknn.table import RknnLayer, read_table
from mhmodels.hardware.tools import environment
from mhmodels.hardware.tools.catalogue import ROCKCHIP
from tests.conftest import Command

RECORDED = Path(__file__).parent / "recorded" / "rknn"
MULTI_MAX = (RECORDED / "multi_max_rk3588.log").read_text()
USERS_TOOLS = environment.tools_path()
"""Where tools are installed for the user who runs the tests; tests have another home."""

real = pytest.mark.skipif(bool(environment.missing(ROCKCHIP)), reason="Rockchip's tool is not installed")

STAND_IN = """
import os, signal, sys, time, torch
from pathlib import Path
HERE = Path(__file__).parent
class Quantiser(torch.nn.Module): pass
@torch.no_grad()
def calibrate(): pass
class RKNN:
    def __init__(self, verbose): print("I rknn-toolkit2 version: 2.5.0")
    def config(self, target_platform):
        Path("check0_base_optimize.onnx").touch()
        (HERE / "asked").write_text(f"{os.getpid()} {os.getcwd()} {os.environ['TMPDIR']} {target_platform}")
        return 0
    def load_onnx(self, model, inputs=None, input_size_list=None):
        (HERE / "input").write_text(f"{inputs} {input_size_list}")
        return 0 if model.endswith(".onnx") else 1
    def build(self, do_quantization):
        assert do_quantization is False
        print((HERE / "log").read_text())
        exec((HERE / "then").read_text())
        return 0
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small int8 network as an ONNX file."""
    small = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)
    return latency_file(small, "onnx-int8", tmp_path_factory.mktemp("rknn"))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installed environment whose rknn prints the file `log` in the returned folder and runs the file `then`."""
    python = environment.interpreter(ROCKCHIP)
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path / "packages"}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (environment.environment_path(ROCKCHIP) / environment._PINS).write_text(environment._pins_hash(ROCKCHIP))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    package = tmp_path / "packages" / "rknn" / "api"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "log").write_text(MULTI_MAX)
    (package / "then").write_text("")
    return package


def test_cycles_become_a_latency_at_the_assumed_clock(stand_in: Path, network: Path) -> None:
    row = measure(network, "rknn-rk3588")
    assert row.kind == "estimated"
    assert row.median_ms == pytest.approx(1.080796)
    assert row.low_ms is row.high_ms is None
    assert row.configuration["assumed_clock_mhz"] == 1000
    assert row.device_state["cycles"] == 1080796
    assert (row.device_state["npu_cycles"], row.device_state["ddr_cycles"]) == (994848, 656011)
    assert row.device_state["dram_traffic_bytes"] == 9993 * 1024
    assert (row.device, row.compiler) == ("RK3588, one NPU core", "RKNN-Toolkit2 2.5.0")
    assert (row.delegated_nodes, row.total_nodes) == (48, 49)


def test_the_name_of_a_file_does_not_matter(stand_in: Path, network: Path, tmp_path: Path) -> None:
    other = tmp_path / "a b\n.ONNX"
    other.write_bytes(network.read_bytes())
    assert measure(other, "rknn-rk3588").median_ms == pytest.approx(1.080796)


def test_a_slower_clock_is_a_longer_latency(stand_in: Path, network: Path) -> None:
    assert measure(network, "rknn-rv1106").median_ms == pytest.approx(2 * 1.080796)
    assert (stand_in / "asked").read_text().endswith(" rv1106")


def test_the_network_begins_behind_the_transposition_of_its_pixels(stand_in: Path, network: Path, tmp_path: Path) -> None:
    measure(network, "rknn-rk3588")
    assert (stand_in / "input").read_text() == "['image/first/exact'] [[1, 3, 32, 32]]"
    model = onnx.load(network)
    (transposition,) = (node for node in model.graph.node if node.op_type == "Transpose")
    transposition.attribute[0].ints[:] = [0, 3, 2, 1]
    onnx.save(model, tmp_path / "other.onnx")
    measure(tmp_path / "other.onnx", "rknn-rk3588")
    assert (stand_in / "input").read_text() == "None None"


def test_other_inputs_stay_inputs(stand_in: Path, network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    model.graph.input.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 8]))
    onnx.save(model, tmp_path / "two.onnx")
    measure(tmp_path / "two.onnx", "rknn-rk3588")
    assert (stand_in / "input").read_text() == "['image/first/exact', 'b'] [[1, 3, 32, 32], [1, 8]]"


def test_files_of_the_compiler_are_gone_afterwards(stand_in: Path, network: Path, tmp_path: Path) -> None:
    here = Path.cwd()
    measure(network, "rknn-rk3588")
    _, folder, temporary, _ = (stand_in / "asked").read_text().split()
    assert folder == temporary
    assert Path(folder).parent.parent == tmp_path
    assert not Path(folder).exists()
    assert not list(here.glob("check*"))


@pytest.mark.parametrize(
    ("log", "hardware_id", "reason"),
    [
        ("mobilenet_v3_small_rk3566", "rknn-rk3566", "table leaves out 9 operators (9 Mul): not costed"),
        ("mobilenet_v1_erf_rk3588", "rknn-rk3588", "leaves 1 Erf to the CPU"),
    ],
)
def test_a_network_without_a_whole_cost_is_no_latency(
    stand_in: Path, network: Path, log: str, hardware_id: str, reason: str
) -> None:
    (stand_in / "log").write_text((RECORDED / f"{log}.log").read_text())
    row = measure(network, hardware_id)
    assert row.median_ms is None
    assert reason in row.reason


def test_a_table_with_a_column_for_zeros_among_the_weights() -> None:
    layers = read_table((RECORDED / "mobilenet_v4_conv_small_rk3576.log").read_text())
    assert sum(layer.cycles for layer in layers) == 1142806
    assert [layer.operator for layer in layers if not layer.cycles] == ["exSoftmax13", "Reshape"]
    assert {layer.number_type for layer in layers} == {"INT8"}


def test_a_softmax_of_many_values_is_not_negligible(stand_in: Path, network: Path) -> None:
    """Only the softmax of a classifier's scores is: the same operator inside a network has work to do."""
    scores = "(1,1000,1,1),(1,1000,1,1)                (1,1000,1,1)"
    many = MULTI_MAX.replace(scores, scores.replace("1000,1,1", "8192,7,7"))
    assert many != MULTI_MAX
    (stand_in / "log").write_text(many)
    assert "leaves out 1 operators (1 exSoftmax13): not costed" in measure(network, "rknn-rk3588").reason


def test_operators_are_negligible_only_at_the_end() -> None:
    *layers, softmax, reshape = read_table(MULTI_MAX)
    assert rknn.RknnCompilation((*layers, softmax, reshape)).reason == ""
    assert "leaves 1 Reshape to the CPU" in rknn.RknnCompilation((reshape, *layers, softmax)).reason
    assert "leaves out 1 operators (1 exSoftmax13)" in rknn.RknnCompilation((softmax, *layers, reshape)).reason
    assert "no cycles" in rknn.RknnCompilation((softmax, reshape)).reason


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("I rknn building done.\n", "expected one 'Network Layer Information Table', found 0"),
        (MULTI_MAX + MULTI_MAX, "found 2"),
        ("\n".join(MULTI_MAX.splitlines()[:30]), "the table is not complete"),
        (MULTI_MAX.replace("RW(KB)", "RW(MB)"), r"columns .*RW\(MB\), FullName, expected ID, OpType"),
        (MULTI_MAX.replace(" Target ", " Where  "), r"columns .*Where"),
        (MULTI_MAX.replace("/112896/112896", "/many/112896"), "is no row of the table"),
        (MULTI_MAX.replace("/112896/112896", "/112896/11289"), "has 11289 cycles, expected the larger one"),
        (MULTI_MAX.replace("] 7    Conv ", "] 8    Conv "), "not numbered from 0 on"),
        (MULTI_MAX.replace("OutputOperator ", "Conv           "), "does not go from InputOperator to OutputOperator"),
    ],
)
def test_an_unknown_table_is_an_error_and_never_a_number(stand_in: Path, network: Path, log: str, message: str) -> None:
    assert log != MULTI_MAX
    (stand_in / "log").write_text(log)
    with pytest.raises(MeasurementError, match=f"printed nothing readable .*{message}") as error:
        measure(network, "rknn-rk3588")
    assert network.name in str(error.value)


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("raise ValueError('Traceback:\\n  a file\\nValueError: opset 30')", "build: ValueError: opset 30"),
        ("raise KeyError", "build: KeyError"),
    ],
)
def test_what_the_compiler_refuses_is_no_latency(stand_in: Path, network: Path, then: str, reason: str) -> None:
    (stand_in / "then").write_text(then)
    row = measure(network, "rknn-rk3588")
    assert row.median_ms is row.delegated_nodes is row.total_nodes is None
    assert row.reason == f"Rockchip's compiler refuses the network ({reason})"


def test_a_step_that_fails_without_an_exception_is_a_refusal(stand_in: Path, network: Path) -> None:
    package = stand_in / "__init__.py"
    package.write_text(STAND_IN.replace('{input_size_list}")\n        return 0', '{input_size_list}")\n        return -1'))
    assert "refuses the network (load_onnx failed with code -1)" in measure(network, "rknn-rk3588").reason


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGABRT)", "ended by SIGABRT"),
        ("Quantiser()", r"exit code 1 \(RKNN-Toolkit2 uses torch, which is not in its environment\)"),
        ("calibrate()", r"exit code 1 \(RKNN-Toolkit2 uses torch, which is not in its environment\)"),
    ],
)
def test_a_crash_is_an_error(stand_in: Path, network: Path, then: str, message: str) -> None:
    (stand_in / "then").write_text(then)
    with pytest.raises(MeasurementError, match=f"rockchip: the tool .*{message}"):
        measure(network, "rknn-rk3588")


@pytest.mark.slow
def test_a_compilation_that_hangs_is_ended_with_its_files(stand_in: Path, network: Path) -> None:
    (stand_in / "then").write_text("time.sleep(600)")
    with pytest.raises(MeasurementError, match="no answer within 5 s"):
        rknn.compile_for_rknn(network, get_hardware("rknn-rk3588").hardware, timeout_s=5.0)
    if (stand_in / "asked").exists():  # not on a machine that takes five seconds to start it
        pid, folder, *_ = (stand_in / "asked").read_text().split()
        assert not Path(folder).exists()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_every_chip_states_its_clock() -> None:
    for chip in CHIPS:
        hardware, _ = get_hardware(f"rknn-{chip.name.lower()}")
        assert (hardware.format, hardware.kind) == ("onnx-int8", "estimated")
        assert hardware.configuration["assumed_clock_mhz"] == chip.clock_mhz
        assert "only ratios count" in hardware.description


def test_files_of_another_kind_are_refused(stand_in: Path, network: Path, tmp_path: Path) -> None:
    small = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)
    with pytest.raises(FileFormatError, match=r"takes onnx-int8 files"):
        measure(latency_file(small, "int8", tmp_path), "rknn-rk3588")
    assert not (stand_in / "asked").exists()


def test_without_the_tool_the_command_that_installs_it_is_told(network: Path) -> None:
    with pytest.raises(MeasurementError, match=r"rknn-rk3588 needs the tool rockchip.*mhmodels hardware install rockchip"):
        measure(network, "rknn-rk3588")


@pytest.fixture(scope="module")
def multi_max(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the recorded log."""
    return latency_file(get_architecture("multi_max"), "onnx-int8", tmp_path_factory.mktemp("multi_max"))


def test_the_layers_of_a_recorded_table(stand_in: Path, multi_max: Path) -> None:
    profile = profile_layers(prepare(multi_max, label="multi_max"), "rknn-rk3588")
    assert profile.total == measure(multi_max, "rknn-rk3588").median_ms
    assert profile.covered == pytest.approx(1.0, abs=1e-9)
    assert (profile.kind, profile.unit, profile.model) == ("estimated", "ms", "multi_max")
    layers = {layer.name: layer for layer in profile.layers}
    expand, depthwise = layers["stage2_block1_expand"], layers["stage2_block1_depthwise"]
    assert (expand.cost, expand.bound, expand.memory) == (pytest.approx(0.150528), "compute", "")
    assert (depthwise.cost, depthwise.bound, depthwise.memory) == (pytest.approx(0.063718), "memory", "DDR")
    assert layers["stage3_block2_project"].cost == pytest.approx(0.008853), "with the addition behind it"
    assert {"stage3_block2_add", "scores", "flatten"} <= set(profile.merged)
    assert "pool" in layers
    assert all(layer.utilisation is None for layer in profile.layers), "the table does not tell it"
    assert "the clock of 1000 MHz is assumed" in profile.notes[0]
    assert profile.notes[1].startswith("10.2 MB move")


def test_a_network_without_a_whole_cost_has_no_layers_with_costs(stand_in: Path, network: Path) -> None:
    (stand_in / "log").write_text((RECORDED / "mobilenet_v3_small_rk3566.log").read_text())
    with pytest.raises(MeasurementError, match=r"so its layers have no costs: .*table leaves out 9 operators \(9 Mul\)"):
        profile_layers(prepare(network), "rknn-rk3566")


def test_rows_with_unknown_names_belong_to_the_layer_before_them(network: Path) -> None:
    def row(name: str, ddr: int, npu: int) -> RknnLayer:
        return RknnLayer(f"Conv:{name}", "Conv", "INT8", "NPU", max(ddr, npu), ddr, npu, 1.0, 1)

    onnx_layers = read_onnx_layers(network)
    costs, merged = match_rows([row("stem_conv/exact", 10, 90), row("shortened", 200, 0)], onnx_layers, 1000.0)
    assert [(cost.name, cost.parts, cost.bound) for cost in costs] == [("stem_conv", 2, "memory")]
    assert costs[0].cost == pytest.approx(290 / 1e6)
    assert len(merged) == len(onnx_layers.layers) - 1
    with pytest.raises(MeasurementError, match="begins with 'Conv:unknown', which is no layer of the file"):
        match_rows([row("unknown", 1, 1)], onnx_layers, 1000.0)


def test_advice_profiles_an_onnx_file_and_refuses_a_tflite_file(stand_in: Path, multi_max: Path, tmp_path: Path) -> None:
    advice = advise(multi_max, "rknn-rk3588", top=2)
    assert [finding.layer for finding in advice.findings] == ["stage2_block1_expand", "stem_conv"]
    assert "A file is only profiled" in advice.no_changes
    small = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)
    with pytest.raises(FileFormatError, match="takes onnx-int8 files"):
        advise(latency_file(small, "int8", tmp_path), "rknn-rk3588")


def test_the_command_shows_an_onnx_file(stand_in: Path, multi_max: Path, command: Command) -> None:
    result = command("advise", str(multi_max), "--hardware", "rknn-rk3588", "--top", "1")
    assert "stage2_block1_expand conv 1x1  112x112x96 0.151 13.9% compute" in result.stdout
    assert "MAC use" not in result.stdout


def test_changes_are_onnx_files_that_the_compiler_gets(stand_in: Path) -> None:
    """The stand-in gives every network the same cycles, so that no change saves anything."""
    advice = advise(get_architecture("multi_max"), "rknn-rk3588", top=1)
    assert {change.block for change in advice.changes} == {"stage2_block1"}
    assert {(change.saves, change.clear, change.reason) for change in advice.changes} == {(0.0, False, "")}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds the tools of the user who runs the tests."""
    monkeypatch.setattr(environment, "tools_path", lambda: USERS_TOOLS)


def job(name: str, hardware_id: str, folder: Path) -> Job:
    return latency_job(get_architecture(name), get_hardware(hardware_id).hardware, folder, label=name)


@real
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("hardware_id", "ms"), [("rknn-rk3588", 1.080796), ("rknn-rv1106", 5.570458)])
def test_the_real_compiler(tmp_path: Path, hardware_id: str, ms: float) -> None:
    hardware, runner = get_hardware(hardware_id)
    assert runner.measure(job("multi_max", hardware_id, tmp_path), hardware).median_ms == pytest.approx(ms)


@real
@pytest.mark.usefixtures("installed")
def test_the_real_compiler_leaves_an_operator_to_the_cpu(tmp_path: Path) -> None:
    """The verdict can be no: Erf is no operator of the NPU."""
    model = onnx.load(job("mobilenet_v1", "rknn-rk3588", tmp_path).path)
    place, node = next((place, node) for place, node in enumerate(model.graph.node) if "stage4_block2_project" in node.output)
    erf = helper.make_node("Erf", [node.input[0]], ["before"])
    node.input[0] = "before"
    model.graph.node.insert(place, erf)
    onnx.save(model, tmp_path / "erf.onnx")
    assert "leaves 1 Erf to the CPU" in measure(tmp_path / "erf.onnx", "rknn-rk3588").reason


@real
@pytest.mark.usefixtures("installed")
def test_the_layers_of_the_real_table(tmp_path: Path) -> None:
    network = job("mobilenet_v2", "rknn-rk3588", tmp_path)
    profile = profile_layers(network, "rknn-rk3588")
    assert profile.total == measure(network.path, "rknn-rk3588").median_ms
    assert profile.covered == pytest.approx(1.0, abs=1e-9)
    assert profile.layers[0].name == "stem_conv"
