"""`search run --measure-front` and `--front-latencies` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Hardware, Job
from mhmodels.search import Random, RequestError, SearchRequest, measure_front, run_search
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.shipping import table_path
from mhmodels.search.space.catalogue import get_space
from mhmodels.store import Store
from tests.hardware_families import add_family, remove_family
from tests.search.fake_hardware import FakeRunner, Script

ROOT = Path(__file__).parents[3]
SPACE = "nas_bench_macro"
EVALUATOR = """
import numpy as np

def accuracy(space, encodings):
    return 0.5 + 0.4 * np.tanh(space.madds(encodings) / 3e7)

def sums(space, encodings):
    return 0.5 + encodings.sum(axis=1) / 100
"""
Fake = Callable[..., FakeRunner]


def macs_ms(encodings: Any) -> Any:
    return get_space(SPACE).madds(encodings) / 1e7  # type: ignore[attr-defined]


def slow_if_odd(job: Job, _: Hardware) -> dict[str, Any]:
    """The latency that the cost models predict, but 60 % more for networks of an odd sum of choices."""
    encoding = get_space(SPACE).parse(job.model)
    return {"median_ms": float(macs_ms(encoding)[0]) * (1.6 if encoding.sum() % 2 else 1.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cost models of fake hardware, of ethos-u55-128, and of a device for a tabular space; an evaluator."""
    path = tmp_path_factory.mktemp("front")
    space = get_space(SPACE)
    rows = np.unique(space.draw(100, np.random.default_rng(0)), axis=0)
    for name in ("fake-npu", "fake-cpu", "phone-1"):
        fit(space, rows, macs_ms(rows), LatencyOrigin(name), FitOptions(curve=False)).model.save(path / f"{name}.json")
    known = read_latencies(table_path(Path(SPACE)), space, "ethos-u55-128")
    origin = LatencyOrigin("ethos-u55-128", "estimated", "int8")
    fit(space, known.encodings[:150], known.ms[:150], origin, FitOptions(curve=False)).model.save(path / "ethos-u55-128.json")
    cells = get_space("nas_bench_201")
    drawn = np.unique(cells.draw(300, np.random.default_rng(0)), axis=0)
    ms = 1.0 + drawn.sum(axis=1)
    fit(cells, drawn, ms, LatencyOrigin("pixel3"), FitOptions(curve=False)).model.save(path / "pixel3.json")
    (path / "front_evaluating.py").write_text(EVALUATOR)
    return path


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Registers fake hardware for one test."""

    def make(*ids: str, script: Script = slow_if_odd, seconds: float = 0.0) -> FakeRunner:
        runner = FakeRunner(ids, script, seconds)
        add_family("fake", runner)
        return runner

    yield make
    remove_family("fake")


def arguments(*hardware: str, evaluations: int = 24) -> list[str]:
    models = [word for one in hardware for word in ("--cost-model", f"{one}.json", "--reference", f"{one}=3.0")]
    method = ["--method", "random", "--evaluations", str(evaluations)]
    return ["run", "--space", SPACE, "--evaluator", "front_evaluating:accuracy", *models, *method]


CELLS = ["run", "--space", "nas_bench_201", "--evaluator", "front_evaluating:sums", "--cost-model", "pixel3.json"]
CELLS += ["--reference", "pixel3=9", "--method", "random", "--evaluations", "60"]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, words)])


def passed(*words: str | Path) -> Any:
    result = run(*words, "--json")
    assert result.exception is None, (result.output, result.exception)
    return json.loads(result.stdout)


def cells_table(path: Path, change: Callable[[int, float], str], hardware: str = "pixel3") -> Path:
    """A table of latencies of all cells, as `search fit --data` takes it."""
    space = get_space("nas_bench_201")
    lines = [f"{space.label(row).partition(':')[2]},{hardware},{change(int(row[0]), 1.0 + row.sum())}" for row in space]
    path.write_text("\n".join(["encoding,hardware,ms", *lines]) + "\n")
    return path


def test_members_that_are_slower_than_predicted_are_dropped(fake: Fake, tmp_path: Path) -> None:
    fake("fake-npu")
    front, store = tmp_path / "front.json", tmp_path / "r.db"
    measuring = ("--measure-front", "--store", store, "--front", front)
    document = passed(*arguments("fake-npu", evaluations=40), *measuring)["measured_front"]
    assert json.loads(front.read_text()) == document
    verdicts = Counter(network["measured"]["verdict"] for network in document["networks"])
    assert verdicts.keys() == {"kept", "dominated"}
    kept = {network["label"] for network in document["networks"] if network["measured"]["verdict"] == "kept"}
    assert kept == set(document["measured"]["kept"])
    for network in document["networks"]:
        ms, found = network["measured"]["latency_ms"]["fake-npu"], network["measured"]
        assert ms == pytest.approx(float(macs_ms([network["encoding"]])[0]) * (1.6 if sum(network["encoding"]) % 2 else 1.0))
        assert found["f"] == pytest.approx(ms / 3)
        assert (found["dominated_by"] in kept) == (found["verdict"] == "dominated")
    (report,) = document["measured"]["hardware"]
    assert (report["kind"], report["members"], report["missing"]) == ("estimated", len(document["networks"]), 0)
    assert report["largest_error"] == pytest.approx(1 - 1 / 1.6, rel=0.05)
    assert "the median error of the cost model on the front" in report["warning"]


def test_what_is_in_the_store_is_not_measured_again(fake: Fake, tmp_path: Path) -> None:
    runner = fake("fake-npu")
    words = (*arguments("fake-npu"), "--measure-front", "--store", tmp_path / "r.db")
    first = passed(*words, "--log", tmp_path / "run.db")
    made = len(runner.made)
    assert made == len(first["measured_front"]["networks"])
    assert passed(*words)["measured_front"] == first["measured_front"]
    resumed = ("resume", tmp_path / "run.db", "--evaluator", "front_evaluating:accuracy", "--measure-front")
    assert passed(*resumed, "--store", tmp_path / "r.db")["measured_front"] == first["measured_front"]
    assert len(runner.made) == made
    passed(*words, "--threads", "2")  # other conditions
    assert len(runner.made) == 2 * made


def test_the_table_fits_80_columns(fake: Fake, tmp_path: Path) -> None:
    fake("fake-npu", "fake-cpu")
    for hardware, titles in (
        (("fake-npu",), ("predicted ms", "estimated ms")),
        (("fake-npu", "fake-cpu"), ("f_avg", "on hardware", "kept by estimated and measured latencies")),
    ):
        words = (*arguments(*hardware, evaluations=40), "--measure-front", "--timing-reference", "")
        result = run(*words, "--store", tmp_path / "r.db")
        assert result.exit_code == 0, result.output
        shown = result.stdout[result.stdout.index("found front of") :]
        assert all(title in shown for title in (*titles, "verdict", "dominated by 2", "held-out"))
        assert max(map(len, shown.splitlines())) <= 80


def test_nothing_changes_without_the_option(tmp_path: Path) -> None:
    """Neither keys nor the front over every hardware, and hardware that nobody can reach is no obstacle."""
    document = passed(*arguments("fake-npu", "fake-cpu"), "--front", tmp_path / "front.json")
    front = json.loads((tmp_path / "front.json").read_text())
    assert "measured_front" not in document
    assert front["of"] == "every hardware"
    assert "measured" not in front
    assert "measured" not in front["networks"][0]


def test_members_that_fail_are_reported_and_the_others_judged(fake: Fake, tmp_path: Path) -> None:
    seen: list[str] = []

    def script(job: Job, hardware: Hardware) -> dict[str, Any]:
        if job.model not in seen:
            seen.append(job.model)
        if seen.index(job.model) == 1:
            return {"median_ms": None, "reason": "CONV_2D runs on the CPU", "runs": 0, "mad_ratio": None}
        if seen.index(job.model) == 3:
            raise MeasurementError("the device answered nothing")
        return slow_if_odd(job, hardware)

    fake("phone-1", script=script)
    words = (*arguments("phone-1"), "--measure-front", "--timing-reference", "", "--store", tmp_path / "r.db")
    result = run(*words, "--front", tmp_path / "front.json", "--json")
    assert result.exit_code == 1
    networks = json.loads(result.stdout)["measured_front"]["networks"]
    assert [network["measured"]["verdict"] for network in networks].count("no latency") == 2
    assert networks[1]["measured"]["reasons"] == {"phone-1": "CONV_2D runs on the CPU"}
    assert networks[3]["measured"]["reasons"] == {"phone-1": "the device answered nothing"}
    assert networks[3]["measured"]["latency_ms"] == {"phone-1": None}
    message = str(result.exception)
    assert "phone-1: no latency of member 2: CONV_2D runs on the CPU" in message
    assert f"{len(networks) - 2} of {len(networks)} members were judged; the others are neither kept nor dropped" in message
    assert json.loads((tmp_path / "front.json").read_text())["networks"] == networks


def test_a_hardware_that_vanishes_fails_all_members_and_the_files_are_there(fake: Fake, tmp_path: Path) -> None:
    def script(job: Job, hardware: Hardware) -> dict[str, Any]:
        runner.lost.add(hardware.id)
        raise MeasurementError("no answer")

    runner = fake("fake-npu", script=script)
    files = ("-o", tmp_path / "found.json", "--front", tmp_path / "front.json")
    result = run(*arguments("fake-npu"), "--measure-front", "--store", tmp_path / "r.db", *files)
    assert result.exit_code == 1
    assert "fake-npu: no latency of members 1, 2, 3" in str(result.exception)
    assert "fake-npu was unplugged" in str(result.exception)
    assert "no member of the front could be judged" in str(result.exception)
    assert "--measure-front" in str(result.exception)
    assert "no latency" in result.stdout
    assert (tmp_path / "found.json").exists()
    assert json.loads((tmp_path / "front.json").read_text())["measured"]["kept"] == []


def test_hardware_that_cannot_be_reached_is_found_before_the_search(fake: Fake, tmp_path: Path) -> None:
    fake("fake-npu", "fake-cpu").lost.add("fake-cpu")
    words = ("--measure-front", "--store", tmp_path / "r.db", "--log", tmp_path / "run.db")
    result = run(*arguments("fake-npu", "fake-cpu"), *words)
    assert result.exit_code == 1
    assert "(--measure-front): fake-cpu: fake-cpu was unplugged; leave the hardware out of the search (--hardware)" in str(
        result.exception
    )
    assert "--front-latencies" in str(result.exception)
    assert not (tmp_path / "run.db").exists()
    unknown = run(*arguments("phone-1"), *words)
    assert "(--measure-front): unknown hardware 'phone-1'" in str(unknown.exception)
    assert not (tmp_path / "run.db").exists()


def test_a_store_that_is_something_else_is_found_before_the_search(fake: Fake, tmp_path: Path) -> None:
    fake("fake-npu")
    store = tmp_path / "r.db"
    store.write_text("something else")
    result = run(*arguments("fake-npu"), "--measure-front", "--store", store, "--log", tmp_path / "run.db")
    assert result.exit_code == 1
    assert str(store) in str(result.exception)
    assert not (tmp_path / "run.db").exists()


def test_a_front_of_one_member_is_measured_and_said_so(fake: Fake, tmp_path: Path) -> None:
    fake("fake-npu")
    result = run(*arguments("fake-npu", evaluations=1), "--measure-front", "--store", tmp_path / "r.db")
    assert result.exit_code == 0, result.output
    assert "1 of 1 members kept by estimated latencies" in result.stdout
    assert "the front has one member, so that no member can be dominated" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((*CELLS, "--measure-front"), "tabular, so that --measure-front has no networks to measure"),
        ((*CELLS, "--measure-front", "--front-latencies", "x.csv"), "(--front-latencies): give one of both"),
        ((*CELLS, "--store", "r.db"), "--store belongs to --measure-front"),
        ((*CELLS, "--front-latencies", "x.csv", "--runs", "50"), "--runs belongs to --measure-front"),
        ((*CELLS, "--mode", "burst"), "--mode belongs to --measure-front"),
        ((*CELLS, "--measure-front", "--store", "r.json", "-o", "r.json"), "--store is 'r.json', which is -o too"),
        (("resume", "run.db", "--timing-reference", "x"), "expected the log of a search"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], text: str) -> None:
    result = run(*words)
    assert result.exit_code in (1, 2)
    assert text in " ".join(f"{result.output} {result.exception}".split())


def test_measuring_from_python(fake: Fake, tmp_path: Path) -> None:
    runner = fake("fake-npu")
    request = SearchRequest(
        space=SPACE, cost_models=("fake-npu.json",), references={"fake-npu": 3.0}, method=Random(evaluations=30)
    )
    result = run_search(request, accuracy=lambda space, encodings: space.madds(encodings) / 1e9)  # type: ignore[attr-defined]
    assert result is not None
    front = measure_front(result, store=tmp_path / "r.db")
    assert len(front.members) == len(runner.made) == len(result.front_members().accuracy)
    assert {member.verdict for member in front.members} == {"kept", "dominated"}
    cells = SearchRequest(
        space="nas_bench_201", cost_models=("pixel3.json",), references={"pixel3": 9.0}, method=Random(evaluations=5)
    )
    tabular = run_search(cells, accuracy=lambda _, encodings: [0.5] * len(encodings))
    assert tabular is not None
    with pytest.raises(RequestError, match="space 'nas_bench_201' is tabular"):
        measure_front(tabular)


def test_a_tabular_space_takes_its_latencies_from_a_table(tmp_path: Path) -> None:
    """Cells whose first operation has an odd number take 60 % more than the cost model predicts."""
    table = cells_table(tmp_path / "cells.csv", lambda first, ms: f"{ms * (1.6 if first % 2 else 1.0):.6g}")
    found = passed(*CELLS, "--front-latencies", table, "--front", tmp_path / "front.json")["measured_front"]
    assert found == json.loads((tmp_path / "front.json").read_text())
    assert {network["measured"]["verdict"] for network in found["networks"]} == {"kept", "dominated"}
    for network in found["networks"]:
        expected = (1.0 + sum(network["encoding"])) * (1.6 if network["encoding"][0] % 2 else 1.0)
        assert network["measured"]["latency_ms"]["pixel3"] == pytest.approx(expected, rel=1e-4)
    assert found["measured"]["hardware"][0]["kind"] == "measured"
    assert found["measured"]["source"].startswith("cells.csv sha256:")


def test_members_that_a_table_lacks_are_reported(tmp_path: Path) -> None:
    table = cells_table(tmp_path / "cells.csv", lambda first, ms: "" if first == 4 else f"{ms:.6g}")
    result = run(*CELLS, "--front-latencies", table, "--json")
    assert result.exit_code == 1
    networks = json.loads(result.stdout)["measured_front"]["networks"]
    for network in networks:
        assert (network["measured"]["verdict"] == "no latency") == (network["encoding"][0] == 4)
    assert "cells.csv has none of it" in str(result.exception)
    assert "add the missing networks to the table (--front-latencies)" in str(result.exception)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file"),
        ("encoding,ms\n0:0:0:0:0:9,1\n", "line 2"),
        ("encoding,hardware,ms\n0:0:0:0:0:0,other,1\n", "no row is of hardware 'pixel3'"),
        ("encoding,hardware,kind,ms\n0:0:0:0:0:0,pixel3,measured,1\n0:0:0:0:0:1,pixel3,estimated,1\n", "expected one kind"),
        ("encoding,hardware,kind,ms\n0:0:0:0:0:0,pixel3,guessed,1\n", "'guessed', expected one of measured"),
        ("encoding,ms\n0:0:0:0:0:0,-1\n", "above 0"),
    ],
)
def test_tables_that_do_not_fit_are_found_before_the_search(content: str | None, text: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    if content is not None:
        table.write_text(content)
    result = run(*CELLS, "--front-latencies", table, "--log", tmp_path / "run.db")
    assert result.exit_code == 1
    assert str(result.exception).startswith("--front-latencies: ")
    assert text in str(result.exception)
    assert not (tmp_path / "run.db").exists()


def test_rows_must_say_of_which_of_several_hardware_they_are(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text('{"encoding": "0:0:0:0:0:0:0:0", "ms": 1.0}\n')
    result = run(*arguments("fake-npu", "fake-cpu"), "--front-latencies", table)
    assert "rows without a field 'hardware', but the search has 2 (fake-npu, fake-cpu)" in str(result.exception)


def test_a_real_compiler_measures_the_front(tmp_path: Path) -> None:
    """Vela's estimates are those in the package, which are measured latencies for a table as well."""
    words = arguments("ethos-u55-128", evaluations=6)
    measured = passed(*words, "--measure-front", "--store", tmp_path / "r.db")["measured_front"]
    (report,) = measured["measured"]["hardware"]
    assert (report["kind"], report["missing"]) == ("estimated", 0)
    assert report["largest_error"] < 0.1
    looked_up = passed(*words, "--front-latencies", SPACE)["measured_front"]
    for one, other in zip(measured["networks"], looked_up["networks"], strict=True):
        assert one["measured"]["latency_ms"] == pytest.approx(other["measured"]["latency_ms"], rel=1e-4)
    assert looked_up["measured"]["hardware"][0]["kind"] == "estimated"
    with Store(tmp_path / "r.db") as rows:
        assert len(list(rows)) == len(measured["networks"])


DRIVER = """
from tests.hardware_families import add_family
from tests.search.fake_hardware import FakeRunner
add_family("fake", FakeRunner(["fake-npu"], seconds=0.2))
from mhmodels.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT])
def test_an_interrupted_measuring_loses_nothing(number: signal.Signals, folder: Path, tmp_path: Path) -> None:
    """A real process that ends while rows come; `search resume` goes on from there."""
    store, front, log = tmp_path / "r.db", tmp_path / "front.json", tmp_path / "run.db"
    words = ["--measure-front", "--store", str(store), "-o", str(tmp_path / "found.json"), "--front", str(front)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def start(*command: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", DRIVER, "search", *command]
        return subprocess.Popen(program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    process = start(*arguments("fake-npu", evaluations=24), "--log", str(log), *words)
    end = time.monotonic() + 90
    while time.monotonic() < end and _count(store) < 2:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    before = _count(store)
    members = len(json.loads(front.read_text())["networks"])
    assert 2 <= before < members
    assert (tmp_path / "found.json").exists()
    assert "measured" not in json.loads(front.read_text())
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"are kept in {store}: the same command continues from there" in said
    process = start("resume", str(log), "--evaluator", "front_evaluating:accuracy", *words)
    out, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert f"{before} of {members} networks are in the store and are skipped" in said
    assert _count(store) == members
    assert len(json.loads(front.read_text())["measured"]["kept"]) >= 1
    assert f"of {members} members kept" in out


def _count(store: Path) -> int:
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM measurements").fetchone()[0])
    except sqlite3.Error:
        return 0
