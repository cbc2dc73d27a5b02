"""Posterior of a Gaussian process over log latencies, given variances of its kernels and the precision of each measurement."""

from __future__ import annotations

import math

import numpy as np

from mhmodels.search.arrays import Floats

CONSTANT = 100.0
"""Prior variance of the level of log latencies: far more than any hardware needs, so that the level is free."""
DEGREES_OF_FREEDOM = 3.0
"""Degrees of freedom of Student's t distribution of measurement errors: single absurd values are expected."""


class Posterior:
    """Mean and standard deviation of the target's log latencies at any network.

    Attributes:
        weights: (n,), dual weights of the measurements.
        left_out: (n,), prediction for each measurement from all others.
        left_out_sd: (n,), standard deviation of these predictions, measurement noise excluded.
    """

    def __init__(self, kernels: Floats, variances: Floats, noise: Floats, target: Floats) -> None:
        """Solves for the measurements.

        Args:
            kernels: (groups, n, n), kernels between the measured networks.
            variances: (groups,), variance of each group.
            noise: (n,), noise variance of each measurement, above 0.
            target: (n,), log latencies, centred, in units of the prior.
        """
        self._variances = variances
        covariance = np.tensordot(variances, kernels, 1) + CONSTANT
        covariance[np.diag_indices(len(target))] += noise
        self._inverse = np.linalg.inv(covariance)
        self.weights: Floats = self._inverse @ target
        spread = 1 / np.diag(self._inverse)
        self.left_out: Floats = target - self.weights * spread
        self.left_out_sd: Floats = np.sqrt(np.maximum(spread - noise, 0.0))

    def mean(self, kernels: Floats) -> Floats:
        """(m,), expected log latency, from the kernels (groups, m, n) between m networks and the measured ones."""
        return self._cross(kernels) @ self.weights

    def sd(self, kernels: Floats, diagonals: Floats) -> Floats:
        """(m,), standard deviation of the log latency itself, without measurement noise.

        Args:
            kernels: (groups, m, n), kernels between m networks and the measured ones.
            diagonals: (groups, m), kernels between each network and itself.
        """
        cross = self._cross(kernels)
        own = self._variances @ diagonals + CONSTANT
        variance: Floats = np.maximum(own - np.einsum("ij,jk,ik->i", cross, self._inverse, cross), 0.0)
        return np.asarray(np.sqrt(variance))

    def _cross(self, kernels: Floats) -> Floats:
        return np.asarray(np.tensordot(self._variances, kernels, 1) + CONSTANT)


def quantile(level: float) -> float:
    """Half width of a central interval of a probability (0 to 1), in standard deviations of Student's t distribution."""
    from scipy.stats import t

    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a probability above 0 and below 1")
    return float(t.ppf((1 + level) / 2, DEGREES_OF_FREEDOM))


def clock_variance(ms: Floats, step_ms: float) -> Floats:
    """Variance (n,) of log latencies that a clock of whole steps causes: a uniform error of one step."""
    return np.asarray((step_ms / ms) ** 2 / 12) if step_ms > 0 else np.zeros(len(ms))


def clock_step(ms: Floats) -> float:
    """The step in ms of the clock that latencies were read from: 1 if all are whole milliseconds, else 0 (unknown, fine).

    Latencies above 1,000 ms are whole numbers by chance where files have three or four digits, and such a step is negligible.
    """
    whole = bool(np.all(ms == np.round(ms))) and float(np.median(ms)) < 1000
    return 1.0 if whole and not math.isclose(float(np.ptp(ms)), 0.0) else 0.0
