"""Messages of the library on the command line: the library names arguments, people gave options."""

from __future__ import annotations

import re
from typing import Any

import click

from mhmodels.errors import MhmodelsError

_OPTIONS = {
    "cost_models": "--cost-model",
    "kind": "--reward",
    "references": "--reference",
    "weight_sharing": "--data",
    "weights": "--weight",
}
"""Options by argument, where the option is not named like the argument."""


def with_options(message: str) -> str:
    """Puts options in the place of the arguments that a message of the library names.

    Args:
        message: Text with names like `argument 'learning_rate'`.

    Example:
        >>> with_options("give a target in that range (argument 'target')")
        'give a target in that range (--target)'
    """
    message = message.replace("(argument 'references')", "(--reference ID=MS)")
    return re.sub(r"argument '(\w+)'", lambda found: _option(found[1]), message)


def _option(argument: str) -> str:
    return _OPTIONS.get(argument, f"--{argument.replace('_', '-')}")


class SearchCommand(click.Command):
    """A command whose errors name options; a request that cannot be is wrong usage (exit code 2)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except MhmodelsError as error:
            from mhmodels.search.run.request import RequestError

            message = with_options(str(error))
            if isinstance(error, RequestError):
                raise click.UsageError(message, ctx) from error
            error.args = (message, *error.args[1:])
            raise
