"""Estimates linear effects with intervals: ridge regression in closed form, with the strength that leave-one-out prefers.

An effect is a linear function of the weights, so that it is a linear function of the measured values. Its variance has two parts:
the measurements' (sandwich formula with the residual of each network, so that no common variance is assumed), and that of what
ridge regression shrinks away, whose expected magnitude the weights tell. Intervals with both parts contain the true effects as
often as they say, on average over the effects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats

_STRENGTHS = 10.0 ** np.arange(-10.0, 3.01, 0.25)
"""Penalties to choose from, relative to the mean squared length of the design's rows."""
_LEVERAGE = 1.2
"""Exponent of 1 - leverage. With 1, residuals have the right size if the penalty is; it is chosen by the same residuals."""
_ROUNDING = 1e-9
"""Error of the values that is always assumed, relative to their spread."""


class LinearFit(NamedTuple):
    """A fit of centred values to centred columns.

    Attributes:
        left, singular, right: Singular value decomposition of the scaled design.
        target: (n,), centred values.
        penalty: Penalty on the squared scaled weights.
        scales: (columns,), expected magnitudes of the weights.
        centre: (columns,), mean of the design's rows.
        level: Mean of the values.
        loo_error: Root mean square error of leave-one-out prediction.
    """

    left: Floats
    singular: Floats
    right: Floats
    target: Floats
    penalty: float
    scales: Floats
    centre: Floats
    level: float
    loo_error: float

    @property
    def _kept(self) -> Floats:
        """(k,), share of each singular direction that the penalty leaves."""
        return self.singular**2 / (self.singular**2 + self.penalty)

    @property
    def _residual(self) -> Floats:
        """(n,), values that the fit leaves."""
        return self.target - self.left @ (self._kept * (self.left.T @ self.target))

    @property
    def strength(self) -> float:
        """The penalty relative to the mean squared length of the design's rows."""
        return self.penalty * len(self.target) / float((self.singular**2).sum())

    def estimate(self, contrasts: Floats) -> tuple[Floats, Floats]:
        """Estimates effects.

        Args:
            contrasts: (effects, columns), each effect as a sum of weights.

        Returns:
            (effects,) each: estimates and their standard errors.
        """
        scaled = (contrasts * self.scales) @ self.right.T
        shrunk = self.singular / (self.singular**2 + self.penalty)
        influence = (scaled * shrunk) @ self.left.T
        estimates = influence @ self.target
        residual = self._residual
        leverage = np.minimum((self.left**2) @ self._kept + 1 / len(self.target), 1 - 1e-9)
        # A common variance, where the values agree with the prior.
        common = float(self.target @ residual) / (len(self.target) - 1)
        # The residual of a network with a choice that hardly any other has tells nothing: there the common variance counts.
        own = residual**2 / (1 - leverage) ** _LEVERAGE
        noise = (1 - leverage) * own + leverage * np.maximum(own, common) + (_ROUNDING * self.target.std()) ** 2
        weights = shrunk * (self.left.T @ self.target)
        magnitude = max(common / self.penalty, float(weights @ weights) / len(self.scales[self.scales > 0]))
        outside = np.maximum(((contrasts * self.scales) ** 2).sum(axis=1) - (scaled**2).sum(axis=1), 0)
        bias = (scaled**2) @ (self.penalty / (self.singular**2 + self.penalty)) ** 2 + outside
        return estimates, np.sqrt(influence**2 @ noise + magnitude * bias)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the residuals."""
        return max(len(self.target) - 1 - float(self._kept.sum()), 2.0)

    def left_out(self) -> Floats:
        """(n,), prediction of each value by a fit to all others."""
        leverage = (self.left**2) @ self._kept + 1 / len(self.target)
        predicted: Floats = self.level + self.target - self._residual / np.maximum(1 - leverage, 1e-9)
        return predicted

    def predict(self, design: Floats) -> Floats:
        """Predicts values.

        Args:
            design: (n, columns).
        """
        weights = self.scales * (self.right.T @ (self.singular / (self.singular**2 + self.penalty) * (self.left.T @ self.target)))
        predicted: Floats = (design - self.centre) @ weights + self.level
        return predicted


def fit_linear(design: Floats, values: Floats, scales: Floats) -> LinearFit:
    """Fits with the strength that has the smallest leave-one-out error.

    Args:
        design: (n, columns), without a constant.
        values: (n,).
        scales: (columns,), expected magnitude of each weight, at least 0.
    """
    centre, level = design.mean(axis=0), float(values.mean())
    target = values - level
    left, singular, right = np.linalg.svd((design - centre) * scales, full_matrices=False)
    real = singular > 1e-10 * singular[0]
    left, singular, right = left[:, real], singular[real], right[real]
    projected, squares = left.T @ target, left**2
    mean_square = float((singular**2).sum()) / len(values)
    best = (np.inf, 0.0)
    for penalty in _STRENGTHS * mean_square:
        kept = singular**2 / (singular**2 + penalty)
        left_out = (target - left @ (kept * projected)) / np.maximum(1 - 1 / len(values) - squares @ kept, 1e-9)
        best = min(best, (float(np.sqrt(np.mean(left_out**2))), penalty))
    return LinearFit(left, singular, right, target, best[1], scales, centre, level, best[0])
