"""Measured latencies of a whole space in the place of cost models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import FileFormatError
from mhmodels.hardware import list_hardware
from mhmodels.search.collecting.table import COLUMNS, FORMAT
from mhmodels.search.errors import SearchError, SpaceError
from mhmodels.search.objective.measured_tables import is_collected, measured_latencies
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.template import ArchitectureSpace
from tests.examples import load_example
from tests.search.test_benchmark_tables import MACRO, needs_data

SPACE = "nas_bench_macro"


def space() -> ArchitectureSpace:
    found = get_space(SPACE)
    assert isinstance(found, ArchitectureSpace)
    return found


def write(path: Path, rows: Any, ms: dict[str, Any], kinds: dict[str, str] | None = None, schema: str | None = None) -> Path:
    """What `search collect -o` writes."""
    lines = [",".join(COLUMNS)]
    for hardware, values in ms.items():
        kind = (kinds or {}).get(hardware, "measured")
        lines += [
            f"{':'.join(map(str, row))},uniform,{hardware},{kind},{value if value else ''},0.01,1.0,2026-01-01T00:00:00"
            for row, value in zip(rows.tolist(), values, strict=True)
        ]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".json").write_text(
        json.dumps({"format": FORMAT, "space": SPACE, "schema": schema or space().schema, "environments": {}})
    )
    return path


@pytest.fixture(scope="module")
def members() -> Any:
    return np.array(list(space()))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, members: Any) -> Path:
    """All networks: one hardware counts MAdds, the other likes none of the large kernels."""
    cpu = (1 + space().madds(members) / 1e7).round(4).tolist()
    npu = (1 + (members == 2).sum(axis=1)).astype(float).tolist()
    return write(tmp_path_factory.mktemp("measured") / "latencies.csv", members, {"cpu": cpu, "npu": npu})


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)])


def test_every_member_has_its_measured_latency(table: Path, members: Any) -> None:
    assert is_collected(table)
    found = measured_latencies(table, space())
    assert list(found.sources) == ["cpu", "npu"]
    np.testing.assert_allclose(found.sources["npu"].predict(members[[5, 17]]), 1 + (members[[5, 17]] == 2).sum(axis=1))
    assert found.medians["cpu"] == pytest.approx(np.median(1 + space().madds(members) / 1e7), rel=1e-3)
    assert "sha256:" in found.sources["cpu"].identity
    assert found.sources["cpu"].identity.endswith(":cpu (measured)")
    assert list(measured_latencies(table, space(), ["npu"]).sources) == ["npu"]


@needs_data
@pytest.mark.slow
def test_a_search_with_truth_on_both_axes(table: Path, members: Any, tmp_path: Path) -> None:
    """NAS-Bench-Macro's accuracies and these latencies: the best reward is known, and evolution finds it."""
    from mhmodels.search.objective.benchmark_tables import nas_bench_macro_table

    arguments = ["run", "--space", SPACE, "--evaluator", MACRO, "--latencies", table, "--method", "evolution", "--json"]
    result = run(*arguments, "-o", tmp_path / "found.json", "--aggregate", "max")
    assert result.exception is None, result.output
    document = json.loads(result.stdout)
    accuracy = nas_bench_macro_table(MACRO)[0].evaluate(members, "accuracy")
    measured = measured_latencies(table, space())
    ratios = np.stack([measured.sources[h].predict(members) / measured.medians[h] for h in ("cpu", "npu")], axis=1)
    rewards = accuracy - 0.07 * np.abs(ratios.max(axis=1) - 1)
    assert document["reward_value"] == pytest.approx(rewards.max(), abs=2e-3)
    assert document["latency_ms"]["npu"] == 1 + document["encoding"].count(2)


def test_networks_that_were_not_measured_are_missed_before_anything_is_evaluated(tmp_path: Path, members: Any) -> None:
    few = write(tmp_path / "few.csv", members[:10], {"cpu": [1.0] * 10})
    with pytest.raises(SearchError, match=r"10 networks have a latency on 'cpu', and space 'nas_bench_macro' has 3969.*collect"):
        measured_latencies(few, space())
    lame = write(tmp_path / "lame.csv", members, {"cpu": [1.0] * 3968 + [None]})
    with pytest.raises(SearchError, match="3968 networks have a latency"):
        measured_latencies(lame, space())
    result = run("run", "--space", SPACE, "--evaluator", "x:f", "--latencies", few)
    assert "10 networks have a latency" in str(result.exception)


def test_a_restricted_space_needs_its_own_members_only(tmp_path: Path, members: Any) -> None:
    small = space().restricted([[0, 1]] * len(space().decisions))
    own = np.array([row for row in members if (row < 2).all()])
    path = write(tmp_path / "own.csv", own, {"cpu": [2.0] * len(own)})
    assert len(own) == small.sizes.distinct
    assert measured_latencies(path, small).medians == {"cpu": 2.0}
    shifted = np.concatenate([own[:-1], members[-1:]])
    path = write(tmp_path / "shifted.csv", shifted, {"cpu": [2.0] * len(own)})
    with pytest.raises(SearchError, match=r"for example nas_bench_macro:1:1"):
        measured_latencies(path, small)


def test_tables_that_do_not_fit(tmp_path: Path, table: Path, members: Any) -> None:
    with pytest.raises(SearchError, match=r"no latencies on 'tpu', expected some of cpu, npu"):
        measured_latencies(table, space(), ["tpu"])
    other = write(tmp_path / "other.csv", members[:3], {"cpu": [1.0] * 3}, schema="0123")
    with pytest.raises(SpaceError, match=r"schema 0123, but space 'nas_bench_macro'"):
        measured_latencies(other, space())
    mixed = write(tmp_path / "mixed.csv", members[:3], {"cpu": [1.0] * 3})
    mixed.write_text(mixed.read_text() + "0:0:0:0:0:0:0:0,uniform,cpu,estimated,1.0,,,\n")
    with pytest.raises(SearchError, match="estimated and measured, expected one kind"):
        measured_latencies(mixed, space())
    twice = write(tmp_path / "twice.csv", members[:3], {"cpu": [1.0] * 3})
    twice.write_text(twice.read_text() + twice.read_text().splitlines()[2] + "\n")
    with pytest.raises(FileFormatError, match=r"twice\.csv: line 5: a second latency of .* on 'cpu', expected one"):
        measured_latencies(twice, space())
    cut = write(tmp_path / "cut.csv", members[:3], {"cpu": [1.0] * 3})
    cut.write_text(cut.read_text() + "0:0:0")
    with pytest.raises(FileFormatError, match="cut off"):
        measured_latencies(cut, space())
    quoted = write(tmp_path / "quoted.csv", members[:3], {"cpu": [1.0] * 3})
    quoted.write_text(quoted.read_text().replace(",uniform", ',"uniform', 1))
    with pytest.raises(FileFormatError, match=r"quoted\.csv: line 2: "):
        measured_latencies(quoted, space())
    beside = write(tmp_path / "beside.csv", members[:3], {"cpu": [1.0] * 3})
    beside.with_suffix(".json").write_text("{")
    with pytest.raises(FileFormatError, match=r"beside\.json: damaged"):
        measured_latencies(beside, space())


def test_a_file_that_ends_within_a_number_is_refused(table: Path, tmp_path: Path) -> None:
    """Its last latency would be a tenth of what it was, and the table complete."""
    content = table.read_text().rstrip("\n")
    cut = tmp_path / "cut.csv"
    for end in (content.rpartition(",0.01")[0][:-1], content):
        cut.write_text(end)
        with pytest.raises(FileFormatError, match="cut off"):
            measured_latencies(cut, space())


def test_tables_are_not_taken_for_each_other(table: Path) -> None:
    assert "give it as latencies (--latencies)" in str(
        run("run", "--space", SPACE, "--evaluator", table, "--latencies", table).exception
    )


def test_all_of_a_space_are_drawn_and_small_networks_need_no_distribution() -> None:
    """Networks of 32 pixels are far below the window in which latencies of 224 are best collected."""
    assert len(sample(space(), 3969, 0).encodings) == 3969
    assert set(sample(space(), 20, 0).distributions) == {"uniform"}
    assert set(sample(get_space("multi_hardware"), 20, 0).distributions) == {"depth-uniform", "window=0.5:2"}


@pytest.mark.slow
def test_from_a_collection_to_the_search(tmp_path: Path) -> None:
    """A space's networks measured (here: simulated) by the command that the message names."""
    hardware = next(entry.id for entry, _ in list_hardware() if entry.id.startswith("roofline"))
    path = tmp_path / "some.csv"
    collected = run(
        "collect", "--space", SPACE, "-n", 12, "--hardware", hardware, "--store", tmp_path / "results.db", "-o", path, "--json"
    )
    assert collected.exception is None, collected.output
    result = run("run", "--space", SPACE, "--evaluator", "x:f", "--latencies", path)
    assert f"12 networks have a latency on '{hardware}'" in str(result.exception)


@needs_data
@pytest.mark.slow
def test_searches_are_judged_against_the_best_of_all(table: Path) -> None:
    example = load_example("search_benchmarks")
    benchmark = example.read(MACRO, table)
    assert benchmark.hardware == ("cpu", "npu")
    assert len(benchmark.members) == 3969
    found = example.regrets(benchmark, "max", range(3), samples=300, evaluations=150)
    assert all(regret >= -1e-9 for regrets in found.values() for regret in regrets)
    refined = zip(found["controller + refinement"], found["controller"], strict=True)
    assert all(after <= before for after, before in refined)
    assert np.mean(found["evolution"]) < np.mean(found["random"])
    assert "| controller + refinement | 300 samples + 150 | 3 |" in example.regret_table("max", found, 300, 150)
    rows = example.hardware_rows(benchmark, [0], 150)
    assert list(rows) == ["single, cpu", "single, npu", "multi, average", "multi, maximum"]
    assert rows["multi, maximum"][0]["r_max"] > rows["single, npu"][0]["r_max"]
    assert "| single, npu |" in example.hardware_table(benchmark.hardware, rows)
    modelled = example.model_rows(benchmark, [100], [0])
    assert -1e-9 <= modelled[100][0]["regret_max"] < 0.05  # these latencies are sums over blocks
    assert modelled[100][0]["guessed_max"] == pytest.approx(modelled[100][0]["f_max"], rel=0.01)
    assert example.model_table(modelled).splitlines()[2].startswith("| 100 | 1 | ")
