"""How well the searches find what is there to be found, where every network's accuracy and latency is known.

Tables in Markdown, as in docs/search.md:

1. regret: how far each method ends from the best reward of all networks, over seeds;
2. one search for all hardware against one search for each (section 7.3 of arXiv 2008.08178, Tables 2 and 3);
3. the price of cost models: how far the best network by models of a few measured networks is from the best of all.

    python examples/search_benchmarks.py --accuracies nasbench201_accuracy_200ep.npz --latencies nasbench201_latency.npz
    python examples/search_benchmarks.py --accuracies nas_bench_macro_cifar10.csv --latencies macro.csv --evaluations 200

The first takes five devices of NAS-Bench-201 whose kinds differ (tables of NATS-Bench and HELP), the second the accuracies of
NAS-Bench-Macro and what `mhmodels search collect --space nas_bench_macro -n 3969 -o macro.csv` measured.
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
    """The tables, and every network's true reward.

    Attributes:
        accuracy: of every network.
        hardware: of which latencies are known, ids.
        members: all networks, (n, decisions).
    """

    def __init__(self, accuracy: TableAccuracy, sources: Mapping[str, TableLatency]) -> None:
        """Takes the columns of tables that have all networks of one space."""
        self.accuracy, self.sources, self.hardware = accuracy, sources, tuple(sources)
        self.members = np.array(list(accuracy.table.space))
        self.medians = {name: float(np.median(source.predict(self.members))) for name, source in sources.items()}

    def objective(self, hardware: tuple[str, ...], aggregate: Aggregate) -> Objective:
        """The paper's reward; a hardware's reference is its median over all networks."""
        sources = {name: self.sources[name] for name in hardware}
        references = {name: self.medians[name] for name in hardware}
        return Objective(self.accuracy.table.space, sources, Reward(references=references, aggregate=aggregate))

    def optimum(self, objective: Objective) -> float:
        """The best reward that there is."""
        return float(objective(self.accuracy.evaluate(self.members), self.members).max())


def read(accuracies: Path, latencies: Path, hardware: Sequence[str] = ()) -> Benchmark:
    """The benchmark in two files; of a published table of latencies `hardware` says the columns."""
    table, identity = table_of(accuracies)
    column = "cifar10_test" if "cifar10_test" in table.columns else "accuracy"
    accuracy = TableAccuracy(table, column, identity)
    if is_collected(latencies):
        return Benchmark(accuracy, measured_latencies(latencies, table.space, hardware).sources)
    known, source = table_of(latencies)
    return Benchmark(accuracy, {name: TableLatency(known, name, source) for name in hardware or NAS_BENCH_201})


def controller(samples: int, evaluations: int) -> Reinforce:
    """TuNAS' schedule, and a refinement."""
    settings = ControllerSettings(steps=samples, operation_warm_up=0.0, width_warm_up=0.0)
    return Reinforce(controller=settings, refinement=evaluations)


def regrets(
    benchmark: Benchmark, aggregate: Aggregate, seeds: Iterable[int], samples: int = SAMPLES, evaluations: int = EVALUATIONS
) -> dict[str, list[float]]:
    """By method the regret in accuracy points for each seed."""
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
    """Median, quartiles and worst of each method, and whether it beats random search on the same seeds."""
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
    """One-sided Wilcoxon signed-rank test that `values` are lower than `baseline`, seed by seed."""
    return float(wilcoxon(values, baseline, alternative="less").pvalue)


def hardware_rows(benchmark: Benchmark, seeds: Sequence[int], evaluations: int = EVALUATIONS) -> dict[str, list[dict[str, Any]]]:
    """By search and seed: accuracy, L/C by hardware, both norms and both multi-hardware rewards of what it found."""
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
    """Medians over seeds, as Tables 2 and 3 show them; the interval of f is from the lowest to the highest seed."""
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
    """By number of measured networks and seed: of the best network by cost models of these, its regret and both its f.

    All accuracies are known, so that nothing is lost but by the models.
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
    """A row for each number of measured networks: medians over seeds, and the worst."""
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
    """Runs what is asked for and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracies", type=Path, required=True)
    parser.add_argument("--latencies", type=Path, required=True)
    parser.add_argument("--hardware", nargs="+", default=())
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of the controller")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="of every other method, and of the refinement")
    parser.add_argument("--only", choices=["r_avg", "r_max", "hardware", "models"], default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
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
