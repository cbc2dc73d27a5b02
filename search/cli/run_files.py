"""What `search run` and `resume` share: the files that they write, and the way from a request to these files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import OutputFile, check_places, emit_json, note
from mhmodels.cli.option_groups import option_group
from mhmodels.search.cli.options import given_options

if TYPE_CHECKING:
    from mhmodels.search.cli.front.options import FrontOptions
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

    def check(self, request: SearchRequest, log_path: Path | None, front: FrontOptions) -> None:
        """Refuses files that would overwrite something, and a front or name that cannot be, before anything is searched.

        Args:
            request: Request of the search.
            log_path: Log of the search.
            front: Whether and how the found front is measured.

        Raises:
            click.UsageError: The message names the option.
        """
        if self.name is not None and self.output is None:
            raise click.UsageError("--name belongs to -o FILE.json: nothing is written that could have a name")
        written = {"-o": self.output, "--front": self.front_path, "--log": log_path}
        if front.measure_front:
            from mhmodels.store import default_path

            written["--store"] = default_path() if front.store is None else Path(front.store)
        check_places(written, request.files())
        if self.front_path is not None or front.wanted:
            request.check_front()

    def write(self, result: SearchResult, each: bool | None) -> None:
        """Writes what was asked for.

        Args:
            result: Finished search.
            each: As in `SearchResult.front`.
        """
        if self.output is not None:
            result.save(self.output, self.name)
        if self.front_path is not None:
            result.save_front(self.front_path, each)


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
        help="Write the Pareto-optimal networks (accuracy against latency on each hardware) to this file; with --measure-front "
        "or --front-latencies those of accuracy against f, with their measured latencies.",
    ),
    click.option(
        "--name", default=None, help="Name of the found architecture. Default: the name of the output file without suffix."
    ),
)


def run_and_write(request: SearchRequest, log_path: Path | None, files: ResultFiles, front: FrontOptions, as_json: bool) -> None:
    """Runs a search, writes its files, measures its front if that is asked for, and prints its result.

    Args:
        request: Request of the search.
        log_path: Log of the search; None for none, or, for a search by weight sharing, for a log beside the output file.
        files: Files to write.
        front: Whether and how the found front is measured.
        as_json: Whether to print a JSON document instead of text.

    Raises:
        MhmodelsError: The search cannot run; or, after its files are written, the front cannot be measured as a whole.
    """
    front.check(given_options(click.get_current_context()))
    files.check(request, log_path, front)
    from mhmodels.search.cli import run_display
    from mhmodels.search.run.resolving import resolve_search
    from mhmodels.search.run.search import search_resolved

    if log_path is None and request.weight_sharing is not None:
        log_path = (files.output or Path("search.json")).with_suffix(".db")
    with run_display.progress(request) as observer:
        resolved = resolve_search(request, log_path, note=observer.note)
        source = front.opened(resolved.objective) if front.wanted else None
        result = search_resolved(resolved, observer)
    if result is None:
        return
    # The files are written before the front is measured, so that an interruption loses nothing.
    files.write(result, each=None if source is None else False)
    path = None if files.output is None else str(files.output)
    document = {**result.provenance, "label": result.label, "path": path}
    if not as_json:
        run_display.show(result)
        if files.output is not None:
            note(f"written to {files.output}")
    if source is not None:
        from mhmodels.search.cli.front.finishing import finish

        finish(result, source, files.front_path, None if not as_json else document)
    elif as_json:
        emit_json(document)
