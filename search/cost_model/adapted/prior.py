"""The prior of a hardware's latencies: what other hardware and the structure of networks say, as groups of kernels.

The log latency of a network on the target is modelled as a Gaussian process with one kernel for each group:

- `sources`: the mean of the standardised log latencies on the source hardware; the process itself has this mean as well,
- `deviations`: the deviations of each source from this mean, which several sources only have,
- `totals`, `classes`: linear functions of operation counts, MACs and elements moved, over the whole network and by class, as they
  are (absolute) or in relation to the latency that the sources expect (relative),
- `smooth`: a smooth function of the same,
- `choices`: a weight for each choice of each decision.

A new hardware may follow its sources, or differ from them by what it charges for kernels, MACs or memory; the variances of the
groups say how much of each is expected, in units of the spread of the sources' log latencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.features import (
    NetworkFeatures,
    Standard,
    network_features,
    reference_networks,
    relative_to,
    standard_of,
    standardised,
)
from mhmodels.search.cost_model.adapted.kernel_source import linear, smooth
from mhmodels.search.space.search_space import Encodings, SearchSpace

_WIDEST = 3.0
"""Number of standard deviations to which the sources' latencies are clipped where features are divided by them."""
GROUPS = ("sources", "deviations", "totals", "classes", "smooth", "choices")


class SourcePredictor(Protocol):
    """Log latencies of networks on one source hardware."""

    def __call__(self, encodings: Encodings, features: NetworkFeatures, /) -> Floats:
        """(n,), logs of ms."""


class ScoredSource(NamedTuple):
    """A source with the mean and spread of its log latencies in the space.

    Attributes:
        predict: Its log latencies.
        centre: Their mean over random networks of the space.
        scale: Their standard deviation, above 0.
    """

    predict: SourcePredictor
    centre: float
    scale: float


class ExpectedLatencies(NamedTuple):
    """Networks as the sources see them.

    Attributes:
        network: Features of n networks, as they are.
        logs: (n, sources), log latency of each network on each source, minus the mean of the source.
    """

    network: NetworkFeatures
    logs: Floats


class PriorFeatures(NamedTuple):
    """What the kernels see of n networks.

    Attributes:
        mean: (n, 1), mean over sources of the standardised log latencies.
        deviations: (n, sources), deviation of each source from `mean`; (n, 0) for a single source.
        network: Standardised features.
    """

    mean: Floats
    deviations: Floats
    network: NetworkFeatures

    @property
    def scores(self) -> Floats:
        """(n, sources), standardised log latency of each network on each source."""
        return self.mean + self.deviations if self.deviations.shape[1] else self.mean


class LatencyPrior:
    """Kernels between networks of a space, given sources.

    Attributes:
        space: Space of the networks.
        groups: Names of the kernels, in the order of `kernels`.
        unit: Mean spread of the sources' log latencies, the unit of the Gaussian process.
        relative: Whether the features of networks are in relation to the latency that the sources expect.
    """

    def __init__(
        self,
        space: SearchSpace,
        sources: Sequence[ScoredSource],
        standard: Standard,
        groups: Sequence[str] = GROUPS,
        *,
        relative: bool = False,
    ) -> None:
        """Remembers sources. Takes a fraction of a second where features are relative to latencies.

        Args:
            space: Space of the networks.
            sources: At least one source.
            standard: Mean and spread of the features in the space, as the sources see them.
            groups: Names of the kernels to use.
            relative: Whether to relate the features of networks to the latency that the sources expect.
        """
        self.space, self._sources, self._standard = space, tuple(sources), standard
        self.groups = tuple(name for name in groups if name != "deviations" or len(self._sources) > 1)
        self.unit = float(np.mean([source.scale for source in self._sources]))
        self.relative = relative
        self._relative: Standard | None = None
        if relative:
            self._relative = standard_of(self._relative_features(self.expect(reference_networks(space))))

    def features(self, encodings: Encodings) -> PriorFeatures:
        """Features of networks (n, decisions), int16."""
        return self.features_of(self.expect(encodings))

    def expect(self, encodings: Encodings) -> ExpectedLatencies:
        """What the sources expect of networks (n, decisions), int16; the same for all priors of the same sources."""
        rows = self.space.canonical(encodings)
        network = network_features(self.space, rows)
        seen = standardised(network, self._standard)
        return ExpectedLatencies(
            network, np.stack([source.predict(rows, seen) - source.centre for source in self._sources], axis=1)
        )

    def features_of(self, expected: ExpectedLatencies) -> PriorFeatures:
        """Features of networks from what `expect` returns for them."""
        scores = expected.logs / np.array([source.scale for source in self._sources])
        mean = scores.mean(axis=1, keepdims=True)
        deviations = scores - mean if scores.shape[1] > 1 else np.zeros((len(scores), 0))
        if self._relative is None:
            return PriorFeatures(mean, deviations, standardised(expected.network, self._standard))
        return PriorFeatures(mean, deviations, standardised(self._relative_features(expected), self._relative))

    def _relative_features(self, expected: ExpectedLatencies) -> NetworkFeatures:
        """Features in relation to the geometric mean of the sources' latencies."""
        limit = _WIDEST * self.unit
        return relative_to(expected.network, np.exp(np.clip(expected.logs.mean(axis=1), -limit, limit)))

    def kernels(self, first: PriorFeatures, second: PriorFeatures) -> Floats:
        """(groups, n, m), the kernel of each group between n and m networks."""
        return np.stack([_kernel(name, first, second) for name in self.groups])

    def diagonals(self, features: PriorFeatures) -> Floats:
        """(groups, n), the kernel of each group between each network and itself."""
        return np.stack([_diagonal(name, features) for name in self.groups])


def _kernel(name: str, first: PriorFeatures, second: PriorFeatures) -> Floats:
    match name:
        case "sources":
            return linear(first.mean, second.mean)
        case "deviations":
            return linear(first.deviations, second.deviations)
        case "totals":
            return linear(first.network.totals, second.network.totals)
        case "classes":
            return linear(first.network.classes, second.network.classes)
        case "smooth":
            return smooth(first.network, second.network)
    equal: Floats = first.network.choices @ second.network.choices.T / second.network.choices[:1].sum()
    return equal


def _diagonal(name: str, features: PriorFeatures) -> Floats:
    match name:
        case "sources":
            return features.mean[:, 0] ** 2
        case "deviations":
            return _mean_square(features.deviations)
        case "totals":
            return _mean_square(features.network.totals)
        case "classes":
            return _mean_square(features.network.classes)
        case "smooth":
            return np.full(len(features.mean), 1.0 if any(part.shape[1] for part in features.network[:2]) else 0.0)
    return np.ones(len(features.mean))


def _mean_square(values: Floats) -> Floats:
    return (values**2).mean(axis=1) if values.shape[1] else np.zeros(len(values))
