"""Predictions by name, for tables and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.registry import resolve
from mhmodels.search.cost_model.latencies.samples import read_samples
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.space.catalogue import get_space

Failed = Callable[[str, str, MhmodelsError], None]
"""Is told a model's name, a hardware ("" for all) and why there is no prediction."""


def predict_models(names: Sequence[str], models: Sequence[CostModel], failed: Failed) -> list[dict[str, Any]]:
    """Predicts MODEL arguments: zoo names, `NAME@WIDTH`, architecture files.

    Args:
        names: of the networks.
        models: cost models.
        failed: called with each network that is unknown, and each that a cost model does not apply to; the others go on.

    Returns:
        Of each the name, and for each cost model hardware, ms (None where it failed), whether it lies inside the model's
        space, and what kernels the model never saw. Networks without any prediction are left out.
    """
    rows = []
    for name in names:
        try:
            architecture = resolve(name)
        except MhmodelsError as error:
            failed(name, "", error)
            continue
        entries = [_predicted(name, architecture, model, failed) for model in models]
        if any(entry["ms"] is not None for entry in entries):
            rows.append({"model": name, "architecture_id": architecture.architecture_id, "latency_ms": entries})
    return rows


def _predicted(name: str, architecture: Architecture, model: CostModel, failed: Failed) -> dict[str, Any]:
    space = get_space(model.space)
    try:
        model.check(space=space)
        value = float(model.predict([architecture])[0])
    except MhmodelsError as error:
        failed(name, model.hardware, error)
        return _entry(model, None, space.contains(architecture))
    return {**_entry(model, value, space.contains(architecture)), "unseen": model.unseen(architecture)}


def predict_samples(path: Path, models: Sequence[CostModel]) -> list[dict[str, Any]]:
    """Predicts a file of samples, vectorised; rows as of `predict_models`.

    Raises:
        MhmodelsError: the file is wrong, or a cost model is of another space or schema.
    """
    columns = []
    for model in models:
        space = get_space(model.space)
        encodings = read_samples(path, space).encodings
        columns.append(model.bind(space).predict(encodings))
    labels = [space.label(row) for row in encodings]
    return [
        {"model": label, "latency_ms": [_entry(model, float(value), True) for model, value in zip(models, values, strict=True)]}
        for label, values in zip(labels, np.array(columns).T, strict=True)
    ]


def _entry(model: CostModel, ms: float | None, inside: bool) -> dict[str, Any]:
    return {"hardware": model.hardware, "ms": ms, "kind": "predicted", "space": model.space, "inside": inside, "unseen": ()}
