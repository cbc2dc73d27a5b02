"""Fits cost models to latencies of sampled networks, and reports on networks that the model has not seen."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Bools, Floats, Indices
from mhmodels.search.cost_model import fit_report
from mhmodels.search.cost_model.data import LONGEST_MS, SHORTEST_MS, CurvePoint
from mhmodels.search.cost_model.design import FitDesign, Solution
from mhmodels.search.cost_model.fields import origin_fields
from mhmodels.search.cost_model.forms import Form, check_form, usual_form
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.model import CostModel, encoding_hashes
from mhmodels.search.cost_model.regression.robust import Judged
from mhmodels.search.cost_model.statistics import Statistics, statistics
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.loading import load_space
from mhmodels.search.space.search_space import Encodings, SearchSpace

MINIMUM_SAMPLES, MINIMUM_HELD = 20, 5
"""Fewest networks to fit to and to report on."""
CURVE = (30, 100, 300, 1000, 3000, 10_000)
"""Numbers of training samples of the learning curve."""
_NOTHING = Statistics(n=0, mape=0.0, rmse_ms=0.0, hit_rate_10=0.0, r2=None, spearman=None, kendall=None)
"""Statistics of a model before it is evaluated."""


class FitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a fit of a cost model.

    Attributes:
        form: Form of the model; None for structural, or pairwise for tabular spaces.
        error: Error whose square the fit minimises: relative (ms/ms) or absolute (ms).
        nonnegative: Whether to exclude weights below 0.
        held_out: Share of the networks that is held out for the report, above 0 and below 1.
        seed: Random seed of the split.
        curve: Whether to compute the learning curve, which fits to fewer samples as well.

    Raises:
        CostModelError: `held_out` is out of its range.

    Example:
        >>> from mhmodels.search import FitOptions
        >>> FitOptions(error="absolute", held_out=0.1).nonnegative
        False
    """

    form: Form | None = None
    error: Literal["relative", "absolute"] = "relative"
    nonnegative: bool = False
    held_out: float = 0.2
    seed: int = 0
    curve: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise CostModelError(f"fit: field 'held_out' is {self.held_out}, expected a share above 0 and below 1")


DEFAULT_OPTIONS = FitOptions()


class Fit(NamedTuple):
    """A fitted cost model with the predictions that it was evaluated by.

    Attributes:
        model: Model fitted to the training part only; its statistics are those of this model.
        true_ms: (k,), latencies of the held-out networks in ms.
        predicted_ms: (k,), their predictions in ms.
        held_out: (k,), their indices in the data.
        warnings: Remarks about the data.
        implausible: (n,), whether each latency of the data is implausible. Implausible latencies are neither fitted nor counted
            in the statistics.

    Example:
        >>> from mhmodels.search import FitOptions, fit, get_space, sample
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 60).encodings
        >>> result = fit(space, encodings, space.madds(encodings) / 5e7, "my-phone", FitOptions(curve=False))
        >>> len(result.true_ms), int(result.implausible.sum())
        (12, 0)
    """

    model: CostModel
    true_ms: Floats
    predicted_ms: Floats
    held_out: Indices
    warnings: tuple[str, ...]
    implausible: Bools


def fit(
    space: SearchSpace | str,
    encodings: ArrayLike,
    latency_ms: ArrayLike,
    origin: LatencyOrigin | str,
    options: FitOptions = DEFAULT_OPTIONS,
    distributions: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Fit:
    """Fits a cost model by robust ridge regression; leave-one-out prediction chooses the penalty.

    Args:
        space: Space of the networks, or its name.
        encodings: (n, decisions), integers, different networks.
        latency_ms: (n,), milliseconds above 0.
        origin: Hardware and conditions of the latencies, or the hardware's id.
        options: Settings of the fit.
        distributions: (n,), distribution that each network was drawn from; empty if unknown.
        doubts: Reasons to doubt the latencies that are known before the fit; they become warnings of the model.

    Raises:
        CostModelError: A latency is not a finite number of milliseconds above 0, there are too few samples, or the space does
            not have this form.
        SpaceError: An encoding is not a member of the space.
        UnknownNameError: No space has this name.

    Example:
        >>> from mhmodels.search import fit, get_space, sample
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 60).encodings
        >>> ms = space.madds(encodings) / 5e7
        >>> model = fit(space, encodings, ms, "my-phone").model
        >>> model.held_out.mape < 0.01
        True
    """
    from threadpoolctl import threadpool_limits

    space = load_space(space) if isinstance(space, str) else space
    origin = LatencyOrigin(origin) if isinstance(origin, str) else origin
    rows, ms = checked_latencies(space, encodings, latency_ms)
    form: Form = options.form or usual_form(space)
    check_form(form, space)
    held, train = _split(len(ms), options)
    # Several threads are slower on these small matrices, and change the last digits of the result.
    with threadpool_limits(1, "blas"):
        design = FitDesign(space, rows, form)
        solution, judged = _solve(design, train, ms, options)
        model = _model(design, solution, origin, options, rows[train], ms[train])
        predicted = model.bind(space).predict(rows)
        implausible, similar = design.suspects(ms, predicted, judged.floor)
        counted = ~implausible[held]
        curve = list(_learning_curve(design, train, held, ms, counted, origin, options) if options.curve else ())
    report = statistics(ms[held], predicted[held], counted)
    model = msgspec.structs.replace(
        model,
        held_out=report,
        trained_on=tuple(encoding_hashes(space, rows[train])),
        by_distribution=fit_report.by_distribution(distributions, held, ms[held], predicted[held], counted),
        learning_curve=(*curve, CurvePoint(n=len(train), statistics=report)),
        warnings=(*doubts, *fit_report.doubts(report, judged, implausible)),
    )
    warnings = (
        *fit_report.too_few_warning(len(train), *design.parameters(train)),
        *fit_report.far_off_warnings(space, rows, ms, predicted, implausible, similar),
    )
    return Fit(model, ms[held], predicted[held], held, warnings, implausible)


class WholeFit(NamedTuple):
    """A fit to all latencies, judged by leave-one-out prediction.

    Attributes:
        model: Cost model without held-out statistics.
        left_out_ms: (n,), latency of each network in ms, as a fit to the others predicts it; NaN for implausible latencies.
    """

    model: CostModel
    left_out_ms: Floats


def fit_to_all(space: SearchSpace, rows: Encodings, ms: Floats, origin: LatencyOrigin) -> WholeFit:
    """Fits a model of the space's usual form to all latencies, with nothing held out.

    Args:
        space: Space of the networks.
        rows: (n, decisions), int16, canonical, different networks, at least 20.
        ms: (n,), their latencies in ms, as `checked_latencies` accepts them.
        origin: Hardware and conditions of the latencies.
    """
    everything = np.arange(len(ms))
    design = FitDesign(space, rows, usual_form(space))
    solution, judged = _solve(design, everything, ms, DEFAULT_OPTIONS)
    left_out = np.full(len(ms), np.nan)
    left_out[judged.kept] = solution.left_out
    return WholeFit(_model(design, solution, origin, DEFAULT_OPTIONS, rows, ms), left_out)


def _solve(design: FitDesign, train: Indices, ms: Floats, options: FitOptions) -> tuple[Solution, Judged]:
    return design.solve(train, ms, relative=options.error == "relative", nonnegative=options.nonnegative)


def _split(n: int, options: FitOptions) -> tuple[Indices, Indices]:
    """Indices of held-out and training samples."""
    order = np.random.default_rng(options.seed).permutation(n)
    count = round(n * options.held_out)
    held, train = np.sort(order[:count]), order[count:]
    if len(train) < MINIMUM_SAMPLES or count < MINIMUM_HELD:
        raise CostModelError(
            f"{n} different architectures leave {len(train)} to train on and {count} to test on, expected at least "
            f"{MINIMUM_SAMPLES} and {MINIMUM_HELD}: collect {_fewest(options.held_out)} or more (`mhmodels search collect -n`)"
        )
    return held, train


def _fewest(held_out: float) -> int:
    """The smallest number of samples that suffices."""
    tested = ((n, round(n * held_out)) for n in itertools.count())
    return next(n for n, count in tested if count >= MINIMUM_HELD and n - count >= MINIMUM_SAMPLES)


def _learning_curve(
    design: FitDesign,
    train: Indices,
    held: Indices,
    ms: Floats,
    counted: Bools,
    origin: LatencyOrigin,
    options: FitOptions,
) -> Iterator[CurvePoint]:
    """Held-out statistics of fits to fewer samples."""
    space, rows = design.space, design.encodings
    for n in [n for n in CURVE if n < len(train)]:
        solution, _ = _solve(design, train[:n], ms, options)
        part = _model(design, solution, origin, options, rows[:1], ms[train[:n]])
        yield CurvePoint(n=n, statistics=statistics(ms[held], part.bind(space).predict(rows[held]), counted))


def checked_latencies(space: SearchSpace, encodings: ArrayLike, latency_ms: ArrayLike) -> tuple[Encodings, Floats]:
    """Canonical encodings and latencies as arrays."""
    rows, ms = space.canonical(space.check(encodings)), np.asarray(latency_ms, np.float64)
    if ms.shape != (len(rows),):
        raise CostModelError(f"{len(rows)} encodings and latencies of shape {ms.shape}, expected one for each")
    bad = np.flatnonzero(~((ms >= SHORTEST_MS) & (ms <= LONGEST_MS)))
    if len(bad):
        raise CostModelError(
            f"{len(bad)} of {len(ms)} latencies are no latencies, the first is {ms[bad[0]]} at {space.label(rows[bad[0]])}: "
            f"expected finite milliseconds above 0 ({SHORTEST_MS:g} to {LONGEST_MS:g}); leave architectures that do not run out"
        )
    return rows, ms


def _model(
    design: FitDesign,
    solution: Solution,
    origin: LatencyOrigin,
    options: FitOptions,
    rows: Encodings,
    ms: Floats,
    held_out: Statistics = _NOTHING,
) -> CostModel:
    """The model file of a solution; statistics are added once the model has been evaluated."""
    space, rows_used = design.space, sorted(solution.rows)
    return CostModel(
        form=design.form,
        **origin_fields(space, origin),
        intercept_ms=solution.intercept,
        floor_ms=float(ms.min()) / 10,
        weights=solution.weights,
        deviations=dict(sorted(solution.deviations.items())),
        row_index=tuple(rows_used),
        row_weights=tuple(solution.rows[row] for row in rows_used),
        strength=solution.strength,
        deviation_scale=solution.deviation_scale,
        error=options.error,
        nonnegative=options.nonnegative,
        n=len(ms),
        held_out=held_out,
        data_sha256=data_digest(space, rows, ms) if len(rows) == len(ms) else "",
    )


def data_digest(space: SearchSpace, rows: Encodings, ms: Floats) -> str:
    """SHA-256 of the data, whatever their order."""
    lines = sorted(f"{space.label(row)} {value!r}" for row, value in zip(rows, ms.tolist(), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
