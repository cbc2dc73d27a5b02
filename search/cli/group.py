"""`mhmodels search`: the group of commands. Each command has a module of its own, which is imported when the command runs."""

from __future__ import annotations

import click

from mhmodels.cli.lazy_group import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "space": ("mhmodels.search.cli.space", "space_command", "Search spaces: decisions, size, what hardware takes away."),
    "sample": ("mhmodels.search.cli.sample", "sample_command", "Draw different networks from a space, reproducibly."),
    "collect": ("mhmodels.search.cli.collect", "collect_command", "Measure many networks on much hardware, for cost models."),
    "fit": ("mhmodels.search.cli.fit", "fit_command", "Fit a cost model to the latencies of sampled networks."),
    "validate": ("mhmodels.search.cli.validate", "validate_command", "Compare a cost model with other latencies."),
    "predict": ("mhmodels.search.cli.predict", "predict_command", "Predict latencies, without measuring anything."),
    "run": ("mhmodels.search.cli.run", "run_command", "Search for the network of the highest reward."),
    "resume": ("mhmodels.search.cli.resume", "resume_command", "Continue the search that a log holds."),
    "show": ("mhmodels.search.cli.show", "show_command", "Show a network: stages, blocks, widths, and its origin."),
}
"""Command: module, attribute, help in one line. The help stands here so that `mhmodels search --help` imports no command."""


@click.group("search", cls=LazyGroup, commands_by_module=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def search() -> None:
    """Search spaces, cost models, and the search for networks that suit several hardware.

    To a cost model of your own: `collect` latencies of sampled networks, `fit`, `validate`, `predict`. Then `run` a search.
    """
