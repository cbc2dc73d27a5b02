"""The roofline simulator: its sum, its parity between files and architectures, MobileNetV4's published figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import spearmanr

from mhmodels.architecture import Architecture, Conv
from mhmodels.errors import UnknownNameError
from mhmodels.export.writing.latency import latency_file
from mhmodels.hardware import built_in_hardware, get_hardware, list_hardware, measure
from mhmodels.hardware.roofline import Roofline, Work, simulate
from mhmodels.registry import get_architecture, resolve
from mhmodels.store import Store

# arXiv 2404.10518, table 6: ms on Pixel 6 CPU, Pixel 8 Edge TPU, Pixel 4 Hexagon, S23 CPU.
PUBLISHED = {
    "mobilenet_v2@0.5": (2.4, 0.7, 2.9, 1.8),
    "mobilenet_v3_large@0.5": (2.4, 0.8, 3.5, 2.0),
    "mobilenet_v2": (5.0, 0.7, 3.9, 4.1),
    "mobilenet_v4_conv_small": (2.4, 0.7, 2.4, 1.8),
    "mobilenet_v1": (6.1, 0.8, 3.2, 4.6),
    "mobilenet_v2@1.5": (9.3, 0.9, 5.6, 7.3),
    "multi_max@1.5": (9.8, 1.0, 5.7, None),
    "multi_avg@1.5": (12.0, 1.1, 6.1, None),
    "mobilenet_v2@2.0": (13.9, 1.1, 6.9, 10.6),
    "mobilenet_v4_conv_medium": (11.4, 1.1, 7.3, 8.6),
    "mobilenet_v4_conv_large": (59.9, 2.4, 20.8, 43.0),
}
COLUMNS = {"pixel6-cpu": (0, 0.98), "pixel8-edgetpu": (1, 0.88), "pixel4-dsp": (2, 0.9), "s23-cpu": (3, 0.98)}


def test_time_is_the_larger_of_the_two_limits_summed() -> None:
    roofline = Roofline(peak=1000.0, bandwidth=10.0)
    assert roofline.milliseconds([Work(500, 1), Work(100, 20)]) == pytest.approx(1e3 * (0.5 + 2.0))


def test_one_convolution_by_hand() -> None:
    """3x3 of stride 2 on 32x32x3 to 16 channels, pooled, and a classifier of 10, all int8."""
    network = Architecture(name="one", stem=(Conv(filters=16, kernel=3, stride=2),), stages=(), classes=10, input_size=(32, 32))
    hardware, _ = get_hardware("roofline-8-1")
    work = [
        (16 * 16 * 16 * 27, 32 * 32 * 3 + 16 * 16 * 16 + 16 * 27 + 4 * 16),
        (0, 16 * 16 * 16 + 16),
        (160, 16 + 10 + 160 + 40),
        (0, 20),
    ]
    expected = sum(max(macs / 1e9, moved * 8 / 1e9) for macs, moved in work) * 1e3
    assert simulate(network, hardware) == pytest.approx(expected)


@pytest.mark.parametrize("model", ["multi_max", "mobilenet_v3_large", "mobilenet_v4_conv_small"])
def test_a_file_costs_what_its_architecture_does(model: str, tmp_path: Path) -> None:
    architecture = resolve(model)
    path = latency_file(architecture, "int8", tmp_path)
    row = measure(path, "roofline-40")
    assert row.kind == "simulated"
    assert row.median_ms == pytest.approx(simulate(architecture, get_hardware("roofline-40")[0]))


@pytest.mark.parametrize("name", COLUMNS)
def test_published_latencies_are_ranked(name: str) -> None:
    """The paper has Spearman 0.973, 0.973, 0.962 and 0.962 over its own, larger set of networks."""
    column, least = COLUMNS[name]
    hardware, _ = get_hardware(f"roofline-{name}")
    known = {model: row[column] for model, row in PUBLISHED.items() if row[column] is not None}
    simulated = [simulate(resolve(model), hardware) for model in known]
    assert spearmanr(simulated, list(known.values()))[0] >= least
    assert simulate(get_architecture("mobilenet_v1"), hardware) == pytest.approx(PUBLISHED["mobilenet_v1"][column], rel=1e-3)


def test_any_ridge_point_is_hardware() -> None:
    hardware, _ = get_hardware("roofline-31.2-250")
    assert hardware.configuration == {"ridge": 31.2, "peak_gmacs": 250.0}
    assert built_in_hardware().split_words(["multi_max", "roofline-500"])[1] == ["roofline-500"]
    assert {entry.id for entry, _ in list_hardware()} >= {f"roofline-{name}" for name in COLUMNS}


@pytest.mark.parametrize("name", ["roofline-0", "roofline--1", "roofline-nan", "roofline-1-0", "roofline-", "roofline-9999999"])
def test_what_is_no_ridge_point(name: str) -> None:
    with pytest.raises(UnknownNameError, match="roofline"):
        get_hardware(name)


def test_a_larger_peak_is_faster_and_the_order_is_the_ridge_points() -> None:
    slow, fast = (get_hardware(f"roofline-40-{peak}")[0] for peak in (50, 100))
    network = get_architecture("multi_max")
    assert simulate(network, slow) == pytest.approx(2 * simulate(network, fast))


def test_the_edge_tpu_of_2020_refuses_mobilenet_v3(tmp_path: Path) -> None:
    with Store(tmp_path / "results.db") as store:
        rows = {
            name: measure(latency_file(get_architecture(name), "int8", tmp_path), "roofline-pixel4-edgetpu", store=store)
            for name in ("mobilenet_v3_large", "mobilenet_v3_large_minimalistic")
        }
    assert rows["mobilenet_v3_large"].median_ms is None
    assert "does not run" in rows["mobilenet_v3_large"].reason
    assert rows["mobilenet_v3_large_minimalistic"].supported
