"""Options in the messages of the library: the library names fields and arguments, the command line names their options."""

from __future__ import annotations

import re
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
    """The text of an error with options in place of arguments, and with " (--OPTION)" appended for the option of its field.

    The text stays as it is if the command has no such option or the text names it already.

    Args:
        error: error of the library.
        command: command that raised it.
    """
    text = with_options(str(error), command)
    option = _option(error.field, command) if error.field else None
    return text if option is None or option in text else f"{text} ({option})"


def with_options(text: str, command: click.Command) -> str:
    """Puts the options of a command in the place of the arguments that a text of the library names.

    Args:
        text: text that names arguments, for example `argument 'learning_rate'`.
        command: command whose options are meant; an argument without an option stays as it is.
    """
    return re.sub(r"argument '(\w+)'", lambda found: _option(found[1], command) or found[0], text)


def _option(field: str, command: click.Command) -> str | None:
    """The option of a field: its parameter has the name of the field, or the option is the field written with hyphens."""
    for parameter in command.params:
        options = [name for name in parameter.opts if name.startswith("--")]
        if options and (parameter.name == field or f"--{field.replace('_', '-')}" in options):
            return options[0]
        if not options and parameter.name == f"{field}_path":
            return parameter.human_readable_name
    return None
