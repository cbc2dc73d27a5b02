"""Options of `search run` for the reward: its form, its target, reference latencies and weights of the hardware."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import FiniteRange
from mhmodels.cli.option_groups import option_group

if TYPE_CHECKING:
    from mhmodels.search.objective.rewards import Aggregate, RewardKind


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
        help="How to aggregate the normalised latencies L/C over the hardware to f: their mean (avg) or maximum (max).",
    ),
    click.option(
        "--reward",
        "kind",
        type=click.Choice(["absolute", "soft-exponential", "hard-exponential"]),
        default="absolute",
        show_default=True,
        help="Reward: absolute is accuracy + beta * |f/target - 1|, soft-exponential is accuracy * (f/target)^beta, "
        "hard-exponential is accuracy * min((f/target)^beta, 1).",
    ),
    click.option(
        "--beta",
        type=FiniteRange(),
        default=-0.07,
        show_default=True,
        help="Factor (absolute) or exponent (exponential rewards) of the latency in the reward, below 0.",
    ),
    click.option(
        "--target",
        type=FiniteRange(),
        default=1.0,
        show_default=True,
        help="Target of the aggregated latency f, above 0; 1 is the latency of the reference.",
    ),
    click.option(
        "--reference",
        "references",
        multiple=True,
        metavar="MODEL|ID=MS",
        help="Reference latencies that normalise each hardware (C in equations 4 and 5 of the paper): a model, or ID=MS with "
        "a latency in ms, for example ethos-u55-128=16.0; may be repeated. Default: mobilenet_v1, or the medians of a "
        "table.",
    ),
    click.option(
        "--weight",
        "weights",
        multiple=True,
        metavar="ID=W",
        help="Weight of a hardware in f, at least 0, for example ethos-u55-128=2. Hardware with weight 0 is only reported. "
        "Default: 1.",
    ),
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
