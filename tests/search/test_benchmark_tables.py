"""Searches against exhaustive truth: NAS-Bench-201 and NAS-Bench-Macro (../shared/data, not part of a clone)."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.complexity import complexity
from mhmodels.errors import FileFormatError
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import Random
from mhmodels.search.objective.benchmark_tables import nas_bench_201_table, nas_bench_macro_table, table_of
from mhmodels.search.run.request import SearchRequest
from mhmodels.search.run.resolving import resolve_search
from mhmodels.search.space.catalogue import get_space
from tests.examples import load_example

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MACRO = DATA / "nas_bench_macro_cifar10.csv"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the benchmark tables are not here ({DATA})")
Aggregates = ("avg", "max")
# Median regret in accuracy points that issue 7 asks for, over 20 seeds.
BARS = {"avg": 0.2, "max": 0.15}


@pytest.fixture(scope="module")
def example() -> Any:
    """The script that makes the tables of docs/search.md."""
    return load_example("search_benchmarks")


@pytest.fixture(scope="module")
def benchmark_201(example: Any) -> Any:
    return example.read(DATA / "nasbench201_accuracy_200ep.npz", DATA / "nasbench201_latency.npz")


@needs_data
def test_macro_networks_are_those_that_were_trained() -> None:
    """Parameters (without the moving averages of normalisation) and multiply-accumulates as the benchmark's own file has them."""
    space = get_space("nas_bench_macro")
    with MACRO.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert space.sizes.positional == len(rows) == 6561
    for row in rows[::131]:
        network = space.build(np.array([int(digit) for digit in row["arch"]]))  # type: ignore[attr-defined]
        counts = complexity(network)
        moving = (counts.params_total - counts.params - network.classes) // 2
        assert counts.madds == int(row["flops"])
        assert counts.params_total - moving == int(row["params"])


@needs_data
def test_macro_strings_that_are_one_network_were_measured_as_one() -> None:
    table, identity = nas_bench_macro_table(MACRO)
    space = get_space("nas_bench_macro")
    assert len(table.columns["accuracy"]) == space.sizes.distinct == 3969
    assert table.evaluate(space.parse("0:0:0:0:0:0:0:1")[None], "accuracy")[0] == pytest.approx(0.6422, abs=1e-4)
    assert table.evaluate(space.parse("0:0:0:0:0:0:1:0")[None], "accuracy")[0] == pytest.approx(0.6422, abs=1e-4)
    assert identity.startswith("nas_bench_macro_cifar10.csv sha256:")


@needs_data
def test_cells_have_the_accuracies_that_were_published() -> None:
    table, _ = nas_bench_201_table(DATA / "nasbench201_accuracy_200ep.npz")
    best = {name: float(values.max()) for name, values in table.columns.items()}
    assert best["cifar10_test"] == pytest.approx(0.9437, abs=1e-4)
    latency, _ = nas_bench_201_table(DATA / "nasbench201_latency.npz")
    assert "pixel3" in latency.columns
    assert "edgegpu_tx2" not in latency.columns  # measured on 1 999 cells only


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", ops=np.zeros((2, 6)), numbers=np.zeros(3))
    (tmp_path / "text.npz").write_text("no arrays")
    (tmp_path / "text.csv").write_text("name,ms\na,1\n")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as file:
        file.writestr("ops", b"no array")
    np.savez(tmp_path / "none.npz", ops=np.zeros((2, 6)), acc=np.zeros((2, 0)), columns=np.array([], str))
    np.savez(tmp_path / "short.npz", ops=np.zeros((2, 6)), latency_ms=np.zeros((3, 1)), devices=np.array(["a"]))
    for name, text in (
        ("other.npz", "expected latency_ms and devices"),
        ("text.npz", "not an .npz file"),
        ("single.npz", r"not an .npz file of plain arrays \(not a whole zip file"),
        ("bytes.npz", r"not an .npz file of plain arrays \('ops' in it is no array"),
        ("none.npz", "values for 0 columns"),
        ("text.csv", "expected columns arch"),
        ("short.npz", "one for each of the cells"),
        ("missing.npz", "cannot be read"),
    ):
        with pytest.raises(FileFormatError, match=text):
            table_of(tmp_path / name)
    with pytest.raises(SearchError, match=r"an \.npz file"):
        table_of(tmp_path / "text.txt")


@pytest.fixture(scope="module")
def cells() -> Any:
    """All 15 625 cells and an accuracy of each, in percent."""
    rows = np.array(list(get_space("nas_bench_201")))
    return rows, 10 + 80 * np.random.default_rng(0).random(len(rows))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda ops, acc: (ops[:-5], acc[:-5]), "15620 different networks of 'nas_bench_201', expected all 15625"),
        (lambda ops, acc: (ops, acc[:-5]), r"\(15620, 1\) values for 1 columns"),
        (lambda ops, acc: (ops, np.where(np.arange(len(acc)) == 7, np.nan, acc)), r"column 'test' has nan in row 8 \(1 such"),
        (lambda ops, acc: (ops, acc / 100), "look like fractions; expected percent"),
        (lambda ops, acc: (ops, acc * 100), "expected accuracies in percent, 0 to 100"),
        (lambda ops, acc: (ops, -acc), "expected accuracies in percent"),
        (lambda ops, acc: (ops + 1, acc), "expected one of 0"),
        (lambda ops, acc: (ops[:, 0], acc), "values for 1 columns"),
        (lambda ops, acc: (ops.astype(float), acc), "6 whole numbers, one a decision; found float64"),
        (lambda ops, acc: (ops, np.array(["ninety"] * len(acc))), "array 'acc' is <U6, expected numbers"),
    ],
)
def test_damaged_tables_of_cells(damage: Any, text: str, cells: Any, tmp_path: Path) -> None:
    ops, accuracy = damage(*cells)
    np.savez(tmp_path / "table.npz", ops=ops, acc=accuracy[:, None], columns=np.array(["test"]))
    with pytest.raises(FileFormatError, match=text):
        table_of(tmp_path / "table.npz")


def test_a_file_that_was_cut_off_anywhere(cells: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez_compressed(path, ops=cells[0], acc=cells[1][:, None], columns=np.array(["test"]))
    assert table_of(path)[0].quantity == "accuracies"
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="table"):
            table_of(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
    path.write_bytes(damaged)
    with pytest.raises(FileFormatError, match="cut off"):
        table_of(path)


def test_latencies_must_be_above_0(cells: Any, tmp_path: Path) -> None:
    ms = np.ones((len(cells[0]), 2))
    ms[3, 1] = 0
    np.savez(tmp_path / "table.npz", ops=cells[0], latency_ms=ms, devices=np.array(["a", "b"]))
    with pytest.raises(FileFormatError, match="column 'b' has a latency of 0"):
        table_of(tmp_path / "table.npz")


def test_a_cell_with_two_accuracies(cells: Any, tmp_path: Path) -> None:
    ops, accuracy = (np.concatenate([one, one[5:6]]) for one in cells)
    for changed, fine in ((accuracy, True), (np.append(accuracy[:-1], 3.0), False)):
        np.savez(tmp_path / "table.npz", ops=ops, acc=changed[:, None], columns=np.array(["test"]))
        if fine:
            assert len(table_of(tmp_path / "table.npz")[0].columns["test"]) == 15625
        else:
            with pytest.raises(FileFormatError, match=r"column 'test' has two values for nas_bench_201:.* in row 15626 \(1 such"):
                table_of(tmp_path / "table.npz")


@needs_data
def test_damaged_tables_of_macro_networks(tmp_path: Path) -> None:
    lines = MACRO.read_text().splitlines(keepends=True)
    path = tmp_path / "macro.csv"
    for content, text in (
        (lines[:3000], "expected all 3969; the file may be cut off"),
        ([*lines[:-1], lines[-1][:11]], "not the table of NAS-Bench-Macro"),
        ([lines[0], lines[1].replace("45.32", "nan"), *lines[2:]], "'nan' is not a decimal number"),
        ([lines[0], lines[1].replace("00000000", "00000003"), *lines[2:]], "expected one of 0"),
        ([lines[0], lines[1].replace("00000000", "0000000"), *lines[2:]], "not the table"),
        (lines[:1], "no networks"),
    ):
        path.write_text("".join(content))
        with pytest.raises(FileFormatError, match=text):
            table_of(path)


@needs_data
def test_accuracies_and_latencies_are_not_taken_for_each_other() -> None:
    accuracy, latency = DATA / "nasbench201_accuracy_200ep.npz", DATA / "nasbench201_latency.npz"
    for evaluator, latencies, text in (
        (latency, latency, "has latencies, expected accuracies; latencies are given with argument 'latencies'"),
        (accuracy, accuracy, "has accuracies, expected latencies; accuracies are given with argument 'evaluator'"),
        (MACRO, MACRO, "a table of space 'nas_bench_macro', not of 'nas_bench_201'"),
    ):
        request = SearchRequest(
            space="nas_bench_201", method=Random(), evaluator=str(evaluator), latencies=str(latencies), hardware=("pixel3",)
        )
        with pytest.raises(SearchError, match=text):
            resolve_search(request)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("aggregate", Aggregates)
def test_evolution_beats_random_search_on_real_networks(aggregate: Any, example: Any, benchmark_201: Any) -> None:
    objective = benchmark_201.objective(example.NAS_BENCH_201, aggregate)
    best = benchmark_201.optimum(objective)
    evolved, drawn = [], []
    for seed in range(5):
        for found, method in ((evolved, example.Evolution()), (drawn, example.Random())):
            found.append(100 * (best - example.search(objective, benchmark_201.accuracy, method, seed).reward))
    assert min(evolved) >= -1e-9
    assert np.mean(evolved) < 0.6 * np.mean(drawn)


@needs_data
@pytest.mark.slow
def test_refinement_mends_the_local_optimum_of_a_factorised_policy(example: Any, benchmark_201: Any) -> None:
    objective = benchmark_201.objective(example.NAS_BENCH_201, "max")
    best = benchmark_201.optimum(objective)
    method = example.controller(example.SAMPLES, example.EVALUATIONS)
    found = example.search(objective, benchmark_201.accuracy, method, 0)
    argmax = float(found.log.rewards[found.log.phases.index("argmax")])
    assert found.log.phases.count("reinforce") == 20_000
    assert found.log.phases.count("refinement") == 1000
    assert 100 * (best - argmax) < 2.5  # stuck, but near
    assert 100 * (best - found.reward) <= 0.3


@needs_data
@pytest.mark.slow
def test_one_search_for_all_hardware_serves_them_better_than_one_for_each(example: Any, benchmark_201: Any) -> None:
    """Tables 2 and 3 of the paper: a network made for one hardware costs more in both norms than one made for all."""
    rows = example.hardware_rows(benchmark_201, [0])
    single = [rows[f"single, {name}"][0] for name in example.NAS_BENCH_201]
    assert rows["multi, average"][0]["r_avg"] > max(row["r_avg"] for row in single)
    assert rows["multi, maximum"][0]["r_max"] > max(row["r_max"] for row in single)
    assert abs(rows["multi, average"][0]["f_avg"] - 1) < 0.05
    assert abs(rows["multi, maximum"][0]["f_max"] - 1) < 0.05
    assert np.median([row["f_max"] for row in single]) > 1.1


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("aggregate", Aggregates)
def test_regrets_over_10_seeds_are_within_their_bars(aggregate: Any, example: Any, benchmark_201: Any) -> None:
    found = example.regrets(benchmark_201, aggregate, range(10))
    assert np.median(found["evolution"]) <= BARS[aggregate]
    assert example.paired(found["evolution"], found["random"]) < 0.01
    assert np.median(found["controller + refinement"]) <= 0.3
