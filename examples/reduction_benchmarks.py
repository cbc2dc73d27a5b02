"""Tests whether a reduced space searches better than the whole one, with the cost of profiling counted.

The program prints a Markdown table for each section:

- `devices`: what the automatic rule removes on three synthetic devices of the space of Once-for-All: an NPU whose 7x7 kernels
  cost four times, a launch-bound device where every layer costs the same, and a phone;
- `npu`: searches of the whole and of the reduced space on that NPU, with equal numbers of evaluations;
- `macro`: the same on NAS-Bench-Macro, with its trained accuracies and the package's latencies of five hardware.

    python examples/reduction_benchmarks.py --accuracies nas_bench_macro_cifar10.csv
    python examples/reduction_benchmarks.py --section npu --seeds 3

Accuracies of the synthetic devices are sums over layers: the block means that arXiv 2109.12426 publishes, and assumptions (see
`ACCURACY`, `SENSITIVITY`, `THIRD`, `FOURTH`). A search sees them with noise; on NAS-Bench-Macro it sees one of three trainings.
A found front is what a search would report, the non-dominated networks by the values that it saw. It is judged by true values:
the area that it dominates (hypervolume), up to the latency of the mean network and down to the 5 % quantile of accuracy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from scipy.stats import wilcoxon

from mhmodels.errors import MhmodelsError
from mhmodels.formats.numbers import decimal
from mhmodels.search import (
    SKIP,
    ControllerSettings,
    FrontEvolution,
    NonDominated,
    Objective,
    Reduction,
    Reinforce,
    Reward,
    SearchSpace,
    get_space,
    profile,
    reduce_space,
    sample,
)
from mhmodels.search.cost_model.shipping import table_path
from mhmodels.search.methods.dominance import non_dominated
from mhmodels.search.methods.strategies import Method
from mhmodels.search.objective.benchmark_tables import table_of
from mhmodels.search.objective.measured_tables import measured_latencies
from mhmodels.search.profiling.panels import COLOURS, FONT_SIZE, panels
from mhmodels.search.run.loop import search

Floats = NDArray[np.float64]
Rows = NDArray[np.int16]

UNITS, LAYERS = 5, 4
ACCURACY = (77.43, 77.43, 77.42, 77.44, 77.48, 77.49, 77.51, 77.54, 77.58)
"""Published block means of accuracy in percent: expansion 3, 4, 6; of each kernel size 3, 5, 7. Their differences are effects."""
SENSITIVITY = (0.6, 0.8, 1.0, 1.2, 1.4)
"""Assumption, factor on the effects of a unit's blocks: published is that it grows towards the last units."""
THIRD = tuple(0.35 * factor for factor in SENSITIVITY)
FOURTH = (0.1, 0.2, 0.25, 0.4, 0.3)
"""Assumptions, percent for a third and a fourth layer: published is that a fourth one gains most in unit 4, least in unit 1."""
NOISE = 0.15
"""Standard deviation of an observed accuracy, percent."""
FIXED_MS = 1.0


class SyntheticDevice(NamedTuple):
    """A device whose latency is 1 ms and a sum over layers.

    Attributes:
        unit_ms: By unit, ms of a layer.
        factors: By block, in the order of `ACCURACY`, the factor on that.
    """

    unit_ms: Sequence[float]
    factors: Sequence[float]


DEVICES = {
    "npu": SyntheticDevice((0.5, 0.3, 0.3, 0.4, 0.5), [e * k for e in (1, 1.02, 1.1) for k in (1, 1.03, 4)]),
    "launch": SyntheticDevice((0.3,) * UNITS, (1,) * 9),
    # The published block means of the Note10 in ms, on 1.5 ms for the fastest block.
    "phone": SyntheticDevice(
        (1.4, 1.0, 0.9, 0.9, 0.8), [1.5 + ms - 41.14 for ms in (41.14, 41.41, 41.81, 41.46, 41.82, 42.31, 42.12, 42.66, 43.41)]
    ),
}


class Problem(NamedTuple):
    """A space with accuracies and latencies.

    Attributes:
        space: The whole space.
        ms: Latencies (n,) of encodings.
        accuracy: True accuracies (n,) in percent.
        observed: Accuracies as a search sees them, with a random generator.
    """

    space: SearchSpace
    ms: Callable[[Rows], Floats]
    accuracy: Callable[[Rows], Floats]
    observed: Callable[[Rows, np.random.Generator], Floats]

    def predict(self, encodings: Rows) -> Floats:
        """Latencies (n,), under the name that an objective asks for."""
        return self.ms(encodings)


class Evaluated(NamedTuple):
    """Networks that a search evaluated, with the accuracies in percent that it saw."""

    rows: Rows
    seen: Floats


class Observer:
    """The source of accuracies of one search."""

    identity = "observed"

    def __init__(self, problem: Problem, seed: int, known: Evaluated | None = None) -> None:
        """Begins with the noise of a seed, and with what a profile has evaluated."""
        self._problem, self._rng = problem, np.random.default_rng([seed, 1])
        self._known = {} if known is None else dict(zip(map(bytes, known.rows), known.seen, strict=True))

    def evaluate(self, encodings: Rows) -> Floats:
        """Fractions (n,) of encodings; a network that was evaluated keeps its value."""
        new = self._problem.observed(encodings, self._rng)
        return np.array([self._known.get(bytes(row), value) for row, value in zip(encodings, new, strict=True)]) / 100


def synthetic(device: SyntheticDevice) -> Problem:
    """The space of Once-for-All at 224 pixels on a synthetic device."""
    whole = get_space("ofa_mobilenet_v3")
    space = whole.restricted([*whole.allowed[:-1], [len(whole.decisions[-1].choices) - 1]])
    skip = whole.decisions[2].choices.index(SKIP)
    gains = np.append(np.array(ACCURACY) - np.mean(ACCURACY), 0.0)
    costs = np.append(device.factors, 0.0)

    def ms(rows: Rows) -> Floats:
        total: Floats = FIXED_MS + np.einsum("nul,u->n", costs[_layers(rows)], np.array(device.unit_ms))
        return total

    def accuracy(rows: Rows) -> Floats:
        layers = _layers(rows)
        blocks = np.einsum("nul,u->n", gains[layers], np.array(SENSITIVITY))
        deeper: Floats = (layers[:, :, 2] != skip) @ THIRD + (layers[:, :, 3] != skip) @ FOURTH
        return np.asarray(float(np.mean(ACCURACY)) + blocks + deeper)

    return Problem(space, ms, accuracy, lambda rows, rng: accuracy(rows) + rng.normal(0, NOISE, len(rows)))


def _layers(rows: Rows) -> Rows:
    return rows[:, : UNITS * LAYERS].reshape(-1, UNITS, LAYERS)


def nas_bench_macro(accuracies: Path) -> dict[str, Problem]:
    """NAS-Bench-Macro by hardware: the mean accuracy of three trainings is true, and one of them is observed."""
    table, _ = table_of(accuracies)
    space = table.space
    runs = _runs(accuracies, space)
    sources = measured_latencies(table_path(Path("nas_bench_macro")), space).sources

    def observed(rows: Rows, rng: np.random.Generator) -> Floats:
        three = np.array([runs[row.tobytes()] for row in space.canonical(rows)])
        return np.asarray(three[np.arange(len(rows)), rng.integers(3, size=len(rows))])

    def true(rows: Rows) -> Floats:
        return 100 * table.evaluate(rows, "accuracy")

    return {name: Problem(space, source.predict, true, observed) for name, source in sources.items()}


def _runs(path: Path, space: SearchSpace) -> dict[bytes, list[float]]:
    """Accuracies of the three trainings of each network in percent."""
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    columns = [header.index(name) for name in ("arch", "acc1", "acc2", "acc3")]
    found = {}
    for line in lines:
        digits, *values = (line[column] for column in columns)
        row = space.canonical(np.array([list(map(int, digits))], np.int16))[0]
        found[row.tobytes()] = [decimal(value) for value in values]
    return found


class ReferencePoint(NamedTuple):
    """Latency in ms and accuracy in percent that a front is measured from."""

    ms: float
    accuracy: float

    @classmethod
    def of(cls, problem: Problem, slowest: bool = False) -> ReferencePoint:
        """The mean or largest latency, and the 5 % quantile of accuracy, of 20,000 random networks."""
        rows = problem.space.draw(20_000, np.random.default_rng(0), depth="uniform")
        ms = problem.ms(rows)
        return cls(float(ms.max() if slowest else ms.mean()), float(np.quantile(problem.accuracy(rows), 0.05)))

    @staticmethod
    def front(problem: Problem, evaluated: Evaluated) -> Rows:
        """Networks (n, decisions) that no other one beats, by the accuracies that the search saw."""
        return evaluated.rows[non_dominated(np.column_stack([problem.ms(evaluated.rows), -evaluated.seen]))]

    def hypervolume(self, problem: Problem, evaluated: Evaluated) -> float:
        """True hypervolume in ms x percent of the front that a search would report."""
        front = self.front(problem, evaluated)
        goals = np.column_stack([problem.ms(front), -problem.accuracy(front)])
        return float(HV(ref_point=np.array([self.ms, -self.accuracy]))(goals))


def method_of(name: str, budget: int) -> Method:
    """A search method with the sizes that `search run --method NAME --evaluations BUDGET` takes by default.

    The controller (`reinforce`), whose defaults are 21,000 evaluations, has half of the budget, and its refinement the rest.
    """
    if name == "front-evolution":
        population = max(2, min(100, budget // 21))
        return FrontEvolution(evaluations=budget, population=population, children=2 * population)
    if name == "nsga2":
        return NonDominated(evaluations=budget, population=max(2, min(100, budget // 2)))
    steps = budget // 2
    settings = ControllerSettings(steps=steps, learning_rate=4.8e-3, delay=0.25, operation_warm_up=0.0, width_warm_up=0.0)
    refinement = budget - steps - 1
    size = max(2, min(50, refinement // 2))
    return Reinforce(controller=settings, refinement=refinement, population=size, tournament=max(2, size // 2))


def searched(
    problem: Problem, space: SearchSpace, method: Method, target_ms: float, seed: int, known: Evaluated | None = None
) -> tuple[Evaluated, Rows]:
    """Searches a space; returns what was evaluated, and the network (1, decisions) of the best reward."""
    objective = Objective(space, {"device": problem}, Reward(references={"device": target_ms}))
    found = search(objective, Observer(problem, seed, known), method, seed)
    return Evaluated(found.log.encodings, 100 * found.log.accuracy), found.encoding[None]


def profiled(problem: Problem, n: int, seed: int) -> Evaluated:
    """A sample of the whole space, as a profile measures it."""
    rows = sample(problem.space, n, seed=seed, distribution=_distribution(problem.space)).encodings
    return Evaluated(rows, problem.observed(rows, np.random.default_rng([seed, 2])))


def _distribution(space: SearchSpace) -> str:
    return "depth-uniform" if space.name.startswith("ofa") else "uniform"


def reduced(problem: Problem, measured: Evaluated) -> Reduction:
    """The automatic rule, whose blocks are judged in all units at once."""
    profiles = [
        profile(problem.space, measured.rows, values, differences=True) for values in (problem.ms(measured.rows), measured.seen)
    ]
    return reduce_space(problem.space, {"device": profiles[0]}, profiles[1], per="network")


def both_ways(problem: Problem, method: str, budget: int, sample_size: int, seed: int) -> dict[str, tuple[Evaluated, Rows]]:
    """What both ways to spend a budget evaluate, and the network (1, decisions) of the best reward.

    The reduced search has the budget without the profile's sample, whose networks count among those it found. Evolution of the
    front begins with those that are members of the reduced space.
    """
    target_ms = ReferencePoint.of(problem).ms / 2
    whole = searched(problem, problem.space, method_of(method, budget), target_ms, seed)
    measured = profiled(problem, sample_size, seed)
    space = reduced(problem, measured).restrict(problem.space)
    left = method_of(method, budget - sample_size)
    if isinstance(left, FrontEvolution):  # what the profile has evaluated costs nothing again
        start = tuple(tuple(row.tolist()) for row in measured.rows if space.contains(row))
        left = msgspec.structs.replace(left, evaluations=left.evaluations + len(start), start=start)
    part, best = searched(problem, space, left, target_ms, seed, measured)
    both = Evaluated(np.concatenate([measured.rows, part.rows]), np.concatenate([measured.seen, part.seen]))
    return {"whole": whole, "reduced": (both, best)}


def compare(
    problem: Problem, method: str, budget: int, sample_size: int, seeds: Sequence[int], slowest: bool = False
) -> dict[str, list[float]]:
    """Scores of both ways to spend a budget by seed: the true hypervolume, for `reinforce` the true reward in points."""
    reference, target_ms = ReferencePoint.of(problem, slowest), ReferencePoint.of(problem).ms / 2
    found: dict[str, list[float]] = {"whole": [], "reduced": []}
    for seed in seeds:
        for name, (evaluated, one) in both_ways(problem, method, budget, sample_size, seed).items():
            if method == "reinforce":
                reward = Reward(references={"device": target_ms})
                found[name].append(100 * float(reward(problem.accuracy(one) / 100, problem.ms(one)[:, None])[0]))
            else:
                found[name].append(reference.hypervolume(problem, evaluated))
    return found


def draw_fronts(problem: Problem, budget: int, sample_size: int, seeds: Sequence[int], path: Path) -> None:
    """Draws the fronts that searches of both spaces find, by their true latency and accuracy: a panel for each method."""
    methods = ("front-evolution", "nsga2")
    limit = ReferencePoint.of(problem)
    captions = [f"{method}, {budget} evaluations" for method in methods]
    with panels(captions, len(methods), (4.6, 3.8), path) as (figure, each):
        for method, caption, axes in zip(methods, captions, each, strict=True):
            for seed in seeds:
                for name, (evaluated, _) in both_ways(problem, method, budget, sample_size, seed).items():
                    front = limit.front(problem, evaluated)
                    goals = np.column_stack([problem.ms(front), problem.accuracy(front)])
                    goals = goals[np.argsort(goals[:, 0])]
                    axes.step(
                        goals[:, 0], np.maximum.accumulate(goals[:, 1]), where="post", linewidth=1.1,
                        color=COLOURS[int(name == "whole")], linestyle="--" if name == "whole" else "-",
                        label=f"{name} space" if seed == seeds[0] and method == methods[0] else None,
                    )  # fmt: skip
            axes.axvline(limit.ms, color="0.5", linewidth=1, linestyle=":")
            axes.set_title(caption, fontsize=FONT_SIZE + 1)
            axes.set_xlabel("latency, ms (dotted: the mean network)", fontsize=FONT_SIZE)
            axes.set_ylabel("true accuracy, %", fontsize=FONT_SIZE)
            axes.tick_params(labelsize=FONT_SIZE - 1)
            axes.grid(color="0.9", linewidth=0.7)
        figure.legend(loc="outside lower center", ncols=2, fontsize=FONT_SIZE)


def comparison_row(words: Sequence[object], found: Mapping[str, list[float]]) -> str:
    """One row of the table: means and standard deviations, wins by seed, two-sided Wilcoxon signed-rank test."""
    whole, part = (np.array(found[name]) for name in ("whole", "reduced"))
    p = 1.0 if np.array_equal(whole, part) else float(wilcoxon(part, whole).pvalue)
    cells = [f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" for values in (whole, part)]
    return "| " + " | ".join([*map(str, words), *cells, f"{int((part > whole).sum())} of {len(whole)}", f"{p:.1g}"]) + " |"


def comparison_table(
    problems: Mapping[str, Problem],
    methods: Sequence[str],
    budgets: Sequence[int],
    sample_size: int,
    seeds: Sequence[int],
    slowest: bool,
) -> Iterator[tuple[str, dict[str, dict[str, list[float]]]]]:
    """Yields the lines of a table, each with its scores by seed."""
    yield "| hardware | method | evaluations | whole space | reduced space | reduced better | p |", {}
    yield "|---|---|---|---|---|---|---|", {}
    for name, problem in problems.items():
        for method in methods:
            for budget in budgets:
                found = compare(problem, method, budget, sample_size, seeds, slowest)
                yield comparison_row((name, method, f"{budget:,}"), found), {f"{name} {method} {budget}": found}


def device_table(sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[str]:
    """Yields the lines of a table: how often the rule removes each block in all units, and each last layer."""
    yield f"| device | networks | blocks removed (in how many of {len(seeds)} samples) | last layers removed |"
    yield "|---|---|---|---|"
    for name, device in DEVICES.items():
        problem = synthetic(device)
        for size in sizes:
            blocks: Counter[str] = Counter()
            caps: Counter[str] = Counter()
            for seed in seeds:
                reduction = reduced(problem, profiled(problem, size, seed))
                blocks.update(_short(one.block) for one in reduction.removed)
                caps.update(f"unit {one.unit} to {one.layers}" for one in reduction.caps)
            yield f"| {name} | {size:,} | {_counts(blocks)} | {_counts(caps)} |"


def _short(block: str) -> str:
    """`k7 e6` for `inverted_bottleneck kernel=7 expansion=6`."""
    return " ".join(f"{name[0]}{value}" for name, _, value in (word.partition("=") for word in block.split()[1:]))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{word}: {count}" for word, count in sorted(counter.items())) or "none"


def main() -> None:
    """Runs the requested sections and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=["devices", "npu", "macro"], help="Run only this section.")
    parser.add_argument("--accuracies", type=Path, help="Accuracies of NAS-Bench-Macro, .csv (section `macro`).")
    parser.add_argument("--seeds", type=int, default=20, help="Number of seeds.")
    parser.add_argument("--first-seed", type=int, default=0, help="First seed; those from 100 on chose the sample sizes.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[150, 300, 1000], help="Networks of a profile, in `devices`.")
    parser.add_argument("--budgets", type=int, nargs="+", default=[300, 600, 2100], help="Numbers of evaluations.")
    parser.add_argument("--sample", type=int, help="Networks of the profile. Default: 100, in `macro` 50.")
    parser.add_argument("--methods", nargs="+", default=["front-evolution", "nsga2", "reinforce"], help="Methods of search run.")
    parser.add_argument("--slowest", action="store_true", help="Measure fronts up to the slowest network, not the mean one.")
    parser.add_argument("--plot", type=Path, help="Only draw fronts of the first five seeds on the NPU, to this picture.")
    parser.add_argument("-o", "--output", type=Path, help="Also write the scores by seed to this JSON file.")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if given.plot is not None:
        draw_fronts(synthetic(DEVICES["npu"]), given.budgets[0], given.sample or 100, seeds[:5], given.plot)
        return
    if given.section in (None, "devices"):
        for line in device_table(given.sizes, seeds):
            print(line, flush=True)
    results: dict[str, Any] = {}
    problems: dict[str, Callable[[], dict[str, Problem]]] = {"npu": lambda: {"npu": synthetic(DEVICES["npu"])}}
    if given.accuracies is not None:
        problems["macro"] = partial(nas_bench_macro, given.accuracies)
    elif given.section == "macro":
        parser.error("section macro needs --accuracies")
    for section, make in problems.items():
        if given.section in (None, section):
            print(flush=True)
            size = given.sample or {"npu": 100, "macro": 50}[section]
            for line, found in comparison_table(make(), given.methods, given.budgets, size, seeds, given.slowest):
                print(line, flush=True)
                results |= found
    if given.output is not None:
        given.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    try:
        main()
    except MhmodelsError as error:
        sys.exit(str(error))
