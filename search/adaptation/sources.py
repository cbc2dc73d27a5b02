"""Sources of an adaptation: latencies or cost models of other hardware, fitted once for any number of adaptations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from mhmodels.search.adaptation.source_fit import fit_source
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.features import (
    Standard,
    network_features,
    reference_networks,
    standard_of,
    standardised,
    widths_vary,
)
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource
from mhmodels.search.cost_model.adapted.predictor import source_predictor
from mhmodels.search.cost_model.adapted.prior import LatencyPrior, ScoredSource
from mhmodels.search.cost_model.data import AdaptationSource, CostModelData
from mhmodels.search.cost_model.fitting import checked_latencies
from mhmodels.search.cost_model.latencies.dataset import Latencies
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.search_space import Encodings, SearchSpace

SourceInput: TypeAlias = CostModel | Latencies
"""Latencies of networks on a source hardware, or a cost model of it."""
_LEAST_SPREAD = 1e-6
"""Standard deviation of log latencies below which a source says nothing about networks."""


class PreparedSources(NamedTuple):
    """Sources that were fitted once and serve any number of adaptations in one space.

    Attributes:
        space: The space.
        sources: The sources as a model file stores them.
        standard: Mean and spread of the features of networks in the space.
        priors: The priors that all sources together imply, the preferred one first. Where widths or input sizes are decisions,
            features are better in relation to the sources' latencies, unless the target has little in common with the sources.

    Example:
        >>> from mhmodels.search import get_space, prepare_sources, shipped_model
        >>> space = get_space("multi_hardware")
        >>> prepared = prepare_sources(space, {"ethos-u55-128": shipped_model(space, "ethos-u55-128")})
        >>> [source.hardware for source in prepared.sources]
        ['ethos-u55-128']
    """

    space: SearchSpace
    sources: tuple[AdaptationSource, ...]
    standard: Standard
    priors: tuple[LatencyPrior, ...]

    @property
    def prior(self) -> LatencyPrior:
        """The preferred prior."""
        return self.priors[0]


def prepare_sources(space: SearchSpace, sources: Mapping[str, SourceInput]) -> PreparedSources:
    """Fits sources, which takes about a second for each table of 1,000 networks.

    Args:
        space: Space of the networks.
        sources: Cost models or latencies by hardware id; their networks may differ from each other and from the target's.

    Raises:
        CostModelError: There is no source, a cost model or network is of another space, a network occurs twice, or latencies
            cannot be fitted; the message names the source.

    Example:
        >>> from mhmodels.search import adapt, get_space, prepare_sources, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 20).encodings
        >>> npu = shipped_model(space, "ethos-u55-128")
        >>> prepared = prepare_sources(space, {"ethos-u55-128": npu})
        >>> ms = npu.bind(space).predict(encodings)
        >>> [adapt(space, prepared, encodings, factor * ms, "my-npu").model.n for factor in (0.5, 2)]
        [20, 20]
    """
    if not sources:
        raise CostModelError("there is no source: adapting needs the latencies or a cost model of at least one other hardware")
    from threadpoolctl import threadpool_limits

    # Several threads are slower on these small matrices, and change the last digits of the result.
    with threadpool_limits(1, "blas"):
        return _prepared(space, sources)


def _prepared(space: SearchSpace, sources: Mapping[str, SourceInput]) -> PreparedSources:
    drawn = reference_networks(space)
    network = network_features(space, drawn)
    standard = standard_of(network)
    features = standardised(network, standard)
    prepared, ready = list[AdaptationSource](), list[ScoredSource]()
    for name, source in sources.items():
        try:
            fitted = _fitted(space, source, standard)
            predict = source_predictor(space, fitted, standard)
            logs = predict(drawn, features)
        except (CostModelError, SpaceError) as error:
            raise CostModelError(f"source '{name}': {error}") from error
        if np.std(logs) < _LEAST_SPREAD:
            raise CostModelError(f"source '{name}': it predicts {np.exp(logs[0]):.4g} ms for every network of '{space.name}'")
        centre, scale = float(logs.mean()), float(logs.std())
        own = (None, fitted) if isinstance(fitted, CostModelData) else (fitted, None)
        prepared.append(AdaptationSource(hardware=name, centre=centre, scale=scale, regression=own[0], cost_model=own[1]))
        ready.append(ScoredSource(predict, centre, scale))
    forms = (True, False) if widths_vary(space) else (False,)
    priors = tuple(LatencyPrior(space, ready, standard, relative=relative) for relative in forms)
    return PreparedSources(space, tuple(prepared), standard, priors)


def different_networks(space: SearchSpace, rows: Encodings, ms: Floats) -> tuple[Encodings, Floats]:
    """Refuses networks that occur more than once: predicting one of them from the other would pass for a good prediction.

    Args:
        space: Space of the networks.
        rows: (n, decisions), int16, canonical.
        ms: (n,), their latencies.

    Raises:
        CostModelError: A network occurs more than once.
    """
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    if len(unique) < len(rows):
        raise CostModelError(
            f"{len(rows)} latencies are of {len(unique)} different networks, {space.label(unique[counts.argmax()])} occurs "
            f"{counts.max()} times: expected each network once, give the median of its latencies"
        )
    return rows, ms


def _fitted(space: SearchSpace, source: SourceInput, standard: Standard) -> CostModelData | KernelSource:
    if isinstance(source, CostModel):
        source.check(space=space)
        # As a model file stores it, so that a model is equal to itself after it was saved and loaded.
        return CostModelData(**msgspec.structs.asdict(source))
    if not isinstance(source, Latencies):
        raise CostModelError(f"it is a {type(source).__name__}, expected a CostModel or Latencies")
    rows, ms = different_networks(space, *checked_latencies(space.unrestricted(), source.encodings, source.ms))
    return fit_source(space, rows, ms, standard, source.origin)
