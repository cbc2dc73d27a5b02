"""What a fit tells people: doubts about the model, warnings about the data, statistics by distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mhmodels.search.arrays import Bools, Floats, Indices
from mhmodels.search.cost_model.regression.robust import FAR, Judged
from mhmodels.search.cost_model.statistics import Statistics, rank_doubt, statistics
from mhmodels.search.space.search_space import Encodings, SearchSpace

DISAGREEMENT = 0.02
"""Loss of Spearman correlation of relative errors against absolute errors above which a fit is doubted."""
MOST_IMPLAUSIBLE = 0.1
"""Share of latencies set aside above which the data are doubted."""
MOST_NAMED = 5
"""Number of suspicious latencies that a warning names."""


def doubts(report: Statistics, judged: Judged, implausible: Bools) -> Iterator[str]:
    """Yields reasons against using a model in a search, whatever its mean error.

    Args:
        report: Statistics of held-out networks.
        judged: Training latencies as the robust fit saw them.
        implausible: (n,), latencies that were set aside.
    """
    if doubt := rank_doubt(report):
        yield doubt
    relative, absolute = judged.spearman
    if relative < absolute - DISAGREEMENT:
        yield (
            f"a fit of relative errors ranks networks worse (Spearman {relative:.3f}, leave-one-out) than one of absolute errors "
            f"({absolute:.3f}): fit absolute errors, and look at the lowest latencies"
        )
    if implausible.mean() > MOST_IMPLAUSIBLE:
        yield (
            f"{implausible.mean():.0%} of the latencies are over {FAR:g} times more or less than predicted, expected at most "
            f"{MOST_IMPLAUSIBLE:.0%}: the data may be of several units, devices or settings"
        )


def far_off_warnings(
    space: SearchSpace, rows: Encodings, ms: Floats, predicted: Floats, implausible: Bools, similar: Bools
) -> Iterator[str]:
    """Yields warnings about latencies far from their predictions, which may be in another unit or misread.

    Args:
        space: Space of the networks.
        rows: (n, decisions).
        ms: (n,), latencies in ms.
        predicted: (n,), predictions in ms.
        implausible: (n,), latencies that were set aside.
        similar: (n,), latencies that are far off, but of networks that resemble each other.
    """
    factor = np.maximum(ms / predicted, predicted / ms)
    if implausible.any():
        places = np.flatnonzero(implausible)
        worst = places[np.argsort(-factor[places], kind="stable")[:MOST_NAMED]]
        named = "; ".join(f"{ms[i]:.4g} ms, predicted {predicted[i]:.4g}: {space.label(rows[i])}" for i in worst)
        more = f"; and {len(places) - len(worst)} more" if len(places) > len(worst) else ""
        yield (
            f"{len(places)} of {len(ms)} latencies are over {FAR:g} times more or less than predicted: are they in ms and of "
            "this hardware? The model was not fitted to them and they do not count in its statistics; measure them again. The "
            f"worst: {named}{more}"
        )
    if similar.any():
        place = int(np.argmax(np.where(similar, factor, 0)))
        yield (
            f"{similar.sum()} of {len(ms)} latencies are over {FAR:g} times more or less than predicted, on networks that "
            f"resemble each other, so they count; the model does not express what these have in common. The worst is "
            f"{ms[place]:.4g} ms, predicted {predicted[place]:.4g}: {space.label(rows[place])}"
        )


def too_few_warning(samples: int, weights: int, text: str) -> Iterator[str]:
    """Yields a warning if a fit has fewer samples than weights.

    Args:
        samples: Number of training samples.
        weights: Number of weights.
        text: What the weights are.
    """
    if samples < weights:
        remedy = "the penalty fills in; measure more, or see the learning curve for what more would give"
        yield f"{samples} architectures are fewer than the weights: {text}; {remedy}"


def by_distribution(
    names: Sequence[str], held: Indices, true_ms: Floats, predicted_ms: Floats, counted: Bools
) -> dict[str, Statistics]:
    """Statistics of held-out networks by the distribution that they were drawn from.

    Args:
        names: (n,), distribution of each network of the data, "" where unknown; empty if all are unknown.
        held: (k,), indices of the held-out networks.
        true_ms: (k,), their latencies in ms.
        predicted_ms: (k,), their predictions in ms.
        counted: (k,), those that count.
    """
    if not names:
        return {}
    own = np.array([names[i] for i in held])
    return {
        str(name): statistics(true_ms[own == name], predicted_ms[own == name], counted[own == name])
        for name in sorted(set(own.tolist()))
        if (own == name).sum() > 1 and name
    }
