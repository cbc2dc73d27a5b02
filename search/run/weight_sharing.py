"""A search by weight sharing: from the resolved request to what `mhmodels.search.supernet` needs, and back to a result."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.loop import FoundNetwork, provenance
from mhmodels.search.run.observing import SearchObserver
from mhmodels.search.run.request import RequestError, load_request, request_document
from mhmodels.search.run.resolving import ResolvedSearch, resolve_search
from mhmodels.search.supernet.request import FINALIST, WeightSharingRequest, WeightSharingResult, check_space, settings
from mhmodels.search.supernet.training.data import open_search_data

if TYPE_CHECKING:
    import tensorflow as tf


def run_weight_sharing(resolved: ResolvedSearch, observer: SearchObserver) -> tuple[FoundNetwork, dict[str, object]] | None:
    """Runs a search by weight sharing, from where the folder beside its log stands.

    Args:
        resolved: Search with everything opened.
        observer: Receives progress and remarks.

    Returns:
        The found network and its provenance; None in workers that are not the chief.

    Raises:
        RequestError: There is no log.
        MhmodelsError: As `mhmodels.search.supernet.loop.search_supernet`.
    """
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    from mhmodels.search.supernet.loop import search_supernet
    from mhmodels.training.strategies import is_chief, make_strategy

    log_path, request, objective = _log_path(resolved), resolved.request, resolved.objective
    assert request.weight_sharing is not None
    # First of all: the collective operations of several workers must be set up before TensorFlow is used.
    strategy = make_strategy(request.weight_sharing.strategy)
    check_space(resolved.space)
    reach = objective.check_target(request.seed)
    chief = is_chief(strategy)
    with SearchLog(log_path, request_document(request)) if chief else nullcontext() as log:
        asked = weight_sharing_request(resolved, strategy, log)
        if chief:
            observer.begins(objective, settings(asked)["accuracies"], reach)
        result = search_supernet(asked, observer)
        if log is None:
            return None
        found = found_network(objective, result, log)
    told = provenance(settings(asked), found, objective)
    ends = {"judged_encoding": result.judged.tolist(), "argmax": result.argmax.tolist()}
    return found, {**told, **ends, "seconds": round(result.progress.seconds, 1)}


def weight_sharing_request(
    resolved: ResolvedSearch, strategy: tf.distribute.Strategy, log: SearchLog | None
) -> WeightSharingRequest:
    """The request of the super-network, with its pictures opened.

    Args:
        resolved: Search by weight sharing.
        strategy: `tf.distribute` strategy from `mhmodels.training.strategies.make_strategy`.
        log: Open log; None for none.

    Raises:
        MhmodelsError: The space has no architectures, or the data are not there.
    """
    sharing = resolved.request.weight_sharing
    assert sharing is not None
    return WeightSharingRequest(
        space=check_space(resolved.space),
        objective=resolved.objective,
        data=open_search_data(sharing.data, label_offset=sharing.label_offset),
        preset=sharing.preset,
        folder=folder_of(_log_path(resolved)),
        strategy=strategy,
        log=log,
        seed=resolved.request.seed,
        classes=sharing.classes,
        recompute=sharing.recompute,
        resume=True,
    )


def load_weight_sharing(log_path: Path) -> WeightSharingRequest:
    """Reads the request of a search by weight sharing from its log, for one process and without opening the log for writing.

    Args:
        log_path: Log of the search, `FILE.db`.

    Raises:
        SearchError: The file is not the log of a search by weight sharing.
        MhmodelsError: Data or cost models are gone.
    """
    from mhmodels.training.strategies import make_strategy

    request = load_request(log_path)
    if request.weight_sharing is None:
        method = type(request.method).__name__
        raise SearchError(f"{log_path}: a search by {method}, expected one by weight sharing (argument 'weight_sharing')")
    return weight_sharing_request(resolve_search(request, log_path), make_strategy("none"), None)


def folder_of(log_path: Path) -> Path:
    """Folder of the checkpoints and of TensorBoard's files, beside the log."""
    return log_path.with_suffix(".search")


def found_network(objective: Objective, result: WeightSharingResult, log: SearchLog) -> FoundNetwork:
    """The result of a super-network as the network that a search found.

    Args:
        objective: Space, latencies and reward.
        result: Result of the super-network.
        log: Log of the search; of its evaluations, which may be millions, only those of the finalists are read.
    """
    worst = objective.reward.binding(result.latencies[None])[0]
    return FoundNetwork(
        encoding=result.encoding,
        accuracy=result.accuracy,
        latencies=result.latencies,
        f=result.f,
        reward=result.reward,
        binding=objective.reward.hardware[worst],
        evaluations=log.count(),
        networks=len(np.unique(objective.space.canonical(log.encodings()), axis=0)),
        # Accuracies on the way are of other weights and fewer pictures, and belong into no front.
        log=log.evaluated(FINALIST),
    )


def _log_path(resolved: ResolvedSearch) -> Path:
    if resolved.log_path is None:
        raise RequestError("argument 'log' is missing: a search by weight sharing keeps its log and its checkpoints there")
    return resolved.log_path
