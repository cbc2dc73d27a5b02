"""Predictions by name, for tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mhmodels.registry import resolve
from search.cost_model.data import read_members
from search.cost_model.model import CostModel
from search.errors import CostModelError
from search.spaces import get_space


def predict_models(names: Sequence[str], models: Sequence[CostModel]) -> list[dict[str, Any]]:
    """Predicts MODEL arguments: zoo names, `NAME@WIDTH`, architecture files.

    Returns:
        Of each the name, and for each cost model hardware, ms, whether it lies inside the model's space, and what kernels
        the model never saw.

    Raises:
        MhmodelsError: an unknown model, or one that a cost model does not apply to; the message names both.
    """
    rows = []
    for name in names:
        architecture = resolve(name)
        entries = []
        for model in models:
            space = get_space(model.space)
            try:
                model.check(space=space)
                value = float(model.predict([architecture])[0])
            except CostModelError as error:
                raise CostModelError(f"'{name}' on {model.hardware}: {error}") from error
            inside = space.contains(architecture)
            entries.append({**_entry(model, value, inside), "unseen": model.unseen(architecture)})
        rows.append({"model": name, "architecture_id": architecture.architecture_id, "latency_ms": entries})
    return rows


def predict_samples(path: Path, models: Sequence[CostModel]) -> list[dict[str, Any]]:
    """Predicts a file of samples, vectorised; rows as of `predict_models`.

    Raises:
        MhmodelsError: the file is wrong, or a cost model is of another space or schema.
    """
    columns = []
    for model in models:
        space = get_space(model.space)
        encodings = read_members(path, space).encodings
        columns.append(model.bind(space).predict(encodings))
    labels = [space.label(row) for row in encodings]
    return [
        {"model": label, "latency_ms": [_entry(model, float(value), True) for model, value in zip(models, values, strict=True)]}
        for label, values in zip(labels, np.array(columns).T, strict=True)
    ]


def _entry(model: CostModel, ms: float, inside: bool) -> dict[str, Any]:
    return {"hardware": model.hardware, "ms": ms, "kind": "predicted", "space": model.space, "inside": inside, "unseen": ()}
