"""Options of `search run` that do not go together: two sources of accuracies, or options that the chosen method ignores."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import click

from mhmodels.search.cli.run_accuracy_options import AccuracyOptions
from mhmodels.search.cli.run_method_options import MethodOptions

_OF_DATA = ("preset", "strategy", "classes", "label_offset", "recompute")
_METHODS: dict[str, tuple[str, ...]] = {
    "evaluations": ("evolution", "nsga2", "front-evolution", "random"),
    "steps": ("reinforce",),
    "replicas": ("reinforce",),
    "learning_rate": ("reinforce",),
    "delay": ("reinforce",),
    "refinement": ("reinforce",),
    "population": ("reinforce", "evolution", "nsga2", "front-evolution"),
    "unit_probability": ("front-evolution",),
}
"""Methods that use an option, by option."""


def check_effects(given: Collection[str], accuracy: AccuracyOptions, method: MethodOptions) -> None:
    """Refuses two sources of accuracies or none, and options that the chosen method or source does not use.

    Args:
        given: Names of the options on the command line.
        accuracy: Source of accuracies.
        method: Search method.

    Raises:
        click.UsageError: The message names the first of them and what it belongs to.
    """
    if (accuracy.evaluator is None) == (accuracy.data is None):
        raise click.UsageError("accuracies come from an --evaluator or from a super-network trained on --data: give one of both")
    for name, why in _without_effect(accuracy, method):
        if name in given:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")


def _without_effect(accuracy: AccuracyOptions, options: MethodOptions) -> Iterator[tuple[str, str]]:
    method = options.method
    if accuracy.data is not None:
        if method != "reinforce":
            yield "method", f"{method} is not for --data: a super-network is searched by the controller, as its preset says"
        for name in _METHODS:
            yield name, "has no effect with --data: the preset decides (--preset FILE.json)"
        return
    for name in _OF_DATA:
        yield name, "belongs to --data"
    for name, methods in _METHODS.items():
        if method not in methods:
            yield name, f"has no effect with --method {method}: it is for {', '.join(methods)}"
    if method == "reinforce" and not options.refinement:
        yield "population", "has no effect with --refinement 0: the population is the refinement's"
