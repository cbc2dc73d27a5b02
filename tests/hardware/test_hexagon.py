"""Hexagon NPUs: what Qualcomm's compiler wrote becomes a latency only where the whole network is one graph on the NPU.

Recorded profiles are those of QAIRT 2.51. Tests with `real` run where the tool is installed in the user's own home.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
import onnx
from onnx import helper

from mhmodels import get_architecture
from mhmodels.advice import advise
from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.export.writing.latency import latency_file, latency_job
from mhmodels.hardware import Job, get_hardware, measure, prepare, profile_layers
from mhmodels.hardware.hexagon import runner as hexagon
from mhmodels.hardware.hexagon.layers import LayerCycles, divide_cycles
from mhmodels.hardware.hexagon.profile import read_profile
from mhmodels.hardware.hexagon.socs import SOCS
from mhmodels.hardware.hexagon.trace import TraceEvent
from mhmodels.hardware.layers.onnx_layers import read_onnx_layers
from mhmodels.hardware.tools import environment
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.running import ToolAnswer

RECORDED = Path(__file__).parent / "recorded" / "hexagon"
PROFILE = (RECORDED / "multi_max_sa8255.csv").read_text()
SMALL = {
    name: (RECORDED / f"mobilenet_v1_32_sa8255{ending}").read_text()
    for name, ending in (("profile", ".csv"), ("trace", "_trace.json"), ("schematic", "_schematic.txt"))
}
"""Estimate, schedule and names of the operations of `network`; the schedule without what is not read of it."""
USERS_TOOLS = environment.tools_path()
"""Where tools are installed for the user who runs the tests; tests have another home."""

real = pytest.mark.skipif(bool(environment.missing(QUALCOMM)), reason="Qualcomm's tool is not installed")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small int8 network as an ONNX file."""
    small = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)
    return latency_file(small, "onnx-int8", tmp_path_factory.mktemp("hexagon"))


def compiled(*operators: str) -> bytes:
    """Returns a file with these nodes, as the compiler leaves one."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    nodes = [helper.make_node(kind, ["x"], [f"y{place}"]) for place, kind in enumerate(operators)]
    outputs = [helper.make_tensor_value_info("y0", onnx.TensorProto.FLOAT, [1])]
    model: bytes = helper.make_model(helper.make_graph(nodes, "compiled", [value], outputs)).SerializeToString()
    return model


def compiler(
    monkeypatch: pytest.MonkeyPatch,
    operators: Sequence[str] = ("EPContext",),
    profile: str | None = PROFILE,
    refusal: str = "",
    trace: str = "",
    schematic: str = SMALL["schematic"],
) -> list[dict[str, Any]]:
    """Puts a compiler with recorded results in the place of Qualcomm's; returns the list of what it is asked."""
    asked: list[dict[str, Any]] = []

    def ask(_tool: object, _program: Path, request: Mapping[str, Any], *, timeout_s: float) -> ToolAnswer:
        asked.append(dict(request))
        if refusal:
            return ToolAnswer(None, refusal, "")
        (Path(request["folder"]) / "compiled.onnx").write_bytes(compiled(*operators))
        if profile is not None:
            (Path(request["folder"]) / "profile.csv").write_text(profile)
        if trace:
            (Path(request["folder"]) / "profile_qnn.log").write_bytes(b"\xff\x00{" + trace.encode() + b"\x00\xfe")
            (Path(request["folder"]) / "graph_schematic.bin").write_text(schematic)
        return ToolAnswer({"compiled": "compiled.onnx" if operators else None}, "", "")

    monkeypatch.setattr(hexagon, "ask_tool", ask)
    monkeypatch.setattr("mhmodels.hardware.tools.runner.missing", lambda _: "")
    return asked


def test_the_estimate_and_its_bounds(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    asked = compiler(monkeypatch)
    row = measure(network, "hexagon-sa8255")
    assert row.kind == "estimated"
    assert (row.low_ms, row.median_ms, row.high_ms) == pytest.approx((217294 / 1497600, 244479 / 1497600, 276278 / 1497600))
    assert row.delegated_nodes == row.total_nodes
    assert row.device == "SA8255, HTP v73"
    assert row.device_state["dram_traffic_bytes"] == 4960256 + 65536
    assert (asked[0]["soc_model"], asked[0]["generation"]) == (52, 73)


@pytest.mark.parametrize(
    ("operators", "profile", "reason"),
    [
        (("EPContext", "Erf"), PROFILE, "makes 1 partitions of the network and leaves 1 Erf to the CPU"),
        (
            ("EPContext", "Erf", "EPContext"),
            (RECORDED / "two_partitions_sa8255.csv").read_text(),
            "makes 2 partitions of the network and leaves 1 Erf",
        ),
        (("EPContext", "EPContext"), PROFILE, "makes 2 partitions of the network and leaves no operator"),
        (("Conv",), PROFILE, "makes 0 partitions of the network and leaves 1 Conv"),
        (("EPContext",), (RECORDED / "multi_max_sm8650.csv").read_text(), "gives no estimate for this SoC"),
        (
            ("EPContext",),
            PROFILE.replace("0,BACKEND,0,US,BACKEND,SUB-EVENT,Missing", "0,BACKEND,3,US,BACKEND,SUB-EVENT,Missing"),
            "leaves out 3 operators whose cost it does not know",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_no_latency(
    monkeypatch: pytest.MonkeyPatch, network: Path, operators: Sequence[str], profile: str, reason: str
) -> None:
    compiler(monkeypatch, operators, profile)
    row = measure(network, "hexagon-sa8255")
    assert row.median_ms is row.low_ms is row.high_ms is None
    assert reason in row.reason


def test_a_network_of_which_the_npu_takes_nothing_is_no_latency(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    compiler(monkeypatch, operators=())
    row = measure(network, "hexagon-sa8255")
    assert row.median_ms is None
    assert (row.delegated_nodes, row.total_nodes) == (0, row.total_nodes)
    assert "makes 0 partitions of the network" in row.reason


def test_what_the_compiler_refuses_is_no_latency(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    compiler(monkeypatch, refusal="layout of Conv")
    row = measure(network, "hexagon-sa8255")
    assert row.median_ms is None
    assert row.delegated_nodes is None
    assert "refuses the network (layout of Conv)" in row.reason


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (None, "left nothing readable"),
        ("", "expected columns"),
        ("a,b\n1,2\n", "expected columns"),
        (PROFILE.replace("244479", "244479\n"), "left nothing readable"),
        (PROFILE.replace("244479", "144479"), "expected low <= estimate <= high"),
        (PROFILE.replace("217294", "0"), "expected low <= estimate <= high"),
        (PROFILE.replace(",163,", ",180,"), "244479 cycles and 180 µs, which is not a clock of 1497.6 MHz"),
        (PROFILE.replace("Simulated (Accelerator exec time us)", "Renamed"), "expected low <= estimate <= high"),
        (PROFILE.replace("244479", "many"), "left nothing readable"),
    ],
)
def test_an_unknown_profile_is_an_error_and_never_a_number(
    monkeypatch: pytest.MonkeyPatch, network: Path, profile: str | None, message: str
) -> None:
    compiler(monkeypatch, profile=profile)
    with pytest.raises(MeasurementError, match=message) as error:
        measure(network, "hexagon-sa8255")
    assert network.name in str(error.value)


def test_a_profile_that_is_there_twice_is_one_estimate() -> None:
    header, rest = PROFILE.split("\n", 1)
    assert read_profile(header + "\n" + rest + rest) == read_profile(PROFILE)


def test_every_soc_has_an_id_a_precision() -> None:
    for soc in SOCS:
        for suffix, fmt in (("", "onnx-int8"), ("-uint8", "onnx-uint8"), ("-fp16", "onnx-float32")):
            hardware, _ = get_hardware(f"hexagon-{soc.name.lower()}{suffix}")
            assert (hardware.format, hardware.kind, hardware.configuration["soc_model"]) == (fmt, "estimated", soc.soc_model)


def test_files_of_another_kind_are_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch, network: Path, tmp_path: Path
) -> None:
    asked = compiler(monkeypatch)
    small = get_architecture("mobilenet_v1").at(width_multiplier=0.25, input_size=32)
    with pytest.raises(FileFormatError, match=r"takes onnx-int8 files"):
        measure(latency_file(small, "int8", tmp_path), "hexagon-sa8255")
    with pytest.raises(FileFormatError, match=r"takes onnx-uint8 files"):
        measure(network, "hexagon-sa8255-uint8")
    for other in ("host-cpu-int8", "ethos-u55-128", "roofline-40"):
        with pytest.raises(FileFormatError, match="computes in onnx-int8"):
            measure(network, other)
    assert not asked


def test_without_the_tool_the_command_that_installs_it_is_told(network: Path) -> None:
    with pytest.raises(MeasurementError, match=r"hexagon-sa8255 needs the tool qualcomm.*mhmodels hardware install qualcomm"):
        measure(network, "hexagon-sa8255")


def test_the_layers_of_a_recorded_schedule(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    asked = compiler(monkeypatch, profile=SMALL["profile"], trace=SMALL["trace"])
    profile = profile_layers(prepare(network, label="small"), "hexagon-sa8255")
    assert asked[0]["trace"] is True
    assert profile.total == measure(network, "hexagon-sa8255").median_ms
    assert asked[1]["trace"] is False
    assert profile.covered == pytest.approx(1.0, abs=0.001)
    assert (profile.unit, profile.kind, profile.model) == ("ms", "estimated", "small")
    assert profile.layers[0].name == "stem_conv"
    assert all(layer.bound for layer in profile.layers)
    scores, logits = profile.costliest(2)
    assert (scores.name, scores.operator, scores.bound) == ("scores", "SOFTMAX", "compute")
    assert (logits.name, logits.bound, logits.memory) == ("logits", "compute", "")
    last = next(layer for layer in profile.layers if layer.name == "stage6_block2_project")
    assert (last.bound, last.memory, last.parts) == ("memory", "DRAM", 5)
    assert "0.6 MB move between the NPU and the main memory in an inference." in profile.notes


def test_advice_about_an_onnx_file_profiles_it(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    compiler(monkeypatch, profile=SMALL["profile"], trace=SMALL["trace"])
    advice = advise(network, "hexagon-sa8255", top=2)
    assert [finding.layer for finding in advice.findings] == ["scores", "logits"]
    assert "one output pixel: each of 0.26 M weights is used once" in advice.findings[1].text
    assert "A file is only profiled" in advice.no_changes


@pytest.mark.parametrize(
    ("trace", "schematic", "message"),
    [
        ("no schedule", SMALL["schematic"], "the log has no schedule"),
        (SMALL["trace"][:5000], SMALL["schematic"], "left nothing readable"),
        (SMALL["trace"].replace('"flags"', '"marks"'), SMALL["schematic"], "event of unknown form"),
        (SMALL["trace"].replace('"dur":', '"dur":-'), SMALL["schematic"], "expected at least 0"),
        ('{"traceEvents":[]}', SMALL["schematic"], "no events that take time"),
        (SMALL["trace"], "graph = {}", "the schematic has no names"),
        (
            SMALL["trace"].replace('"ts":', '"ts":9'),
            SMALL["schematic"],
            r"schedule takes \d+ cycles, where its estimate is 40814",
        ),
    ],
)
def test_an_unknown_schedule_is_an_error_and_never_a_number(
    monkeypatch: pytest.MonkeyPatch, network: Path, trace: str, schematic: str, message: str
) -> None:
    compiler(monkeypatch, profile=SMALL["profile"], trace=trace, schematic=schematic)
    with pytest.raises(MeasurementError, match=message):
        profile_layers(prepare(network), "hexagon-sa8255")


def test_without_a_latency_no_layer_has_a_cost(monkeypatch: pytest.MonkeyPatch, network: Path) -> None:
    compiler(monkeypatch, ("EPContext", "Erf"), trace=SMALL["trace"])
    with pytest.raises(MeasurementError, match=r"gives no latency of .* so its layers have no costs: .*leaves 1 Erf to the CPU"):
        profile_layers(prepare(network), "hexagon-sa8255")


def test_cycles_are_divided_among_the_layers_that_a_unit_computes(network: Path) -> None:
    onnx_layers = read_onnx_layers(network)
    stem, depthwise = (onnx_layers.writers[name] for name in ("stem_conv", "stage2_block1_depthwise"))

    def event(name: str, start: int, cycles: int, *, computes: bool) -> TraceEvent:
        return TraceEvent(name, start, start, cycles, computes)

    trace = (
        event("", 0, 10, computes=False),  # the network's input: belongs to the first layer
        event("stem_conv/exact_token_2", 10, 20, computes=True),
        event("stage2_block1_depthwise/exact_token_9", 20, 20, computes=True),
        event("stage2_block1_depthwise/exact_token_9", 40, 5, computes=False),
        event("stem_conv/exact_token_2", 46, 4, computes=True),  # after a cycle without anything
    )
    found = divide_cycles(trace, onnx_layers)
    assert found == {stem: LayerCycles(10 + 10 + 5 + 1 + 4, 10, 3), depthwise: LayerCycles(5 + 10 + 5, 5, 2)}


def test_a_phone_without_estimates_is_told_what_there_is(network: Path) -> None:
    with pytest.raises(MeasurementError, match=r"for SM8550 \(Snapdragon 8 Gen 2\), HTP v73; .*hexagon-sa8255 \(v73\)"):
        measure(network, "hexagon-sm8550")
    with pytest.raises(MeasurementError, match=r"HTP v75; the nearest .*v73.*`mhmodels place --soc SM8650`"):
        measure(network, "hexagon-sm8650")
    assert all("sm8650" not in hardware.id for hardware in hexagon.RUNNER.hardware())


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds the tools of the user who runs the tests."""
    monkeypatch.setattr(environment, "tools_path", lambda: USERS_TOOLS)


def job(name: str, hardware_id: str, folder: Path) -> Job:
    return latency_job(get_architecture(name).at(input_size=96), get_hardware(hardware_id).hardware, folder, label=name)


@real
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("hardware_id", ["hexagon-sa8255", "hexagon-qcs9100-uint8", "hexagon-sa8787-fp16"])
def test_the_real_compiler(tmp_path: Path, hardware_id: str) -> None:
    hardware, runner = get_hardware(hardware_id)
    row = runner.measure(job("multi_max", hardware_id, tmp_path), hardware)
    assert row.median_ms is not None
    assert 0 < (row.low_ms or 0) <= row.median_ms <= (row.high_ms or 0)
    assert runner.measure(job("multi_max", hardware_id, tmp_path), hardware).median_ms == row.median_ms


@real
@pytest.mark.usefixtures("installed")
def test_the_real_compiler_leaves_an_operator_that_it_does_not_know(tmp_path: Path) -> None:
    """The verdict can be no: Erf is no operator of the NPU."""
    model = onnx.load(job("mobilenet_v1", "hexagon-sa8255-fp16", tmp_path).path)
    (scores,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["exact" if name == scores.name else name for name in node.output]
    model.graph.node.append(helper.make_node("Erf", ["exact"], [scores.name]))
    onnx.save(model, tmp_path / "erf.onnx")
    hardware, runner = get_hardware("hexagon-sa8255-fp16")
    row = runner.measure(prepare(tmp_path / "erf.onnx"), hardware)
    assert row.median_ms is None
    assert "leaves 1 Erf to the CPU" in row.reason


@real
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("hardware_id", ["hexagon-sa8255", "hexagon-sa8540-uint8", "hexagon-sa8797", "hexagon-sa8787-fp16"])
def test_the_layers_of_the_real_schedule(tmp_path: Path, hardware_id: str) -> None:
    network = job("multi_max", hardware_id, tmp_path)
    profile = profile_layers(network, hardware_id)
    assert profile.total == measure(network.path, hardware_id).median_ms
    assert profile.covered == pytest.approx(1.0, abs=0.001)
    assert {"stem", "stage2", "logits"} <= {layer.name.split("_")[0] for layer in profile.layers}


@real
@pytest.mark.usefixtures("installed")
def test_changes_on_the_real_compiler(tmp_path: Path) -> None:
    small = get_architecture("multi_max").at(width_multiplier=0.5, input_size=64)
    advice = advise(small, "hexagon-sa8255", top=3)
    assert advice.changes
    assert all(change.latency is not None for change in advice.changes)
