"""What `search run` and `resume` share: the files that they write, and the way from a request to these files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import OutputFile, check_places, emit_json, note
from mhmodels.cli.option_groups import option_group

if TYPE_CHECKING:
    from mhmodels.search.run.request import SearchRequest
    from mhmodels.search.run.search import SearchResult

_RESULT = OutputFile(".json")


@dataclass(frozen=True)
class ResultFiles:
    """Files of a finished search.

    Attributes:
        output: File of the found network; None for none.
        front_path: File of the Pareto front; None for none.
        name: Name of the architecture; None for the name of the file.
    """

    output: Path | None
    front_path: Path | None
    name: str | None

    def check(self, request: SearchRequest, log_path: Path | None) -> None:
        """Refuses files that would overwrite something, and a front or name that cannot be, before anything is searched.

        Args:
            request: Request of the search.
            log_path: Log of the search.

        Raises:
            click.UsageError: The message names the option.
        """
        if self.name is not None and self.output is None:
            raise click.UsageError("--name belongs to -o FILE.json: nothing is written that could have a name")
        check_places({"-o": self.output, "--front": self.front_path, "--log": log_path}, request.files())
        if self.front_path is not None:
            request.check_front()

    def write(self, result: SearchResult) -> None:
        """Writes what was asked for."""
        if self.output is not None:
            result.save(self.output, self.name)
        if self.front_path is not None:
            result.save_front(self.front_path)


result_file_options = option_group(
    "files",
    ResultFiles,
    click.option(
        "-o",
        "--output",
        type=_RESULT,
        default=None,
        metavar="FILE.json",
        help="Write the found network to this file, an architecture file that other commands take as MODEL.",
    ),
    click.option(
        "--front",
        "front_path",
        type=_RESULT,
        default=None,
        metavar="FILE.json",
        help="Write the Pareto-optimal networks (accuracy against latency on each hardware) to this file.",
    ),
    click.option(
        "--name", default=None, help="Name of the found architecture. Default: the name of the output file without suffix."
    ),
)


def run_and_write(request: SearchRequest, log_path: Path | None, files: ResultFiles, as_json: bool) -> None:
    """Runs a search, writes its files and prints its result.

    Args:
        request: Request of the search.
        log_path: Log of the search; None for none, or, for a search by weight sharing, for a log beside the output file.
        files: Files to write.
        as_json: Whether to print a JSON document instead of text.
    """
    files.check(request, log_path)
    from mhmodels.search.cli import run_display
    from mhmodels.search.run.search import run_search

    if log_path is None and request.weight_sharing is not None:
        log_path = (files.output or Path("search.json")).with_suffix(".db")
    with run_display.progress(request) as observer:
        result = run_search(request, log_path, observer=observer)
    if result is None:
        return
    files.write(result)
    if as_json:
        path = None if files.output is None else str(files.output)
        emit_json({**result.provenance, "label": result.label, "path": path})
        return
    run_display.show(result)
    if files.output is not None:
        note(f"written to {files.output}")
