"""`bench` and `hardware` on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from mhmodels.cli.bench import bench
from mhmodels.cli.hardware import hardware
from mhmodels.errors import FileFormatError, MeasurementError, MhmodelsError, StoreError, UnknownNameError
from mhmodels.hardware import DEFAULT_HARDWARE, HARDWARE_SETS, split_ids
from mhmodels.hardware.vela import runner as vela

from .conftest import SimulatedSession, calm

Files = dict[str, Path]


def run(*words: str | Path) -> Any:
    result = CliRunner().invoke(bench, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_one_json_document(tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]) -> None:
    store = tmp_path / "mine.db"
    words = (tiny_tflite["int8"], "--hardware", "host-cpu-int8", "--hardware", "ethos-u55-128", "--store", store, "--json")
    first = json.loads(run(*words).stdout)
    assert [row["hardware"] for row in first["rows"]] == ["host-cpu-int8", "ethos-u55-128"]
    assert [row["kind"] for row in first["rows"]] == ["measured", "estimated"]
    assert all(row["median_ms"] > 0 and not row["from_store"] for row in first["rows"])
    assert first["store"] == str(store)
    again = json.loads(run(*words).stdout)
    assert all(row["from_store"] for row in again["rows"])
    assert [row["median_ms"] for row in again["rows"]] == [row["median_ms"] for row in first["rows"]]
    assert not json.loads(run(*words, "--fresh").stdout)["rows"][0]["from_store"]


def test_noise_is_said_and_measured_again(tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]) -> None:
    words = (tiny_tflite["int8"], "--hardware", "host-cpu-int8", "--store", tmp_path / "mine.db")
    simulated.blocks[:] = [calm(10.0 * 1.1**step) for step in range(10)] * 2
    (row,) = json.loads(run(*words, "--json").stdout)["rows"]
    assert (row["noisy"], row["from_store"]) == (True, False)
    simulated.blocks[:] = [calm(3.2)]
    again = run(*words)
    assert "the stored row is noisy; measured again" in again.stderr
    assert "noisy" not in again.stdout
    (row,) = json.loads(run(*words, "--json").stdout)["rows"]
    assert (row["noisy"], row["from_store"], row["median_ms"]) == (False, True, 3.2)


def test_a_row_says_that_time_ended_its_blocks(tiny_tflite: Files, simulated: type[SimulatedSession]) -> None:
    simulated.most = 7
    table = run(tiny_tflite["int8"], "--hardware", "host-cpu-int8", "--runs", "1000").stdout
    assert "7 of 1000 runs: slow blocks end by time" in " ".join(table.split())


def test_a_cross_where_the_network_does_not_run(tiny_tflite: Files) -> None:
    words = (tiny_tflite["float32"], "--hardware", "ethos-u85-256")
    table = run(*words).stdout
    assert "×" in table
    assert "estimated" in table
    assert json.loads(run(*words, "--json").stdout)["rows"][0]["median_ms"] is None


def test_a_model_gets_its_files_by_itself() -> None:
    (row,) = json.loads(run("mobilenet_v1@0.25", "ethos-u65-256", "--json").stdout)["rows"]
    assert (row["model"], row["weights"], row["format"]) == ("mobilenet_v1@0.25", "random-v1", "int8")
    assert len(row["architecture_id"]) == 16
    assert row["median_ms"] > 0


def test_a_file_goes_to_those_of_the_default_five_that_take_it(tiny_tflite: Files) -> None:
    rows = json.loads(run(tiny_tflite["float32"], "--json").stdout)["rows"]
    assert [row["hardware"] for row in rows] == ["host-cpu-float32"]


def test_everything_is_checked_before_anything_is_measured(tiny_tflite: Files, tmp_path: Path, home: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("hello")
    for words, error in (
        ((tiny_tflite["int8"], text), FileFormatError),
        ((tiny_tflite["int8"], tiny_tflite["float32"], "--hardware", "host-cpu-int8"), FileFormatError),
        ((tiny_tflite["int8"], "--hardware", "host-cpu-int9"), UnknownNameError),
        ((tiny_tflite["int8"], "no_such_model"), UnknownNameError),
        ((tiny_tflite["int8"], "--store", text), StoreError),
    ):
        with pytest.raises(error):
            CliRunner().invoke(bench, [str(word) for word in words], catch_exceptions=False)
    assert not (home / "cache").exists()


@pytest.mark.parametrize("place", [0, 1])
def test_a_file_that_fails_keeps_no_other_from_its_answer(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession], place: int
) -> None:
    files = [tiny_tflite["int8"], tmp_path / "bad.tflite"]
    files[1].write_bytes(tiny_tflite["int8"].read_bytes() + b"other")
    error = MeasurementError("bad: the measuring process ended by SIGSEGV")
    simulated.blocks[:] = [*[calm(3.2)] * 3, error] if place else [error, calm(3.2)]
    words = [str(file) for file in (files if place else files[::-1])]
    words += ["--hardware", "host-cpu-int8", "--store", str(tmp_path / "mine.db")]
    result = CliRunner().invoke(bench, [*words, "--json"])
    assert (result.exit_code, type(result.exception)) == (1, MhmodelsError)
    assert str(result.exception) == "bad on host-cpu-int8: FAILED: bad: the measuring process ended by SIGSEGV"
    said = json.loads(result.stdout)
    assert [(row["model"], row["median_ms"]) for row in said["rows"]] == [("int8", 3.2)]
    assert [(one["model"], one["hardware"], one["status"]) for one in said["failures"]] == [("bad", "host-cpu-int8", "FAILED")]


def test_a_store_that_fails_is_no_failure_of_a_file(
    tiny_tflite: Files, simulated: type[SimulatedSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr("mhmodels.store.Store.add", full)
    result = CliRunner().invoke(bench, [str(tiny_tflite["int8"]), "--hardware", "host-cpu-int8"])
    assert isinstance(result.exception, StoreError)


def test_nothing_but_hardware_is_wrong_usage() -> None:
    assert CliRunner().invoke(bench, ["host-cpu-int8"]).exit_code == 2
    assert CliRunner().invoke(bench, ["x.tflite", "--runs", "0"]).exit_code == 2


def test_the_list_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(CliRunner().invoke(hardware, ["--json"]).stdout)["hardware"]
    assert tuple(row["id"] for row in rows if row["default"]) == DEFAULT_HARDWARE
    vendors = {row["id"] for row in rows if "hardware install" in row["reason"] or "needs a GPU" in row["reason"]}
    assert all(bool(row["environment"]) is row["available"] is (row["id"] not in vendors) for row in rows)
    assert not vendors & set(DEFAULT_HARDWARE)
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None if name == "ethosu.vela" else object())
    rows = json.loads(CliRunner().invoke(hardware, ["--json"]).stdout)["hardware"]
    for row in rows:
        missing = row["id"].startswith("ethos")
        assert row["available"] is not (missing or row["id"] in vendors)
        assert ("pip install ethos-u-vela" in row["reason"]) is missing
    assert "ethos-u-vela" in CliRunner().invoke(hardware, []).stdout


def test_a_narrow_terminal_shows_every_id_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr("mhmodels.cli.hardware.console", lambda: Console(file=text, width=80))
    assert CliRunner().invoke(hardware, [], catch_exceptions=False).exit_code == 0
    ids = "".join(line.split("│")[1].strip() for line in text.getvalue().splitlines() if line.startswith("│"))
    assert all(name in ids for name in (*DEFAULT_HARDWARE, "hexagon-sar2230p", "roofline-pixel8-edgetpu"))


def test_the_name_of_a_set_stands_for_its_ids() -> None:
    assert split_ids(["default", "a,paper-like"]) == [*DEFAULT_HARDWARE, "a", *HARDWARE_SETS["paper-like"]]
    rows = json.loads(run("mobilenet_v1@0.25", "--hardware", "roofline-40,default", "--json").stdout)["rows"]
    assert [row["hardware"] for row in rows] == ["roofline-40", *DEFAULT_HARDWARE]
