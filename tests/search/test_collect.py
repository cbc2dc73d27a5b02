"""Collecting: resumption, noise, drift, outliers, workers, hardware that vanishes, bad input."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.export.writing import latency
from mhmodels.hardware import Job, Measurement, get_hardware
from mhmodels.hardware.measurement import Turns
from mhmodels.registry import resolve
from mhmodels.search.collecting.collect import run_plan
from mhmodels.search.collecting.plan import make_plan
from mhmodels.search.collecting.progress import CollectProgress, CollectReport
from mhmodels.search.collecting.settings import CollectSettings
from mhmodels.search.cost_model.fitting import fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.latencies.stored import stored_latencies
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample
from mhmodels.store import Store

from ..hardware_families import add_family, remove_family
from .fake_hardware import FakeRunner, Script, plain

SPACE = "multi_hardware"
LATENCY_BYTES = functools.cache(latency.latency_bytes)
Fake = Callable[..., FakeRunner]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture(autouse=True)
def _written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a network's file are the same for all tests."""
    monkeypatch.setattr(latency, "latency_bytes", LATENCY_BYTES)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Registers fake hardware for one test."""

    def make(ids: Sequence[str], script: Script = plain, seconds: float = 0.0) -> FakeRunner:
        runner = FakeRunner(ids, script, seconds)
        add_family("fake", runner)
        return runner

    yield make
    remove_family("fake")


def run(store: Path, n: int, ids: Sequence[str], of: str = SPACE, **settings: Any) -> tuple[CollectReport, list[str]]:
    space, told = get_space(of), list[str]()
    with Store(store) as rows:
        wanted = CollectSettings(**settings)
        plan = make_plan(space, sample(space, n), ids, rows, wanted)
        report = run_plan(plan, space, rows, wanted, tell=told.append, advance=lambda _: None)
    return report, told


def rows_of(store: Path) -> list[Measurement]:
    with Store(store) as rows:
        return list(rows)


def members(rows: Sequence[Measurement]) -> list[Measurement]:
    return [row for row in rows if row.model.startswith(f"{SPACE}:")]


def test_each_network_once_on_each_hardware_and_never_again(fake: Fake, tmp_path: Path) -> None:
    runner = fake(["fake-npu", "fake-cpu"])
    first, _ = run(tmp_path / "r.db", 5, ["fake-npu", "fake-cpu"])
    assert [(t.hardware, t.kind, t.measured, t.stored) for t in first.tallies] == [
        ("fake-npu", "estimated", 5, 0),
        ("fake-cpu", "measured", 5, 0),
    ]
    before = len(runner.made)
    second, _ = run(tmp_path / "r.db", 8, ["fake-npu", "fake-cpu"])
    assert [(t.measured, t.stored) for t in second.tallies] == [(3, 5), (3, 5)]
    assert len([made for made in runner.made[before:] if made[0] != "mobilenet_v2"]) == 6
    rows = members(rows_of(tmp_path / "r.db"))
    assert set(Counter((row.model, row.hardware) for row in rows).values()) == {1}
    space = get_space(SPACE)
    drawn = {space.label(row) for row in sample(space, 8).encodings}
    assert {row.model for row in rows} == drawn
    assert {row.weights for row in rows} == {"random-v1"}


def test_a_noisy_row_is_measured_again_and_only_a_steadier_one_takes_its_place(fake: Fake, tmp_path: Path) -> None:
    calls: Counter[str] = Counter()
    names = [get_space(SPACE).label(row) for row in sample(get_space(SPACE), 3).encodings]

    def script(job: Job, hardware: object) -> dict[str, Any]:
        calls[job.model] += 1
        if job.model == names[0]:
            return {"noisy": True, "mad_ratio": 0.05, "median_ms": 5.0} if calls[job.model] == 1 else {"median_ms": 4.0}
        if job.model == names[1]:
            return {"noisy": True, "mad_ratio": 0.05 * calls[job.model], "median_ms": 6.0 + calls[job.model]}
        return {}

    fake(["fake-cpu"], script)
    report, _ = run(tmp_path / "r.db", 3, ["fake-cpu"], reference="")
    assert (report.tallies[0].again, report.tallies[0].noisy) == (1, 1)
    with Store(tmp_path / "r.db") as store:
        latest = {row.model: row for row in store.latest(["fake-cpu"])}
    assert (latest[names[0]].median_ms, latest[names[1]].median_ms) == (4.0, 7.0)
    assert latest[names[0]].device_state["collect"] == {"distribution": "depth-uniform", "why": "noisy", "before_ms": 5.0}
    assert calls[names[2]] == 1
    # What is noisy still gets another chance in the next run, nothing else does.
    run(tmp_path / "r.db", 3, ["fake-cpu"], reference="")
    assert (calls[names[0]], calls[names[1]], calls[names[2]]) == (2, 3, 1)


def test_drift_between_two_looks_at_the_reference_is_measured_again(fake: Fake, tmp_path: Path) -> None:
    looks: list[float] = []

    def script(job: Job, hardware: object) -> dict[str, Any]:
        if job.model == "mobilenet_v2":
            looks.append(10.0 if len(looks) < 1 else 11.0)
            return {"median_ms": looks[-1]}
        return {}

    runner = fake(["fake-cpu"], script)
    report, told = run(tmp_path / "r.db", 6, ["fake-cpu"], interval=4)
    made = [model for model, _ in runner.made if model != "mobilenet_v2"]
    # Three networks lie between the first look and the second, at which it takes 10 % longer.
    assert made[6:] == made[:3]
    assert report.tallies[0].again == 3
    assert any("mobilenet_v2 takes +10.0%" in text and "3 networks" in text for text in told)
    rows = members(rows_of(tmp_path / "r.db"))
    assert [row.device_state["collect"]["reference_ms"] for row in rows] == [10.0] * 3 + [11.0] * 6
    assert [row.device_state["collect"].get("why") for row in rows[6:]] == ["drift"] * 3


def test_drift_is_seen_by_the_next_process_too(fake: Fake, tmp_path: Path) -> None:
    """The first process ends between two looks at the reference, the second finds it slower."""
    pace = [10.0]
    runner = fake(["fake-cpu"], lambda job, _: {"median_ms": pace[0]} if job.model == "mobilenet_v2" else {})
    run(tmp_path / "r.db", 3, ["fake-cpu"], interval=4, again=False)
    pace[0] = 12.0
    before = len(runner.made)
    report, told = run(tmp_path / "r.db", 4, ["fake-cpu"], interval=4)
    assert any("+20.0%" in text and "3 networks" in text for text in told)
    assert (report.tallies[0].measured, report.tallies[0].again) == (1, 3)
    assert len([model for model, _ in runner.made[before:] if model != "mobilenet_v2"]) == 4
    # Drift that was told and not yet mended when its process ended is mended by the next.
    pace[0] = 14.0
    run(tmp_path / "r.db", 5, ["fake-cpu"], interval=1, again=False)
    report, _ = run(tmp_path / "r.db", 5, ["fake-cpu"], interval=4)
    assert report.tallies[0].again > 0
    report, _ = run(tmp_path / "r.db", 5, ["fake-cpu"], interval=4)
    assert report.tallies[0].again == 0


def test_an_outlier_is_measured_again_once(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mhmodels.search.collecting.hardware_queue.ENOUGH", 36)
    space = get_space("nas_bench_macro")
    odd = space.label(sample(space, 36).encodings[7])
    calls: Counter[str] = Counter()

    def script(job: Job, hardware: object) -> dict[str, Any]:
        calls[job.model] += 1
        wrong = job.model == odd and calls[odd] == 1
        return {"median_ms": job.file_bytes / 1e6 * (3 if wrong else 1)}

    fake(["fake-cpu"], script)
    run(tmp_path / "r.db", 36, ["fake-cpu"], of=space.name, reference="")
    with Store(tmp_path / "r.db") as store:
        (row,) = [row for row in store.latest(["fake-cpu"]) if row.model == odd]
    assert row.median_ms == row.file_bytes / 1e6
    assert row.device_state["collect"]["why"] == "outlier"
    assert row.device_state["collect"]["before_ms"] == pytest.approx(3 * row.median_ms)
    assert calls[odd] == 2


def test_networks_that_do_not_run_there_are_rows_too(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu"], lambda *_: {"median_ms": None, "reason": "no depthwise", "runs": 0})
    report, _ = run(tmp_path / "r.db", 3, ["fake-npu"])
    assert (report.tallies[0].measured, report.tallies[0].unsupported, report.problems) == (3, 3, [])
    again, _ = run(tmp_path / "r.db", 3, ["fake-npu"])
    assert (again.tallies[0].measured, again.tallies[0].stored) == (0, 3)


def together(count: int) -> Script:
    """The first so many measurements wait for each other, so that they end only if they run side by side."""
    barrier, calls, guard = threading.Barrier(count, timeout=60), [0], threading.Lock()

    def script(_: Job, __: object) -> dict[str, Any]:
        with guard:
            calls[0] += 1
            waits = calls[0] <= count
        if waits:
            barrier.wait()
        return {}

    return script


def test_timings_come_one_at_a_time_and_never_beside_a_compiler(fake: Fake, tmp_path: Path) -> None:
    ids = ["fake-npu", "fake-npu-2", "fake-cpu", "fake-cpu-2"]
    runner = fake(ids, seconds=0.02)
    run(tmp_path / "r.db", 3, ids)
    assert {pair for pair in runner.together if pair[0]} == {(1, 0)}


def test_timings_in_turns_with_a_reference_bear_compilers_beside_them(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    ids = ["fake-npu", "fake-turns"]
    runner = fake(ids, together(2))
    report, _ = run(tmp_path / "r.db", 4, ids, runs=20)
    assert [(tally.measured, tally.checks) for tally in report.tallies] == [(4, 0), (4, 0)]
    assert (1, 1) in runner.together
    with Store(tmp_path / "r.db") as store:
        rows = store.latest(["fake-turns"])
    assert {(row.turns.model, len(row.turns.own_ms)) for row in rows if row.turns} == {("mobilenet_v2", 20)}


def test_compilers_take_their_turn_where_all_cores_are_for_timing(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    ids = ["fake-npu", "fake-turns"]
    runner = fake(ids, seconds=0.02)
    report, _ = run(tmp_path / "r.db", 3, ids, runs=20)
    assert [tally.measured for tally in report.tallies] == [3, 3]
    assert {pair for pair in runner.together if pair[0]} == {(1, 0)}


def test_a_row_in_turns_gives_way_to_one_that_is_less_uncertain(fake: Fake, tmp_path: Path) -> None:
    """Whatever load and spread the second had: the reference felt them too."""
    calls: Counter[str] = Counter()

    def script(job: Job, hardware: object) -> dict[str, Any]:
        calls[job.model] += 1
        assert job.reference is not None
        first = calls[job.model] == 1
        own = (4.0, 8.0) * 10 if first else (5.0, 6.0) * 10
        turns = Turns(model="mobilenet_v2", model_hash=job.reference.model_hash, own_ms=own, reference_ms=(10.0,) * 20)
        return {"noisy": True, "mad_ratio": 0.1 if first else 0.2, "median_ms": 5.5, "turns": turns}

    fake(["fake-turns"], script)
    report, _ = run(tmp_path / "r.db", 1, ["fake-turns"], runs=20)
    assert report.tallies[0].again == 1
    # A third is no steadier than the second.
    assert run(tmp_path / "r.db", 1, ["fake-turns"], runs=20)[0].tallies[0].again == 0


def test_rows_beside_an_older_file_of_the_reference_are_measured_anew(fake: Fake, tmp_path: Path) -> None:
    """They would not go together with new ones, so no table could be written of the store."""
    fake(["fake-turns"])
    run(tmp_path / "r.db", 2, ["fake-turns"])
    with Store(tmp_path / "old.db") as old:
        for row in rows_of(tmp_path / "r.db"):
            assert row.turns is not None
            old.add(msgspec.structs.replace(row, turns=msgspec.structs.replace(row.turns, model_hash="f" * 64)))
    words = ["--space", SPACE, "-n", "3", "--hardware", "fake-turns", "--store", str(tmp_path / "old.db"), "--baseline", ""]
    result = invoke(*words, "-o", str(tmp_path / "t.csv"))
    assert result.exit_code == 0, said(result)
    assert len(rows_of(tmp_path / "old.db")) == 5


def test_a_full_disk_ends_the_run_at_once(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Path] = []

    def full(path: Path, _: bytes, **_options: object) -> None:
        tries.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mhmodels.export.writing.latency.write_atomically", full)
    runner = fake(["fake-cpu"])
    with pytest.raises(MhmodelsError, match=r"cannot be written .No space left on device"):
        run(tmp_path / "r.db", 3, ["fake-cpu"], reference="")
    assert (len(tries), runner.made) == (1, [])


def test_a_table_takes_the_place_of_nothing_else(fake: Fake, tmp_path: Path) -> None:
    runner = fake(["fake-npu"])
    samples, table, beside = tmp_path / "s.csv", tmp_path / "t.csv", tmp_path / "t.json"
    samples.write_text("architecture\nmulti_max\n")
    words = ["--space", SPACE, "--samples", str(samples), "--hardware", "fake-npu", "--store", str(tmp_path / "r.db")]
    beside.write_text('{"format": "mhmodels.cost_model/1"}')
    for output, message in (
        (table, "t.json', where there is something of another format than mhmodels.latencies/1"),
        (samples, "s.csv', which is what the command reads too"),
    ):
        result = invoke(*words, "-o", str(output))
        assert result.exit_code == 2
        assert message in " ".join(said(result).replace("│", " ").split())
    assert not runner.made
    assert beside.read_text() == '{"format": "mhmodels.cost_model/1"}'
    beside.unlink()
    for _ in range(2):
        assert invoke(*words, "-o", str(table)).exit_code == 0


def test_ids_with_brackets_are_shown_as_they_are(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu[/b]"])
    result = invoke("--space", SPACE, "-n", "2", "--hardware", "fake-npu[/b]", "--store", str(tmp_path / "r.db"))
    assert result.exit_code == 0, said(result)
    assert "fake-npu[/b]" in result.stdout


def test_only_rows_of_the_same_reference_and_threads_count_as_there(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-turns", "fake-cpu"])
    for settings, measured in (
        ({"reference": ""}, [2, 2]),
        ({}, [2, 0]),
        ({}, [0, 0]),
        ({"reference": "mobilenet_v1@0.5"}, [2, 0]),
        ({"reference": "mobilenet_v1@0.5"}, [0, 0]),
        # Later rows beside another one hide none.
        ({}, [0, 0]),
        ({"reference": ""}, [0, 0]),
        ({"threads": 2, "reference": "mobilenet_v1@0.5"}, [2, 2]),
    ):
        report, _ = run(tmp_path / "r.db", 2, ["fake-turns", "fake-cpu"], **settings)
        assert [tally.measured for tally in report.tallies] == measured, (settings, report)


def test_compilers_run_beside_each_other(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu"], together(min(4, len(os.sched_getaffinity(0)))))
    report, _ = run(tmp_path / "r.db", 4, ["fake-npu"])
    assert (report.tallies[0].measured, report.problems) == (4, [])


def test_phones_go_beside_this_machine(fake: Fake, tmp_path: Path) -> None:
    ids = ["phone-1", "phone-2", "fake-cpu"]
    runner = fake(ids, together(3))
    report, _ = run(tmp_path / "r.db", 2, ids, reference="")
    assert [tally.measured for tally in report.tallies] == [2, 2, 2]
    assert {hardware for _, hardware in runner.made[:3]} == set(ids)


def test_a_hardware_that_vanishes_is_told_and_the_others_go_on(fake: Fake, tmp_path: Path) -> None:
    def script(job: Job, hardware: Any) -> dict[str, Any]:
        if hardware.id == "phone-1" and len([1 for _, name in runner.made if name == "phone-1"]) == 2:
            runner.lost.add("phone-1")
        return {}

    runner = fake(["phone-1", "fake-cpu"], script)
    report, told = run(tmp_path / "r.db", 6, ["phone-1", "fake-cpu"], reference="")
    assert [(t.hardware, t.measured, t.trouble) for t in report.tallies] == [
        ("phone-1", 2, "phone-1 was unplugged"),
        ("fake-cpu", 6, ""),
    ]
    assert report.problems == ["phone-1: phone-1 was unplugged"]
    assert any("phone-1 is given up" in text for text in told)
    runner.lost.clear()
    again, _ = run(tmp_path / "r.db", 6, ["phone-1", "fake-cpu"], reference="")
    assert [t.measured for t in again.tallies] == [4, 0]
    assert not again.problems


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["search", "collect", *arguments])


def said(result: Result) -> str:
    """Messages of the command, and what `main` prints of the error that ended it."""
    assert result.exception is None or isinstance(result.exception, MhmodelsError | SystemExit), result.exception
    return " ".join(f"{result.stderr} {result.exception}".split())


def test_the_command_says_what_it_did_and_ends_with_1_if_a_hardware_vanished(fake: Fake, tmp_path: Path) -> None:
    runner = fake(["phone-1", "fake-npu"])
    runner.lost.add("phone-1")
    words = ["--space", SPACE, "-n", "3", "--hardware", "phone-1", "fake-npu", "--baseline", ""]
    result = invoke(*words, "--store", str(tmp_path / "r.db"), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [(t["hardware"], t["measured"]) for t in document["hardware"]] == [("fake-npu", 3), ("phone-1", 0)]
    assert "phone-1 was unplugged" in result.stderr
    assert "Traceback" not in result.output


def test_samples_from_a_file(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu"])
    file = tmp_path / "s.jsonl"
    assert (
        CliRunner().invoke(cli, ["search", "sample", "--space", SPACE, "-n", "4", "--seed", "3", "-o", str(file)]).exit_code == 0
    )
    result = invoke("--space", SPACE, "--samples", str(file), "--hardware", "fake-npu", "--store", str(tmp_path / "r.db"))
    assert result.exit_code == 0, result.output
    assert "beside the samples: mobilenet_v1" in result.stderr
    wanted = {":".join([SPACE, *map(str, json.loads(line)["encoding"])]) for line in file.read_text().splitlines()}
    assert {row.model for row in rows_of(tmp_path / "r.db")} == wanted | {"mobilenet_v1"}


@pytest.mark.parametrize("hardware", ["fake-turns", pytest.param("fake-cpu", marks=pytest.mark.slow)])
def test_baselines_are_measured_with_the_samples_and_come_with_the_fit(fake: Fake, tmp_path: Path, hardware: str) -> None:
    """By the store as by the table; a later row that was timed otherwise (`bench`) is of another pace and hides nothing."""
    fake([hardware])
    space, table = get_space(SPACE), tmp_path / "t.csv"
    words = ["--space", SPACE, "-n", "30", "--hardware", hardware, "--store", str(tmp_path / "r.db"), "--interval", "100"]
    baselines = ["--baseline", "mobilenet_v1", "--baseline", "multi_max"]
    assert invoke(*words, *baselines, "--reference", "mobilenet_v2", "-o", str(table)).exit_code == 0
    assert len(read_latencies(table, space, LatencyOrigin(hardware)).ms) == 30
    with Store(tmp_path / "r.db") as rows:
        stored = stored_latencies(rows, space, hardware)
        row = next(row for row in rows if row.model == "multi_max")
        if row.turns is not None:
            assert row.median_ms is not None
            slow = msgspec.structs.replace(row, median_ms=9 * row.median_ms)
            for turns in (None, msgspec.structs.replace(row.turns, model_hash="f" * 64)):
                rows.add(msgspec.structs.replace(slow, turns=turns))
            assert stored_latencies(rows, space, hardware).origin.baselines == stored.origin.baselines
        with_store = read_latencies(table, space, LatencyOrigin(hardware), rows).origin.baselines
    known = {one.model: one for one in stored.origin.baselines if one.model != "mobilenet_v2"}
    assert set(known) == {"mobilenet_v1", "multi_max"}
    assert known["multi_max"].architecture_id == resolve("multi_max").architecture_id
    assert known["multi_max"].ms == pytest.approx(row.median_ms)
    from_table = {one.model: one for one in read_latencies(table, space, LatencyOrigin(hardware)).origin.baselines}
    assert {name: one.ms for name, one in from_table.items()} == pytest.approx({name: one.ms for name, one in known.items()})
    assert [one.model for one in with_store] == list(from_table)  # the store is not looked at, and takes nothing away
    model = fit(space, stored.encodings, stored.ms, stored.origin).model
    assert model.measured_ms(resolve("mobilenet_v1")) == pytest.approx(known["mobilenet_v1"].ms)
    assert model.measured_ms(resolve("mobilenet_v1@0.75")) is None


def test_a_baseline_is_measured_once_whatever_it_is_called(fake: Fake, tmp_path: Path) -> None:
    space = get_space(SPACE)
    member = tmp_path / "member.json"
    drawn = sample(space, 3)
    member.write_bytes(space.build(drawn.encodings[0]).to_json())  # type: ignore[attr-defined]
    runner = fake(["fake-cpu"], lambda *_: {"noisy": True, "mad_ratio": 0.2})  # so that all are measured again
    names = ("mobilenet_v1", "mobilenet_v1@1.0", str(member))
    report, _ = run(tmp_path / "r.db", 3, ["fake-cpu"], baselines=names, reference="")
    assert (report.tallies[0].wanted, report.tallies[0].done) == (4, 4)
    assert Counter(runner.made).most_common(1)[0][1] == 2
    again, _ = run(tmp_path / "r.db", 3, ["fake-cpu"], baselines=names, reference="")
    assert (again.tallies[0].stored, again.tallies[0].measured) == (4, 0)


def test_a_baseline_of_another_input_size_is_refused_and_a_space_that_has_none_gets_none(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu"])
    store = str(tmp_path / "r.db")
    result = invoke(
        "--space", "nas_bench_macro", "-n", "2", "--hardware", "fake-npu", "--store", store, "--baseline", "multi_max"
    )
    assert "baseline 'multi_max' has input size (224, 224), space 'nas_bench_macro' has 32" in said(result)
    assert invoke("--space", "nas_bench_macro", "-n", "2", "--hardware", "fake-npu", "--store", store).exit_code == 0
    assert len(rows_of(tmp_path / "r.db")) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--space", "nas_bench_201", "-n", "3"], 1, "'nas_bench_201' is tabular"),
        (["--space", SPACE, "-n", "3", "--hardware", "ethos-u56-128"], 1, "unknown hardware 'ethos-u56-128': did you mean"),
        (["--space", SPACE, "-n", "3", "--hardware", "fake-half"], 1, "fake-half takes float16 files"),
        (["--space", SPACE], 2, "give either -n or --samples"),
        (
            ["--space", SPACE, "-n", "3", "--distribution", "window=2:1", "--hardware", "fake-npu"],
            1,
            "window=A:B with 0 <= A < B",
        ),
        (["--space", SPACE, "-n", "3", "--hardware", "fake-npu", "--reference", "mobilnet_v2"], 1, "did you mean mobilenet_v2"),
        (
            ["--space", SPACE, "-n", "3", "--hardware", "fake-gone"],
            1,
            "none of the hardware can be measured: fake-gone was unplugged",
        ),
    ],
)
def test_bad_input(fake: Fake, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    fake(["fake-npu", "fake-half", "fake-gone"]).lost.add("fake-gone")
    result = invoke(*arguments, "--store", str(tmp_path / "r.db"))
    assert (result.exit_code, message in said(result)) == (code, True), said(result)


def test_samples_from_a_file_keep_their_distributions_and_a_table_keeps_its_name(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-turns"])
    file, table = tmp_path / "s.jsonl", tmp_path / "t.csv"
    CliRunner().invoke(cli, ["search", "sample", "--space", SPACE, "-n", "4", "-o", str(file)])
    words = ["--space", SPACE, "--samples", str(file), "--hardware", "fake-turns", "--store", str(tmp_path / "r.db")]
    wrong = invoke(*words, "-o", str(tmp_path / "t.json"))
    assert (wrong.exit_code, "expected a name that ends with .csv" in said(wrong)) == (2, True)
    assert not (tmp_path / "r.db").exists()
    assert invoke(*words, "-o", str(table)).exit_code == 0
    found = read_latencies(table, get_space(SPACE), LatencyOrigin("fake-turns"))
    assert found.distributions == ("depth-uniform", "window=0.5:2") * 2
    paces = json.loads(table.with_suffix(".json").read_text())["paces"]
    assert found.origin.environment == FakeRunner([]).environment(get_hardware("fake-turns")[0])
    assert (paces["fake-turns"]["reference"], paces["fake-turns"]["ms"]) == ("mobilenet_v2", 10.0)


def test_samples_of_another_space_and_foreign_stores_are_refused(fake: Fake, tmp_path: Path) -> None:
    runner = fake(["fake-npu"])
    other = tmp_path / "o.jsonl"
    CliRunner().invoke(cli, ["search", "sample", "--space", "proxylessnas", "-n", "2", "-o", str(other)])
    result = invoke("--space", SPACE, "--samples", str(other), "--hardware", "fake-npu", "--store", str(tmp_path / "r.db"))
    assert (result.exit_code, "another space or version" in said(result)) == (1, True)
    newer = tmp_path / "newer.db"
    Store(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    content = newer.read_bytes()
    result = invoke("--space", SPACE, "-n", "2", "--hardware", "fake-npu", "--store", str(newer))
    assert (result.exit_code, "version 99" in said(result)) == (1, True)
    assert newer.read_bytes() == content
    assert not runner.made


def test_a_store_locked_by_another_process_ends_the_run_with_its_name(fake: Fake, tmp_path: Path) -> None:
    fake(["fake-npu"])
    space = get_space(SPACE)
    with Store(tmp_path / "r.db", timeout_s=0.1) as rows:
        plan = make_plan(space, sample(space, 3), ["fake-npu"], rows)
        holder = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Exception, match=r"r\.db: database is locked: another process holds it"):
            run_plan(plan, space, rows, CollectSettings(), tell=print, advance=lambda _: None)
        holder.execute("ROLLBACK")
        holder.close()
    report, _ = run(tmp_path / "r.db", 3, ["fake-npu"])
    assert report.tallies[0].done == 3


@pytest.mark.slow
def test_kill_9_loses_no_row_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """A real process, killed while rows come."""
    store = tmp_path / "r.db"
    command = [sys.executable, "-c", "from mhmodels.cli.main import main; main()", "search", "collect", "--space", SPACE]
    command += ["-n", "14", "--baseline", "", "--hardware", "roofline-pixel6-cpu", "roofline-s23-cpu", "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and (not store.exists() or _count(store) < 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {(row.model, row.hardware): row.time for row in rows_of(store)}
    assert 5 <= len(before) < 28
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "networks are in the store and are skipped" in done.stderr
    after = rows_of(store)
    assert Counter((row.model, row.hardware) for row in after) == dict.fromkeys({(r.model, r.hardware) for r in after}, 1)
    assert len(after) == 28
    assert {key: time for key, time in ((((row.model, row.hardware)), row.time) for row in after) if key in before} == before


def _count(store: Path) -> int:
    try:
        with sqlite3.connect(store) as connection:
            return int(connection.execute("SELECT count(*) FROM measurements").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_rate_and_time_left() -> None:
    from mhmodels.search.collecting.progress import Tally

    tally = Tally(hardware="x", kind="measured", wanted=100, stored=20, measured=30, failures=[])
    assert CollectProgress(tally, 60.0).text == "2.0 s each, 2 min left"


def test_a_table_of_the_rows_is_what_fit_reads(fake: Fake, tmp_path: Path) -> None:
    fake(
        ["fake-npu", "fake-cpu"],
        lambda job, hardware: {"median_ms": job.file_bytes / (1e6 if hardware.id == "fake-npu" else 5e5)},
    )
    ids, table = ["fake-npu", "fake-cpu"], tmp_path / "t.csv"
    result = invoke("--space", SPACE, "-n", "10", "--hardware", *ids, "--store", str(tmp_path / "r.db"), "-o", str(table))
    assert result.exit_code == 0, said(result)
    provenance = json.loads(table.with_suffix(".json").read_text())
    assert (provenance["rows"], provenance["seed"]) == ({"fake-npu": 10, "fake-cpu": 10}, 0)
    assert provenance["environments"]["fake-npu"]["device"] == "fake-npu"
    space = get_space(SPACE)
    tables = [read_latencies(table, space, LatencyOrigin(name)) for name in ids]
    assert [len(found.ms) for found in tables] == [10, 10]
    assert tables[1].ms / tables[0].ms == pytest.approx([2.0] * 10, rel=1e-6)
    assert sorted(set(tables[0].distributions)) == ["depth-uniform", "window=0.5:2"]
    drawn = sample(space, 10).encodings
    assert (tables[0].encodings == drawn).all()
