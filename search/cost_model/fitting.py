"""From latencies of sampled networks to a cost model, and an honest report on networks that it has not seen."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.hardware.measurement import Environment, Kind
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.model import (
    LONGEST_MS,
    SHORTEST_MS,
    CostModel,
    CurvePoint,
    Floats,
    Form,
    check_form,
    encoding_hashes,
    form_row_count,
    form_rows,
    rank_doubt,
)
from mhmodels.search.cost_model.ridge import ridge
from mhmodels.search.cost_model.robust import FAR, Bools, Judged, far_off, judge, predictable, scaled_rows
from mhmodels.search.cost_model.statistics import Statistics, statistics
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace

MINIMUM_SAMPLES, MINIMUM_HELD = 20, 5
DISAGREEMENT = 0.02
"""By how much relative errors may rank networks worse than absolute ones."""
MOST_ABSURD = 0.1
"""Share of latencies that may be set aside before the data are in doubt."""
MOST_NAMED = 5
CURVE = (30, 100, 300, 1000, 3000, 10_000)
# How far a block may depart from what its features say, relative to its own cost; cross-validation chooses.
_DEVIATIONS = (0.0, 0.03, 0.1, 0.3)


class FitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to fit.

    Attributes:
        form: None for the best that the space has: structural, or pairwise for tabular spaces.
        error: which squared error is least: (predicted - true) / true, or in ms.
        nonnegative: rules out weights below 0.
        held_out: share of the architectures kept for the report.
        seed: of the split.
        curve: whether to fit to fewer samples too, for the learning curve.
    """

    form: Form | None = None
    error: Literal["relative", "absolute"] = "relative"
    nonnegative: bool = False
    held_out: float = 0.2
    seed: int = 0
    curve: bool = True


DEFAULT_OPTIONS = FitOptions()


class Origin(NamedTuple):
    """Where latencies come from, as in `Measurement`, and what networks of the zoo took there."""

    hardware: str
    kind: Kind = "measured"
    file_format: str = ""
    environment: Environment | None = None
    baselines: tuple[Baseline, ...] = ()


class Fit(NamedTuple):
    """A model, and what it was judged by.

    Attributes:
        model: fitted to the training part only, so that its statistics are its own.
        true_ms, predicted_ms: of the held-out architectures, in the same order.
        held_out: their places in the data.
        warnings: for people, with numbers.
        absurd: (n,) of all data, which latencies are far off without a reason in the network; neither fitted to nor counted.
    """

    model: CostModel
    true_ms: Floats
    predicted_ms: Floats
    held_out: NDArray[np.int64]
    warnings: tuple[str, ...]
    absurd: Bools


class _Solution(NamedTuple):
    intercept: float
    weights: dict[str, float]
    deviations: dict[str, float]
    rows: dict[int, float]
    strength: float
    deviation_scale: float


def fit(
    space: Space,
    encodings: ArrayLike,
    latency_ms: ArrayLike,
    origin: Origin,
    options: FitOptions = DEFAULT_OPTIONS,
    distributions: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Fit:
    """Fits a cost model by ridge regression, its strength chosen by leave-one-out.

    Args:
        space: of the encodings.
        encodings: (n, decisions), different networks.
        latency_ms: (n,), above 0.
        origin: of the latencies.
        options: how to fit.
        distributions: (n,), what each was drawn from; empty if unknown.
        doubts: what is known against the latencies beforehand; the model carries these warnings.

    Raises:
        CostModelError: a latency that is NaN, infinite, zero, negative or beyond all measure; too few samples; a form that the
            space lacks.
        SpaceError: encodings that are no members.
    """
    from threadpoolctl import threadpool_limits

    rows, ms = _checked(space, encodings, latency_ms)
    form: Form = options.form or ("pairwise" if space.tabular else "structural")
    check_form(form, space)
    held, train = _split(len(ms), options)
    # The matrices are small: with several threads they take longer, and the last digits depend on how many there are.
    with threadpool_limits(1, "blas"):
        design = _Design(space, rows, form)
        solution, judged = design.solve(train, ms, options)
        model = _model(space, form, solution, origin, options, rows[train], ms[train], statistics([1.0], [1.0]))
        predicted = model.bind(space).predict(rows)
        absurd, alike = design.suspects(ms, predicted, judged.floor)
        curve = list(_learning_curve(design, train, held, ms, ~absurd[held], origin, options) if options.curve else ())
    report = statistics(ms[held], predicted[held], ~absurd[held])
    model = msgspec.structs.replace(
        model,
        held_out=report,
        trained_on=tuple(encoding_hashes(space, rows[train])),
        by_distribution=_by_distribution(distributions, held, ms[held], predicted[held], ~absurd[held]),
        learning_curve=(*curve, CurvePoint(n=len(train), statistics=report)),
        warnings=(*doubts, *_doubts(report, judged, absurd)),
    )
    remarks = (*_warnings(design, train), *_far_off(space, rows, ms, predicted, absurd, alike))
    return Fit(model, ms[held], predicted[held], held, remarks, absurd)


def _split(n: int, options: FitOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of held-out and training samples."""
    order = np.random.default_rng(options.seed).permutation(n)
    count = round(n * options.held_out)
    held, train = np.sort(order[:count]), order[count:]
    if len(train) < MINIMUM_SAMPLES or count < MINIMUM_HELD:
        raise CostModelError(
            f"{n} different architectures leave {len(train)} to train on and {count} to test on, expected at least "
            f"{MINIMUM_SAMPLES} and {MINIMUM_HELD}: collect {_fewest(options.held_out)} or more (`mhmodels search collect -n`)"
        )
    return held, train


def _learning_curve(
    design: _Design,
    train: NDArray[np.int64],
    held: NDArray[np.int64],
    ms: Floats,
    counted: Bools,
    origin: Origin,
    options: FitOptions,
) -> Iterator[CurvePoint]:
    """Held-out statistics of fits to fewer samples."""
    space, rows = design.space, design.encodings
    nothing = statistics([1.0], [1.0])
    for n in [n for n in CURVE if n < len(train)]:
        part = _model(
            space, design.form, design.solve(train[:n], ms, options)[0], origin, options, rows[:1], ms[train[:n]], nothing
        )
        yield CurvePoint(n=n, statistics=statistics(ms[held], part.bind(space).predict(rows[held]), counted))


def _fewest(held_out: float) -> int:
    """The smallest number of samples that suffices."""
    tested = ((n, round(n * held_out)) for n in itertools.count())
    return next(n for n, count in tested if count >= MINIMUM_HELD and n - count >= MINIMUM_SAMPLES)


def _far_off(space: Space, rows: Encodings, ms: Floats, predicted: Floats, absurd: Bools, alike: Bools) -> Iterator[str]:
    """Latencies that the model does not believe, since they may be in another unit or misread."""
    factor = np.maximum(ms / predicted, predicted / ms)
    if absurd.any():
        places = np.flatnonzero(absurd)
        worst = places[np.argsort(-factor[places], kind="stable")[:MOST_NAMED]]
        named = "; ".join(f"{ms[i]:.4g} ms, predicted {predicted[i]:.4g}: {space.label(rows[i])}" for i in worst)
        more = f"; and {len(places) - len(worst)} more" if len(places) > len(worst) else ""
        yield (
            f"{len(places)} of {len(ms)} latencies are over {FAR:g} times more or less than predicted: are they in ms and of "
            "this hardware? The model was not fitted to them and they do not count in its statistics; measure them again. The "
            f"worst: {named}{more}"
        )
    if alike.any():
        worst_alike = int(np.argmax(np.where(alike, factor, 0)))
        yield (
            f"{alike.sum()} of {len(ms)} latencies are over {FAR:g} times more or less than predicted, on networks that resemble "
            f"each other, so they count; the model does not express what these have in common. The worst is "
            f"{ms[worst_alike]:.4g} ms, predicted {predicted[worst_alike]:.4g}: {space.label(rows[worst_alike])}"
        )


def _doubts(report: Statistics, judged: Judged, absurd: Bools) -> Iterator[str]:
    """Why no search should go by a model, whatever its error is on average."""
    if doubt := rank_doubt(report):
        yield doubt
    relative, absolute = judged.spearman
    if relative < absolute - DISAGREEMENT:
        yield (
            f"a fit of relative errors ranks networks worse (Spearman {relative:.3f}, leave-one-out) than one of absolute errors "
            f"({absolute:.3f}): fit with --error absolute, and look at the lowest latencies"
        )
    if absurd.mean() > MOST_ABSURD:
        yield (
            f"{absurd.mean():.0%} of the latencies are over {FAR:g} times more or less than predicted, expected at most "
            f"{MOST_ABSURD:.0%}: the data may be of several units, devices or settings"
        )


def _checked(space: Space, encodings: ArrayLike, latency_ms: ArrayLike) -> tuple[Encodings, Floats]:
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


class _Design:
    """The regression's columns for all samples; fits to different parts share them."""

    def __init__(self, space: Space, encodings: Encodings, form: Form) -> None:
        from scipy import sparse

        self.space, self.form, self.encodings = space, form, encodings
        touched = form_rows(space, encodings, form)
        n, width = touched.shape
        pointers = np.arange(0, n * width + 1, width)
        shape = (n, form_row_count(space, form))
        # A row touched twice by a network counts twice.
        self.touched = sparse.csr_array((np.ones(n * width), touched.ravel(), pointers), shape=shape)
        if form == "structural":
            assert isinstance(space, ArchitectureSpace)
            self.names, self.groups = _signatures(space)
            self.structural = self.touched @ space.table(features.structural, len(features.NAMES))
            self.tied = (self.touched @ self.groups).tocsr()

    def solve(self, train: NDArray[np.int64], ms: Floats, options: FitOptions) -> tuple[_Solution, Judged]:
        """Fits to the credible ones of some samples; for relative errors every equation is divided by the fitted latency."""
        design, start, scales, used = self._columns(train, float(np.median(ms[train])))
        judged = judge(design, start, scales, ms[train], relative=options.error == "relative")
        kept = np.flatnonzero(judged.kept)
        weights = 1.0 / judged.scale[kept]
        columns, target = scaled_rows(design[kept], weights), ms[train[kept]] * weights
        if self.form == "structural":
            return self._solve_structural(train[kept], columns, weights, target, scales, options.nonnegative), judged
        found = ridge(columns, target, scales, nonnegative=options.nonnegative)
        rows = {int(row): float(value) for row, value in zip(used, found.weights[1:], strict=True) if value}
        return _Solution(float(found.weights[0]), {}, {}, rows, found.strength, 0.0), judged

    def suspects(self, ms: Floats, predicted: Floats, floor: float) -> tuple[Bools, Bools]:
        """Which of all latencies are far from predictions: without a reason in the network, and with one."""
        off = far_off(ms, predicted, floor)
        design, _, scales, _ = self._columns(np.arange(len(ms)), float(np.median(ms)))
        alike = predictable(design, scales, off & (ms < predicted)) | predictable(design, scales, off & (ms > predicted))
        return off & ~alike, alike

    def _columns(self, train: NDArray[np.int64], typical: float) -> tuple[Any, Floats, Floats, NDArray[np.int64]]:
        """The design of some samples, the constant first; columns that explain log latencies; scales; rows of the table."""
        from scipy import sparse

        if self.form == "structural":
            dense = np.hstack([np.ones((len(train), 1)), self.structural[train]])
            root = np.sqrt((dense**2).mean(axis=0)) / typical
            scales = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
            scales[0] = 10 * typical
            return dense, np.log1p(self.structural[train]), scales, np.arange(0)
        part = self.touched[train]
        used = np.unique(part.indices)
        columns = sparse.hstack([np.ones((len(train), 1)), part[:, used]], format="csr")
        scales = np.full(len(used) + 1, typical / part[[0]].sum())
        scales[0] = 10 * typical
        return columns, part[:, used].toarray(), scales, used

    def _solve_structural(
        self, train: NDArray[np.int64], dense: Floats, weights: Floats, target: Floats, scales: Floats, nonnegative: bool
    ) -> _Solution:
        from scipy import sparse

        best, scale = ridge(dense, target, scales, nonnegative=nonnegative), 0.0
        intercept, of_features = float(best.weights[0]), best.weights[1:]
        tied = self.tied[train]
        used = np.flatnonzero(np.asarray(tied.sum(axis=0)).ravel())
        # A block is allowed to depart from its features in proportion to what they say that it costs.
        cost = np.abs(self._signature_features()[used] @ of_features)
        cost = np.maximum(cost, 0.1 * cost.mean())
        deviations = np.zeros(len(used))
        columns = sparse.hstack([dense, scaled_rows(tied[:, used], weights)], format="csr")
        for factor in _DEVIATIONS[1:]:
            found = ridge(columns, target, np.concatenate([scales, factor * cost]), nonnegative=nonnegative)
            # With few samples errors differ by chance: the simpler model stays unless the other is better by more than that.
            if found.loo_error < best.loo_error * (1 - 1 / np.sqrt(len(train))):
                best, scale = found, factor
                intercept, of_features = float(found.weights[0]), found.weights[1 : dense.shape[1]]
                deviations = found.weights[dense.shape[1] :]
        by_name = {self.names[i]: float(value) for i, value in zip(used, deviations, strict=True) if value}
        # Also those that came out as 0: they were seen, and cost nothing.
        seen = {name: float(w) for name, w, size in zip(features.NAMES, of_features, scales[1:], strict=True) if size > 0}
        return _Solution(intercept, seen, by_name, {}, best.strength, scale)

    def _signature_features(self) -> Floats:
        assert isinstance(self.space, ArchitectureSpace)
        table = self.space.table(features.structural, len(features.NAMES))
        counts = np.asarray(self.groups.sum(axis=0)).ravel()
        result: Floats = (self.groups.T @ table) / counts[:, None]
        return result

    def parameters(self, train: NDArray[np.int64]) -> tuple[int, str]:
        """How many weights the samples touch, and what they are."""
        used = len(np.unique(self.touched[train].indices))
        if self.form != "structural":
            return used, f"{used} of {self.touched.shape[1]} weights of the {self.form} form occur in them"
        live = int((np.abs(self.structural[train]).sum(axis=0) > 0).sum())
        return live, f"{live} structural features occur in them"


def _signatures(space: ArchitectureSpace) -> tuple[list[str], Any]:
    """Every different block of a space by signature, and (rows, signatures) which row is which."""
    from scipy import sparse

    names: dict[str, int] = {}
    pairs = [
        (row, names.setdefault(features.signature(piece), len(names)))
        for row, piece in enumerate(space.pieces())
        if piece is not None
    ]
    rows, columns = np.array(pairs).T
    groups = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(space.row_count, len(names)))
    return list(names), groups


def _model(
    space: Space,
    form: Form,
    solution: _Solution,
    origin: Origin,
    options: FitOptions,
    rows: Encodings,
    ms: Floats,
    held_out: Statistics,
) -> CostModel:
    from mhmodels.version import __version__

    rows_used = sorted(solution.rows)
    return CostModel(
        form=form,
        space=space.name,
        schema=space.schema,
        input_sizes=space.input_sizes if isinstance(space, ArchitectureSpace) else (),
        hardware=origin.hardware,
        kind=origin.kind,
        file_format=origin.file_format,
        environment=origin.environment,
        baselines=origin.baselines,
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
        data_sha256=_digest(space, rows, ms) if len(rows) == len(ms) else "",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        mhmodels_version=__version__,
    )


def _digest(space: Space, rows: Encodings, ms: Floats) -> str:
    lines = sorted(f"{space.label(row)} {value!r}" for row, value in zip(rows, ms.tolist(), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _by_distribution(
    names: Sequence[str], held: NDArray[np.int64], true: Floats, predicted: Floats, counted: Bools
) -> dict[str, Statistics]:
    if not names:
        return {}
    own = np.array([names[i] for i in held])
    return {
        str(name): statistics(true[own == name], predicted[own == name], counted[own == name])
        for name in sorted(set(own.tolist()))
        if (own == name).sum() > 1 and name
    }


def _warnings(design: _Design, train: NDArray[np.int64]) -> list[str]:
    count, text = design.parameters(train)
    if len(train) >= count:
        return []
    remedy = "the penalty fills in; measure more, or see the learning curve for what more would give"
    return [f"{len(train)} architectures are fewer than the weights: {text}; {remedy}"]
