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

EVALUATIONS = {"evolution": 1000, "nsga2": 2000, "front-evolution": 2100, "random": 1000}
POPULATIONS = {"reinforce": 50, "evolution": 50, "nsga2": 100, "front-evolution": 100}
"""Default evaluations and populations by method."""
SHARES = {"evolution": 2, "nsga2": 2, "front-evolution": 21}
"""The default population is at most the evaluations divided by this: at least one generation, for front-evolution ten."""
CHILDREN = 2
"""Networks of a generation of front-evolution, as a multiple of the population."""


@dataclass(frozen=True)
class MethodOptions:
    """The search method and its budget."""

    method: Literal["reinforce", "evolution", "nsga2", "front-evolution", "random"]
    evaluations: int | None
    steps: int
    replicas: int
    learning_rate: float
    delay: float
    refinement: int
    population: int | None
    unit_probability: tuple[float, ...]
    seed: int

    def search_method(self) -> Method:
        """The method with its settings.

        Raises:
            click.UsageError: The population leaves no evaluation for evolution.
        """
        from mhmodels.search.methods.controller import ControllerSettings
        from mhmodels.search.methods.strategies import Evolution, FrontEvolution, NonDominated, Random, Reinforce

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
        if self.method == "front-evolution":
            return FrontEvolution(
                evaluations=evaluations, population=size, children=CHILDREN * size, probabilities=self.unit_probability
            )
        return Evolution(evaluations=evaluations, population=size, tournament=max(2, size // 2))

    def _population(self, evaluations: int) -> int:
        if self.population is not None and self.population >= evaluations:
            raise click.UsageError(
                f"--population {self.population} leaves nothing of {evaluations} evaluations for evolution, expected fewer (or "
                "more --evaluations)"
            )
        return self.population or max(2, min(POPULATIONS[self.method], evaluations // SHARES[self.method]))


method_options = option_group(
    "method",
    MethodOptions,
    click.option(
        "--method",
        type=click.Choice(["reinforce", "evolution", "nsga2", "front-evolution", "random"]),
        default="reinforce",
        show_default=True,
        help="Search method: reinforce (TuNAS' controller, then evolution), evolution (regularised), nsga2 (NSGA-II, for a "
        "whole Pareto front), front-evolution (children of the Pareto front) or random; docs/search.md describes them.",
    ),
    click.option(
        "--evaluations",
        type=click.IntRange(1),
        default=None,
        help="With evolution, nsga2, front-evolution or random: number of networks to evaluate. Default: 1000, for nsga2 2000, "
        "for front-evolution 2100.",
    ),
    click.option(
        "--steps",
        type=click.IntRange(1),
        default=20_000,
        show_default=True,
        help="With reinforce: number of updates of the controller.",
    ),
    click.option(
        "--replicas",
        type=click.IntRange(1, 10_000),
        default=1,
        show_default=True,
        help="With reinforce: number of networks that are sampled per update of the controller.",
    ),
    click.option(
        "--learning-rate",
        type=FiniteRange(),
        default=4.8e-3,
        show_default=True,
        help="With reinforce: learning rate of the controller's logits, above 0.",
    ),
    click.option(
        "--delay",
        type=FiniteRange(),
        default=0.25,
        show_default=True,
        help="With reinforce: share of the updates before the controller begins to learn, from 0 to 1.",
    ),
    click.option(
        "--refinement",
        type=click.IntRange(0),
        default=1000,
        show_default=True,
        help="With reinforce: number of evaluations by evolution after the controller; 0 returns the controller's most "
        "probable network.",
    ),
    click.option(
        "--population",
        type=click.IntRange(2, 100_000),
        default=None,
        help="Number of networks in the population of evolution or nsga2, or with which front-evolution begins. Default: 50, for "
        "nsga2 and front-evolution 100, but at most half of the evaluations, for front-evolution 1/21 of them.",
    ),
    click.option(
        "--unit-probability",
        type=FiniteRange(0, 1),
        multiple=True,
        default=(0.5,),
        show_default=True,
        help="With front-evolution: probability that a child changes in a unit, from 0 to 1. Repeat the option for further "
        "units; the last value is above 0 and holds for all that follow.",
    ),
    seed_option("of the search", 2**32 - 1),
)
