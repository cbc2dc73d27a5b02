"""Evaluates search methods on spaces whose accuracies and latencies are known for every network.

The program prints the Markdown tables of docs/search.md:

1. the regret of each method over seeds: the best reward of all networks minus the reward of the found network;
2. one search for all hardware compared with one search per hardware (section 7.3 of arXiv 2008.08178, Tables 2 and 3);
3. the regret caused by cost models that are fitted to a few measured networks.

    python examples/search_benchmarks.py --accuracies nasbench201_accuracy_200ep.npz --latencies nasbench201_latency.npz
    python examples/search_benchmarks.py --accuracies nas_bench_macro_cifar10.csv --latencies macro.csv --evaluations 200

The first command uses five devices of NAS-Bench-201 of different kinds (tables of NATS-Bench and HELP). The second one uses the
accuracies of NAS-Bench-Macro and latencies measured by `mhmodels search collect --space nas_bench_macro -n 3969 -o macro.csv`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from mhmodels.search import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.methods.controller import ControllerSettings
from mhmodels.search.methods.strategies import Evolution, Random, Reinforce
from mhmodels.search.objective.benchmark_tables import table_of
from mhmodels.search.objective.evaluators import TableAccuracy, TableLatency
from mhmodels.search.objective.measured_tables import is_collected, measured_latencies
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Aggregate, Reward
from mhmodels.search.run.loop import search

NAS_BENCH_201 = ("pixel3", "eyeriss", "gold_6226", "1080ti_32", "samsung_a50")
SAMPLES, EVALUATIONS = 20_000, 1000
NORMS: tuple[Aggregate, Aggregate] = ("avg", "max")
MEASURED = (50, 100, 300, 1000)


class Benchmark:
    """Accuracies and latencies of all networks of a space.

    Attributes:
        accuracy: Accuracy of every network.
        sources: Latency table by hardware id.
        hardware: Ids of the hardware with known latencies.
        members: Encodings of all networks, (n, decisions).
        medians: Median latency over all networks by hardware id, ms.
    """

    def __init__(self, accuracy: TableAccuracy, sources: Mapping[str, TableLatency]) -> None:
        """Initialises the benchmark from tables that contain all networks of one space."""
        self.accuracy, self.sources, self.hardware = accuracy, sources, tuple(sources)
        self.members = np.array(list(accuracy.table.space))
        self.medians = {name: float(np.median(source.predict(self.members))) for name, source in sources.items()}

    def objective(self, hardware: tuple[str, ...], aggregate: Aggregate) -> Objective:
        """Returns the paper's reward; the reference latency of a hardware is its median over all networks."""
        sources = {name: self.sources[name] for name in hardware}
        references = {name: self.medians[name] for name in hardware}
        return Objective(self.accuracy.table.space, sources, Reward(references=references, aggregate=aggregate))

    def optimum(self, objective: Objective) -> float:
        """Returns the best reward of all networks."""
        return float(objective(self.accuracy.evaluate(self.members), self.members).max())


def read(accuracies: Path, latencies: Path, hardware: Sequence[str] = ()) -> Benchmark:
    """Reads a benchmark from two files; `hardware` selects columns of a published latency table."""
    table, identity = table_of(accuracies)
    column = "cifar10_test" if "cifar10_test" in table.columns else "accuracy"
    accuracy = TableAccuracy(table, column, identity)
    if is_collected(latencies):
        return Benchmark(accuracy, measured_latencies(latencies, table.space, hardware).sources)
    known, source = table_of(latencies)
    return Benchmark(accuracy, {name: TableLatency(known, name, source) for name in hardware or NAS_BENCH_201})


def controller(samples: int, evaluations: int) -> Reinforce:
    """Returns the controller with TuNAS' schedule and refinement by evolution."""
    settings = ControllerSettings(steps=samples, operation_warm_up=0.0, width_warm_up=0.0)
    return Reinforce(controller=settings, refinement=evaluations)


def regrets(
    benchmark: Benchmark, aggregate: Aggregate, seeds: Iterable[int], samples: int = SAMPLES, evaluations: int = EVALUATIONS
) -> dict[str, list[float]]:
    """Returns the regret of each method in accuracy points, one value per seed."""
    objective = benchmark.objective(benchmark.hardware, aggregate)
    best = benchmark.optimum(objective)
    found: dict[str, list[float]] = {"random": [], "evolution": [], "controller": [], "controller + refinement": []}
    for seed in seeds:
        for name, method in (("random", Random(evaluations=evaluations)), ("evolution", Evolution(evaluations=evaluations))):
            found[name].append(100 * (best - search(objective, benchmark.accuracy, method, seed).reward))
        result = search(objective, benchmark.accuracy, controller(samples, evaluations), seed)
        argmax = float(result.log.rewards[result.log.phases.index("argmax")])
        found["controller"].append(100 * (best - argmax))
        found["controller + refinement"].append(100 * (best - result.reward))
    return found


def regret_table(name: str, found: dict[str, list[float]], samples: int, evaluations: int) -> str:
    """Formats median, quartiles and maximum per method, and the p-value against random search on the same seeds."""
    lines = [f"| r_{name} | evaluations | seeds | median | quartiles | worst | p |", "|---|---|---|---|---|---|---|"]
    budgets = {
        "controller": f"{samples:,} samples".replace(",", " "),
        "controller + refinement": f"{samples:,} samples + {evaluations}".replace(",", " "),
    }
    for method, values in found.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        p = "" if method == "random" else f"{paired(values, found['random']):.1g}"
        cells = (method, budgets.get(method, str(evaluations)), len(values), f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
        lines.append("| " + " | ".join([*map(str, cells), f"{max(values):.3f}", p]) + " |")
    return "\n".join(lines)


def paired(values: list[float], baseline: list[float]) -> float:
    """Returns the p-value of a one-sided Wilcoxon signed-rank test that `values` are lower than `baseline`, paired by seed."""
    return float(wilcoxon(values, baseline, alternative="less").pvalue)


def hardware_rows(benchmark: Benchmark, seeds: Sequence[int], evaluations: int = EVALUATIONS) -> dict[str, list[dict[str, Any]]]:
    """Returns accuracy, L/C per hardware, f and reward of the network found by each search, one row per seed."""
    every = benchmark.hardware
    searches: dict[str, tuple[tuple[str, ...], Aggregate]] = {f"single, {name}": ((name,), "avg") for name in every}
    searches |= {"multi, average": (every, "avg"), "multi, maximum": (every, "max")}
    judges = {aggregate: benchmark.objective(every, aggregate) for aggregate in ("avg", "max")}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (hardware, aggregate) in searches.items():
        objective = benchmark.objective(hardware, aggregate)
        found[name] = []
        for seed in seeds:
            result = search(objective, benchmark.accuracy, Evolution(evaluations=evaluations), seed)
            row: dict[str, Any] = {"accuracy": result.accuracy}
            latencies = judges["avg"].latencies(result.encoding)[0]
            row["ratios"] = (latencies / np.array(list(judges["avg"].reward.references.values()))).tolist()
            for norm, judge in judges.items():
                row[f"f_{norm}"] = float(judge.f(result.encoding)[0])
                row[f"r_{norm}"] = float(judge([result.accuracy], result.encoding)[0])
            found[name].append(row)
    return found


def hardware_table(hardware: Sequence[str], found: dict[str, list[dict[str, Any]]]) -> str:
    """Formats medians over seeds as in the paper's Tables 2 and 3; f has its minimum and maximum over seeds."""
    lines = [
        "| search | accuracy % | " + " | ".join(hardware) + " | f_avg | f_max | r_avg | r_max | searches |",
        "|---|" + "---|" * (len(hardware) + 6),
    ]
    for name, rows in found.items():
        ratios = np.median([row["ratios"] for row in rows], axis=0)
        cells = [f"{100 * np.median([row['accuracy'] for row in rows]):.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
        for norm in ("f_avg", "f_max"):
            values = [row[norm] for row in rows]
            cells.append(f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        cells += [f"{np.median([row[reward] for row in rows]):.4f}" for reward in ("r_avg", "r_max")]
        cells.append(f"1 of {len(hardware)}" if name.startswith("single") else "1")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def model_rows(benchmark: Benchmark, sizes: Iterable[int], seeds: Iterable[int]) -> dict[int, list[dict[str, float]]]:
    """Returns regret, predicted f and true f of the best network according to cost models fitted to `sizes` networks.

    All accuracies are known, so the cost models are the only source of regret.
    """
    space, found = benchmark.accuracy.table.space, {}
    accuracy = benchmark.accuracy.evaluate(benchmark.members)
    truths = {norm: benchmark.objective(benchmark.hardware, norm) for norm in NORMS}
    rewards = {norm: truth(accuracy, benchmark.members) for norm, truth in truths.items()}
    for size, seed in itertools.product(sizes, seeds):
        rows = np.random.default_rng(seed).choice(benchmark.members, size, replace=False)
        models = {
            name: fit(space, rows, source.predict(rows), LatencyOrigin(name), FitOptions(curve=False, seed=seed)).model
            for name, source in benchmark.sources.items()
        }
        row = {}
        for norm, truth in truths.items():
            guess = Objective.of_cost_models(space, list(models.values()), truth.reward)
            place = guess(accuracy, benchmark.members).argmax()
            best = benchmark.members[place]
            row |= {f"regret_{norm}": 100 * float(rewards[norm].max() - rewards[norm][place])}
            row |= {f"guessed_{norm}": float(guess.f(best)[0]), f"f_{norm}": float(truth.f(best)[0])}
        found.setdefault(size, []).append(row)
    return found


def model_table(found: dict[int, list[dict[str, float]]]) -> str:
    """Formats one row per number of measured networks: median and maximum over seeds."""
    lines = [
        "| measured | seeds | " + " | ".join(f"regret, r_{norm} | worst | f_{norm} by models | true" for norm in NORMS) + " |",
        "|---|" + "---|" * 9,
    ]
    for size, rows in found.items():
        cells = [f"{size:,}".replace(",", " "), str(len(rows))]
        for norm in NORMS:
            columns = {name: [row[f"{name}_{norm}"] for row in rows] for name in ("regret", "guessed", "f")}
            cells += [f"{np.median(columns['regret']):.3f}", f"{max(columns['regret']):.3f}"]
            cells += [f"{np.median(columns[name]):.3f}" for name in ("guessed", "f")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs the requested evaluations and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracies", type=Path, required=True, help="Table of accuracies, .npz or .csv.")
    parser.add_argument("--latencies", type=Path, required=True, help="Table of latencies, .npz or .csv.")
    parser.add_argument("--hardware", nargs="+", default=(), help="Columns of the table of latencies.")
    parser.add_argument("--seeds", type=int, default=20, help="Number of seeds.")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="Samples of the controller.")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="Evaluations per method and refinement.")
    parser.add_argument("--only", choices=["r_avg", "r_max", "hardware", "models"], help="Print only this table.")
    parser.add_argument("-o", "--output", type=Path, help="Also write the results to this JSON file.")
    given = parser.parse_args()
    benchmark = read(given.accuracies, given.latencies, given.hardware)
    results: dict[str, Any] = {}
    for aggregate in NORMS:
        if given.only in (None, f"r_{aggregate}"):
            found = regrets(benchmark, aggregate, range(given.seeds), given.samples, given.evaluations)
            results[f"r_{aggregate}"] = found
            print(regret_table(aggregate, found, given.samples, given.evaluations), end="\n\n", flush=True)
    if given.only in (None, "hardware"):
        results["hardware"] = hardware_rows(benchmark, range(given.seeds), given.evaluations)
        print(hardware_table(benchmark.hardware, results["hardware"]), end="\n\n", flush=True)
    if given.only in (None, "models"):
        results["models"] = model_rows(benchmark, MEASURED, range(given.seeds))
        print(model_table(results["models"]), flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
