"""What `mhmodels search run` refuses before it begins: options that would change nothing, numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mhmodels.formats.numbers import decimal
from mhmodels.search.errors import SearchError

if TYPE_CHECKING:
    from mhmodels.search.run.request import Request

_OF_DATA = ("preset", "strategy", "classes", "label_offset", "recompute")
_METHODS: dict[str, tuple[str, ...]] = {
    "evaluations": ("evolution", "nsga2", "random"),
    "steps": ("reinforce",),
    "replicas": ("reinforce",),
    "learning_rate": ("reinforce",),
    "delay": ("reinforce",),
    "refinement": ("reinforce",),
    "population": ("reinforce", "evolution", "nsga2"),
}
"""Options that belong to some methods only, and to which."""


def given_options(context: click.Context) -> set[str]:
    """Names of the parameters that stand on the command line, whatever they say."""
    source = click.core.ParameterSource
    stated = (source.COMMANDLINE, source.ENVIRONMENT)
    return {name for name in context.params if context.get_parameter_source(name) in stated}


def check_effects(given: Collection[str], options: Mapping[str, Any]) -> None:
    """Refuses options that the chosen method or source of accuracies does not look at.

    Raises:
        click.UsageError: the first of them, and what it belongs to.
    """
    for name, why in _without_effect(options):
        if name in given:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")


def check_name(name: str | None, output: Path | None) -> None:
    """Refuses a name for a file that is not written.

    Raises:
        click.UsageError: a name and no file.
    """
    if name is not None and output is None:
        raise click.UsageError("--name belongs to -o FILE.json: nothing is written that could have a name")


def check_texts(request: Request) -> None:
    """Refuses names of files that no log or result can keep.

    Raises:
        SearchError: a name has bytes that are not UTF-8.
    """
    try:
        msgspec.json.encode(request)
    except UnicodeEncodeError as error:
        raise SearchError(
            f"{error.object}: not UTF-8, but a search keeps the names of what it reads in its log and its result; rename it, or "
            "give a link to it with another name"
        ) from error


def check_front(front: Path | None, preset: Mapping[str, Any] | None) -> None:
    """Refuses the front of a super-network whose end judges a single network.

    Args:
        front: the file wanted.
        preset: of the super-network; None without one.

    Raises:
        click.UsageError: networks on the way were judged with other weights each, which makes no front.
    """
    if front is not None and preset is not None and not preset["finalists"]:
        raise click.UsageError(
            f"--front needs networks that were judged by the same weights: the preset '{preset['name']}' judges one at its end "
            "(field 'finalists' is 0)"
        )


def check_function(request: Request, given: str | None, log_path: Path, ask: Callable[[str], bool] | None) -> None:
    """Refuses to run a function only because a log names it: a log may be somebody else's.

    Args:
        request: of the log.
        given: `--evaluator` on the command line.
        log_path: of the log.
        ask: puts a question to the user; None where nobody can answer.

    Raises:
        click.UsageError: the function is neither stated nor agreed to, or the option names something else than the log.
    """
    from mhmodels.search.run.request import module_place, names_function

    stated = None if given is None else absolute_evaluator(given)
    if stated is not None and stated != request.evaluator:
        wanted = f"'{request.evaluator}'" if request.evaluator else "none: its accuracies come from a super-network"
        raise click.UsageError(f"--evaluator is '{given}', and the search in {log_path} has {wanted}")
    if stated is not None or not names_function(request.evaluator):
        return
    place = module_place(request.evaluator)
    if ask is None or not ask(f"{log_path} runs the function {request.evaluator} of {place}. Run it?"):
        raise click.UsageError(
            f"{log_path} would run the function {request.evaluator} of {place}: if that is yours, say so with --evaluator "
            f"{request.evaluator}"
        )


def files_read(request: Request) -> Iterator[Path]:
    """Files that a search goes by, which it must not write."""
    yield from map(Path, request.cost_models)
    if request.latencies:
        yield from (Path(request.latencies), Path(request.latencies).with_suffix(".json"))
    yield from (Path(request.evaluator), Path(request.evaluator.rpartition(":")[0]))
    if request.reference is not None:
        yield Path(request.reference)


def absolute_evaluator(evaluator: str) -> str:
    """An evaluator that is a file, as a search that is resumed elsewhere finds it too."""
    file, colon, column = evaluator.rpartition(":")
    for path, rest in ((evaluator, ""), (file, colon + column)):
        if Path(path).suffix in (".npz", ".csv", ".jsonl"):
            return f"{Path(path).absolute()}{rest}"
    return evaluator


def absolute_model(model: str) -> str:
    """The same for a MODEL argument."""
    base = model.rpartition("@")[0] or model
    return str(Path(model).absolute()) if base.endswith(".json") or "/" in base else model


def numbers(values: tuple[str, ...], option: str, *, positive: bool) -> dict[str, float]:
    """`ID=NUMBER` arguments by ID.

    Raises:
        click.UsageError: not of that form, infinite or NaN, below 0 (or 0 if `positive`), or one ID twice.
    """
    found: dict[str, float] = {}
    for value in values:
        name, _, text = value.partition("=")
        try:
            number = decimal(text)
        except ValueError:
            if text.strip().lower().lstrip("+-") not in ("inf", "infinity", "nan"):
                raise click.UsageError(f"{option} is '{value}', expected ID=NUMBER, a decimal number like 12.5") from None
            number = math.nan
        if not number >= 0 or (positive and number == 0):
            least = "above 0 (--weight ID=0 leaves a hardware out)" if positive else "of at least 0"
            raise click.UsageError(f"{option} is '{value}', expected a finite number {least}")
        if name in found:
            raise click.UsageError(f"{option} names '{name}' twice, expected one number for each hardware")
        found[name] = number
    return found


def _without_effect(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    method = options["method"]
    if options["data"] is not None:
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
    if method == "reinforce" and not options["refinement"]:
        yield "population", "has no effect with --refinement 0: the population is the refinement's"
