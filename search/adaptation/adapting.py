"""Adapts the latencies of source hardware to a target from a few measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.adaptation.guard import RESCALED_GROUPS, best_rescaled, is_worse, left_out_errors
from mhmodels.search.adaptation.process import FittedProcess, fit_process
from mhmodels.search.adaptation.sources import PreparedSources, SourceInput, different_networks, prepare_sources
from mhmodels.search.arrays import Bools, Floats
from mhmodels.search.cost_model.adapted.kernel_source import write_encodings
from mhmodels.search.cost_model.adapted.posterior import clock_step, clock_variance
from mhmodels.search.cost_model.adapted.prior import LatencyPrior, PriorFeatures
from mhmodels.search.cost_model.data import Adaptation
from mhmodels.search.cost_model.fields import origin_fields
from mhmodels.search.cost_model.fitting import checked_latencies, data_digest
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.model import CostModel, encoding_hashes
from mhmodels.search.cost_model.statistics import rank_doubt, statistics
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.loading import load_space
from mhmodels.search.space.search_space import Encodings, SearchSpace

FEWEST = 5
"""Fewest measurements of the target."""


class Adapted(NamedTuple):
    """An adapted cost model, and what it was judged by.

    Attributes:
        model: The cost model; its held-out statistics are those of leave-one-out predictions.
        predicted_ms: (n,), latency of each measured network in ms, as the other measurements predict it.
        set_aside: (n,), measurements that the others contradict by a large factor; the model ignores them.
        adapted_error, rescaled_error: Mean leave-one-out error, as log ratios, of the adapted model and of the best source whose
            latencies were only rescaled; the latter is None if every source ranks the target's networks backwards.
        rescaled_source: Name of this source.

    Example:
        >>> from mhmodels.search import adapt, get_space, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 20).encodings
        >>> source = shipped_model(space, "ethos-u55-128")
        >>> ms = 0.4 * source.bind(space).predict(encodings)
        >>> result = adapt(space, {"ethos-u55-128": source}, encodings, ms, "my-npu")
        >>> int(result.set_aside.sum()), bool(result.adapted_error < 0.05)
        (0, True)
    """

    model: CostModel
    predicted_ms: Floats
    set_aside: Bools
    adapted_error: float
    rescaled_error: float | None
    rescaled_source: str | None


def adapt(
    space: SearchSpace | str,
    sources: Mapping[str, SourceInput] | PreparedSources,
    encodings: ArrayLike,
    latency_ms: ArrayLike,
    origin: LatencyOrigin | str,
    doubts: Sequence[str] = (),
) -> Adapted:
    """Adapts latencies of source hardware to a target hardware.

    The log latency on the target is a Gaussian process whose prior is the sources' latencies and the structure of networks.
    Errors of measurements have heavy tails, and single wrong ones are set aside. If leave-one-out prediction finds the result
    worse than a source whose latencies are only rescaled, by more than a standard error, the model is this rescaled source.

    Args:
        space: Space of the networks, or its name.
        sources: Cost models or latencies by hardware id, or sources that `prepare_sources` fitted.
        encodings: (n, decisions), integers, different networks, at least 5.
        latency_ms: (n,), their latencies on the target in ms, above 0.
        origin: Hardware and conditions of these latencies, or the hardware's id.
        doubts: Reasons to doubt the latencies that are known before; they become warnings of the model.

    Returns:
        The model with leave-one-out predictions.

    Raises:
        CostModelError: There are fewer than 5 networks, one occurs twice, a latency is not a finite number above 0, all latencies
            are equal, or a source cannot be used.
        SpaceError: An encoding is not a member of the space.

    Example:
        >>> from mhmodels.search import adapt, get_space, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 20).encodings
        >>> source = shipped_model(space, "ethos-u55-128")
        >>> ms = 0.4 * source.bind(space).predict(encodings)
        >>> model = adapt(space, {"ethos-u55-128": source}, encodings, ms, "my-npu").model
        >>> model.form, model.hardware, model.n
        ('adapted', 'my-npu', 20)
    """
    from threadpoolctl import threadpool_limits

    space = load_space(space) if isinstance(space, str) else space
    origin = LatencyOrigin(origin) if isinstance(origin, str) else origin
    if isinstance(sources, PreparedSources) and sources.space.schema != space.schema:
        prepared_for = sources.space.name
        raise CostModelError(f"the sources were prepared for space '{prepared_for}', not for '{space.name}': prepare them again")
    rows, ms = different_networks(space, *checked_latencies(space, encodings, latency_ms))
    check_target(ms, origin.hardware)
    # Several threads are slower on these small matrices, and change the last digits of the result.
    with threadpool_limits(1, "blas"):
        prepared = sources if isinstance(sources, PreparedSources) else prepare_sources(space, sources)
        return _adapted(prepared, rows, ms, origin, doubts)


def check_target(ms: Floats, hardware: str) -> None:
    """Refuses latencies that are too few or all equal.

    Args:
        ms: (n,), latencies of different networks on the target in ms.
        hardware: Hardware id of the target.

    Raises:
        CostModelError: There are fewer than 5 latencies, or they do not vary.
    """
    if len(ms) < FEWEST:
        raise CostModelError(f"'{hardware}' has {len(ms)} measured networks, expected at least {FEWEST}: measure more")
    if np.ptp(ms) == 0:
        raise CostModelError(f"all {len(ms)} latencies on '{hardware}' are {ms[0]:g} ms: they say nothing about networks")


def _adapted(prepared: PreparedSources, rows: Encodings, ms: Floats, origin: LatencyOrigin, doubts: Sequence[str]) -> Adapted:
    logs, step = np.log(ms), clock_step(ms)
    fixed = clock_variance(ms, step)
    prior, features, process = _best_prior(prepared, rows, logs, fixed)
    rescaled = best_rescaled(prepared, features, logs, fixed)
    errors = left_out_errors(process, logs)
    rescaled_errors = left_out_errors(rescaled.process, logs) if rescaled is not None else None
    chosen, sources, groups = process, prepared.sources, prior.groups
    if rescaled is not None and rescaled_errors is not None and is_worse(errors, rescaled_errors):
        chosen, sources, groups = rescaled.process, (rescaled.source,), RESCALED_GROUPS
    adaptation = Adaptation(
        decision="adapted" if chosen is process else "rescaled",
        sources=sources,
        feature_centre=tuple(prepared.standard.centre.tolist()),
        feature_scale=tuple(prepared.standard.scale.tolist()),
        variances=dict(zip(groups, chosen.variances.tolist(), strict=True)),
        noise=chosen.noise,
        encodings=write_encodings(rows),
        ms=tuple(ms.tolist()),
        precision=tuple(chosen.precision.tolist()),
        clock_ms=step,
        relative=prior.relative and chosen is process,
    )
    predicted = np.exp(chosen.predicted)
    model = _model(prepared.space, adaptation, rows, ms, predicted, origin, chosen, doubts)
    return Adapted(
        model,
        predicted,
        ~chosen.kept,
        adapted_error=float(errors.mean()),
        rescaled_error=None if rescaled_errors is None else float(rescaled_errors.mean()),
        rescaled_source=None if rescaled is None else rescaled.source.hardware,
    )


def _best_prior(
    prepared: PreparedSources, rows: Encodings, logs: Floats, fixed: Floats
) -> tuple[LatencyPrior, PriorFeatures, FittedProcess]:
    """The preferred prior with features of the networks and its fit, or another one that predicts left-out networks better."""
    found: list[tuple[LatencyPrior, PriorFeatures, FittedProcess]] = []
    expected = prepared.prior.expect(rows)
    for prior in prepared.priors:
        features = prior.features_of(expected)
        process = fit_process(prior.kernels(features, features), logs, fixed, prior.groups, prior.unit, features.mean[:, 0])
        if not found or is_worse(left_out_errors(found[-1][2], logs), left_out_errors(process, logs)):
            found.append((prior, features, process))
    return found[-1]


def _model(
    space: SearchSpace,
    adaptation: Adaptation,
    rows: Encodings,
    ms: Floats,
    predicted: Floats,
    origin: LatencyOrigin,
    process: FittedProcess,
    doubts: Sequence[str],
) -> CostModel:
    """The model file of an adaptation, with leave-one-out statistics."""
    report = statistics(ms, predicted, process.kept)
    doubt = rank_doubt(report)
    return CostModel(
        form="adapted",
        **origin_fields(space, origin),
        intercept_ms=0.0,
        floor_ms=float(ms.min()) / 10,
        n=len(ms),
        held_out=report,
        data_sha256=data_digest(space, rows, ms),
        trained_on=tuple(encoding_hashes(space, rows)),
        warnings=(*doubts, doubt) if doubt else tuple(doubts),
        adaptation=adaptation,
    )
