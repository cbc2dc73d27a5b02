"""Accelerators of phones as runners of `consistency` and `verify`: what they are given, and what is said of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")
import onnx

from mhmodels.errors import MeasurementError, UnknownNameError
from mhmodels.export import ExportOptions, ModelRequest, check_consistency, export_model, verify
from mhmodels.export.consistency import accelerators
from mhmodels.export.errors import ExportError
from mhmodels.export.verification.runtimes import differences
from mhmodels.export.verification.runtimes.gpu import gpu_outputs
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.export.verification.runtimes.onnx_cpu import run_onnx_file
from mhmodels.hardware.hexagon.emulator import emulated_outputs
from mhmodels.hardware.tools import environment
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.tflite.file import read_tflite

SMALL = ModelRequest(model="mobilenet_v1@0.25", input_size=(32, 32), classes=10)
USERS_TOOLS = environment.tools_path()


def on_onnx_runtime(path: Path, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
    """Runs an ONNX file on the CPU, in the place of the emulator of an NPU."""
    (outputs,) = run_onnx_file(path, inputs, [onnx.load(path).graph.output[0].name])
    return outputs


def with_outputs(monkeypatch: pytest.MonkeyPatch, name: str, outputs: object) -> None:
    known = dict(accelerators.ACCELERATORS)
    known[name] = known[name]._replace(outputs=outputs, missing=str)  # type: ignore[arg-type]
    monkeypatch.setattr(accelerators, "ACCELERATORS", known)


@pytest.mark.slow
def test_an_accelerator_runs_the_same_numbers_as_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX files stand for the NPU's: an input or output of another scale or order would drift by far more."""
    with_outputs(monkeypatch, "hexagon", on_onnx_runtime)
    report = check_consistency(SMALL, formats=("float32", "float16", "int8"), accelerators=("hexagon",))
    runners = {runner.name: runner for runner in report.runners}
    assert runners["float32 hexagon"].max_drift < 1e-3
    assert "float16 hexagon" not in runners
    assert runners["int8 hexagon"].mean_drift == pytest.approx(runners["int8 builtin"].mean_drift, rel=0.2)
    assert "hexagon" not in report.not_run
    assert "gpu" in report.not_run


def test_an_accelerator_that_computes_something_else_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with_outputs(monkeypatch, "hexagon", lambda path, inputs: on_onnx_runtime(path, inputs)[:, ::-1])
    report = check_consistency(SMALL, formats=("float32",), accelerators=("hexagon",))
    assert not report.consistent
    assert max(report.runners, key=lambda runner: runner.mean_drift).name == "float32 hexagon"


def test_an_unknown_accelerator_and_a_missing_tool_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean hexagon"):
        check_consistency(SMALL, accelerators=("hexagn",))
    with pytest.raises(MeasurementError, match=r"hexagon needs the tool qualcomm, .*mhmodels hardware install qualcomm"):
        check_consistency(SMALL, accelerators=("hexagon",))
    with pytest.raises(MeasurementError, match="mhmodels hardware install qualcomm"):
        emulated_outputs(tmp_path / "net.onnx", np.zeros((1, 2)))


def test_an_accelerator_without_a_format_that_it_runs_is_refused() -> None:
    with pytest.raises(ExportError, match="hexagon runs float32, int8, uint8, and the compared formats are float16"):
        check_consistency(SMALL, formats=("float16",), accelerators=("hexagon",))


def test_without_a_vulkan_driver_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (exported,) = export_model(SMALL, ExportOptions(directory=tmp_path, formats=("float32",), metadata=False))
    for variable in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(variable, os.devnull)
    with pytest.raises(ExportError, match=r"LiteRT finds no GPU.*libvulkan1.*VK_ICD_FILENAMES"):
        gpu_outputs(exported.path, np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.slow
def test_verify_says_by_how_much_the_gpu_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (exported,) = export_model(SMALL, ExportOptions(directory=tmp_path, formats=("int8",), metadata=False))

    def shifted(path: Path, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        (values,) = run_file(path, inputs, list(read_tflite(path).outputs))
        return np.where(values > 0, values - 1, values + 1).astype(values.dtype)

    monkeypatch.setattr(differences, "gpu_outputs", shifted)
    report = verify(exported.path, gpu=True)
    assert (report.gpu_differs, report.runtimes_unit) == (pytest.approx(1.0), "lsb")
    assert verify(exported.path).gpu_differs is None


def test_verify_compares_one_output_on_the_gpu(tmp_path: Path) -> None:
    from mhmodels.export.graph.outputs import WriterOptions

    options = ExportOptions(directory=tmp_path, formats=("float32",), writer=WriterOptions(features=True), metadata=False)
    (exported,) = export_model(SMALL, options)
    with pytest.raises(ExportError, match=r"argument 'gpu': the file has \d outputs, expected 1"):
        verify(exported.path, gpu=True)


@pytest.mark.slow
@pytest.mark.skipif(bool(environment.missing(QUALCOMM)), reason="Qualcomm's tool is not installed")
def test_the_real_emulator_agrees_with_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "tools_path", lambda: USERS_TOOLS)
    report = check_consistency(SMALL, formats=("float32", "int8", "uint8"), accelerators=("hexagon",))
    runners = {runner.name: runner for runner in report.runners}
    assert runners["float32 hexagon"].mean_drift < 0.02
    for fmt in ("int8", "uint8"):
        assert runners[f"{fmt} hexagon"].mean_drift == pytest.approx(runners[f"{fmt} builtin"].mean_drift, rel=0.3)
