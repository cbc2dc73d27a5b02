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

    An error's `field` names the option with the same name, written with hyphens: `cost_model` is `--cost-model`. The text stays
    as it is if the command has no such option or the text names it already.

    Args:
        group: group that runs the command.
        ctx: context of the group.
    """
    try:
        yield
    except MhmodelsError as error:
        if error.field and ctx.invoked_subcommand:
            command = group.get_command(ctx, ctx.invoked_subcommand)
            option = f"--{error.field.replace('_', '-')}"
            known = {name for parameter in command.params for name in parameter.opts} if command is not None else set()
            if option in known and option not in str(error):
                error.args = (f"{error} ({option})", *error.args[1:])
        raise
