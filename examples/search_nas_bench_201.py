"""How well the searches find what is there to be found: NAS-Bench-201, where every network's accuracy and latency is known.

Two tables, in Markdown, as in docs/search.md:

1. regret: how far each method ends from the best reward of all 15 625 networks, over seeds;
2. one search for all hardware against one search for each (section 7.3 of arXiv 2008.08178, Tables 2 and 3).

    python examples/search_nas_bench_201.py --data DIR [--seeds 20] [--only r_avg|r_max|hardware] [-o results.json]

DIR holds nasbench201_latency.npz and nasbench201_accuracy_200ep.npz (made from the tables of HELP and NATS-Bench).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from search.benchmark_tables import nas_bench_201_table
from search.controller import ControllerSettings
from search.evaluators import TableAccuracy, TableLatency
from search.rewards import Aggregate, Objective, Reward
from search.running import search
from search.strategies import Evolution, Random, Reinforce

HARDWARE = ("pixel3", "eyeriss", "gold_6226", "1080ti_32", "samsung_a50")
EVALUATIONS = 1000
STEPS = 20_000
CONTROLLER = Reinforce(
    controller=ControllerSettings(steps=STEPS, operation_warm_up=0.0, width_warm_up=0.0), refinement=EVALUATIONS
)


class Benchmark:
    """The tables, and every network's true reward."""

    def __init__(self, folder: Path) -> None:
        """Reads the files in `folder`."""
        self.latency, self.identity = nas_bench_201_table(folder / "nasbench201_latency.npz")
        accuracy, identity = nas_bench_201_table(folder / "nasbench201_accuracy_200ep.npz")
        self.accuracy = TableAccuracy(accuracy, "cifar10_test", identity)
        self.members = np.array(list(self.latency.space))

    def objective(self, hardware: tuple[str, ...], aggregate: Aggregate) -> Objective:
        """The paper's reward; a hardware's reference is its median over all networks."""
        references = {name: float(np.median(self.latency.columns[name])) for name in hardware}
        sources = {name: TableLatency(self.latency, name, self.identity) for name in hardware}
        return Objective(self.latency.space, sources, Reward(references=references, aggregate=aggregate))

    def optimum(self, objective: Objective) -> float:
        """The best reward that there is."""
        return float(objective(self.accuracy.evaluate(self.members), self.members).max())


def regrets(benchmark: Benchmark, aggregate: Aggregate, seeds: Iterable[int]) -> dict[str, list[float]]:
    """By method the regret in accuracy points for each seed."""
    objective = benchmark.objective(HARDWARE, aggregate)
    best = benchmark.optimum(objective)
    found: dict[str, list[float]] = {"random": [], "evolution": [], "controller": [], "controller + refinement": []}
    for seed in seeds:
        for name, method in (("random", Random(evaluations=EVALUATIONS)), ("evolution", Evolution(evaluations=EVALUATIONS))):
            found[name].append(100 * (best - search(objective, benchmark.accuracy, method, seed).reward))
        result = search(objective, benchmark.accuracy, CONTROLLER, seed)
        argmax = float(result.log.rewards[result.log.phases.index("argmax")])
        found["controller"].append(100 * (best - argmax))
        found["controller + refinement"].append(100 * (best - result.reward))
    return found


def regret_table(name: str, found: dict[str, list[float]]) -> str:
    """Median, quartiles and worst of each method, and whether it beats random search on the same seeds."""
    lines = [f"| r_{name} | evaluations | median | quartiles | worst | p |", "|---|---|---|---|---|---|"]
    budgets = {"controller": f"{STEPS} samples", "controller + refinement": f"{STEPS} samples + {EVALUATIONS}"}
    for method, values in found.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        p = "" if method == "random" else f"{paired(values, found['random']):.1g}"
        budget = budgets.get(method, str(EVALUATIONS))
        lines.append(f"| {method} | {budget} | {middle:.3f} | {low:.3f} to {high:.3f} | {max(values):.3f} | {p} |")
    return "\n".join(lines)


def paired(values: list[float], baseline: list[float]) -> float:
    """One-sided Wilcoxon signed-rank test that `values` are lower than `baseline`, seed by seed."""
    return float(wilcoxon(values, baseline, alternative="less").pvalue)


def hardware_rows(benchmark: Benchmark, seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """By search and seed: accuracy, L/C by hardware, both norms and both multi-hardware rewards of what it found."""
    searches: dict[str, tuple[tuple[str, ...], Aggregate]] = {f"single, {name}": ((name,), "avg") for name in HARDWARE}
    searches |= {"multi, average": (HARDWARE, "avg"), "multi, maximum": (HARDWARE, "max")}
    judges = {aggregate: benchmark.objective(HARDWARE, aggregate) for aggregate in ("avg", "max")}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (hardware, aggregate) in searches.items():
        objective = benchmark.objective(hardware, aggregate)
        found[name] = []
        for seed in seeds:
            result = search(objective, benchmark.accuracy, Evolution(evaluations=EVALUATIONS), seed)
            row: dict[str, Any] = {"accuracy": result.accuracy}
            latencies = judges["avg"].latencies(result.encoding)[0]
            row["ratios"] = (latencies / np.array(list(judges["avg"].reward.references.values()))).tolist()
            for norm, judge in judges.items():
                row[f"f_{norm}"] = float(judge.f(result.encoding)[0])
                row[f"r_{norm}"] = float(judge([result.accuracy], result.encoding)[0])
            found[name].append(row)
    return found


def hardware_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Medians over seeds, as Tables 2 and 3 show them; the interval of f is from the lowest to the highest seed."""
    lines = [
        "| search | accuracy % | " + " | ".join(HARDWARE) + " | f_avg | f_max | r_avg | r_max | searches |",
        "|---|" + "---|" * (len(HARDWARE) + 6),
    ]
    for name, rows in found.items():
        ratios = np.median([row["ratios"] for row in rows], axis=0)
        cells = [f"{100 * np.median([row['accuracy'] for row in rows]):.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
        for norm in ("f_avg", "f_max"):
            values = [row[norm] for row in rows]
            cells.append(f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        cells += [f"{np.median([row[reward] for row in rows]):.4f}" for reward in ("r_avg", "r_max")]
        cells.append("1 of 5" if name.startswith("single") else "1")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is asked for and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=["r_avg", "r_max", "hardware"], default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    arguments = parser.parse_args()
    benchmark = Benchmark(arguments.data)
    results: dict[str, Any] = {}
    norms: tuple[Aggregate, Aggregate] = ("avg", "max")
    for aggregate in norms:
        if arguments.only in (None, f"r_{aggregate}"):
            results[f"r_{aggregate}"] = regrets(benchmark, aggregate, range(arguments.seeds))
            print(regret_table(aggregate, results[f"r_{aggregate}"]), end="\n\n", flush=True)
    if arguments.only in (None, "hardware"):
        results["hardware"] = hardware_rows(benchmark, range(arguments.seeds))
        print(hardware_table(results["hardware"]), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
