"""This machine's GPU: a driver in software is no GPU, and a network that is not whole there has no latency."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import get_hardware, measure
from mhmodels.hardware.gpu import runner as gpu
from mhmodels.hardware.gpu.vulkan import KINDS, VulkanDevice, vulkan_devices

Files = dict[str, Path]
REAL = VulkanDevice("Fast GPU", "discrete", 7)
SMALL = VulkanDevice("Small GPU", "integrated", 5)
SOFTWARE = VulkanDevice("SwiftShader", "software", 3)
CHILD = """
import json, sys
def say(document):
    with open(int(sys.argv[1]), "w", closefd=False) as channel:
        channel.write(json.dumps(document) + "\\n")
say(FIRST)
with open(int(sys.argv[1]), closefd=False) as requests:
    for place, line in enumerate(requests):
        say({"ns": [BLOCKS[place]] * json.loads(line)["runs"]})
"""
ABOUT = {"whole": True, "init_ns": 5_000_000, "first_ns": 2_000_000, "warmup": 12}


def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: dict[str, object], blocks: list[int]) -> None:
    """Puts a process with known timings, in ns a block, in the place of LiteRT's."""
    script = tmp_path / "child.py"
    script.write_text(CHILD.replace("FIRST", repr(first)).replace("BLOCKS", repr(blocks)))
    monkeypatch.setattr(gpu, "_CHILD", script)
    monkeypatch.setattr(gpu, "vulkan_devices", lambda: (SOFTWARE, SMALL, REAL))


@pytest.mark.parametrize(
    ("devices", "reason"), [((), "needs a GPU with a Vulkan driver"), ((SOFTWARE,), r"computes on the CPU \(SwiftShader\)")]
)
def test_without_a_gpu_nothing_is_timed(
    tiny_tflite: Files, monkeypatch: pytest.MonkeyPatch, devices: tuple[VulkanDevice, ...], reason: str
) -> None:
    monkeypatch.setattr(gpu, "vulkan_devices", lambda: devices)
    with pytest.raises(MeasurementError, match=f"host-gpu-float32 {reason}|host-gpu-float32 needs a GPU; .*{reason}"):
        measure(tiny_tflite["float32"], "host-gpu-float32")


def test_the_median_block_of_the_discrete_gpu_counts(tiny_tflite: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timed(monkeypatch, tmp_path, ABOUT, [1_000_000, 1_010_000, 1_005_000, 990_000, 3_000_000])
    row = measure(tiny_tflite["float32"], "host-gpu-float32", runs=4)
    assert (row.kind, row.median_ms, row.runs, row.warmup, row.init_ms) == ("measured", 1.005, 4, 12, 5.0)
    assert (row.device, row.driver) == ("Fast GPU", "7")
    assert not row.noisy


def test_blocks_that_differ_are_noisy(tiny_tflite: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timed(monkeypatch, tmp_path, ABOUT, [1_000_000, 1_100_000, 1_200_000, 1_300_000, 1_400_000])
    assert measure(tiny_tflite["float32"], "host-gpu-float32", runs=2).noisy


def test_a_network_that_is_not_whole_there_has_no_latency(
    tiny_tflite: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timed(monkeypatch, tmp_path, {"whole": False}, [])
    row = measure(tiny_tflite["float32"], "host-gpu-float32")
    assert row.median_ms is None
    assert "leaves a part of the network to the CPU" in row.reason


def test_the_devices_of_this_machine_are_listed_or_there_are_none() -> None:
    assert all(device.name and device.kind in KINDS for device in vulkan_devices())


def test_files_of_another_format_are_refused(tiny_tflite: Files) -> None:
    assert get_hardware("host-gpu-int8").hardware.format == "int8"
    with pytest.raises(Exception, match="takes int8 files"):
        measure(tiny_tflite["float32"], "host-gpu-int8")
