"""A group of commands that live in modules of their own, which are imported when a command runs, so that help is fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

from mhmodels.cli.messages import OptionNamingGroup

CommandTable: TypeAlias = Mapping[str, tuple[str, str, str]]
"""Module, attribute and one-line help by command, in the order in which people need the commands."""


class LazyGroup(OptionNamingGroup):
    """A group whose commands are named by module and imported on use."""

    def __init__(self, *arguments: Any, commands_by_module: CommandTable, **settings: Any) -> None:
        """Takes the table of commands, beside the arguments of `click.Group`."""
        super().__init__(*arguments, **settings)
        self.commands_by_module = commands_by_module

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands in the order of the table."""
        return list(self.commands_by_module)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of a command; None if there is no such command."""
        if cmd_name not in self.commands_by_module:
            return None
        module, attribute, _ = self.commands_by_module[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds a command; the error about an unknown one offers the nearest names."""
        if args and args[0] not in self.commands_by_module and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.commands_by_module, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else f" `{ctx.command_path} --help` lists the commands."
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self.commands_by_module.items()])
