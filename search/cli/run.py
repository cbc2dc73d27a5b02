"""`mhmodels search run`: the search for a network. Its options are in the modules `run_*_options`, its files in `run_files`."""

from __future__ import annotations

from pathlib import Path

import click

from mhmodels.cli.common import json_option
from mhmodels.cli.messages import UsageCommand
from mhmodels.search.cli.front.options import FrontOptions, front_options
from mhmodels.search.cli.options import INPUT_FILE, SPACE_HELP, given_options
from mhmodels.search.cli.run_accuracy_options import AccuracyOptions, accuracy_options
from mhmodels.search.cli.run_files import ResultFiles, result_file_options, run_and_write
from mhmodels.search.cli.run_latency_options import LatencyOptions, latency_options
from mhmodels.search.cli.run_method_options import MethodOptions, method_options
from mhmodels.search.cli.run_reward_options import RewardOptions, numbers, reward_options


@click.command("run", cls=UsageCommand)
@click.option(
    "--space",
    required=True,
    metavar="SPACE",
    help=SPACE_HELP,
)
@accuracy_options
@latency_options
@reward_options
@method_options
@click.option(
    "--log",
    "log_path",
    type=INPUT_FILE,
    default=None,
    metavar="FILE.db",
    help="SQLite file for the log of the search. If it contains a search with the same settings, that search is "
    "continued. Default: none; with --data, the name of -o with the suffix .db.",
)
@result_file_options
@front_options
@json_option
def run_command(
    space: str,
    accuracy: AccuracyOptions,
    latency: LatencyOptions,
    reward: RewardOptions,
    method: MethodOptions,
    log_path: Path | None,
    files: ResultFiles,
    front: FrontOptions,
    as_json: bool,
) -> None:
    """Search a space for the network with the highest reward: its accuracy, reduced by a penalty for latency on all hardware.

    Accuracies come from a table, a predictor or a function (--evaluator), or from a super-network that is trained on pictures
    (--data). Latencies come from cost models (--cost-model) or from a table (--latencies).

    With --measure-front, the exit code is 1 if a network of the found front has no measured latency; all files are written.
    """
    from mhmodels.search.cli.run_effects import check_effects
    from mhmodels.search.run.request import SearchRequest

    check_effects(given_options(click.get_current_context()), accuracy, method)
    request = SearchRequest(
        space=space,
        evaluator=accuracy.evaluator or "",
        seed=method.seed,
        cost_models=tuple(map(str, latency.cost_models)),
        latencies="" if latency.latencies is None else str(latency.latencies),
        hardware=latency.hardware_ids,
        limits=latency.limits,
        references=reward.reference_ms(),
        reference=reward.reference_model(),
        kind=reward.kind,
        aggregate=reward.aggregate,
        beta=reward.beta,
        target=reward.target,
        weights=numbers(reward.weights, "--weight"),
        force=latency.force,
        weight_sharing=accuracy.weight_sharing(),
        method=method.search_method(),
    )
    run_and_write(request, log_path, files, front, as_json)
