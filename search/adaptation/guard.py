"""The guard of an adaptation: sources whose latencies are only rescaled, judged by the same leave-one-out error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from mhmodels.search.adaptation.process import FAR, FittedProcess, fit_process
from mhmodels.search.adaptation.sources import PreparedSources
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.prior import PriorFeatures
from mhmodels.search.cost_model.data import AdaptationSource

RESCALED_GROUPS = ("sources",)
"""The only group of kernels of a rescaled source: the source itself."""
_TRIED = 3
"""Number of sources that are rescaled: those with the highest rank correlation to the target."""


class Rescaled(NamedTuple):
    """A source whose log latencies are mapped to the target's by a straight line.

    Attributes:
        source: The source.
        process: The fitted line.
        slope: Its slope, in standard deviations of the target per standard deviation of the source.
    """

    source: AdaptationSource
    process: FittedProcess
    slope: float


def left_out_errors(process: FittedProcess, logs: Floats) -> Floats:
    """(n,), leave-one-out errors of log latencies, as log ratios; that of an absurd measurement counts up to 2.5-fold."""
    return np.asarray(np.minimum(np.abs(process.predicted - logs), FAR))


def is_worse(first: Floats, second: Floats) -> bool:
    """Whether errors (n,) are worse than other errors of the same measurements, by more than a standard error.

    With 10 measurements, a smaller mean alone is chance too often: it would give up adaptations that rank the rest better.
    """
    differences = first - second
    return bool(differences.mean() > differences.std(ddof=1) / np.sqrt(len(differences)))


def best_rescaled(prepared: PreparedSources, features: PriorFeatures, logs: Floats, fixed: Floats) -> Rescaled | None:
    """The source that predicts the target best when its latencies are only rescaled; None if all of them rank it backwards.

    Args:
        prepared: The sources.
        features: Features of the n measured networks by the prior of all sources.
        logs: (n,), log latencies on the target.
        fixed: (n,), known variance of the log latencies.
    """
    scores = features.scores
    ranks = [spearmanr(column, logs)[0] if np.ptp(column) > 0 else -1.0 for column in scores.T]
    tried = [_rescaled(prepared.sources[place], scores[:, place], logs, fixed) for place in np.argsort(ranks)[::-1][:_TRIED]]
    rising = [one for one in tried if one.slope > 0]
    return min(rising, key=lambda one: float(left_out_errors(one.process, logs).mean()), default=None)


def _rescaled(source: AdaptationSource, scores: Floats, logs: Floats, fixed: Floats) -> Rescaled:
    process = fit_process(np.outer(scores, scores)[None], logs, fixed, RESCALED_GROUPS, source.scale, scores)
    slope = 1 + float(process.variances[0] * (scores[process.kept] @ process.posterior.weights))
    return Rescaled(source, process, slope)
