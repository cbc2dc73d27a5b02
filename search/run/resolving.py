"""A search request made concrete, once: space, cost models, reference latencies, objective and evaluator in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.cost_model.shipping import model_path, table_path
from mhmodels.search.objective.evaluators import Evaluator
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.run.request import RequestError, SearchRequest
from mhmodels.search.run.sources.accuracies import AccuracyFunction, absolute_evaluator, function_evaluator, make_evaluator
from mhmodels.search.run.sources.latencies import open_latencies
from mhmodels.search.space.limits import hardware_limits, restricted
from mhmodels.search.space.loading import is_space_file, load_space
from mhmodels.search.space.restriction import Removal
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.training.data import digits64, idx


@dataclass(frozen=True)
class ResolvedSearch:
    """A search with everything opened that its request names; everything after `resolve_search` is handed this object.

    Attributes:
        request: The request, with absolute names of its files.
        space: Space to search, restricted to what the hardware of `request.limits` runs.
        removals: Choices that the restriction removed, and the hardware because of which.
        cost_models: Cost models by hardware; empty if latencies come from a table.
        objective: Latencies by hardware, reference latencies and reward.
        evaluator: Source of accuracies; None for a search by weight sharing.
        log_path: Log of the search, `FILE.db`; None for none.
        resumable: Whether a log of this search can be resumed from the command line: accuracies of a Python function that was
            handed over as an object have no name by which they could be found again.
    """

    request: SearchRequest
    space: SearchSpace
    removals: tuple[Removal, ...]
    cost_models: Mapping[str, CostModel]
    objective: Objective
    evaluator: Evaluator | None
    log_path: Path | None = None
    resumable: bool = True

    @property
    def references(self) -> dict[str, float]:
        """Reference latencies in ms (C in equations 4 and 5 of the paper), by hardware."""
        return self.objective.reward.references


def resolve_search(
    request: SearchRequest,
    log_path: Path | None = None,
    *,
    accuracy: AccuracyFunction | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> ResolvedSearch:
    """Opens everything that a request names, each thing once.

    Args:
        request: Request of a search.
        log_path: Log of the search; None for none.
        accuracy: Function in place of `request.evaluator`: it is called with the space and encodings (n, decisions), and returns
            n fractions from 0 to 1.
        note: Called with remarks for people, for example that a cost model is of another machine's CPU.

    Raises:
        RequestError: There are several sources of accuracies, or none.
        MhmodelsError: A name or file is not there, a cost model does not fit the space, or a reference cannot be had.

    Example:
        >>> from mhmodels.search import SearchRequest
        >>> from mhmodels.search.run.resolving import resolve_search
        >>> request = SearchRequest(space="nas_bench_macro", latencies="nas_bench_macro", hardware=("ethos-u55-128",))
        >>> resolved = resolve_search(request, accuracy=lambda space, encodings: [0.5] * len(encodings))
        >>> list(resolved.references)
        ['ethos-u55-128']
    """
    _check_one_source(request, accuracy)
    given = load_space(request.space)
    request = located(request, given.name)
    request.check_texts()
    space, removals = restricted(given, hardware_limits(request.limits, note))
    latencies = open_latencies(request, space, given.unrestricted())
    for remark in latencies.remarks:
        note(remark)
    reward = Reward(
        references=dict(latencies.references),
        kind=request.kind,
        aggregate=request.aggregate,
        beta=request.beta,
        target=request.target,
        weights=request.weights,
    )
    return ResolvedSearch(
        request=request,
        space=space,
        removals=removals,
        cost_models=latencies.cost_models,
        objective=Objective(space, latencies.sources, reward),
        evaluator=_evaluator(request, space, accuracy),
        log_path=log_path,
        resumable=accuracy is None,
    )


def located(request: SearchRequest, space: str) -> SearchRequest:
    """The same request with absolute file names in place of relative ones and of ids of what comes with the package.

    Args:
        request: Request of a search.
        space: Name of its whole space.

    Raises:
        UnknownNameError: A cost model or table is neither a file nor comes with the package.
    """
    sharing = request.weight_sharing
    return msgspec.structs.replace(
        request,
        space=str(Path(request.space).absolute()) if is_space_file(request.space) else request.space,
        evaluator=absolute_evaluator(request.evaluator),
        cost_models=tuple(str(model_path(space, Path(word))) for word in request.cost_models),
        latencies=str(table_path(Path(request.latencies))) if request.latencies else "",
        reference=None if request.reference is None else _absolute_model(request.reference),
        weight_sharing=None if sharing is None else msgspec.structs.replace(sharing, data=absolute_data(sharing.data)),
    )


def absolute_data(data: str) -> str:
    """Pictures by their absolute path; the name of generated digits and an address stay as they are."""
    if idx.is_idx(data):
        return f"{idx.PREFIX}{idx.idx_folder(data).absolute()}"
    return data if data in digits64.SETTINGS or "://" in data else str(Path(data).absolute())


def _absolute_model(model: str) -> str:
    """A zoo name as it is, an architecture file by its absolute path."""
    base = model.rpartition("@")[0] or model
    return str(Path(model).absolute()) if base.endswith(".json") or "/" in base else model


def _check_one_source(request: SearchRequest, accuracy: AccuracyFunction | None) -> None:
    sources = (bool(request.evaluator), request.weight_sharing is not None, accuracy is not None)
    if sum(sources) != 1:
        raise RequestError(
            "accuracies come from argument 'evaluator' or from a super-network (argument 'weight_sharing'): give one of both"
        )


def _evaluator(request: SearchRequest, space: SearchSpace, accuracy: AccuracyFunction | None) -> Evaluator | None:
    if accuracy is not None:
        return function_evaluator(accuracy, space)
    return None if request.weight_sharing is not None else make_evaluator(request.evaluator, space)
