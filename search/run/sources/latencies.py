"""Where the latencies of a search come from, cost models or a table, and the reference latencies that normalise them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.registry import resolve
from mhmodels.search.cost_model.latencies.baselines import BASELINE
from mhmodels.search.cost_model.model import CostModel, load_cost_model, naming
from mhmodels.search.cost_model.shipping import remark_on, remarks_on_table
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.evaluators import TableLatency
from mhmodels.search.objective.measured_tables import is_collected, measured_latencies
from mhmodels.search.objective.objective import LatencySource
from mhmodels.search.run.request import MEDIAN, SearchRequest
from mhmodels.search.run.sources.published import published_table
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace


class LatencySources(NamedTuple):
    """The latencies of a search.

    Attributes:
        sources: Latency in ms of any encoding, by hardware.
        references: Reference latency in ms (C in equations 4 and 5), by hardware in the same order.
        cost_models: Cost models behind the sources, by hardware; empty for a table.
        remarks: Remarks for people: latencies of another machine's CPU, references that are extrapolated.
    """

    sources: Mapping[str, LatencySource]
    references: Mapping[str, float]
    cost_models: Mapping[str, CostModel]
    remarks: tuple[str, ...]


def open_latencies(request: SearchRequest, space: SearchSpace, whole: SearchSpace) -> LatencySources:
    """Loads the cost models or the table of a request, each file once.

    Args:
        request: Request with the names of existing files (`mhmodels.search.run.resolving.located`).
        space: Space of the search, after its restriction to what the hardware runs.
        whole: The same space before the restriction.

    Raises:
        SearchError: There are both kinds of sources or none, two cost models of one hardware, hardware without latencies, or
            references that cannot be had or have no effect.
        CostModelError: A cost model does not fit the space, or is doubtful and `force` is False.
        MhmodelsError: A file cannot be read.
    """
    if bool(request.cost_models) == bool(request.latencies):
        raise SearchError(
            "latencies come from cost models (argument 'cost_models') or from a table (argument 'latencies'): give one of both"
        )
    found = _of_cost_models(request, space, whole) if request.cost_models else _of_table(request, space, whole)
    sources = found.sources
    unknown = next((name for name in request.references if name not in sources), None)
    if unknown is not None:
        raise SearchError(f"reference for '{unknown}', of which no latencies are given; hardware: {', '.join(sources)}")
    if request.reference is not None and set(sources) <= set(request.references):
        raise SearchError(f"reference '{request.reference}' has no effect: every hardware has a reference latency of its own")
    references = {hardware: request.references.get(hardware, found.references.get(hardware, 0.0)) for hardware in sources}
    return found._replace(references=references)


def reference_latencies(models: Mapping[str, CostModel], reference: str) -> dict[str, float]:
    """Latencies of a network in ms by hardware: as measured beside the data of a cost model, else as the model predicts.

    Args:
        models: Cost models by hardware.
        reference: Zoo name, NAME@WIDTH, or architecture file.

    Raises:
        SearchError: A model cannot predict the network.
    """
    architecture = resolve(reference)
    try:
        return {
            hardware: model.measured_ms(architecture) or float(model.predict([architecture])[0])
            for hardware, model in models.items()
        }
    except ValueError as error:
        raise SearchError(
            f"reference '{reference}': {error}; give a reference latency for every hardware (argument 'references'), or fit "
            "structural cost models, which predict any network"
        ) from error


def _of_cost_models(request: SearchRequest, space: SearchSpace, whole: SearchSpace) -> LatencySources:
    loaded = [load_cost_model(path) for path in request.cost_models]
    models = {model.hardware: model for model in loaded}
    paths = {model.hardware: path for model, path in zip(loaded, request.cost_models, strict=True)}
    if len(models) < len(loaded):
        names = ", ".join(model.hardware for model in loaded)
        raise SearchError(f"two cost models are for one hardware ({names}), expected one each")
    lacking = sorted(set(request.hardware) - set(models))
    if lacking:
        raise SearchError(f"no cost model for {', '.join(lacking)}; there is {', '.join(models)}")
    models = {name: models[name] for name in request.hardware or models}
    sources: dict[str, LatencySource] = {}
    for hardware, model in models.items():
        with naming(paths[hardware]):
            if not request.force:
                model.check_trust()
            sources[hardware] = model.bind(space)
    reference = request.reference or BASELINE
    missing = {hardware: model for hardware, model in models.items() if hardware not in request.references}
    references = reference_latencies(missing, reference) if missing else {}
    remarks = [
        remark for model, path in zip(loaded, request.cost_models, strict=True) if (remark := remark_on(model, Path(path)))
    ]
    if missing and (guessed := extrapolated(missing, resolve(reference), whole)):
        remarks.append(
            f"C of {reference} on {', '.join(guessed)} is a prediction for a network unlike those that were measured, and may be "
            "off by a quarter: measure it (`mhmodels search collect` with it as a baseline, then fit) or give it (argument "
            "'references')"
        )
    return LatencySources(sources, references, models, tuple(remarks))


def extrapolated(models: Mapping[str, CostModel], reference: Architecture, space: SearchSpace) -> list[str]:
    """Hardware whose reference latency is predicted for a network unlike those that its cost model was fitted to.

    Args:
        models: Cost models by hardware.
        reference: Network whose latencies are the references.
        space: Space that the cost models were fitted on.
    """
    if not isinstance(space, ArchitectureSpace) or space.contains(reference):
        return []
    return [hardware for hardware, model in models.items() if not model.measured_ms(reference)]


def _of_table(request: SearchRequest, space: SearchSpace, whole: SearchSpace) -> LatencySources:
    path = Path(request.latencies)
    if request.reference not in (None, MEDIAN):
        raise SearchError(
            f"the references of a table are its medians, or given for every hardware (argument 'references'), not "
            f"'{request.reference}'"
        )
    remarks = tuple(remarks_on_table(path, whole, request.hardware))
    if is_collected(path):
        measured = measured_latencies(path, space, request.hardware)
        return LatencySources(dict(measured.sources), measured.medians, {}, remarks)
    table, identity = published_table(path, space, "latencies")
    hardware = request.hardware or tuple(table.columns)
    unknown = next((name for name in hardware if name not in table.columns), None)
    if unknown is not None:
        raise SearchError(f"{path}: no complete column '{unknown}', expected some of {', '.join(table.columns)}")
    sources = {name: TableLatency(table, name, f"{identity}:{name}") for name in hardware}
    return LatencySources(sources, {name: float(np.median(table.columns[name])) for name in hardware}, {}, remarks)
