"""What `search run` and `resume` show: what is searched, a progress bar or a panel, and the found network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mhmodels.cli.common import console, note, progress_console
from mhmodels.cli.messages import named_options
from mhmodels.search.cli.panel import SearchPanel, watch

if TYPE_CHECKING:
    from mhmodels.search.objective.objective import Objective, Reach
    from mhmodels.search.run.request import SearchRequest
    from mhmodels.search.run.search import SearchResult
    from mhmodels.search.supernet.watching import SearchStatus

_RARE = 0.001
"""Share of samples near the target below which a search is warned."""


@contextmanager
def progress(request: SearchRequest) -> Iterator[TerminalObserver]:
    """An observer that shows a search on stderr for as long as the block runs."""
    with ExitStack() as shown:
        yield TerminalObserver(request, shown)


class TerminalObserver:
    """Shows a search on stderr: a bar for a search with an evaluator, a panel for a search by weight sharing."""

    def __init__(self, request: SearchRequest, shown: ExitStack) -> None:
        """Shows nothing yet.

        Args:
            request: Request of the search.
            shown: Closes bar and panel.
        """
        self._request, self._shown = request, shown
        self._bar: Progress | None = None
        self._panel: SearchPanel | None = None

    def begins(self, objective: Objective, accuracies: str, reach: Reach) -> None:
        """Prints what is searched, and opens the bar or the panel."""
        reward = objective.reward
        equation = f", equation {reward.equation}" if reward.equation else ""
        note(f"space {objective.space.name} on {', '.join(objective.sources)}")
        note(f"reward: {reward.kind} of f_{reward.aggregate}{equation}, β = {reward.beta:g}, target {reward.target:g}")
        note(f"accuracies: {accuracies}")
        if reach.near < _RARE:
            note(
                f"warning: {reach.near:.2%} of 10 000 samples are within 5 % of the target; it can be met, at the edge of the "
                "space"
            )
        if self._request.weight_sharing is None:
            self._opened_bar()
        else:
            self._opened_panel()

    def evaluated(self, evaluations: int, phase: str, best_reward: float) -> None:
        """Moves the bar."""
        bar = self._opened_bar()
        bar.update(bar.task_ids[0], completed=evaluations, description=f"{phase}, best reward {best_reward:.4f}")

    def stepped(self, status: SearchStatus) -> None:
        """Redraws the panel."""
        self._opened_panel().stepped(status)

    def finalist_judged(self, judged: int, of: int) -> None:
        """Redraws the panel."""
        self._opened_panel().finalist_judged(judged, of)

    def note(self, message: str) -> None:
        """Prints a remark, above the panel if there is one."""
        show_remark = note if self._panel is None else self._panel.note
        show_remark(named_options(message))

    def _opened_bar(self) -> Progress:
        if self._bar is None:
            self._bar = self._shown.enter_context(_progress_bar(self._request.method.budget))
        return self._bar

    def _opened_panel(self) -> SearchPanel:
        if self._panel is None:
            self._panel = self._shown.enter_context(watch())
        return self._panel


def _progress_bar(budget: int) -> Progress:
    """A bar with phase and best reward."""
    err = progress_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=err, transient=True, refresh_per_second=4, disable=not err.is_terminal)
    bar.add_task("search", total=budget)
    return bar


def show(result: SearchResult) -> None:
    """Prints the found network: accuracy, reward, and its latency on every hardware."""
    out, found, reward = console(), result.found, result.objective.reward
    out.print(
        f"{result.label}: accuracy {found.accuracy:.2%}, f_{reward.aggregate} {found.f:.3f} "
        f"(target {reward.target:g}), reward {found.reward:.4f}, {found.evaluations} evaluations of {found.networks} networks",
        markup=False,
        emoji=False,
    )
    table = Table("hardware", "ms", "C, ms", "L/C", "")
    for hardware, ms in result.latency_ms.items():
        c = reward.references[hardware]
        table.add_row(escape(hardware), f"{ms:.4g}", f"{c:.4g}", f"{ms / c:.3f}", "binds" if hardware == found.binding else "")
    out.print(table)
