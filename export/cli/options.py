"""Options that the commands which open a model share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mhmodels.architecture import check_input_size
from mhmodels.cli.common import F, note, width_multiplier_option
from mhmodels.cli.messages import named_options
from mhmodels.errors import ArchitectureError

if TYPE_CHECKING:
    from mhmodels.export.opening.model_request import ModelRequest, ResolvedModel

REMARKS_SHOWN = 3


class InputSize(click.ParamType):  # type: ignore[type-arg]
    """`224`, or `HEIGHTxWIDTH`."""

    name = "N|HxW"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parses and checks both sides."""
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not an input size: expected whole pixels, 224 or 192x256", param, ctx)
        try:
            sides = [check_input_size(int(part)) for part in parts]
        except ArchitectureError as error:
            self.fail(str(error), param, ctx)
        return sides[0], sides[-1]


def resolve_and_tell(request: ModelRequest, *, top: bool = True) -> ResolvedModel:
    """Resolves a request, and tells what its weights decided."""
    from mhmodels.export.opening.model_request import resolve_model

    resolved = resolve_model(request, top=top)
    if resolved.architecture is not None:
        tell(resolved.architecture.name, resolved.notes)
    return resolved


def tell(name: str, remarks: tuple[str, ...]) -> None:
    """Prints remarks on a model or file to stderr."""
    for remark in remarks:
        note(f"{name}: {named_options(remark)}")


def preprocessing_options(command: F) -> F:
    """Adds `--preprocessing`, `--mean` and `--std`, which `mhmodels.export.cli.stated_rule` reads."""
    for option in (
        click.option(
            "--std", default=None, metavar="S[,S...]",
            help="Standard deviation that belongs to --mean, in pixel units: one number such as 128, or one per channel such "
                 "as 58.4,57.1,57.4.",
        ),
        click.option(
            "--mean", default=None, metavar="M[,M...]",
            help="Mean that is subtracted from the pixels, in pixel units from 0 to 255: one number such as 128, or one per "
                 "channel such as 123.7,116.3,103.5. The model's input is (pixel - mean) / std.",
        ),
        click.option(
            "--preprocessing", default=None, metavar="NAME",
            help="Rule that turns pixels into the model's input: pixels (unchanged), unit (0 to 1), symmetric (-1 to 1), "
                 "imagenet, tf_model_garden, a network of the zoo, registered weights, or a file that states a rule. Default: "
                 "the rule that the network, the weights or the .keras file states.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def model_options(command: F) -> F:
    """Adds `--width-multiplier`, `--input-size`, `--input-channels` and `--classes`."""
    for option in (
        click.option("--classes", type=int, default=None,
                     help="Number of classes of the classifier, at least 1. Default: that of the weights, else of the "
                          "network."),
        click.option("--input-channels", type=int, default=None,
                     help="Number of channels of the input, from 1 to 65536, for example 1 for grey pictures. Default: that of "
                          "the network."),
        click.option("--input-size", type=InputSize(), default=None,
                     help="Height and width of the input in pixels, each from 32 to 4096: one number such as 224 for both, or "
                          "192x256 for height x width. Default: that of the weights, else of the network."),
        width_multiplier_option,
    ):  # fmt: skip
        command = option(command)
    return command
