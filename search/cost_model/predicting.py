"""Predictions of several cost models for several networks, as rows for tables and data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.registry import resolve
from mhmodels.search.cost_model.latencies.samples import read_samples
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

Failed: TypeAlias = Callable[[str, str, MhmodelsError], None]
"""Receives a network's name, a hardware id ("" for all) and the reason why there is no prediction."""


class LatencyPrediction(NamedTuple):
    """Predicted latency of a network on one hardware.

    Attributes:
        model: Name of the network.
        hardware: Hardware id of the cost model.
        ms: Predicted latency in ms.
        space: Name of the space that the cost model was fitted on.
        inside: Whether the network is a member of this space; predictions for others are less accurate.
        unseen: Kinds of kernels that did not occur in training and count as 0 ms.
        low_ms, high_ms: Interval that contains a measurement with a probability of 90 %; None unless the cost model is adapted.

    Example:
        >>> from mhmodels.search import LatencyPrediction
        >>> LatencyPrediction("multi_max", "my-phone", 12.5, "multi_hardware", True, ())._asdict()["ms"]
        12.5
    """

    model: str
    hardware: str
    ms: float
    space: str
    inside: bool
    unseen: tuple[str, ...]
    low_ms: float | None = None
    high_ms: float | None = None


class PredictedLatency(msgspec.Struct, frozen=True, kw_only=True):
    """The prediction of one cost model in a row of the command's JSON document; `ms` is None if it failed."""

    hardware: str
    ms: float | None
    kind: str = "predicted"
    space: str
    inside: bool
    unseen: tuple[str, ...] = ()
    low_ms: float | None = None
    high_ms: float | None = None


class PredictedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The predictions of all cost models for one network; samples have no `architecture_id`."""

    model: str
    architecture_id: str | None = None
    latency_ms: list[PredictedLatency]


def predict(networks: Sequence[str | Architecture], models: Sequence[CostModel]) -> list[LatencyPrediction]:
    """Predicts the latencies of networks, without building or measuring anything.

    A structural cost model predicts any network at the input size that it was fitted for, others members of their space.

    Args:
        networks: Architectures, or names: of the zoo (`multi_max`, `mobilenet_v1@1.25`), or paths of architecture files.
        models: Cost models.

    Returns:
        One row for each network and cost model, ready for `pandas.DataFrame`.

    Raises:
        UnknownNameError: No network has this name.
        CostModelError: A cost model does not apply to a network.

    Example:
        >>> from mhmodels.search import predict, shipped_model
        >>> models = [shipped_model("multi_hardware", name) for name in ("ethos-u55-128", "ethos-u65-256")]
        >>> [(row.model, row.hardware, row.inside) for row in predict(["multi_max"], models)]
        [('multi_max', 'ethos-u55-128', True), ('multi_max', 'ethos-u65-256', True)]
    """
    resolved = [resolve(one) if isinstance(one, str) else one for one in networks]
    names = [one if isinstance(one, str) else one.name for one in networks]
    return [_predicted(name, architecture, model) for name, architecture in zip(names, resolved, strict=True) for model in models]


def predict_models(names: Sequence[str], models: Sequence[CostModel], failed: Failed) -> list[PredictedRow]:
    """Predicts networks by name, and goes on where a prediction fails.

    Args:
        names: Names of the zoo, `NAME@WIDTH`, or paths of architecture files.
        models: Cost models.
        failed: Receives each unknown network, and each network that a cost model does not apply to.

    Returns:
        A row for each network with at least one prediction.
    """
    rows = []
    for name in names:
        try:
            architecture = resolve(name)
        except MhmodelsError as error:
            failed(name, "", error)
            continue
        entries = [_entry(name, architecture, model, failed) for model in models]
        if any(entry.ms is not None for entry in entries):
            rows.append(PredictedRow(model=name, architecture_id=architecture.architecture_id, latency_ms=entries))
    return rows


def predict_samples(path: Path, models: Sequence[CostModel]) -> list[PredictedRow]:
    """Predicts all networks of a file of samples at once.

    Args:
        path: File of `write_samples`.
        models: Cost models.

    Raises:
        FileFormatError: The file cannot be read.
        SpaceError: A network is not a member of a cost model's space.
        CostModelError: A cost model is of another version of its space.
    """
    columns = []
    for model in models:
        space = get_space(model.space)
        encodings = read_samples(path, space).encodings
        columns.append(list(_entries(model, space, encodings)))
    labels = [space.label(row) for row in encodings]
    return [
        PredictedRow(model=label, latency_ms=list(entries))
        for label, entries in zip(labels, zip(*columns, strict=True), strict=True)
    ]


def _entries(model: CostModel, space: SearchSpace, encodings: Encodings) -> Iterator[PredictedLatency]:
    """The predictions of a cost model for members (n, decisions) of its space."""
    predictor = model.bind(space)
    ends = predictor.interval(encodings)
    bounds = [(None, None)] * len(encodings) if ends is None else zip(*(end.tolist() for end in ends), strict=True)
    for ms, (low, high) in zip(predictor.predict(encodings).tolist(), bounds, strict=True):
        yield PredictedLatency(hardware=model.hardware, ms=ms, space=space.name, inside=True, low_ms=low, high_ms=high)


def _predicted(name: str, architecture: Architecture, model: CostModel) -> LatencyPrediction:
    space = get_space(model.space)
    model.check(space=space)
    ms = float(model.predict([architecture])[0])
    inside, low, high = space.contains(architecture), None, None
    if model.adaptation is not None and isinstance(space, ArchitectureSpace):
        entry = next(_entries(model, space, space.encode(architecture)[None]))
        low, high = entry.low_ms, entry.high_ms
    return LatencyPrediction(name, model.hardware, ms, model.space, inside, model.unseen(architecture), low, high)


def _entry(name: str, architecture: Architecture, model: CostModel, failed: Failed) -> PredictedLatency:
    try:
        found = _predicted(name, architecture, model)
    except MhmodelsError as error:
        failed(name, model.hardware, error)
        inside = get_space(model.space).contains(architecture)
        return PredictedLatency(hardware=model.hardware, ms=None, space=model.space, inside=inside)
    return PredictedLatency(
        hardware=model.hardware,
        ms=found.ms,
        space=model.space,
        inside=found.inside,
        unseen=found.unseen,
        low_ms=found.low_ms,
        high_ms=found.high_ms,
    )
