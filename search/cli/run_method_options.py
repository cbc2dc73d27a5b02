"""Options of `search run` for the search method, its budget and its random seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from mhmodels.cli.common import FiniteRange
from mhmodels.cli.option_groups import option_group
from mhmodels.search.cli.options import seed_option

if TYPE_CHECKING:
    from mhmodels.search.methods.strategies import Method

EVALUATIONS = {"evolution": 1000, "nsga2": 2000, "random": 1000}
POPULATIONS = {"reinforce": 50, "evolution": 50, "nsga2": 100}
"""Default evaluations and populations by method."""


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
