"""Options in the messages of library errors: the library names an argument, the command line puts its option there."""

from __future__ import annotations

import re

import click

from mhmodels.errors import MhmodelsError, WrongUsageError

_ARGUMENT = re.compile(r"argument '(\w+)(?:=([^']*))?'")
_SIZE, _SIDES = re.compile(r"\((\d+), (\d+)\)"), r"\1x\2"


def with_options(text: str, command: click.Command) -> str:
    """Replaces "argument 'NAME'" and "argument 'NAME=VALUE'" in a text by the option or argument of a command, and its value.

    It is the parameter or option of this name, or that in the `argument_options` of the command. For the value False it is the
    option of the parameter `no_NAME`. An argument that the command has no option for stays as it is.

    Args:
        text: Text of a library error.
        command: Command that was run.

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
    options |= getattr(command, "argument_options", {})

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if value == "False" and f"no_{name}" in options:
            return options[f"no_{name}"]
        if name not in options:
            return found[0]
        return options[name] if value is None else f"{options[name]} {_SIZE.sub(_SIDES, value)}"

    return _ARGUMENT.sub(option, text)


def named_options(text: str) -> str:
    """Returns a text of the library with the options of the running command in place of the arguments that it names."""
    context = click.get_current_context(silent=True)
    return text if context is None else with_options(text, context.command)


class OptionNamingGroup(click.Group):
    """A group whose commands name options in place of the arguments that library errors name."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the group and the chosen command."""
        try:
            return super().invoke(ctx)
        except MhmodelsError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand) if ctx.invoked_subcommand else None
            if command is not None:
                error.args = (with_options(str(error), command), *error.args[1:])
            raise


class UsageCommand(click.Command):
    """A command in which arguments that the library refuses as wrong usage end with exit code 2."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command.

        Raises:
            click.UsageError: In place of `WrongUsageError`, with options in place of arguments.
        """
        try:
            return super().invoke(ctx)
        except WrongUsageError as error:
            raise click.UsageError(with_options(str(error), self), ctx) from error
