"""`run_search`: from a request to the network that a search finds, for Python and for the command line."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mhmodels.architecture import Architecture
from mhmodels.formats.json_files import plain_text
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import FrontEvolution, NonDominated
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.run.front.judging import front_members
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.loop import FoundNetwork, header, provenance, search
from mhmodels.search.run.observing import SearchObserver, SilentSearchObserver
from mhmodels.search.run.pareto import FrontDocument, front_document, front_file
from mhmodels.search.run.request import SearchRequest, request_document
from mhmodels.search.run.resolving import ResolvedSearch, resolve_search
from mhmodels.search.run.results import network_file
from mhmodels.search.run.sources.accuracies import AccuracyFunction
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.system.files import write_atomically


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        request: Request of the search, with absolute names of its files.
        objective: Space, latencies and reward.
        found: Network that the search chose, and all evaluations.
        provenance: All settings and sources on which the result depends, as plain values.

    Example:
        >>> from mhmodels.search import Random, SearchRequest, run_search
        >>> request = SearchRequest(space="nas_bench_macro", latencies="nas_bench_macro", method=Random(evaluations=20))
        >>> result = run_search(request, accuracy=lambda space, encodings: encodings.mean(axis=1) / 2)
        >>> result.save("found.json")
        >>> result.front()["space"]
        'nas_bench_macro'
    """

    request: SearchRequest
    objective: Objective
    found: FoundNetwork
    provenance: dict[str, Any]

    @property
    def label(self) -> str:
        """Name of the found network: space and choices, for example `multi_hardware:3:0:…`."""
        return self.objective.space.label(self.found.encoding)

    @property
    def latency_ms(self) -> dict[str, float]:
        """Latencies of the found network in ms, by hardware."""
        return dict(zip(self.objective.sources, self.found.latencies.tolist(), strict=True))

    def architecture(self, name: str = "found") -> Architecture:
        """The found network, for every function that takes an architecture, such as `create_model` and `export_model`.

        Args:
            name: Name of the architecture.

        Raises:
            SearchError: The space is tabular and has no architectures.
        """
        space = self.objective.space
        if not isinstance(space, ArchitectureSpace):
            raise SearchError(f"space '{space.name}' is tabular: its networks have no architecture")
        return space.build(self.found.encoding).at(name=name)

    def save(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Writes the found network with its provenance to a file that every command takes as MODEL.

        Args:
            path: `FILE.json`.
            name: Name of the architecture; None for the name of the file.
        """
        content = network_file(self.objective.space, self.found.encoding, self.provenance, name or plain_text(Path(path).stem))
        write_atomically(Path(path), content)

    def front(self, each: bool | None = None) -> FrontDocument:
        """The Pareto front of all evaluated networks, as the values of its file.

        Args:
            each: Whether the latency on every hardware is a cost of its own; otherwise the only cost is f, the aggregated
                normalised latency. None means `each` of the methods `NonDominated` and `FrontEvolution`, and True for others.

        Raises:
            RequestError: The search ended with a single network that was judged (a preset without finalists).
        """
        self.request.check_front()
        method = self.request.method
        usual = method.each if isinstance(method, (FrontEvolution, NonDominated)) else True
        return front_document(self.objective, self.found.log, usual if each is None else each)

    def front_members(self) -> Evaluations:
        """The Pareto front of accuracy against f, the aggregated normalised latency, whose members `measure_front` measures.

        Returns:
            The members, the most accurate first.

        Raises:
            RequestError: The search ended with a single network that was judged (a preset without finalists).
        """
        self.request.check_front()
        return front_members(self.found.log)

    def save_front(self, path: str | os.PathLike[str], each: bool | None = None) -> None:
        """Writes the Pareto front to a file.

        Args:
            path: `FILE.json`.
            each: As in `front`.

        Raises:
            RequestError: As `front`.
        """
        write_atomically(Path(path), front_file(self.front(each)))


def run_search(
    request: SearchRequest,
    log: str | os.PathLike[str] | None = None,
    *,
    accuracy: AccuracyFunction | None = None,
    observer: SearchObserver | None = None,
) -> SearchResult | None:
    """Searches a space for the network of the highest reward.

    With a log, the search continues from where the log ends, and gives the result that it would have given uninterrupted.

    Args:
        request: Space, method, accuracies, latencies and reward of the search.
        log: Log of the search (SQLite), `FILE.db`; None for none. A search by weight sharing needs one, and keeps its checkpoints
            in the folder `FILE.search` beside it.
        accuracy: Function in place of `request.evaluator`: it is called with the space and encodings (n, decisions), and returns
            n fractions from 0 to 1.
        observer: Receives progress and remarks; None for no output.

    Returns:
        The found network with everything that was evaluated; None in workers of a distributed search that are not the chief.

    Raises:
        RequestError: Fields of the request do not go together.
        SearchError: The target is out of reach, the log is of a search with other settings, or an accuracy is not from 0 to 1.
        MhmodelsError: A name or file does not exist, or a file cannot be written.
        InterruptedJobError: The user pressed Ctrl-C in a search by weight sharing; its last checkpoint is kept.

    Example:
        >>> from mhmodels.search import Random, SearchRequest, run_search
        >>> request = SearchRequest(space="nas_bench_macro", latencies="nas_bench_macro", method=Random(evaluations=20))
        >>> result = run_search(request, accuracy=lambda space, encodings: encodings.mean(axis=1) / 2)
        >>> result.found.evaluations
        20
        >>> result.architecture("mine").name
        'mine'
    """
    watching = observer or SilentSearchObserver()
    resolved = resolve_search(request, None if log is None else Path(log), accuracy=accuracy, note=watching.note)
    return search_resolved(resolved, watching)


def search_resolved(resolved: ResolvedSearch, observer: SearchObserver) -> SearchResult | None:
    """Runs a resolved search; see `run_search` for result and errors.

    Args:
        resolved: Search with everything opened.
        observer: Receives progress and remarks.
    """
    if resolved.evaluator is None:
        from mhmodels.search.run.weight_sharing import run_weight_sharing

        ended = run_weight_sharing(resolved, observer)
        return None if ended is None else SearchResult(resolved.request, resolved.objective, *ended)
    request, objective, evaluator = resolved.request, resolved.objective, resolved.evaluator
    observer.begins(objective, evaluator.identity, objective.check_target(request.seed))
    with _opened(resolved) as log:
        found = search(objective, evaluator, request.method, request.seed, log, observer.evaluated)
    budget = request.method.budget
    if found.evaluations < budget:
        observer.note(f"{found.evaluations} evaluations, not {budget}: hardly any network is left that was not asked for")
    told = provenance(header(objective, evaluator, request.method, request.seed), found, objective)
    return SearchResult(request, objective, found, told)


def _opened(resolved: ResolvedSearch) -> SearchLog | nullcontext[None]:
    if resolved.log_path is None:
        return nullcontext()
    return SearchLog(resolved.log_path, request_document(resolved.request) if resolved.resumable else None)
