"""AdaProxy: adapts the linear cost model of one proxy hardware to a target (arXiv 2111.01203), in closed form.

`mhmodels.search.adapt` is the better default: it takes several sources, tolerates wrong measurements and keeps the source where
adapting does not help. AdaProxy is the published method that it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from mhmodels.search.adaptation.adapting import check_target
from mhmodels.search.adaptation.source_fit import FEWEST as FEWEST_OF_SOURCE
from mhmodels.search.adaptation.sources import SourceInput, different_networks
from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.cost_model.adapted.features import reference_networks
from mhmodels.search.cost_model.fields import origin_fields
from mhmodels.search.cost_model.fitting import checked_latencies, data_digest
from mhmodels.search.cost_model.forms import Form, builds, touched_rows
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.model import CostModel, encoding_hashes
from mhmodels.search.cost_model.predictor import LinearPredictor
from mhmodels.search.cost_model.regression.ridge import STRENGTHS, ridge
from mhmodels.search.cost_model.statistics import rank_doubt, statistics
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.loading import load_space
from mhmodels.search.space.search_space import Encodings, SearchSpace

_FORM: Form = "coupled"
_FLAT = 1e-9
"""Share of the latencies of a proxy below which their spread is rounding."""


class _ProxyFit(NamedTuple):
    """A solution of AdaProxy.

    Attributes:
        slowdown: a, common factor of all weights of the proxy.
        deviations: b (columns,), deviation of the factor of each weight.
        offset: c in ms.
        strength: Penalty of b, relative to the mean squared length of the design's rows.
        left_out: (n,), latency of each network in ms as the other measurements predict it.
    """

    slowdown: float
    deviations: Floats
    offset: float
    strength: float
    left_out: Floats


def ada_proxy(
    space: SearchSpace | str,
    source: SourceInput,
    encodings: ArrayLike,
    latency_ms: ArrayLike,
    origin: LatencyOrigin | str,
    doubts: Sequence[str] = (),
) -> CostModel:
    """Adapts the linear cost model of one proxy hardware to a target (AdaProxy, section 1 of arXiv 2111.01203).

    With the weights w (K,) of the proxy in ms, the 0/1 or count vector x_i (K,) of network i and its latency y_i in ms, AdaProxy
    minimises over the scalars a and c (ms) and the vector b (K,)

        mean_i (x_i · (w ∘ (a + b)) + c - y_i)² + λ ‖b‖²

    and predicts x · (w ∘ (a + b)) + c. The paper penalises ‖b‖ without the square; for the same data both penalties yield the
    same path of solutions, and the square has a closed form. Exact leave-one-out prediction chooses λ, where the paper's
    notebook holds out 10 of 70 networks. The weights w are the least-squares fit with minimum norm to the
    latencies of the proxy, as in the notebook. Element k
    of x counts how often a network uses row k of the space's table; in tabular spaces, it tells whether it takes choice k.

    Args:
        space: Space of the networks, or its name.
        source: Latencies of at least 20 networks on the proxy hardware, or a cost model of it. The weights of linear models of
            architectures are used as they are; other models are evaluated on 1,000 random networks and the measured ones.
        encodings: (n, decisions), integers, different networks, at least 5.
        latency_ms: (n,), their latencies on the target in ms, above 0.
        origin: Hardware and conditions of these latencies, or the hardware's id.
        doubts: Reasons to doubt the latencies that are known before; they become warnings of the model.

    Returns:
        A cost model of form `coupled`. Its held-out statistics are those of leave-one-out predictions.

    Raises:
        CostModelError: There are fewer than 5 networks, one occurs twice, a latency is not a finite number above 0, all latencies
            are equal, or the source cannot be used; the message names it.
        SpaceError: An encoding is not a member of the space.
        UnknownNameError: No space has this name.

    Example:
        >>> from mhmodels.search import Latencies, LatencyOrigin, ada_proxy, get_space, sample
        >>> space = get_space("nas_bench_201")
        >>> encodings = sample(space, 100).encodings
        >>> ms = 1.0 + (encodings == 3).sum(axis=1)  # each 3x3 convolution costs 1 ms
        >>> proxy = Latencies(encodings, ms, (), LatencyOrigin("old-phone"), ())
        >>> model = ada_proxy(space, proxy, encodings[:20], 5.0 + 0.5 * ms[:20], "new-phone")
        >>> predicted_ms = model.bind(space).predict(encodings)
        >>> model.form, model.n, bool(abs(predicted_ms - (5.0 + 0.5 * ms)).max() < 0.01)
        ('coupled', 20, True)
    """
    from threadpoolctl import threadpool_limits

    space = load_space(space) if isinstance(space, str) else space
    origin = LatencyOrigin(origin) if isinstance(origin, str) else origin
    rows, ms = different_networks(space, *checked_latencies(space, encodings, latency_ms))
    check_target(ms, origin.hardware)
    # Several threads are slower on these small matrices, and change the last digits of the result.
    with threadpool_limits(1, "blas"):
        proxy = _proxy_weights(space, source, rows)
        touched = touched_rows(space, rows, _FORM)
        used = np.unique(touched.indices)
        fitted = _solve(touched[:, used].toarray() * proxy[used], ms)
    weights = fitted.slowdown * proxy
    weights[used] += fitted.deviations * proxy[used]
    return _model(space, fitted, weights, rows, ms, origin, doubts)


def _proxy_weights(space: SearchSpace, source: SourceInput, measured: Encodings) -> Floats:
    """Weights (rows,) of the proxy in ms; its constant is part of c."""
    name = source.hardware if isinstance(source, CostModel) else source.origin.hardware
    try:
        if not isinstance(source, CostModel):
            return _least_squares(space, *different_networks(space, *checked_latencies(space, source.encodings, source.ms)))
        bound = source.bind(space)
        if builds(space) and isinstance(bound, LinearPredictor):
            return bound.table
        encodings = np.unique(np.concatenate([reference_networks(space), measured]), axis=0)
        return _least_squares(space, encodings, bound.predict_rows(encodings))
    except (CostModelError, SpaceError) as error:
        raise type(error)(f"source '{name}': {error}") from error


def _least_squares(space: SearchSpace, encodings: Encodings, ms: Floats) -> Floats:
    """Weights (rows,) of latencies by least squares; among equally good ones, those with the smallest norm."""
    if len(ms) < FEWEST_OF_SOURCE:
        raise CostModelError(f"it has {len(ms)} networks with a latency, expected at least {FEWEST_OF_SOURCE}")
    if np.ptp(ms) <= _FLAT * ms.max():
        raise CostModelError(f"all {len(ms)} latencies are {ms[0]:.4g} ms: they say nothing about networks")
    touched = touched_rows(space, encodings, _FORM)
    used: Indices = np.unique(touched.indices)
    design = sparse.hstack([np.ones((len(ms), 1)), touched[:, used]], format="csr")
    # One choice of each decision is redundant. Ridge regression with a tiny penalty has finite weights where least squares with
    # NumPy's default tolerance has weights of 1e8 ms, which b would multiply.
    weights = np.zeros(touched.shape[1])
    weights[used] = ridge(design, ms, np.ones(len(used) + 1)).weights[1:]
    return weights


def _solve(design: Floats, ms: Floats) -> _ProxyFit:
    """Minimises the objective of AdaProxy.

    Args:
        design: (n, columns), x ∘ w of each network in ms.
        ms: (n,), latencies on the target in ms.
    """
    free = np.stack([design.sum(axis=1), np.ones(len(ms))], axis=1)
    # The unpenalised a and c are projected out; b is then a ridge regression of what they leave.
    basis = _orthonormal(free)
    rest, target = design - basis @ (basis.T @ design), ms - basis @ (basis.T @ ms)
    left, singular, right = np.linalg.svd(rest, full_matrices=False)
    squares, projected = singular**2, left.T @ target
    mean_square = max(float(squares.sum()) / len(ms), float(np.finfo(float).tiny))
    leverage = (basis**2).sum(axis=1)
    shrinkage = squares / (squares + STRENGTHS[:, None] * mean_square)
    residual = target - (shrinkage * projected) @ left.T
    # (strengths, n), errors of leave-one-out predictions.
    errors = residual / np.maximum(1.0 - leverage - shrinkage @ (left**2).T, 1e-9)
    best = int(np.argmin((errors**2).mean(axis=1)))
    strength = float(STRENGTHS[best])
    deviations = right.T @ (singular * projected / (squares + strength * mean_square))
    (slowdown, offset), *_ = np.linalg.lstsq(free, ms - design @ deviations, rcond=_FLAT)
    return _ProxyFit(float(slowdown), deviations, float(offset), strength, ms - errors[best])


def _orthonormal(columns: Floats) -> Floats:
    """Orthonormal basis of what columns span; the proxy may predict the same latency for all measured networks."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > _FLAT * singular[0]])


def _model(
    space: SearchSpace,
    fitted: _ProxyFit,
    weights: Floats,
    rows: Encodings,
    ms: Floats,
    origin: LatencyOrigin,
    doubts: Sequence[str],
) -> CostModel:
    """The model file of adapted weights (rows,) in ms, with leave-one-out statistics."""
    floor_ms = float(ms.min()) / 10
    report = statistics(ms, np.maximum(fitted.left_out, floor_ms))
    doubt = rank_doubt(report)
    known = np.flatnonzero(weights)
    return CostModel(
        form=_FORM,
        **origin_fields(space, origin),
        intercept_ms=fitted.offset,
        floor_ms=floor_ms,
        row_index=tuple(known.tolist()),
        row_weights=tuple(weights[known].tolist()),
        strength=fitted.strength,
        error="absolute",
        n=len(ms),
        held_out=report,
        data_sha256=data_digest(space, rows, ms),
        trained_on=tuple(encoding_hashes(space, rows)),
        warnings=(*doubts, doubt) if doubt else tuple(doubts),
    )
