"""Fits the variances of a Gaussian process to a few log latencies, robustly.

The variances maximise the marginal likelihood times a prior over their logs. Measurement errors follow Student's t distribution
(expectation maximisation: measurements far from the prediction of the others lose precision). A latency that the others
contradict by a large factor is set aside: among 20 measurements, one that is wrong tenfold would pass for noise of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from mhmodels.search.arrays import Bools, Floats, Indices
from mhmodels.search.cost_model.adapted.posterior import CONSTANT, DEGREES_OF_FREEDOM, Posterior
from mhmodels.search.cost_model.regression.robust import spread

FAR = np.log(2.5)
"""Log factor between a latency and the prediction of the others beyond which it may be set aside."""
SPREADS = 6.0
"""Number of robust standard deviations beyond which it is."""
NOISE = "noise"
_CLIP = 3.0
"""Robust standard deviations beyond which latencies are clipped in the first fit."""
_ROUNDS, _STEPS = 4, 30
_BOUNDS = (-16.0, 6.0)
_TOLERANCE = 1e-6
"""Relative decrease of the loss below which it is minimal: predictions change by less than 0.1 % beyond."""
_SETTLED = 0.05
"""Change of the precisions below which the fit is settled."""


class LogPrior(NamedTuple):
    """Normal prior of the log variance of a group.

    Attributes:
        mean: Mean, in units of the spread of the sources' log latencies.
        sd: Standard deviation.
    """

    mean: float
    sd: float


HYPERPRIOR = {
    "sources": LogPrior(-1.5, 2.0),
    "deviations": LogPrior(-2.5, 2.0),
    "totals": LogPrior(-2.0, 2.0),
    "classes": LogPrior(-3.0, 2.0),
    "smooth": LogPrior(-4.0, 2.0),
    "choices": LogPrior(-4.0, 2.0),
    NOISE: LogPrior(-3.5, 4.0),
}
"""Typical variances over pairs of hardware of NAS-Bench-201 and FBNet, and how far single pairs are from them."""


class FittedProcess(NamedTuple):
    """A fitted Gaussian process.

    Attributes:
        variances: (groups,), variance of each group.
        noise: Scale of the variance of measurement errors.
        precision: (n,), precision of each measurement relative to `noise`; 0 for one that was set aside.
        centre: Median log latency.
        predicted: (n,), log latency of each network as the other measurements predict it.
        posterior: Posterior given the measurements that count.
    """

    variances: Floats
    noise: float
    precision: Floats
    centre: float
    predicted: Floats
    posterior: Posterior

    @property
    def kept(self) -> Bools:
        """(n,), measurements that count."""
        return self.precision > 0


def fit_process(
    kernels: Floats, logs: Floats, fixed: Floats, groups: Sequence[str], unit: float, expected: Floats
) -> FittedProcess:
    """Fits a Gaussian process.

    Args:
        kernels: (groups, n, n), kernels between the measured networks.
        logs: (n,), log latencies.
        fixed: (n,), known variance of each log latency, for example of the clock.
        groups: Names of the kernels.
        unit: Spread of the sources' log latencies.
        expected: (n,), mean of the process before anything is measured, in this unit: the target is expected to rank networks as
            its sources do, and not the other way round.
    """
    centre = float(np.median(logs))
    target, fixed = (logs - centre) / unit - expected, fixed / unit**2
    level = float(np.median(target))
    means = np.array([HYPERPRIOR[name].mean for name in (*groups, NOISE)])
    sds = np.array([HYPERPRIOR[name].sd for name in (*groups, NOISE)])
    ones = np.ones(len(target))
    width = _CLIP * max(spread(target), 0.05 / unit)
    clipped = np.clip(target, level - width, level + width)
    found = _maximise(kernels, clipped, fixed, ones, means, means, sds)
    left_out = _posterior(kernels, clipped, fixed, ones, found).left_out
    precision = np.where(_credible(target - left_out, ones > 0, unit), 1.0, 0.0)
    for _ in range(_ROUNDS):
        kept = np.flatnonzero(precision)
        part = kernels[:, kept][:, :, kept]
        found = _maximise(part, target[kept], fixed[kept], precision[kept], found, means, sds)
        posterior = _posterior(part, target[kept], fixed[kept], precision[kept], found)
        predicted = posterior.mean(kernels[:, :, kept])
        predicted[kept] = posterior.left_out
        used = precision
        precision = _precision(target - predicted, posterior, kept, fixed, float(np.exp(found[-1])), unit)
        if ((precision > 0) == (used > 0)).all() and np.abs(precision - used).max() < _SETTLED:
            break
    variances = np.exp(found)
    return FittedProcess(variances[:-1], float(variances[-1]), used, centre, (predicted + expected) * unit + centre, posterior)


def noise_variance(noise: float, precision: Floats, fixed: Floats) -> Floats:
    """(n,), noise variance of measurements that count, of a process of unit 1."""
    return noise / precision + fixed


def _precision(errors: Floats, posterior: Posterior, kept: Indices, fixed: Floats, noise: float, unit: float) -> Floats:
    """Precision of each measurement as its error, given the others, implies it; 0 where it is not credible."""
    precision = np.ones(len(errors))
    variance = posterior.left_out_sd**2 + noise + fixed[kept]
    precision[kept] = (DEGREES_OF_FREEDOM + 1) / (DEGREES_OF_FREEDOM + errors[kept] ** 2 / variance)
    among = np.zeros(len(errors), bool)
    among[kept] = True
    return np.where(_credible(errors, among, unit), precision, 0.0)


def _credible(errors: Floats, among: Bools, unit: float) -> Bools:
    """Whether each error (n,) is usual among some of them, or small in itself."""
    middle = np.median(errors[among])
    return np.asarray(np.abs(errors - middle) <= max(FAR / unit, SPREADS * spread(errors[among])))


def _posterior(kernels: Floats, target: Floats, fixed: Floats, precision: Floats, logs: Floats) -> Posterior:
    variances = np.exp(logs)
    return Posterior(kernels, variances[:-1], noise_variance(float(variances[-1]), precision, fixed), target)


def _maximise(
    kernels: Floats, target: Floats, fixed: Floats, precision: Floats, start: Floats, means: Floats, sds: Floats
) -> Floats:
    """Log variances (groups + 1,) with the largest posterior density; the last is that of the noise."""
    diagonal = np.diag_indices(len(target))

    def loss(logs: Floats) -> tuple[float, Floats]:
        """Negative log density of log variances, and its gradient."""
        variances = np.exp(logs)
        covariance = np.tensordot(variances[:-1], kernels, 1) + CONSTANT
        covariance[diagonal] += noise_variance(float(variances[-1]), precision, fixed)
        try:
            lower = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(logs)
        half = np.linalg.inv(lower)
        inverse = half.T @ half
        weights = inverse @ target
        outer = np.outer(weights, weights) - inverse
        gradient = np.append(np.tensordot(kernels, outer, ([1, 2], [0, 1])), (np.diag(outer) / precision).sum())
        away = (logs - means) / sds
        value = 0.5 * float(target @ weights) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(away @ away)
        return value, -0.5 * gradient * variances + away / sds

    bounds = [_BOUNDS] * len(means)
    return np.asarray(
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS, "ftol": _TOLERANCE}).x
    )
