"""Options that say which network: shared by the commands that export one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mhmodels.architecture import Architecture, check_input_size
from mhmodels.cli.common import F, note
from mhmodels.errors import ArchitectureError


class InputSize(click.ParamType):  # type: ignore[type-arg]
    """`224`, or `HEIGHTxWIDTH`."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parses and checks both sides."""
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not an input size: expected whole pixels, 224 or 192x256", param, ctx)
        try:
            sides = [check_input_size(int(part)) for part in parts]
        except ArchitectureError as error:
            self.fail(str(error), param, ctx)
        return sides[0], sides[-1]


def refuse_changes(model: str, changes: Mapping[str, Any]) -> None:
    """A `.keras` file is a built model: of what `model_options` asks for it can take an input size only.

    Raises:
        click.UsageError: another one was given; the message names it.
    """
    given = [name for name in ("width_multiplier", "input_channels", "classes") if changes[name] is not None]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')}: {model} is a built model, which has its own")


def network_of(
    architecture: Architecture, weights: str | Path | None, changes: Mapping[str, Any], *, top: bool = True
) -> Architecture:
    """The network to export: with the class count and input size of its weights, where the options do not state them.

    Raises:
        WeightsError: the weights are of another network or class count; told before TensorFlow is loaded.
    """
    if weights is None:
        return architecture
    from mhmodels.weights.stated import weighted_network

    asked = {name: changes[name] for name in ("input_size", "input_channels", "classes")}
    weighted = weighted_network(architecture, weights, asked, top=top)
    for remark in weighted.notes:
        note(f"{architecture.name}: {remark}")
    return weighted.architecture


def preprocessing_options(command: F) -> F:
    """Adds `--preprocessing`, `--mean` and `--std`, which `mhmodels.export.reading.stated_rule.stated_rule_of` reads."""
    for option in (
        click.option(
            "--std", default=None, metavar="S[,S...]",
            help="Standard deviation that belongs to --mean, such as 128, or 58.4,57.1,57.4 for three channels.",
        ),
        click.option(
            "--mean", default=None, metavar="M[,M...]",
            help="Mean in pixel units (0 to 255), such as 128 or 123.7,116.3,103.5: the model's input is (pixel - mean) / std.",
        ),
        click.option(
            "--preprocessing", default=None, metavar="NAME",
            help="How pixels become the model's input: pixels (unchanged), unit (0 to 1), symmetric (-1 to 1), imagenet, "
                 "tf_model_garden, a network of the zoo, registered weights, or a file that states it. Default: what the "
                 "network, the weights or the .keras file states.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def model_options(command: F) -> F:
    """Adds `--width-multiplier`, `--input-size`, `--input-channels` and `--classes`."""
    for option in (
        click.option("--classes", type=int, default=None, help="Number of classes. Default: the weights', else the network's."),
        click.option("--input-channels", type=int, default=None, help="Channels of the input. Default: the network's."),
        click.option(
            "--input-size",
            type=InputSize(),
            default=None,
            help="Input in pixels, such as 224 or 192x256. Default: the weights', else the network's.",
        ),
        click.option("--width-multiplier", type=float, default=None, help="Scale all widths; overrides NAME@WIDTH."),
    ):
        command = option(command)
    return command
