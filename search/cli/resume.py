"""`mhmodels search resume`: continues the search that a log holds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import json_option
from mhmodels.cli.messages import UsageCommand
from mhmodels.search.cli.front.options import FrontOptions, front_options
from mhmodels.search.cli.options import INPUT_FILE
from mhmodels.search.cli.run_files import ResultFiles, result_file_options, run_and_write

if TYPE_CHECKING:
    from mhmodels.search.run.request import SearchRequest


@click.command("resume", cls=UsageCommand)
@click.argument("log_path", type=INPUT_FILE, metavar="LOG.db")
@click.option(
    "--evaluator",
    default=None,
    metavar="MODULE:FUNCTION",
    help="The function that the log names as the source of accuracies; giving it confirms that the command may run it. "
    "Without this option the command asks for confirmation or, if nobody can answer, refuses.",
)
@click.option("--force", is_flag=True, help="Use cost models even if their files mark them as doubtful.")
@result_file_options
@front_options
@json_option
def resume_command(
    log_path: Path, evaluator: str | None, force: bool, files: ResultFiles, front: FrontOptions, as_json: bool
) -> None:
    """Continue an interrupted search with the settings in its log; the result is that of an uninterrupted search.

    Output files and --measure-front are not in the log: give them again. The front of a finished search can be measured too.
    """
    import msgspec

    from mhmodels.search.run.request import load_request

    request = load_request(log_path)
    ask = (lambda text: click.confirm(text, err=True)) if sys.stdin.isatty() and not as_json else None
    check_function(request, evaluator, log_path, ask)
    run_and_write(msgspec.structs.replace(request, force=request.force or force), log_path, files, front, as_json)


def check_function(request: SearchRequest, given: str | None, log_path: Path, ask: Callable[[str], bool] | None) -> None:
    """Refuses to run a function only because a log names it: somebody else may have written the log.

    Args:
        request: Request of the log.
        given: Value of `--evaluator`.
        log_path: The log.
        ask: Puts a question to the user; None where nobody can answer.

    Raises:
        click.UsageError: The function is neither stated nor agreed to, or the option names something else than the log.
    """
    from mhmodels.search.run.sources.accuracies import absolute_evaluator, module_file, names_function

    stated = None if given is None else absolute_evaluator(given)
    if stated is not None and stated != request.evaluator:
        wanted = f"'{request.evaluator}'" if request.evaluator else "none: its accuracies come from a super-network"
        raise click.UsageError(f"--evaluator is '{given}', and the search in {log_path} has {wanted}")
    if stated is not None or not names_function(request.evaluator):
        return
    file = module_file(request.evaluator)
    if ask is None or not ask(f"{log_path} runs the function {request.evaluator} of {file}. Run it?"):
        raise click.UsageError(
            f"{log_path} would run the function {request.evaluator} of {file}: if that is yours, say so with --evaluator "
            f"{request.evaluator}"
        )
