"""How alike each source and the target rank the measured networks, by the sources' predictions."""

from __future__ import annotations

import msgspec
import numpy as np

from mhmodels.search.adaptation.monotonicity import DevicePair, monotonicity_matrix
from mhmodels.search.adaptation.sources import PreparedSources
from mhmodels.search.arrays import Floats
from mhmodels.search.space.search_space import Encodings


def compare_sources(prepared: PreparedSources, encodings: Encodings, ms: Floats) -> list[dict[str, object]]:
    """Rank correlation of each source with the target, most alike first.

    Args:
        prepared: The sources.
        encodings: (n, decisions), measured networks.
        ms: (n,), their latencies on the target in ms.

    Returns:
        For each source `hardware` and the fields of `DevicePair` but `first` and `second`.
    """
    scores = prepared.prior.features(encodings).scores
    found = []
    for name, column in zip((source.hardware for source in prepared.sources), scores.T, strict=True):
        pair = monotonicity_matrix({"source": np.exp(column), "target": ms}).pairs[0]
        found.append({"hardware": name, **_fields(pair)})
    return sorted(found, key=lambda one: -2.0 if one["spearman"] is None else -float(str(one["spearman"])))


def _fields(pair: DevicePair) -> dict[str, object]:
    fields = msgspec.to_builtins(pair)
    return {name: value for name, value in fields.items() if name not in ("first", "second")}
