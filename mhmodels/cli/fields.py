"""Options in the messages of library errors: the library names a field, the command line appends the field's option."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mhmodels.errors import MhmodelsError


class FieldGroup(click.Group):
    """A group whose commands name the option where a library error names a field."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the group and the chosen command."""
        with options_named(self, ctx):
            return super().invoke(ctx)


@contextmanager
def options_named(group: click.Group, ctx: click.Context) -> Iterator[None]:
    """Appends " (--OPTION)" to library errors of the command that a group runs in this block.

    Args:
        group: group that runs the command.
        ctx: context of the group.
    """
    try:
        yield
    except MhmodelsError as error:
        command = group.get_command(ctx, ctx.invoked_subcommand) if ctx.invoked_subcommand else None
        if command is not None:
            error.args = (text_with_option(error, command), *error.args[1:])
        raise


def text_with_option(error: MhmodelsError, command: click.Command) -> str:
    """The text of an error, with " (--OPTION)" appended for the option of its field.

    It is the option whose parameter has the name of the field, or which is the field written with hyphens: `cost_model` is
    `--cost-model`. The text stays as it is if the command has no such option or the text names it already.
    """
    for parameter in command.params if error.field else ():
        options = [name for name in parameter.opts if name.startswith("--")]
        if options and (parameter.name == error.field or f"--{error.field.replace('_', '-')}" in options):
            return str(error) if options[0] in str(error) else f"{error} ({options[0]})"
    return str(error)
