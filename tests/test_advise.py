"""Advice about layers: findings, changes of blocks and what they save, the picture, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mhmodels import Architecture, complexity, get_architecture
from mhmodels.advice import ChangeResult, advise, draw_profile, savings
from mhmodels.advice.changes import candidates
from mhmodels.advice.findings import findings
from mhmodels.advice.places import place_of, places
from mhmodels.architecture import InvertedBottleneck
from mhmodels.errors import MeasurementError
from mhmodels.export.writing.latency import latency_file
from mhmodels.hardware import LayerCost, LayerProfile, TimeRatio, get_hardware, measure, prepare
from mhmodels.hardware.layers.file_layers import FileLayer
from mhmodels.hardware.layers.profile import with_shares
from mhmodels.network import lower
from mhmodels.registry import list_models
from tests.conftest import Command

HARDWARE = "ethos-u65-256"


@pytest.fixture(scope="module")
def network() -> Architecture:
    return get_architecture("multi_max").at(width_multiplier=0.5, input_size=64, name="small")


def profile(*layers: LayerCost, multiple: int = 1) -> LayerProfile:
    costs = with_shares(layers)
    total = sum(each.cost for each in costs)
    return LayerProfile(
        hardware="npu", model="net", kind="estimated", unit="ms", layers=costs, total=total, channel_multiple=multiple
    )


def said(cost: dict[str, object], shape: dict[str, object], multiple: int = 1) -> str:
    """What the rules say about one layer."""
    layer = LayerCost(**{"name": "layer", "operator": "CONV_2D", "position": 0, "cost": 1.0, **cost})  # type: ignore[arg-type]
    usual = FileLayer(0, "layer", layer.operator, 64 * 64 * 196, 33_000, (1, 1), 64, 64, (14, 14), -1)
    return findings(profile(layer, multiple=multiple), (usual._replace(**shape),), 1)[0].text


@pytest.mark.parametrize(
    ("cost", "shape", "text"),
    [
        ({"bound": "memory", "memory": "DRAM", "utilisation": 0.1}, {}, "waits for DRAM: 33 kB, 24.3 MACs a byte; a smaller map"),
        ({"bound": "memory"}, {"size": (1, 1)}, "fewer channels would move less"),
        ({"bound": "compute", "utilisation": 0.9}, {}, "uses 90% of the MAC array; only less work would shorten it"),
        ({"bound": "compute", "utilisation": 0.5}, {}, "64 MACs for each of 12,544 output values use 50% of the MAC array"),
        ({"utilisation": 0.2}, {"in_channels": 3}, "reads only 3 channels and uses 20% of the MAC array"),
        ({"utilisation": 0.2}, {"size": (1, 1)}, "each of 0.80 M weights is used once"),
        (
            {"operator": "DEPTHWISE_CONV_2D", "utilisation": 0.08},
            {"kernel": (5, 5)},
            "depthwise, so each value reads one channel",
        ),
        ({"operator": "DEPTHWISE_CONV_2D", "utilisation": 0.08}, {"kernel": (5, 5)}, "a 5x5 kernel needs 2.8 times the MACs"),
        ({"operator": "ADD"}, {"macs": 0}, "no multiplications with weights: moves 33 kB"),
        ({"operator": "HARD_SWISH"}, {"macs": 0}, "a relu is a part of the convolution before it"),
        ({"macs": 64 * 64 * 196}, {}, "0.8 GMACs/s, where the network's fastest layer has 0.8"),
        ({}, {"name": "other"}, "not a layer of the file"),
    ],
)
def test_findings(cost: dict[str, object], shape: dict[str, object], text: str) -> None:
    assert text in said(cost, shape)


def test_channels_that_the_array_pads() -> None:
    assert "72 channels take the MAC array as long as 80 (multiples of 16)" in said({"utilisation": 0.5}, {"channels": 72}, 16)
    assert "multiples" not in said({"utilisation": 0.5}, {"channels": 64}, 16)
    assert "multiples" not in said({"bound": "memory"}, {"channels": 72}, 16)


@pytest.mark.parametrize("name", list_models())
def test_every_layer_of_a_block_names_its_block(name: str) -> None:
    network = get_architecture(name)
    known = places(network)
    apart = {op.name for op in lower(network).ops if place_of(op.name, known) is None}
    assert apart <= {"pool", "logits", "flatten", "predictions"}
    assert all(any(op.name.startswith(f"{prefix}_") for op in lower(network).ops) for prefix in known)


def blocks(network: Architecture, prefix: str, multiple: int = 1) -> dict[str, Architecture]:
    return {each.text: each.architecture for each in candidates(network, (prefix,), multiple)}


def test_changes_of_a_bottleneck() -> None:
    network = get_architecture("multi_max")
    found = blocks(network, "stage3_block1")
    assert list(found) == ["kernel 5 -> 3", "expansion 6 -> 5", "inverted_bottleneck -> fused_inverted_bottleneck"]
    changed = found["kernel 5 -> 3"].stages[1][0]
    assert isinstance(changed, InvertedBottleneck)
    assert changed.kernel == 3
    assert found["kernel 5 -> 3"].stages[2:] == network.stages[2:]
    assert complexity(network).madds - complexity(found["kernel 5 -> 3"]).madds == (25 - 9) * 192 * 28 * 28


def test_changes_of_squeeze_excite_and_hard_swish() -> None:
    found = blocks(get_architecture("mobilenet_v3_large"), "stage7_block1")
    assert {"kernel 5 -> 3", "squeeze_excite yes -> none", "activation hard_swish -> relu"} <= set(found)
    block = found["squeeze_excite yes -> none"].stages[5][0]
    assert isinstance(block, InvertedBottleneck)
    assert block.squeeze_excite is None


def test_widths_change_in_the_whole_stage_so_that_residuals_stay() -> None:
    network = get_architecture("mobilenet_v3_large")
    found = blocks(network, "stage3_block1", multiple=16)
    wider = found["filters 24 -> 32 in the stage"]
    assert [getattr(block, "filters", 0) for block in wider.stages[1]] == [32, 32]
    assert sum(op.kind == "add" for op in lower(wider).ops) == sum(op.kind == "add" for op in lower(network).ops)
    assert not any("filters" in text for text in blocks(network, "stage3_block1", multiple=8))


def test_a_change_that_loses_a_residual_is_left_out() -> None:
    network = get_architecture("mobilenet_v3_large")  # the first block adds what the stem writes
    assert not any("filters" in text for text in blocks(network, "stem"))


def test_no_two_changes_make_the_same_network() -> None:
    network = get_architecture("mobilenet_v3_large")
    found = [lower(each.architecture).ops for each in candidates(network, tuple(places(network)), 16)]
    assert len(found) == len(set(found)) > 50
    assert lower(network).ops not in found


def test_blocks_of_every_kind_have_changes() -> None:
    assert "fused_inverted_bottleneck -> inverted_bottleneck" in blocks(get_architecture("mobilenet_edgetpu"), "stage3_block1")
    assert "start_kernel 5 -> 3" in blocks(get_architecture("mobilenet_v4_conv_small"), "stage4_block1")
    assert "expanded_filters 192 -> 128" in blocks(get_architecture("multi_max.tunas"), "stage3_block1")
    assert "filters 64 -> 48 in the stage" in blocks(get_architecture("mobilenet_v1"), "stage2_block1")


def test_savings_are_those_of_the_changed_network(network: Architecture, tmp_path: Path) -> None:
    advice = advise(network, HARDWARE, top=3)
    assert advice.profile.total == measure(latency_file(network, "int8", tmp_path), HARDWARE).median_ms
    assert [finding.layer for finding in advice.findings] == [layer.name for layer in advice.profile.costliest(3)]
    saves = [change.saves for change in advice.changes if change.saves is not None]
    assert saves == sorted(saves, reverse=True)
    best = advice.changes[0]
    changed = blocks(network, best.block, advice.profile.channel_multiple)[best.text]
    assert measure(latency_file(changed, "int8", tmp_path), HARDWARE).median_ms == best.latency
    assert best.saves == pytest.approx(advice.profile.total - (best.latency or 0))
    assert best.madds == complexity(changed).madds - complexity(network).madds
    assert best.params == complexity(changed).params - complexity(network).params


def result(**fields: object) -> ChangeResult:
    return ChangeResult(**{"block": "b", "change": "c", "text": "t", "madds": 0, "params": 0, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratio", "low", "high", "clear"),
    [(0.9, 0.85, 0.95, True), (0.9, 0.7, 1.1, False), (0.995, 0.99, 0.999, False), (1.1, 1.05, 1.2, True)],
)
def test_measured_savings_within_the_noise_are_no_clear_change(
    ratio: float, low: float, high: float, clear: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = TimeRatio(ratio=ratio, low=low, high=high, a_ms=1, b_ms=1, blocks=20, runs=5)
    monkeypatch.setattr(savings, "compare_files", lambda *_, **__: found)
    job = prepare(latency_file(get_architecture("multi_max").at(input_size=32), "int8", tmp_path))
    layers = profile(LayerCost(name="a", operator="ADD", position=0, cost=2.0))
    tried = savings._measured(result(), layers, job, job, get_hardware("host-cpu-int8"))
    assert tried.clear == clear
    assert tried.saves == pytest.approx(2 * (1 - ratio))
    assert (tried.low, tried.high) == (pytest.approx(2 * (1 - high)), pytest.approx(2 * (1 - low)))


def test_a_change_that_does_not_run_has_a_reason(network: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MeasurementError("Vela failed with exit code 1")

    monkeypatch.setattr(savings, "answer", refuse)
    changes = advise(network, HARDWARE, top=3).changes
    assert changes
    assert {change.reason for change in changes} == {"Vela failed with exit code 1"}
    assert all(change.saves is None and not change.clear for change in changes)


def test_layers_of_no_block(network: Architecture) -> None:
    advice = advise(network, HARDWARE, top=1)
    assert [finding.layer for finding in advice.findings] == ["logits"]
    assert advice.changes == ()
    assert advice.no_changes == "None of these layers belongs to a block that can be changed."


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_picture(tmp_path: Path, suffix: str, magic: bytes) -> None:
    names = ("stem_conv", "stage2_block1_expand", "stage2_block2_$x$_expand", "logits", "predictions")
    bounds = ("memory", "compute", "", "compute", "compute")
    layers = [
        LayerCost(name=name, operator="CONV_2D", position=i, cost=1.0 + i, bound=bound)  # type: ignore[arg-type]
        for i, (name, bound) in enumerate(zip(names, bounds, strict=True))
    ]
    draw_profile(profile(*layers), tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes().startswith(magic)
    with pytest.raises(MeasurementError, match=r"a\.nosuch"):
        draw_profile(profile(*layers), tmp_path / "a.nosuch")


def test_the_command(network: Architecture, tmp_path: Path, command: Command) -> None:
    (tmp_path / "small.json").write_bytes(network.to_json())
    done = command("advise", "small.json", "--hardware", HARDWARE, "--top", "3", "--png", "a.png")
    assert done.returncode == 0
    assert "add up to 100.0%" in done.stdout
    assert "What changes of these blocks save" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_the_command_as_json(network: Architecture, tmp_path: Path, command: Command) -> None:
    (tmp_path / "small.json").write_bytes(network.to_json())
    done = command("advise", "small.json", "--hardware", HARDWARE, "--top", "3", "--json")
    document = json.loads(done.stdout)
    assert {"model", "hardware", "kind", "unit", "total", "covered", "layers", "advice", "changes"} <= set(document)
    assert sum(layer["share"] for layer in document["layers"]) == pytest.approx(1)
    assert document["top"] == [each["layer"] for each in document["advice"]]
    assert {"block", "text", "saves", "saves_share", "madds", "params", "clear"} <= set(document["changes"][0])


def test_the_command_on_a_file_says_why_it_tries_no_changes(network: Architecture, tmp_path: Path, command: Command) -> None:
    file = latency_file(network, "int8", tmp_path)
    done = command("advise", file.name, "--hardware", HARDWARE, "--top", "1")
    assert "A file is only profiled" in done.stdout
    assert "1  logits: " in done.stdout
    assert json.loads(command("advise", file.name, "--hardware", HARDWARE, "--json").stdout)["changes"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("multi_max",), 2, "Missing option '--hardware'"),
        (("multi_max", "--hardware", "ethos-u99"), 1, "unknown hardware 'ethos-u99': did you mean ethos-u"),
        (
            ("multi_max", "--hardware", "roofline-40"),
            1,
            "roofline-40 does not tell what each layer costs; hardware that does: host",
        ),
        (("nosuch", "--hardware", HARDWARE), 1, "unknown model 'nosuch'"),
        (("nosuch.tflite", "--hardware", HARDWARE), 1, "nosuch.tflite: cannot be read"),
        (("text.txt", "--hardware", HARDWARE), 1, "text.txt: not a TFLite file"),
        (("text.onnx", "--hardware", HARDWARE), 1, "ONNX file"),
        (("float.tflite", "--hardware", "host-cpu-int8"), 1, "computes in float32, but host-cpu-int8 takes int8 files"),
        (("float.tflite", "--hardware", HARDWARE), 1, f"{HARDWARE} does not run 'float' as a whole, so its layers have no costs"),
        (("multi_max", "--hardware", HARDWARE, "--png", "a.gif"), 2, "expected a name that ends with .png or .svg"),
        (("multi_max", "--hardware", HARDWARE, "--top", "0"), 2, "0 is not in the range"),
    ],
)
def test_bad_input(
    network: Architecture, tmp_path: Path, command: Command, arguments: tuple[str, ...], code: int, message: str
) -> None:
    for name in ("text.txt", "text.onnx"):
        (tmp_path / name).write_text("this is no network at all")
    latency_file(network, "float32", tmp_path).rename(tmp_path / "float.tflite")
    done = command("advise", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert not done.stdout
