"""A search by weight sharing on the terminal: a panel that is redrawn, or a line every half minute without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mhmodels.cli.common import progress_console
from mhmodels.search.supernet.watching import SearchStatus

_LINE_EVERY_S = 30.0
"""Seconds between two lines, where stderr is no terminal."""


class SearchPanel:
    """Shows the latest status of a search; see `watch`."""

    def __init__(self, console: Console, live: Live) -> None:
        """Shows nothing yet.

        Args:
            console: Console on stderr.
            live: Display that is redrawn, for a console that is a terminal.
        """
        self._console, self._live = console, live
        self._said = 0.0

    def stepped(self, status: SearchStatus) -> None:
        """Shows a training step."""
        if self._console.is_terminal:
            self._live.update(_frame(status))
        elif status.seconds - self._said >= _LINE_EVERY_S or status.step == status.steps:
            self._said = status.seconds
            self.note(", ".join(f"{name} {value}" for name, value in _rows(status)))

    def finalist_judged(self, judged: int, of: int) -> None:
        """Shows how many finalists were judged."""
        if self._console.is_terminal:
            self._live.update(_ending_frame(judged, of))
        elif judged == of:
            self.note(f"{of} finalists judged on all validation pictures")

    def note(self, message: str) -> None:
        """Prints a line above the panel."""
        self._console.print(message, soft_wrap=True, markup=False)


@contextmanager
def watch() -> Iterator[SearchPanel]:
    """Shows a panel on stderr for as long as the block runs."""
    err = progress_console()
    with Live(console=err, refresh_per_second=2, transient=True, auto_refresh=err.is_terminal) as live:
        yield SearchPanel(err, live)


def _frame(status: SearchStatus) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in _rows(status):
        table.add_row(Text(name, style="dim"), value)
    return Frame(Group(_bar(status.step, status.steps), table), title="search", width=78)


def _ending_frame(judged: int, of: int) -> RenderableType:
    return Frame(Group(_bar(judged, of), Text(f"finalists judged {judged}/{of}")), title="search", width=78)


def _bar(done: int, of: int) -> RenderableType:
    bar = Table.grid()
    bar.add_row(ProgressBar(total=of, completed=done, width=60))
    return bar


def _rows(status: SearchStatus) -> Iterator[tuple[str, str]]:
    yield "step", f"{status.step}/{status.steps}"
    yield "loss", f"{status.loss:.3f}"
    yield "training accuracy", f"{status.training_accuracy:.1%}"
    if status.reward is not None and status.accuracy is not None and status.f is not None:
        yield "updates", f"{status.updates}/{status.all_updates}"
        yield "reward", f"{status.reward:.4f} (baseline {status.baseline or 0:.4f})"
        yield "accuracy", f"{status.accuracy:.1%}"
        yield "f", f"{status.f:.3f}"
        for hardware, ms in status.latency_ms.items():
            yield hardware, f"{ms:.4g} ms, worst for {status.binding.get(hardware, 0)}"
    yield "entropy", f"{status.entropy:.1f} nats"
    yield "left", "" if status.remaining_s is None else str(timedelta(seconds=round(status.remaining_s)))
