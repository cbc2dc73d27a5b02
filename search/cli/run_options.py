"""The options of `mhmodels search run`, in four groups: accuracies, latencies, reward, and search method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mhmodels.cli.common import FiniteRange
from mhmodels.search.cli.options import INPUT_FILE, option_group, seed_option

if TYPE_CHECKING:
    from mhmodels.search.methods.strategies import Method
    from mhmodels.search.objective.rewards import Aggregate, RewardKind
    from mhmodels.search.run.request import DistributionStrategy, WeightSharing

EVALUATIONS = {"evolution": 1000, "nsga2": 2000, "random": 1000}
POPULATIONS = {"reinforce": 50, "evolution": 50, "nsga2": 100}
"""Default evaluations and populations by method."""


@dataclass(frozen=True)
class AccuracyOptions:
    """Where accuracies come from: an evaluator, or a super-network that is trained on pictures."""

    evaluator: str | None
    data: str | None
    preset: str | None
    label_offset: int | None
    classes: int | None
    strategy: DistributionStrategy
    recompute: bool

    def check(self) -> None:
        """Refuses both sources of accuracies, or none.

        Raises:
            click.UsageError: There are both or none.
        """
        if (self.evaluator is None) == (self.data is None):
            raise click.UsageError(
                "accuracies come from an --evaluator or from a super-network trained on --data: give one of both"
            )

    def weight_sharing(self) -> WeightSharing | None:
        """The super-network; None with an evaluator. The preset is read now, so that a changed file changes no search.

        Raises:
            MhmodelsError: There is no such preset.
        """
        if self.data is None:
            return None
        from mhmodels.search.run.request import WeightSharing
        from mhmodels.search.supernet.presets import load_preset

        return WeightSharing(
            preset=load_preset(self.preset or ("quick" if self.data.startswith("digits64") else "paper")),
            data=self.data,
            label_offset=self.label_offset,
            classes=self.classes,
            strategy=self.strategy,
            recompute=self.recompute,
        )


accuracy_options = option_group(
    "accuracy",
    AccuracyOptions,
    click.option(
        "--evaluator",
        default=None,
        metavar="FILE|MODULE:FUNCTION",
        help="Source of accuracies: a published table (FILE.npz[:COLUMN] or FILE.csv), FILE.jsonl with encodings and accuracies "
        "to train a predictor on, or a function that takes the space and encodings (n, decisions) and returns n fractions.",
    ),
    click.option(
        "--data",
        default=None,
        metavar="DIR|TFRECORDS|digits64",
        help="Train a super-network on these pictures and judge networks by its shared weights, in place of an evaluator: a "
        "folder with a folder for each class, TFRecord files, or the generated digits64 and digits64-hard.",
    ),
    click.option(
        "--preset",
        default=None,
        metavar="NAME|FILE.json",
        help="Preset of the super-network's training, with --data: quick, paper, tunas, or a preset file. Default: quick for "
        "digits64, else paper.",
    ),
    click.option(
        "--label-offset", type=int, default=None, help="Number to add to the labels of TFRecords, with --data. Default: 0."
    ),
    click.option(
        "--classes",
        type=click.IntRange(1),
        default=None,
        help="Number of classes of the super-network, with --data. Default: the number in the data.",
    ),
    click.option(
        "--strategy",
        type=click.Choice(["none", "mirrored", "multi_worker", "tpu"]),
        default="none",
        show_default=True,
        help="Distribution of the super-network's training, with --data, as for `mhmodels train`; tpu was never run.",
    ),
    click.option(
        "--recompute",
        is_flag=True,
        help="Compute activations of the super-network again in the backward pass, with --data: less memory, more time.",
    ),
)


@dataclass(frozen=True)
class LatencyOptions:
    """Where latencies come from, and which hardware counts."""

    cost_models: tuple[Path, ...]
    latencies: Path | None
    force: bool
    hardware: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def hardware_ids(self) -> tuple[str, ...]:
        """Ids of the hardware, also of those that were joined by commas."""
        return tuple(part for value in self.hardware for part in value.split(","))


latency_options = option_group(
    "latency",
    LatencyOptions,
    click.option(
        "--cost-model",
        "cost_models",
        type=INPUT_FILE,
        multiple=True,
        metavar="model.json|ID",
        help="Cost model that predicts latencies, one for each hardware: a file, or the id of one that comes with the package "
        "(ethos-u55-128, …).",
    ),
    click.option(
        "--latencies",
        type=INPUT_FILE,
        default=None,
        metavar="FILE.npz|FILE.csv|NAME",
        help="Table of latencies in place of cost models: a published one, a file that `search collect -o` wrote, or one that "
        "comes with the package (nas_bench_macro).",
    ),
    click.option("--force", is_flag=True, help="Use cost models that their files mark as doubtful, too."),
    click.option(
        "--hardware",
        multiple=True,
        metavar="ID",
        help="Ids of the hardware to search for, joined by commas, of those that have a cost model or a column of the table. "
        "Default: all of them.",
    ),
    click.option(
        "--limits",
        multiple=True,
        metavar="ID",
        help="Search only networks that all of this hardware runs: capability profiles or hardware ids (`search space`).",
    ),
)


@dataclass(frozen=True)
class RewardOptions:
    """The reward that the search maximises."""

    aggregate: Aggregate
    kind: RewardKind
    beta: float
    target: float
    references: tuple[str, ...]
    weights: tuple[str, ...]

    def reference_ms(self) -> dict[str, float]:
        """Reference latencies in ms that stand as ID=MS, by hardware."""
        return numbers([value for value in self.references if "=" in value], "--reference")

    def reference_model(self) -> str | None:
        """The model whose latencies are the references; None if there is none.

        Raises:
            click.UsageError: There are several.
        """
        models = [value for value in self.references if "=" not in value]
        if len(models) > 1:
            raise click.UsageError(f"--reference names {len(models)} networks ({', '.join(models)}), expected one")
        return models[0] if models else None


reward_options = option_group(
    "reward",
    RewardOptions,
    click.option(
        "--aggregate",
        type=click.Choice(["avg", "max"]),
        default="avg",
        show_default=True,
        help="Aggregation of the normalised latency L/C over hardware: mean (avg) or maximum (max).",
    ),
    click.option(
        "--reward",
        "kind",
        type=click.Choice(["absolute", "soft-exponential", "hard-exponential"]),
        default="absolute",
        show_default=True,
        help="Form of the reward of accuracy and latency (docs/search.md).",
    ),
    click.option(
        "--beta",
        type=FiniteRange(),
        default=-0.07,
        show_default=True,
        help="Exponent or factor β of latency in the reward, below 0.",
    ),
    click.option(
        "--target",
        type=FiniteRange(),
        default=1.0,
        show_default=True,
        help="Target of the aggregated L/C, above 0; 1 is as slow as the references.",
    ),
    click.option(
        "--reference",
        "references",
        multiple=True,
        metavar="MODEL|ID=MS",
        help="Reference latencies that normalise each hardware (C in equations 4 and 5 of the paper): a model, or ID=MS with a "
        "latency in ms. Default: mobilenet_v1, or the medians of a table.",
    ),
    click.option(
        "--weight",
        "weights",
        multiple=True,
        metavar="ID=W",
        help="Weight of a hardware in the reward, at least 0; 0 leaves the hardware out. Default: 1.",
    ),
)


@dataclass(frozen=True)
class MethodOptions:
    """The search method and its budget."""

    method: Literal["reinforce", "evolution", "nsga2", "random"]
    evaluations: int | None
    steps: int
    replicas: int
    learning_rate: float
    delay: float
    refinement: int
    population: int | None
    seed: int

    def search_method(self) -> Method:
        """The method with its settings.

        Raises:
            click.UsageError: The population leaves no evaluation for evolution.
        """
        from mhmodels.search.methods.controller import ControllerSettings
        from mhmodels.search.methods.strategies import Evolution, NonDominated, Random, Reinforce

        if self.method == "reinforce":
            controller = ControllerSettings(
                steps=self.steps,
                learning_rate=self.learning_rate,
                delay=self.delay,
                operation_warm_up=0.0,
                width_warm_up=0.0,
            )
            size = self.population or POPULATIONS["reinforce"]
            return Reinforce(
                controller=controller,
                replicas=self.replicas,
                refinement=self.refinement,
                population=size,
                tournament=max(2, size // 2),
            )
        evaluations = self.evaluations or EVALUATIONS[self.method]
        if self.method == "random":
            return Random(evaluations=evaluations)
        size = self._population(evaluations)
        if self.method == "nsga2":
            return NonDominated(evaluations=evaluations, population=size)
        return Evolution(evaluations=evaluations, population=size, tournament=max(2, size // 2))

    def _population(self, evaluations: int) -> int:
        if self.population is not None and self.population >= evaluations:
            raise click.UsageError(
                f"--population {self.population} leaves nothing of {evaluations} evaluations for evolution, expected fewer (or "
                "more --evaluations)"
            )
        return self.population or max(2, min(POPULATIONS[self.method], evaluations // 2))


method_options = option_group(
    "method",
    MethodOptions,
    click.option(
        "--method",
        type=click.Choice(["reinforce", "evolution", "nsga2", "random"]),
        default="reinforce",
        show_default=True,
        help="Search method: TuNAS' controller with a refinement (reinforce), regularised evolution, NSGA-II for a whole Pareto "
        "front, or random search (docs/search.md).",
    ),
    click.option(
        "--evaluations",
        type=click.IntRange(1),
        default=None,
        help="Number of networks to evaluate, with evolution, nsga2 or random. Default: 1000, for nsga2 2000.",
    ),
    click.option(
        "--steps",
        type=click.IntRange(1),
        default=20_000,
        show_default=True,
        help="Number of updates of the controller, with reinforce.",
    ),
    click.option(
        "--replicas",
        type=click.IntRange(1, 10_000),
        default=1,
        show_default=True,
        help="Number of sampled networks for each update of the controller, with reinforce.",
    ),
    click.option(
        "--learning-rate",
        type=FiniteRange(),
        default=4.8e-3,
        show_default=True,
        help="Learning rate of the controller's logits, above 0, with reinforce.",
    ),
    click.option(
        "--delay",
        type=FiniteRange(),
        default=0.25,
        show_default=True,
        help="Share of the steps before the controller begins to learn, 0 to 1, with reinforce.",
    ),
    click.option(
        "--refinement",
        type=click.IntRange(0),
        default=1000,
        show_default=True,
        help="Number of evaluations by evolution after the controller, with reinforce; 0 ends with the controller's argmax.",
    ),
    click.option(
        "--population",
        type=click.IntRange(2, 100_000),
        default=None,
        help="Number of networks in evolution's population. Default: 50, for nsga2 100; at most half of the evaluations.",
    ),
    seed_option("of the search", 2**32 - 1),
)


def numbers(values: Sequence[str], option: str) -> dict[str, float]:
    """Reads `ID=NUMBER` arguments by id.

    Args:
        values: Arguments, for example `ethos-u55-128=12.5`.
        option: Name of their option, for the message.

    Raises:
        click.UsageError: An argument is not of that form, or an id stands twice.
    """
    from mhmodels.formats.numbers import decimal

    found: dict[str, float] = {}
    for value in values:
        name, _, text = value.partition("=")
        try:
            number = decimal(text)
        except ValueError:
            not_finite = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}.get(text.strip().lower().lstrip("+-"))
            if not_finite is None:
                raise click.UsageError(f"{option} is '{value}', expected ID=NUMBER, a decimal number like 12.5") from None
            number = not_finite
        if name in found:
            raise click.UsageError(f"{option} names '{name}' twice, expected one number for each hardware")
        found[name] = number
    return found
