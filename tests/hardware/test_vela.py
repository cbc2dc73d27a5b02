"""The Vela runner on tiny files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.export.writing.latency import latency_file
from mhmodels.hardware import get_hardware, measure
from mhmodels.hardware.vela import compiling
from mhmodels.hardware.vela import runner as vela
from mhmodels.search.space.catalogue import get_space

Files = dict[str, Path]


@pytest.mark.parametrize("hardware", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_a_network_that_fits(tiny_tflite: Files, hardware: str) -> None:
    row = measure(tiny_tflite["int8"], hardware)
    assert row.median_ms is not None
    assert row.median_ms > 0
    assert row.kind == "estimated"
    assert row.delegated_nodes == row.total_nodes == 2
    assert row.sram_bytes
    assert row.compiler.startswith("Vela ")
    assert row.configuration["accelerator_config"] == hardware
    assert row.configuration["system_config"]
    assert row.device == hardware


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("float32", "leaves 2 of 2 operators on the CPU .*unsupported DataType Float32"),
        ("sine", "leaves 2 of 3 operators on the CPU .*SIN: Unsupported opType"),
    ],
)
def test_a_network_that_does_not_fit_is_no_latency(tiny_tflite: Files, file: str, reason: str) -> None:
    row = measure(tiny_tflite[file], "ethos-u55-128")
    assert row.median_ms is None
    assert not row.supported
    assert row.sram_bytes is None
    assert re.search(reason, row.reason)


@pytest.mark.slow
def test_a_network_too_large_for_its_memory_is_no_latency(tmp_path: Path) -> None:
    """Vela fails where it cannot allocate, but that is an answer: the network does not run there."""
    space = get_space("multi_hardware")
    network = space.build(space.parse("0:9:5:2:1:0:12:16:19:0:10:7:15:13:1:8:13:8:2:3:6:9:5:12:4"))
    row = measure(latency_file(network, "int8", tmp_path), "ethos-u65-256", architecture_id=network.architecture_id)
    assert row.median_ms is None
    assert re.fullmatch(r"Vela needs \d+ bytes for its tensors, ethos-u65-256 has 393216", row.reason)


def test_vela_gives_a_latency_for_the_part_that_fits(tiny_tflite: Files) -> None:
    """Why the placement is read at all: exit code and time look well."""
    part = vela.compile_for_npu(tiny_tflite["sine"], get_hardware("ethos-u55-128")[0])
    assert part.latency_ms > 0
    assert part.left_over == ("DEQUANTIZE", "SIN")
    assert part.cpu_operators == 2


def test_the_table_has_every_accelerator_of_this_vela() -> None:
    said = subprocess.run([sys.executable, "-m", "ethosu.vela", "--help"], capture_output=True, text=True, check=True).stdout
    names = said.split("--accelerator-config {", 1)[1].split("}", 1)[0].split(",")
    assert sorted("".join(name.split()) for name in names) == sorted(hardware.id for hardware in vela.TABLE)


def test_a_truncated_file(tiny_tflite: Files, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(tiny_tflite["int8"].read_bytes()[:500])
    with pytest.raises(FileFormatError, match=r"cut\.tflite"):
        measure(cut, "ethos-u55-128")
    with pytest.raises(MeasurementError, match=r"cut\.tflite: Vela failed with"):
        vela.compile_for_npu(cut, get_hardware("ethos-u55-128")[0])


def test_a_compiler_that_takes_too_long(tiny_tflite: Files) -> None:
    with pytest.raises(MeasurementError, match=r"int8\.tflite: Vela did not finish within 0\.001 s"):
        vela.compile_for_npu(tiny_tflite["int8"], get_hardware("ethos-u55-128")[0], timeout_s=0.001)


def test_a_compiler_that_is_missing(tiny_tflite: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MeasurementError, match=r"ethos-u55-128 needs the Vela compiler.*pip install"):
        measure(tiny_tflite["int8"], "ethos-u55-128")


def _compilation(**changes: Any) -> compiling.Compilation:
    fields: dict[str, Any] = {
        "npu_operators": 3, "cpu_operators": 0, "left_over": (), "complaints": (), "latency_ms": 1.0,
        "sram_bytes": 1, "dram_bytes": 1, "flash_bytes": 1,
    }  # fmt: skip
    return compiling.Compilation(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [{"cpu_operators": 1}, {"left_over": ("SIN",)}, {"npu_operators": 0}, {"latency_ms": 0.0}, {"latency_ms": float("nan")}],
)
def test_any_one_sign_is_enough(changes: dict[str, Any]) -> None:
    assert _compilation().reason == ""
    assert _compilation(**changes).reason


def test_output_that_cannot_be_understood(tmp_path: Path) -> None:
    said = "CPU operators = 0 (0.0%)\nNPU operators = 2 (100.0%)\n"
    (tmp_path / "network_summary_x.csv").write_text("experiment,inference_time\ndefault,soon\n")
    with pytest.raises(MeasurementError, match="no readable summary"):
        compiling._read(tmp_path, said, Path("net.tflite"))
