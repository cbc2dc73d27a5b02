"""Turns the fields that errors of the library name into the options of the command line."""

from __future__ import annotations

import re
from typing import Any

import click

from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import NoEffectError

_SPECIAL = {"directory": "-o", "formats": "--format", "softmax": "--softmax"}
_FIELDS = (
    "against", "calibration", "calibration_method", "classes", "decide", "engine", "features", "granularity", "images",
    "input_channels", "input_size", "label_offset", "labels", "mean", "metadata", "normalise_in_model", "overwrite", "pooling",
    "preprocessing", "std", "threshold", "tolerance", "weights", "width_multiplier",
)  # fmt: skip
_OPTIONS = {field: f"--{field.replace('_', '-')}" for field in _FIELDS} | _SPECIAL
_FIELD = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
_SIZE = re.compile(r"\((\d+), (\d+)\)")


def fields_as_options(message: str) -> str:
    """Returns a message of the library with options in place of the fields that stand in backticks.

    Example:
        >>> fields_as_options("give `overwrite`, or `formats=int8` without `softmax=False`")
        'give --overwrite, or --format int8 without --no-softmax'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in _OPTIONS:
            return match[0]
        if value is None:
            return _OPTIONS[name]
        if value == "False":
            return _OPTIONS[name].replace("--", "--no-", 1)
        size = _SIZE.sub(r"\1x\2", value)
        return f"{_OPTIONS[name]} {size}"

    return _FIELD.sub(option, message)


class ExportCommand(click.Command):
    """A command whose errors name its options; arguments without effect are wrong usage."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.

        Raises:
            click.UsageError: an argument has no effect on the model that was given.
            MhmodelsError: any other error of the library.
        """
        try:
            return super().invoke(ctx)
        except NoEffectError as error:
            raise click.UsageError(fields_as_options(str(error)), ctx) from error
        except MhmodelsError as error:
            error.args = (fields_as_options(str(error)),)
            raise
