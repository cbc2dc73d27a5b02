"""The class of the commands that run a search: a request whose values cannot be is wrong usage."""

from __future__ import annotations

import click

from mhmodels.cli.messages import with_options
from mhmodels.errors import MhmodelsError


class RequestCommand(click.Command):
    """A command that makes a search request; errors about the request end with exit code 2 and name options."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except MhmodelsError as error:
            from mhmodels.search.run.request import RequestError

            if isinstance(error, RequestError):
                raise click.UsageError(with_options(str(error), self), ctx) from error
            raise
