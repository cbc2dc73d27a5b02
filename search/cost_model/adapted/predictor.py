"""Predictions of adapted cost models, with intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.features import NetworkFeatures, Standard, network_features, standardised
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource, read_encodings, similarity
from mhmodels.search.cost_model.adapted.posterior import Posterior, clock_variance, quantile
from mhmodels.search.cost_model.adapted.prior import GROUPS, LatencyPrior, PriorFeatures, ScoredSource, SourcePredictor
from mhmodels.search.cost_model.data import LONGEST_MS, SHORTEST_MS, Adaptation, CostModelData
from mhmodels.search.cost_model.predictor import LinearPredictor, Predictor
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace

_AT_ONCE = 2000
"""Number of networks predicted at a time, which bounds the memory."""


class AdaptedPredictor(Predictor):
    """An adapted cost model bound to a space (`CostModel.bind`): predicts latencies, and intervals for them.

    Example:
        >>> from mhmodels.search import adapt, get_space, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 30).encodings
        >>> source = shipped_model(space, "ethos-u55-128")
        >>> ms = 0.4 * source.bind(space).predict(encodings) ** 0.9
        >>> predictor = adapt(space, {"ethos-u55-128": source}, encodings[:20], ms[:20], "my-npu").model.bind(space)
        >>> low, high = predictor.interval(encodings[20:], 0.9)
        >>> bool((low < high).all())
        True
    """

    def __init__(self, model: CostModelData, space: SearchSpace) -> None:
        """Solves for the measurements of the model.

        Raises:
            CostModelError: The model does not fit the space, or is damaged.
        """
        adaptation = model.adaptation
        if adaptation is None:
            raise CostModelError(f"the cost model of '{model.hardware}' is not adapted: its form is {model.form}")
        super().__init__(model, space)
        self._prior = adapted_prior(space, adaptation)
        used = np.flatnonzero(adaptation.precision)
        ms, precision = np.array(adaptation.ms)[used], np.array(adaptation.precision)[used]
        self._measured = self._prior.features(read_encodings(space, adaptation.encodings)[used])
        self._centre, self._unit = float(np.log(np.median(adaptation.ms))), self._prior.unit
        variances = np.array([adaptation.variances[name] for name in self._prior.groups])
        noise = adaptation.noise / precision + clock_variance(ms, adaptation.clock_ms) / self._unit**2
        kernels = self._prior.kernels(self._measured, self._measured)
        self._noise = adaptation.noise
        target = (np.log(ms) - self._centre) / self._unit - self._measured.mean[:, 0]
        self._posterior = Posterior(kernels, variances, noise, target)

    def predict_rows(self, rows: Encodings) -> Floats:
        return np.concatenate([self._some(part) for part in _parts(rows)])

    def interval(self, encodings: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
        """Predicts the interval that contains a further measurement of a network with some probability.

        Args:
            encodings: (n, decisions), integers.
            level: Probability, above 0 and below 1.

        Returns:
            Lower and upper end, (n,) each, float64, ms.

        Raises:
            SpaceError: An encoding is not a member of the space.
            ValueError: The level is out of its range.
        """
        width = quantile(level)
        ends = [self._interval(part, width) for part in _parts(self.space.check(encodings))]
        low, high = (np.concatenate(side) for side in zip(*ends, strict=True))
        return low, high

    def _interval(self, rows: Encodings, width: float) -> tuple[Floats, Floats]:
        """Ends (n,) of intervals that are `width` standard deviations to each side, in ms."""
        features = self._prior.features(rows)
        kernels = self._kernels(features)
        mean = self._means(features, kernels)
        half = width * self._unit * np.sqrt(self._posterior.sd(kernels, self._prior.diagonals(features)) ** 2 + self._noise)
        return self._ms(mean - half), self._ms(mean + half)

    def _kernels(self, features: PriorFeatures) -> Floats:
        """(groups, n, measured), kernels between networks and the measured ones."""
        return self._prior.kernels(features, self._measured)

    def _some(self, rows: Encodings) -> Floats:
        """Medians (n,) of the predictive distributions of a few networks, in ms."""
        features = self._prior.features(rows)
        return self._ms(self._means(features, self._kernels(features)))

    def _means(self, features: PriorFeatures, kernels: Floats) -> Floats:
        """Medians (n,) of the predictive distributions, as logs of ms of at least the model's floor."""
        mean = self._posterior.mean(kernels) + features.mean[:, 0]
        logs = mean * self._unit + self._centre
        return np.asarray(np.maximum(logs, np.log(self.model.floor_ms)))

    def _ms(self, logs: Floats) -> Floats:
        """Milliseconds (n,) from their logs, as far as they are possible latencies."""
        return np.asarray(np.exp(np.clip(logs, np.log(SHORTEST_MS), np.log(LONGEST_MS))))


def _parts(rows: Encodings) -> Iterator[Encodings]:
    """Cuts encodings into parts of a bounded number; a single empty part if there are none."""
    for start in range(0, max(len(rows), 1), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def bound_to(model: CostModelData, space: SearchSpace) -> Predictor:
    """Prepares a cost model of any form to predict encodings of a space.

    Raises:
        CostModelError: The model does not apply to the space, or is damaged.
    """
    model.check(space=space)
    return LinearPredictor(model, space) if model.adaptation is None else AdaptedPredictor(model, space)


def adapted_prior(space: SearchSpace, adaptation: Adaptation) -> LatencyPrior:
    """The prior of an adapted model.

    Raises:
        CostModelError: The sources or the features do not fit the space.
    """
    standard = Standard(np.array(adaptation.feature_centre), np.array(adaptation.feature_scale))
    columns = sum(part.shape[1] for part in network_features(space, np.zeros((1, len(space.decisions)), np.int16))[:2])
    if len(standard.centre) != columns or len(standard.scale) != columns:
        raise CostModelError(
            f"cost model: it has {len(standard.centre)} features of networks, space '{space.name}' has {columns}: adapt it again"
        )
    unknown = set(adaptation.variances) - set(GROUPS)
    if unknown:
        raise CostModelError(f"cost model: unknown group of kernels '{min(unknown)}', expected some of {', '.join(GROUPS)}")
    sources = [
        ScoredSource(source_predictor(space, one.cost_model or one.regression, standard), one.centre, one.scale)
        for one in adaptation.sources
    ]
    groups = [name for name in GROUPS if name in adaptation.variances]
    prior = LatencyPrior(space, sources, standard, groups, relative=adaptation.relative)
    if not prior.groups:
        raise CostModelError("cost model: its only group of kernels is 'deviations', which a single source does not have")
    return prior


def source_predictor(space: SearchSpace, source: CostModelData | KernelSource | None, standard: Standard) -> SourcePredictor:
    """Log latencies on one source hardware, as a function of encodings and their standardised features.

    Raises:
        CostModelError: The source does not fit the space.
    """
    if isinstance(source, CostModelData):
        bound = bound_to(source, space)

        def by_model(encodings: Encodings, _: NetworkFeatures) -> Floats:
            return np.log(bound.predict_rows(encodings))

        return by_model
    assert source is not None
    support = standardised(network_features(space, read_encodings(space, source.encodings)), standard)

    def by_regression(_: Encodings, features: NetworkFeatures) -> Floats:
        return source.log_ms(similarity(features, support))

    return by_regression
