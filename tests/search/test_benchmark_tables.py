"""Searches against exhaustive truth: NAS-Bench-201 and NAS-Bench-Macro (../shared/data, not part of a clone)."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.complexity import complexity
from mhmodels.errors import FileFormatError
from search.benchmark_tables import nas_bench_201_table, nas_bench_macro_table, table_of
from search.errors import SearchError
from search.spaces import get_space

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
    path = ROOT / "examples" / "search_nas_bench_201.py"
    specification = importlib.util.spec_from_file_location("search_nas_bench_201", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark_201(example: Any) -> Any:
    return example.Benchmark(DATA)


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
    np.savez(tmp_path / "short.npz", ops=np.zeros((2, 6)), latency_ms=np.zeros((3, 1)), devices=np.array(["a"]))
    for name, text in (
        ("other.npz", "expected latency_ms and devices"),
        ("text.npz", "not an .npz file"),
        ("text.csv", "expected columns arch"),
        ("short.npz", "one for each of the cells"),
        ("missing.npz", "cannot be read"),
    ):
        with pytest.raises(FileFormatError, match=text):
            table_of(tmp_path / name)
    with pytest.raises(SearchError, match=r"an \.npz file"):
        table_of(tmp_path / "text.txt")


@needs_data
@pytest.mark.parametrize("aggregate", Aggregates)
def test_evolution_beats_random_search_on_real_networks(aggregate: Any, example: Any, benchmark_201: Any) -> None:
    objective = benchmark_201.objective(example.HARDWARE, aggregate)
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
    objective = benchmark_201.objective(example.HARDWARE, "max")
    best = benchmark_201.optimum(objective)
    found = example.search(objective, benchmark_201.accuracy, example.CONTROLLER, 0)
    argmax = float(found.log.rewards[found.log.phases.index("argmax")])
    assert found.log.phases.count("reinforce") == 20_000
    assert found.log.phases.count("refinement") == 1000
    assert 100 * (best - argmax) < 2.5  # stuck, but near
    assert 100 * (best - found.reward) <= 0.3


@needs_data
def test_one_search_for_all_hardware_serves_them_better_than_one_for_each(example: Any, benchmark_201: Any) -> None:
    """Tables 2 and 3 of the paper: a network made for one hardware costs more in both norms than one made for all."""
    rows = example.hardware_rows(benchmark_201, [0])
    single = [rows[f"single, {name}"][0] for name in example.HARDWARE]
    assert rows["multi, average"][0]["r_avg"] > max(row["r_avg"] for row in single)
    assert rows["multi, maximum"][0]["r_max"] > max(row["r_max"] for row in single)
    assert abs(rows["multi, average"][0]["f_avg"] - 1) < 0.05
    assert abs(rows["multi, maximum"][0]["f_max"] - 1) < 0.05
    assert np.median([row["f_max"] for row in single]) > 1.1


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("aggregate", Aggregates)
def test_regrets_over_20_seeds_are_within_their_bars(aggregate: Any, example: Any, benchmark_201: Any) -> None:
    found = example.regrets(benchmark_201, aggregate, range(20))
    assert np.median(found["evolution"]) <= BARS[aggregate]
    assert example.paired(found["evolution"], found["random"]) < 0.01
    assert np.median(found["controller + refinement"]) <= 0.3
