"""What `mhmodels search monotonicity` prints for people: a table of pairs of devices, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from mhmodels.search.adaptation.monotonicity import DevicePair, MonotonicityMatrix

_WIDTH = 80
_BUDGET = 50
"""Number of networks to measure for an adaptation, in the command that is suggested."""


def print_pairs(space: str, pairs: Sequence[DevicePair], result: MonotonicityMatrix) -> None:
    """Prints one pair as a sentence, several as a table, most alike first.

    Args:
        space: Name of the space.
        pairs: Pairs that were asked for, at least one.
        result: Comparison that they are part of.
    """
    out = console()
    if len(pairs) == 1:
        out.print(_sentence(pairs[0], result.confidence), markup=False, soft_wrap=True)
        out.print(f"next: {_next(space, pairs[0])}", markup=False, soft_wrap=True)
        return
    order = sorted(pairs, key=lambda pair: -2 if pair.spearman is None else pair.spearman, reverse=True)
    _print_table(order)
    out.print(
        f"threshold {result.threshold:g}, {_percent(result.confidence)} intervals; in brackets: networks needed in total",
        markup=False,
    )
    for pair in order:
        if pair.decision is None:
            out.print(f"{pair.first} and {pair.second}: {pair.reason}", markup=False, soft_wrap=True)
    for decision in ("reuse", "adapt", "measure more"):
        first = next((pair for pair in order if pair.decision == decision), None)
        if first is not None:
            out.print(f"{decision}, for example {first.first} and {first.second}:", markup=False, soft_wrap=True)
            out.print(f"  {_next(space, first)}", markup=False, soft_wrap=True)


def _sentence(pair: DevicePair, confidence: float) -> str:
    from mhmodels.search.adaptation.monotonicity import three_decimals

    if pair.spearman is None:
        return f"{pair.first} and {pair.second}: no correlation: {pair.reason}"
    correlation = f"Spearman {three_decimals(pair.spearman)}, {_percent(confidence)} interval {_interval(pair)}"
    return f"{pair.first} and {pair.second}: {correlation}, {pair.n} networks: {pair.decision} ({pair.reason})"


def _next(space: str, pair: DevicePair) -> str:
    """What to do after a decision, with the command."""
    if pair.decision == "reuse":
        model = shlex.quote(_cost_model(space, pair.first))
        command = f"mhmodels search run --space {space} --cost-model {model}"
        return f"search with the cost model of {pair.first}, also for {pair.second}: {command}"
    if pair.decision is None:
        return "measure more networks on both"
    if pair.needed is not None:
        return f"measure about {pair.needed} networks on both{_collecting(space, pair.needed)}"
    source, target = shlex.quote(pair.first), shlex.quote(pair.second)
    command = f"mhmodels search adapt --space {space} --source {source} --target {target} --budget {_BUDGET}"
    undecided = "more networks would hardly decide; " if pair.decision == "measure more" else ""
    return f"{undecided}adapt the latencies of {pair.first} to {pair.second}: {command}"


def _collecting(space: str, count: int) -> str:
    """The command that measures networks; "" for spaces whose networks are rows of a table and cannot be built."""
    from mhmodels.search.space.catalogue import get_space
    from mhmodels.search.space.template import ArchitectureSpace

    if not isinstance(get_space(space), ArchitectureSpace):
        return ""
    return f": mhmodels search collect --space {space} -n {count}"


def _cost_model(space: str, hardware: str) -> str:
    """Hardware id of a cost model that comes with the package, else a file name that stands for the user's."""
    from mhmodels.search.cost_model.shipping import shipped_hardware

    return hardware if hardware in shipped_hardware(space) else f"{hardware}.json"


def _print_table(pairs: Sequence[DevicePair]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from mhmodels.search.adaptation.monotonicity import three_decimals

    headings = ("first", "second", "n", "Spearman", "interval", "decision")
    table = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for column in table.columns[:2]:
        column.overflow = "fold"
    for column in table.columns[2:4]:
        column.justify = "right"
    for column in table.columns[2:]:
        column.no_wrap = True
    for pair in pairs:
        names = escape(pair.first), escape(pair.second)
        if pair.spearman is None:
            table.add_row(*names, str(pair.n), "–", "–", "–")
        else:
            more = f" ({pair.needed})" if pair.needed is not None else ""
            table.add_row(*names, str(pair.n), three_decimals(pair.spearman), _interval(pair), f"{pair.decision}{more}")
    console().print(table, width=_WIDTH)


def _interval(pair: DevicePair) -> str:
    from mhmodels.search.adaptation.monotonicity import three_decimals

    return "–".join(three_decimals(limit) for limit in (pair.low, pair.high) if limit is not None)


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.4g} %"
