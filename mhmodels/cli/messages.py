"""Options in the messages of library errors: the library names an argument, the command line puts its option there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mhmodels.errors import MhmodelsError

_ARGUMENT = re.compile(r"argument '(\w+)'")


def with_options(text: str, command: click.Command) -> str:
    """Replaces "argument 'NAME'" in a text by the option or argument of a command that has this name.

    An argument that the command has no option for stays as it is.

    Args:
        text: text of a library error.
        command: command that was run.

    Example:
        >>> command = click.Command("c", params=[click.Option(["--min-battery", "battery_level"])])
        >>> with_options("allow less (argument 'battery_level')", command)
        'allow less (--min-battery)'
    """
    options: dict[str, str] = {}
    for parameter in command.params:
        names = [name for name in parameter.opts if name.startswith("--")]
        if names:
            options |= {str(parameter.name): names[0], names[0].removeprefix("--").replace("-", "_"): names[0]}
        elif isinstance(parameter, click.Argument):
            options[str(parameter.name).removesuffix("_path")] = parameter.human_readable_name
    return _ARGUMENT.sub(lambda found: options.get(found[1], found[0]), text)


@contextmanager
def options_in_errors(group: click.Group, ctx: click.Context) -> Iterator[None]:
    """Puts options into the library errors of the command that a group runs in this block (`with_options`)."""
    try:
        yield
    except MhmodelsError as error:
        command = group.get_command(ctx, ctx.invoked_subcommand) if ctx.invoked_subcommand else None
        if command is not None:
            error.args = (with_options(str(error), command), *error.args[1:])
        raise


class OptionNamingGroup(click.Group):
    """A group whose commands name options in library errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the group and the chosen command."""
        with options_in_errors(self, ctx):
            return super().invoke(ctx)
