"""`mhmodels search`: the group of commands. Each command has a module of its own, which is imported when the command runs."""

from __future__ import annotations

import click

from mhmodels.cli.lazy_group import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "space": ("mhmodels.search.cli.space", "space_command", "Show a search space: decisions, size, limits of hardware."),
    "sample": ("mhmodels.search.cli.sample", "sample_command", "Sample different networks from a space, reproducibly."),
    "adapt": (
        "mhmodels.search.cli.adapt.command",
        "adapt_command",
        "Make a cost model of a new hardware from other hardware and a few measurements.",
    ),
    "collect": (
        "mhmodels.search.cli.collect",
        "collect_command",
        "Measure sampled networks on several hardware, for cost models.",
    ),
    "fit": ("mhmodels.search.cli.fit", "fit_command", "Fit a cost model to the latencies of sampled networks."),
    "validate": ("mhmodels.search.cli.validate", "validate_command", "Test a cost model on latencies that it was not fitted to."),
    "predict": ("mhmodels.search.cli.predict", "predict_command", "Predict latencies with cost models, without measuring."),
    "monotonicity": (
        "mhmodels.search.cli.monotonicity",
        "monotonicity_command",
        "Test whether devices rank networks alike, so that one can stand for another.",
    ),
    "profile": (
        "mhmodels.search.cli.profile.command",
        "profile_command",
        "Profile blocks: what each block at each layer does to latency or another metric.",
    ),
    "reduce": (
        "mhmodels.search.cli.reduce.command",
        "reduce_command",
        "Cut a space to the blocks and depths that pay on given hardware.",
    ),
    "run": ("mhmodels.search.cli.run", "run_command", "Search for the network with the highest reward."),
    "resume": ("mhmodels.search.cli.resume", "resume_command", "Continue an interrupted search from its log."),
    "show": ("mhmodels.search.cli.show", "show_command", "Show a network: stages, blocks, widths, and its origin."),
}
"""Command: module, attribute, help in one line. The help stands here so that `mhmodels search --help` imports no command."""


@click.group("search", cls=LazyGroup, commands_by_module=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def search() -> None:
    """Search for networks that suit several hardware, and fit the cost models that predict their latencies.

    For cost models of your own hardware: `collect` latencies of sampled networks, `fit` a model, `validate` it, and use it with
    `predict` or `run`.
    """
