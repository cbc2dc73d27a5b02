"""`mhmodels search run --data …`: a search by weight sharing, from the request to the result's file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.request import Request, logged, make_objective
from mhmodels.search.run.running import Found
from mhmodels.search.supernet.presets import Preset, load_preset

if TYPE_CHECKING:
    from mhmodels.search.run.log import SearchLog
    from mhmodels.search.supernet.record import Outcome
    from mhmodels.search.supernet.record import Request as LoopRequest


def request_options(options: dict[str, Any]) -> dict[str, Any]:
    """What a request keeps of the command's options, the preset as data, so that a changed file changes nothing."""
    from mhmodels.training.data import digits64

    preset = load_preset(options["preset"] or ("quick" if options["data"].startswith("digits64") else "paper"))
    data = options["data"]
    return {
        "preset": msgspec.to_builtins(preset),
        "data": data if data in digits64.SETTINGS or "://" in data else str(Path(data).absolute()),
        "label_offset": options["label_offset"],
        "classes": options["classes"],
        "strategy": options["strategy"],
        "recompute": options["recompute"],
    }


def search(
    request: Request, log_path: Path, tell: Callable[[Objective, str, float], None]
) -> tuple[Objective, Found, dict[str, Any]] | None:
    """Runs a request with a super-network, from where the folder beside its log stands.

    Args:
        request: what is searched.
        log_path: `FILE.db`.
        tell: is told objective, where accuracies come from, and the share of networks near the target.

    Returns:
        The objective, what was found, and its provenance; None in workers that are not the first.

    Raises:
        MhmodelsError: as `mhmodels.search.supernet.loop.search_supernet`.
    """
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    from mhmodels.search.cli.panel import watch
    from mhmodels.search.run.log import SearchLog
    from mhmodels.search.run.running import provenance
    from mhmodels.search.supernet.loop import search_supernet
    from mhmodels.search.supernet.record import check_space, settings
    from mhmodels.training.strategies import is_chief, make_strategy

    # First of all: the collective operations of several workers must be set up before TensorFlow is used.
    strategy = make_strategy(request.options["strategy"])
    objective = make_objective(request)
    check_space(objective.space)
    reach = objective.check_target(request.seed)
    chief = is_chief(strategy)
    with SearchLog(log_path, msgspec.to_builtins(request)) if chief else nullcontext() as log:
        asked = loop_request(request, objective, strategy, log, log_path)
        if chief:
            tell(objective, settings(asked)["accuracies"], reach.near)
        with watch() as panel:
            outcome = search_supernet(asked, panel)
        if log is None:
            return None
        found = _found(objective, outcome, log)
    told = provenance(settings(asked), found, objective)
    ends = {"judged_encoding": outcome.judged.tolist(), "argmax": outcome.argmax.tolist()}
    return objective, found, {**told, **ends, "seconds": round(outcome.progress.seconds, 1)}


def loop_request(request: Request, objective: Objective, strategy: Any, log: SearchLog | None, log_path: Path) -> LoopRequest:
    """What the loop is asked for, of what the command line was asked for.

    Raises:
        MhmodelsError: a space without architectures, or data that are not there.
    """
    from mhmodels.search.space.template import ArchitectureSpace
    from mhmodels.search.supernet import record
    from mhmodels.search.supernet.training.data import open_search_data

    given = request.options
    record.check_space(objective.space)
    assert isinstance(objective.space, ArchitectureSpace)
    return record.Request(
        space=objective.space,
        objective=objective,
        data=open_search_data(given["data"], label_offset=given["label_offset"]),
        preset=logged(given["preset"], Preset, log_path),
        folder=folder_of(log_path),
        strategy=strategy,
        log=log,
        seed=request.seed,
        classes=given["classes"],
        recompute=given["recompute"],
        resume=True,
    )


def folder_of(log: Path) -> Path:
    """Where checkpoints and TensorBoard's files are: beside the log."""
    return log.with_suffix(".search")


def _found(objective: Objective, outcome: Outcome, log: SearchLog) -> Found:
    from mhmodels.search.supernet import record

    worst = objective.reward.binding(outcome.latencies[None])[0]
    return Found(
        encoding=outcome.encoding,
        accuracy=outcome.accuracy,
        latencies=outcome.latencies,
        f=outcome.f,
        reward=outcome.reward,
        binding=objective.reward.hardware[worst],
        evaluations=log.count(),
        networks=len(np.unique(objective.space.canonical(log.encodings()), axis=0)),
        # Accuracies on the way are of other weights and fewer pictures, and go into no front; they may be millions, too.
        log=log.evaluated(record.FINALIST),
    )
