"""Options that several commands of `mhmodels search` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from mhmodels.cli.common import FiniteRange, OutputFile
from mhmodels.cli.option_groups import option_group

F = TypeVar("F", bound=Callable[..., object])
INPUT_FILE = click.Path(path_type=Path, dir_okay=False)
PICTURE = OutputFile(".png", ".svg", ".pdf")
LARGEST_SEED = 2**63 - 1
SPACE_HELP = (
    "Search space, for example multi_hardware or ofa_mobilenet_v3/kirin9000-npu; `mhmodels search space` lists all of them. Or "
    "the file of a reduced space that `mhmodels search reduce` wrote."
)


def space_option(command: F) -> F:
    """Adds the required `--space`."""
    return click.option(
        "--space",
        "space_name",
        required=True,
        metavar="SPACE",
        help=SPACE_HELP,
    )(command)


@dataclass(frozen=True)
class LimitOptions:
    """Hardware whose limits restrict a space.

    Attributes:
        limits: Ids of profiles or hardware; several may be joined by commas.
        probe: Whether hardware without a declared profile is probed.
    """

    limits: tuple[str, ...]
    probe: bool


limit_options = option_group(
    "restriction",
    LimitOptions,
    click.option(
        "--hardware",
        "limits",
        multiple=True,
        metavar="ID...",
        help="Keep only networks that all of this hardware runs: ids of declared profiles (pixel4-edgetpu-2020, hexagon-2020) "
        "or of hardware, or SoCs of `mhmodels place --list` (SM8650 for int8 files, SM8650-uint8, SM8650-float32), joined by "
        "commas; may be repeated.",
    ),
    click.option(
        "--probe",
        is_flag=True,
        help="Find out what hardware without a declared profile runs: export one small network per operation and run it there.",
    ),
)


def where_option(command: F) -> F:
    """Adds `--where`: conditions that choose rows of the store."""
    return click.option(
        "--where",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Use only rows of the store with this condition, for example configuration.mode=sustained or threads=1. May be "
        "repeated for several fields.",
    )(command)


def plot_option(command: F) -> F:
    """Adds `--plot`: the picture of predicted against true latencies."""
    return click.option(
        "--plot",
        type=PICTURE,
        default=None,
        metavar="FILE.png",
        help="Draw a scatter plot of predicted against true latencies, for networks that the model was not fitted to, to this "
        "file (.png, .svg or .pdf).",
    )(command)


def seed_option(what: str, largest: int = LARGEST_SEED) -> Callable[[F], F]:
    """Makes `--seed`.

    Args:
        what: What the seed decides, for the help.
        largest: Largest seed that is allowed.
    """
    return click.option("--seed", type=click.IntRange(0, largest), default=0, show_default=True, help=f"Random seed {what}.")


def runs_option(when: str = "") -> Callable[[F], F]:
    """Makes `--runs` of commands that measure.

    Args:
        when: Words before the help, for an option that needs another one: `With --measure-front: `.
    """
    return click.option(
        "--runs",
        type=click.IntRange(20, 100_000),
        default=50,
        show_default=True,
        help=_after(when, "Number of timed inferences per block; on a phone, over all blocks together."),
    )


def threads_option(when: str = "") -> Callable[[F], F]:
    """Makes `--threads` of commands that measure; `when` is as in `runs_option`."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        default=1,
        show_default=True,
        help=_after(when, "Number of threads of the TFLite runtime, one CPU core each."),
    )


def _after(when: str, text: str) -> str:
    return f"{when}{text[0].lower()}{text[1:]}" if when else text


def confidence_of(default: float) -> Callable[[F], F]:
    """Makes `--confidence` of intervals.

    Args:
        default: Confidence without the option.
    """
    return click.option(
        "--confidence",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        default=default,
        show_default=True,
        help="Two-sided confidence of the intervals, for example 0.9 for 90 %.",
    )


def confidence_option(command: F) -> F:
    """Adds `--confidence` of intervals, 0.9 by default."""
    return confidence_of(0.9)(command)


def conditions(values: Sequence[str]) -> dict[str, str]:
    """Reads `--where FIELD=VALUE` options by field.

    Raises:
        click.UsageError: An option is not of that form, or names a field twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, wanted = value.partition("=")
        if not name or not equals or name in found:
            raise click.UsageError(f"--where is '{value}', expected FIELD=VALUE, each field once (configuration.mode=sustained)")
        found[name] = wanted
    return found


def given_options(context: click.Context) -> set[str]:
    """Names of the parameters that stand on the command line, even with the value of their default."""
    source = click.core.ParameterSource
    stated = (source.COMMANDLINE, source.ENVIRONMENT)
    return {
        parameter.name or ""
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") in stated
    }
