"""Ahead-of-time files beside the portable ones: what is written, what the manifest says, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError, UnknownNameError
from mhmodels.export import ExportOptions
from mhmodels.export.errors import ExportError
from mhmodels.export.writing import aot
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.hardware import Placement, PlacementSoc, RefusedOperator
from mhmodels.hardware.placement.placing import CompiledNetwork
from tests.conftest import Command

pytestmark = pytest.mark.tensorflow
MODEL = ("multi_max@0.25", "--input-size", "32", "--classes", "4", "--format", "int8")
NAME = "multi_max_w0.25_32_int8"


def _compile(data: bytes, source: str, soc: PlacementSoc) -> CompiledNetwork:
    """Takes every network whole for SM8650, all but one operator for SM7325, and crashes for the others."""
    if soc.name not in ("SM8650", "SM7325"):
        raise MeasurementError(f"{source}: the compiler was ended by SIGSEGV")
    whole = soc.name == "SM8650"
    refused = RefusedOperator(position=1, kind="SIN", tensor="middle", reason="the plug-in has no such operator")
    placement = Placement(
        model=source, format="int8", soc=soc.name, product=soc.product, whole=whole, operators_taken=61 if whole else 60,
        operators=61, partitions=1 if whole else 2, refused=() if whole else (refused,), seconds=1.0, compiler="compiler 1.0",
    )  # fmt: skip
    return CompiledNetwork(placement, b"compiled " + data[:16])


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler, and a tool that counts as installed."""
    monkeypatch.setattr(aot, "compile_for_soc", _compile)
    monkeypatch.setattr("mhmodels.export.options.missing", lambda _: "")


@pytest.mark.usefixtures("compiler")
def test_a_whole_network_is_compiled(command: Command, tmp_path: Path) -> None:
    done = command("export", *MODEL, "-o", "out", "--aot", "sm8650", "--aot", "SM8650", "--json")
    assert done.returncode == 0
    (record,) = json.loads(done.stdout)["files"][0]["aot"]
    compiled = tmp_path / "out" / f"{NAME}_aot-SM8650.tflite"
    assert record["file"] == compiled.name
    assert record["sha256"] == hashlib.sha256(compiled.read_bytes()).hexdigest()
    assert (record["whole"], record["operators_taken"], record["operators"], record["partitions"]) == (True, 61, 61, 1)
    manifest = load_manifest(tmp_path / "out" / f"{NAME}.tflite")
    assert (manifest.aot[0].soc, manifest.aot[0].compiler, manifest.aot[0].reason) == ("SM8650", "compiler 1.0", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{NAME}.manifest.json",
        f"{NAME}.tflite",
        compiled.name,
    ]
    again = command("export", *MODEL, "-o", "out", "--aot", "SM8650")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    # A compiled file of an earlier export must not be taken for one of this export.
    (tmp_path / "out" / f"{NAME}.tflite").unlink()
    (tmp_path / "out" / f"{NAME}.manifest.json").unlink()
    assert f"{compiled.name}: exists already" in command("export", *MODEL, "-o", "out", "--aot", "SM8650").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_network_that_is_not_whole_is_exported_and_not_compiled(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    outdated = tmp_path / "out" / f"{NAME}_aot-SM7325.tflite"
    outdated.write_bytes(b"of an earlier network")
    socs = ("--aot", "SM7325", "--aot", "SM8650", "--aot", "SM8750")
    done = command("export", *MODEL, "-o", "out", *socs, "--overwrite", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [record["whole"] for record in document["files"][0]["aot"]] == [False, True, False]
    assert [failure["format"] for failure in document["failed"]] == ["int8", "int8"]
    assert f"{NAME}.tflite is not compiled for SM7325: not whole: 60 of 61 operators in 2 partitions" in done.stderr
    assert "operator 1 (SIN) 'middle'" in done.stderr
    assert "SIGSEGV" in done.stderr
    assert not outdated.exists()
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {f"{NAME}.manifest.json", f"{NAME}.tflite", f"{NAME}_aot-SM8650.tflite"}
    manifest = load_manifest(tmp_path / "out" / f"{NAME}.tflite")
    assert [(record.soc, record.file, record.operators_taken) for record in manifest.aot] == [
        ("SM7325", None, 60),
        ("SM8650", f"{NAME}_aot-SM8650.tflite", 61),
        ("SM8750", None, None),
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_the_table_names_compiled_files(command: Command) -> None:
    done = command("export", *MODEL, "-o", "out", "--aot", "SM8650")
    assert f"{NAME}_aot-SM8650.tflite: 0.00 MB, the whole network (61 operators) for the NPU of SM8650" in done.stdout


def test_what_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"argument 'aot'.* tool qualcomm, which is not installed: `mhmodels hardware"):
        ExportOptions(directory=tmp_path, aot=("SM8650",)).check()
    monkeypatch.setattr("mhmodels.export.options.missing", lambda _: "")
    ExportOptions(directory=tmp_path, aot=("SM8650",)).check()
    with pytest.raises(UnknownNameError, match="did you mean SM8650"):
        ExportOptions(directory=tmp_path, aot=("SM8651",)).check()
    pytest.importorskip("onnx")
    with pytest.raises(ExportError, match="argument 'aot' is of TFLite files"):
        ExportOptions(directory=tmp_path, formats=("onnx-int8",), aot=("SM8650",)).check()


def test_compiled_files_are_not_verified(command: Command, tmp_path: Path) -> None:
    from tests.hardware.placement.networks import compiled

    file = compiled(tmp_path / "net_aot-SM8650.tflite", "int8", "scores")
    done = command("verify", str(file))
    assert (done.returncode, "compiled ahead of time by LiteRT for the NPU of one SoC" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
