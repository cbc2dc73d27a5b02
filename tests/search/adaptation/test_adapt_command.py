"""`mhmodels search adapt` as a user runs it: sources, a table or a hardware as the target, stopping, and bad input."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.hardware import Measurement
from mhmodels.search import get_space, load_cost_model, sample
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store, default_path

SPACE = "nas_bench_201"
CELLS = get_space(SPACE).draw(400, np.random.default_rng(0))
CELLS = np.unique(CELLS, axis=0)[np.random.default_rng(1).permutation(len(np.unique(CELLS, axis=0)))]
WORK = np.array([0.0, 0.3, 2.0, 6.0, 1.5])


def source_ms(rows: Any) -> Any:
    return 1 + WORK[rows].sum(axis=1)


def target_ms(rows: Any) -> Any:
    """Like the source, but 3x3 convolutions are cheap and every operation costs a launch."""
    return 0.5 + 0.2 * np.array([0, 0.3, 2, 2.5, 1.5])[rows].sum(axis=1) + 0.3 * (rows > 0).sum(axis=1)


def write(path: Path, rows: Any, ms: Any, hardware: str = "") -> Path:
    lines = [f"encoding,{'hardware,' if hardware else ''}ms"]
    for row, value in zip(rows, ms, strict=True):
        lines.append(f"{':'.join(map(str, row))},{hardware + ',' if hardware else ''}{value:.6g}")
    path.write_text("\n".join([*lines, ""]))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)], catch_exceptions=True)


def document(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None, result.output
    return json.loads(result.stdout)


def refused(*arguments: str | Path) -> str:
    """The message of a command that is refused without a traceback."""
    result = run(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, (SystemExit, MhmodelsError, click.ClickException)), repr(result.exception)
    return result.output + str(result.exception)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two sources with other networks than the target, 20 measured networks, the rest."""
    noise = np.exp(0.02 * np.random.default_rng(2).standard_normal(len(CELLS)))
    return {
        "a": write(tmp_path / "a.csv", CELLS[:120], source_ms(CELLS[:120]) * noise[:120]),
        "b": write(tmp_path / "b.csv", CELLS[60:180], source_ms(CELLS[60:180]) ** 0.8 * noise[60:180]),
        "target": write(tmp_path / "target.csv", CELLS[180:200], target_ms(CELLS[180:200])),
        "rest": write(tmp_path / "rest.csv", CELLS[200:], target_ms(CELLS[200:])),
        "network": write(tmp_path / "network.csv", get_space("fbnet").draw(30, np.random.default_rng(0)), np.arange(1, 31)),
        "out": tmp_path / "model.json",
    }


def test_the_contract_for_outside_checks(files: dict[str, Path]) -> None:
    found = document(
        "adapt", "--space", SPACE, "--source", files["a"], "--source", files["b"], "--data", files["target"], "-o", files["out"]
    )
    assert (found["decision"], found["n"], found["form"], found["hardware"]) == ("adapted", 20, "adapted", "target")
    assert {source["hardware"] for source in found["sources"]} == {"a", "b"}
    assert all(source["low"] <= source["spearman"] <= source["high"] for source in found["sources"])
    report = document("validate", "--cost-model", files["out"], "--data", files["rest"])["statistics"]
    before = [source["spearman"] for source in found["sources"]]
    assert report["n"] == len(CELLS) - 200
    assert report["spearman"] > 0.95 > max(before)


def test_a_budget_takes_the_networks_that_would_have_been_measured(files: dict[str, Path]) -> None:
    arguments = ("adapt", "--space", SPACE, "--source", files["a"], "--data", files["rest"], "-o", files["out"])
    found = document(*arguments, "--budget", "15", "--enough", "1")
    assert (found["n"], found["stopped"]) == (15, "budget")
    assert [step["measured"] for step in found["steps"]] == [5, 10, 15]
    first = load_cost_model(files["out"]).adaptation
    document(*arguments, "--budget", "15", "--enough", "1")
    again = load_cost_model(files["out"]).adaptation
    assert first is not None
    assert again is not None
    assert first.encodings == again.encodings
    stopped = document(*arguments, "--budget", "60", "--enough", "0.5")
    assert stopped["stopped"] == "enough"
    assert stopped["n"] < 60


def test_an_absurd_measurement_is_set_aside_and_named(files: dict[str, Path]) -> None:
    ms = target_ms(CELLS[180:200])
    ms[4] *= 10
    write(files["target"], CELLS[180:200], ms)
    arguments = ("adapt", "--space", SPACE, "--source", files["a"], "--data", files["target"], "-o", files["out"])
    found = document(*arguments)
    assert [one["network"] for one in found["set_aside"]] == [get_space(SPACE).label(CELLS[184])]
    shown = run(*arguments)
    assert "1 measurements contradict the others and were set aside" in shown.output


def test_another_unit_of_a_source_changes_nothing_and_is_said(tmp_path: Path, files: dict[str, Path]) -> None:
    """Sources in microseconds: predictions are those of sources in milliseconds, and the gap is told with its numbers."""
    arguments = ("adapt", "--space", SPACE, "--data", files["target"], "-o", files["out"])
    own = document(*arguments, "--source", files["a"])
    rows = [line.split(",") for line in files["a"].read_text().splitlines()[1:]]
    other = tmp_path / "a.csv"
    other.write_text("".join(["encoding,ms\n", *(f"{row},{1000 * float(ms):.6g}\n" for row, ms in rows)]))
    found = document(*arguments, "--source", other)
    assert found["leave_one_out"]["mape"] == pytest.approx(own["leave_one_out"]["mape"], rel=0.02)
    shown = run(*arguments, "--source", other)
    assert "in another unit than ms" in " ".join(shown.output.split())


def two_modes(path: Path, hardware: str) -> Path:
    """A store with the latencies of some networks, half of them in burst mode and half in sustained mode."""
    space = get_space("mobilenet_v2_space")
    assert isinstance(space, ArchitectureSpace)
    with Store(path) as store:
        for i, one in enumerate(space.build_all(space.draw(30, np.random.default_rng(0)))):
            store.add(
                Measurement(
                    model_hash=one.architecture_id, model=one.name, architecture_id=one.architecture_id, format="int8",
                    file_bytes=1, time="2026-01-01T00:00:00+00:00", hardware=hardware, kind="measured", device="p",
                    median_ms=1.0 + i, configuration={"mode": ("burst", "sustained")[i % 2]},
                )
            )  # fmt: skip
    return path


def test_a_source_whose_stored_latencies_are_of_several_conditions_is_refused_or_replaced_aloud(tmp_path: Path) -> None:
    """The package has a collection of this space, but no cost model."""
    space = get_space("mobilenet_v2_space")
    target = write(tmp_path / "target.csv", rows := space.draw(10, np.random.default_rng(1)), 1.0 + np.arange(len(rows)))
    arguments = ("adapt", "--space", space.name, "--data", target, "-o", tmp_path / "model.json", "--source")
    phone = two_modes(tmp_path / "phone.db", "phone")
    assert "come from different conditions" in refused(*arguments, "phone", "--store", phone)
    named = two_modes(tmp_path / "named.db", "host-cpu-int8")
    assert "come from different conditions" in refused(*arguments, "host-cpu-int8", "--store", named)
    two_modes(default_path(), "host-cpu-int8")
    shown = run(*arguments, "host-cpu-int8")
    assert shown.exit_code == 0, shown.output
    assert "different conditions" in shown.stderr
    assert "the collection of the package is used instead" in " ".join(shown.stderr.split())


def test_the_published_algorithm_takes_one_source(files: dict[str, Path]) -> None:
    arguments = ("adapt", "--space", SPACE, "--data", files["target"], "-o", files["out"], "--method", "ada-proxy")
    found = document(*arguments, "--source", files["a"])
    assert (found["form"], found["decision"]) == ("coupled", "ada-proxy")
    assert load_cost_model(files["out"]).form == "coupled"
    assert "a single source" in refused(*arguments, "--source", files["a"], "--source", files["b"])


def test_a_hardware_is_measured_and_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ethos-U55 by Vela: what the first run stored is not estimated again, and `predict` shows the interval."""
    output, store = tmp_path / "npu.json", tmp_path / "results.db"
    arguments = (
        "adapt",
        "--space",
        "nas_bench_macro",
        "--source",
        "ethos-u65-256",
        "--target",
        "ethos-u55-128",
        "--store",
        store,
    )
    found = document(*arguments, "--budget", "5", "-o", output)
    assert (found["n"], found["kind"], found["hardware"]) == (5, "estimated", "ethos-u55-128")
    with sqlite3.connect(store) as rows:
        before = rows.execute("select count(*) from measurements").fetchone()[0]

    def no_run(*_: object) -> None:
        raise AssertionError("a stored network was estimated again")

    monkeypatch.setattr("mhmodels.hardware.vela.runner.VelaRunner.measure", no_run)
    again = document(*arguments, "--budget", "5", "-o", output)
    with sqlite3.connect(store) as rows:
        assert rows.execute("select count(*) from measurements").fetchone()[0] == before
    assert again["leave_one_out"] == found["leave_one_out"]
    samples = tmp_path / "samples.jsonl"
    assert run("sample", "--space", "nas_bench_macro", "-n", "3", "-o", samples).exit_code == 0
    rows_found = document("predict", "--cost-model", output, "--samples", samples)["rows"]
    assert all(entry["low_ms"] < entry["ms"] < entry["high_ms"] for row in rows_found for entry in row["latency_ms"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--data": None}, "give a --target to measure on"),
        ({"--source": "nothing.csv"}, "nothing.csv"),
        ({"--source": "no-such-hardware"}, "no-such-hardware"),
        ({"--source": "{target}"}, "which is the target"),
        ({"--data": None, "--target": "ethos-u55-128"}, "tabular"),
        ({"--data": None, "--target": "no-such-hardware", "--space": "fbnet", "--source": "{network}"}, "no-such-hardware"),
        ({"--kind": "estimated", "--data": None, "--target": "ethos-u55-128"}, "--kind belongs to --data"),
        ({"--space": "fbnet"}, "space"),
        ({"--budget": "4"}, "--budget"),
    ],
)
def test_bad_input_is_one_message(files: dict[str, Path], change: dict[str, str | None], message: str) -> None:
    options: dict[str, str | None] = {
        "--space": SPACE, "--source": str(files["a"]), "--data": str(files["target"]), "-o": str(files["out"])
    }  # fmt: skip
    options |= {name: value and value.format(**files) for name, value in change.items()}
    found = refused("adapt", *(word for name, value in options.items() if value is not None for word in (name, value)))
    assert message in " ".join(found.split())
    assert not files["out"].exists()


def test_data_that_cannot_be_adapted_to_is_refused(files: dict[str, Path]) -> None:
    arguments = ("adapt", "--space", SPACE, "--source", files["a"], "--data", files["target"], "-o", files["out"])
    write(files["target"], CELLS[:4], [1.0, 2.0, 3.0, 4.0])
    assert "4 measured networks, expected at least 5" in refused(*arguments)
    write(files["target"], CELLS[:9], [2.5] * 9)
    assert "all 9 latencies" in refused(*arguments)
    write(files["target"], CELLS[:9], [1.0, 2, 3, 4, -5, 6, 7, 8, 9])
    assert "-5" in refused(*arguments)
    assert not files["out"].exists()


def test_sources_of_one_file_leave_out_the_target(tmp_path: Path, files: dict[str, Path]) -> None:
    both = tmp_path / "both.csv"
    lines = [write(tmp_path / f"{name}.csv", CELLS[:60], ms, name).read_text().splitlines() for name, ms in (
        ("one", source_ms(CELLS[:60])), ("two", target_ms(CELLS[:60]))
    )]  # fmt: skip
    both.write_text("\n".join([*lines[0], *lines[1][1:], ""]))
    found = document(
        "adapt", "--space", SPACE, "--source", both, "--data", both, "--target", "two", "--budget", "10", "-o", files["out"]
    )
    assert [source["hardware"] for source in found["sources"]] == ["one"]
    assert "say with --target" in refused("adapt", "--space", SPACE, "--source", both, "--data", both, "-o", files["out"])


def test_networks_of_a_space_with_architectures_are_different() -> None:
    from mhmodels.search.adaptation.loop import candidate_networks

    space = get_space("multi_hardware")
    assert len(np.unique(candidate_networks(space), axis=0)) == 600
    assert not np.array_equal(candidate_networks(space), candidate_networks(space, 1))
    assert len(candidate_networks(get_space(SPACE))) == 600
    assert sample(get_space(SPACE), 5).encodings.shape == (5, 6)
