"""Latency tables and the two multi-hardware norms of the paper (arXiv 2008.08178, equations 4 and 5).

    f_avg = mean over i of L_i / C_i          f_max = max over i of L_i / C_i

L_i is a model's latency on hardware i and C_i the latency that counts as 1 there: that of MobileNetV1 at width 1.0 in the
paper. Both are dimensionless; below 1 is faster than the reference.

Two ways re-weight the hardware:

* Scaling C_i, as the paper does: C_i / 2 makes hardware i count double. The reference itself then scores above 1, so a
  target of 1 means something else than before.
* `weights`: importance relative to the others. f_avg is the weighted mean, f_max the maximum of L_i / C_i scaled by
  w_i / max(w). The reference keeps scoring 1 in both, whatever the weights; equal weights change nothing.

C_i = infinity and w_i = 0 both remove hardware i: what remains is averaged over what remains. (Read to the letter, an
infinite C_i would keep its zero in the mean and divide by all N: the reference would score 1 - 1/N, a search with the
target 1 would settle on a slower model for it, and a model that does not run on i at all would stay without a norm.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.errors import MhmodelsError, UnknownNameError
from mhmodels.hardware.conditions import mixture
from mhmodels.hardware.measurement import Kind, Measurement

Floats: TypeAlias = NDArray[np.float64]
Reference: TypeAlias = str | Mapping[str, float] | Sequence[float] | Floats

KINDS: tuple[str, ...] = get_args(Kind)


class MetricsError(MhmodelsError, ValueError):
    """Latencies, references or weights that no norm can be computed from."""


class Norms(NamedTuple):
    """Both norms of several models.

    Attributes:
        average: f_avg by model, dimensionless; NaN where a latency that counts is missing.
        maximum: f_max by model, likewise.
    """

    average: Floats
    maximum: Floats


def f_avg(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Normalised average latency (equation 4); see the module's text for weights and infinite references.

    Args:
        latency_ms: L, shape (…, hardware), in ms; NaN where the network did not run.
        reference_ms: C, shape (hardware,), in ms; infinity removes that hardware.
        weights: importance by hardware, at least 0, shape (hardware,); None for equal.

    Returns:
        Shape (…), dimensionless; NaN where a latency that counts is NaN.

    Raises:
        MetricsError: a latency or reference that is zero, negative, or (reference) NaN; shapes that do not fit; weights
            that are negative or not finite; every hardware removed.
    """
    ratios, importance = _ratios(latency_ms, reference_ms, weights)
    share = importance / importance.max()  # whose sum is finite, however large they are
    average: Floats = (ratios * share).sum(axis=-1) / share.sum()
    return average


def f_max(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Normalised maximum latency (equation 5); arguments, result and errors as `f_avg`."""
    ratios, importance = _ratios(latency_ms, reference_ms, weights)
    maximum: Floats = (ratios * (importance / importance.max())).max(axis=-1)
    return maximum


class LatencyTable:
    """Latencies of models on hardware, each with its kind. Immutable.

    Attributes:
        models: labels of the rows, each once.
        hardware: ids of the columns, each once.
        latency_ms: shape (models, hardware), read-only; NaN where the whole network did not run there.
        kinds: by model and hardware: how the latency came about; None only where there is no latency.
        noisy: by model and hardware: whether the latency is noisy, so that norms made of it are; bool, read-only.
    """

    __slots__ = ("hardware", "kinds", "latency_ms", "models", "noisy")

    def __init__(
        self,
        models: Iterable[str],
        hardware: Iterable[str],
        latency_ms: ArrayLike,
        kinds: Kind | Sequence[Sequence[Kind | None]],
        noisy: ArrayLike | None = None,
    ) -> None:
        """Checks and takes over a table.

        Args:
            models: labels of the rows.
            hardware: ids of the columns.
            latency_ms: shape (models, hardware); NaN where the whole network did not run there.
            kinds: one for the whole table, or one by model and hardware.
            noisy: shape (models, hardware), bool; None for none.

        Raises:
            MetricsError: a name twice, a wrong shape, a latency that is zero, negative or infinite, a missing or unknown
                kind; the message names model and hardware.
        """
        self.models = tuple(models)
        self.hardware = tuple(hardware)
        for what, names in (("model", self.models), ("hardware", self.hardware)):
            twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
            if twice is not None:
                raise MetricsError(f"latency table: {what} '{twice}' is there twice, expected each once")
        shape = (len(self.models), len(self.hardware))
        self.latency_ms: Floats = np.array(latency_ms, np.float64)
        if self.latency_ms.size == 0 == shape[0] * shape[1]:
            self.latency_ms = self.latency_ms.reshape(shape)
        self.latency_ms.flags.writeable = False
        if isinstance(kinds, str):
            self.kinds: tuple[tuple[Kind | None, ...], ...] = ((kinds,) * shape[1],) * shape[0]
        else:
            self.kinds = tuple(tuple(row) for row in kinds)
        if self.latency_ms.shape != shape or [len(row) for row in self.kinds] != [shape[1]] * shape[0]:
            raise MetricsError(
                f"latency table: latencies of shape {self.latency_ms.shape} and kinds of {len(self.kinds)} rows, "
                f"expected {shape} for {shape[0]} models on {shape[1]} hardware"
            )
        self.noisy: NDArray[np.bool_] = np.zeros(shape, bool) if noisy is None else np.array(noisy, bool).reshape(-1)
        if self.noisy.size != shape[0] * shape[1]:
            raise MetricsError(f"latency table: {self.noisy.size} marks of noise, expected one for each of {shape} latencies")
        self.noisy = self.noisy.reshape(shape)
        self.noisy.flags.writeable = False
        self._check_cells()

    @staticmethod
    def from_measurements(
        measurements: Iterable[Measurement], models: Sequence[str] | None = None, hardware: Sequence[str] | None = None
    ) -> LatencyTable:
        """The table of stored measurements: medians, NaN where one is missing or the network did not run.

        Args:
            measurements: of several models on several hardware; of two of one model on one hardware the later counts.
            models: rows by their labels; None for all, in the order in which they come.
            hardware: columns; None for all, in the order in which they come.

        Raises:
            MetricsError: one hardware's rows come from different devices, files of different formats, other threads or
                versions: they do not compare.
        """
        cells: dict[tuple[str, str], Measurement] = {}
        for row in measurements:
            earlier = cells.get((row.model, row.hardware))
            if earlier is None or earlier.time <= row.time:
                cells[row.model, row.hardware] = row
        models = list(dict.fromkeys(model for model, _ in cells)) if models is None else models
        hardware = list(dict.fromkeys(column for _, column in cells)) if hardware is None else hardware
        for column in hardware:
            _check_comparable(column, [cells[model, column] for model in models if (model, column) in cells])
        grid = [[cells.get((model, column)) for column in hardware] for model in models]
        latency = [[np.nan if cell is None or cell.median_ms is None else cell.median_ms for cell in row] for row in grid]
        kinds = [[None if cell is None else cell.kind for cell in row] for row in grid]
        noisy = [[cell is not None and cell.noisy for cell in row] for row in grid]
        return LatencyTable(models, hardware, np.array(latency, np.float64).reshape(len(models), len(hardware)), kinds, noisy)

    def __repr__(self) -> str:
        return f"<LatencyTable of {len(self.models)} models on {len(self.hardware)} hardware>"

    def latency(self, model: str, hardware: str) -> float:
        """One latency in ms, NaN where the whole network did not run. Raises UnknownNameError."""
        return float(self.latency_ms[_index("model", model, self.models), _index("hardware", hardware, self.hardware)])

    def kind(self, model: str, hardware: str) -> Kind | None:
        """How that latency came about. Raises UnknownNameError."""
        return self.kinds[_index("model", model, self.models)][_index("hardware", hardware, self.hardware)]

    def select(self, models: Sequence[str] | None = None, hardware: Sequence[str] | None = None) -> LatencyTable:
        """A part of the table, in the given order; None keeps all. Raises UnknownNameError."""
        rows = [_index("model", name, self.models) for name in (self.models if models is None else models)]
        columns = [_index("hardware", name, self.hardware) for name in (self.hardware if hardware is None else hardware)]
        kinds = [[self.kinds[i][j] for j in columns] for i in rows]
        cells = np.ix_(rows, columns)
        return LatencyTable(
            [self.models[i] for i in rows],
            [self.hardware[j] for j in columns],
            self.latency_ms[cells],
            kinds,
            self.noisy[cells],
        )

    def reference(self, reference: Reference) -> Floats:
        """The C_i in the order of this table's hardware.

        Args:
            reference: a model of this table, C by hardware id, or C in the order of the hardware; in ms.

        Raises:
            UnknownNameError: no such model in the table, or no C for one of its hardware.
            MetricsError: not one value per hardware.
        """
        if isinstance(reference, str):
            row: Floats = self.latency_ms[_index("model", reference, self.models)]
            return row
        if isinstance(reference, Mapping):
            known = tuple(reference)
            return np.array(
                [reference[known[_index("reference for hardware", name, known)]] for name in self.hardware], np.float64
            )
        values: Floats = np.asarray(reference, np.float64)
        if values.shape != (len(self.hardware),):
            raise MetricsError(
                f"reference has shape {values.shape}, expected one latency for each of {len(self.hardware)} hardware"
            )
        return values

    def norms(self, reference: Reference, weights: ArrayLike | None = None) -> Norms:
        """f_avg and f_max of every model; NaN where any latency that counts is missing.

        With a model as the reference that did not run on some hardware, no model has a norm, unless a weight of 0 removes
        that hardware.

        Args:
            reference: as in `reference`.
            weights: importance by hardware, in their order; None for equal.

        Raises:
            UnknownNameError, MetricsError: as `reference` and `f_avg`.
        """
        c = self.reference(reference)
        if isinstance(reference, str):
            counts = np.ones(c.shape, bool) if weights is None else np.asarray(weights, np.float64) != 0
            if counts.shape == c.shape:
                if np.isnan(c[counts]).any():
                    nothing = np.full(len(self.models), np.nan)
                    return Norms(nothing, nothing.copy())
                c = np.where(counts, c, np.inf)
        return Norms(f_avg(self.latency_ms, c, weights), f_max(self.latency_ms, c, weights))

    def noisy_norms(self, reference: Reference, weights: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Whether norms are made of noisy latencies, of the model or of the reference, on hardware that counts.

        Args:
            reference, weights: as in `norms`.

        Returns:
            Shape (models,), bool; for both norms, since noise on any hardware may decide which is the maximum.

        Raises:
            UnknownNameError, MetricsError: as `reference`.
        """
        counts = ~np.isinf(self.reference(reference))
        if weights is not None:
            counts = counts & (np.asarray(weights, np.float64) != 0)
        parts = self.noisy
        if isinstance(reference, str):
            parts = parts | self.noisy[_index("model", reference, self.models)]
        marks: NDArray[np.bool_] = (parts & counts).any(axis=1)
        return marks

    def _check_cells(self) -> None:
        for i, model in enumerate(self.models):
            for j, hardware in enumerate(self.hardware):
                value, kind = float(self.latency_ms[i, j]), self.kinds[i][j]
                where = f"latency table: '{model}' on '{hardware}'"
                if not np.isnan(value) and not 0 < value < np.inf:
                    raise MetricsError(f"{where} is {value} ms, expected a finite latency above 0, or NaN where it did not run")
                if kind not in KINDS and not (kind is None and np.isnan(value)):
                    raise MetricsError(f"{where} has kind {kind!r}, expected one of {', '.join(KINDS)}")


def _ratios(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """L / C and the importance, both of the hardware that counts only."""
    latency = np.asarray(latency_ms, np.float64)
    c = np.asarray(reference_ms, np.float64)
    if c.ndim != 1 or latency.ndim < 1 or latency.shape[-1] != c.size or c.size == 0:
        raise MetricsError(f"latencies have shape {latency.shape}, references {c.shape}; expected (…, hardware) and (hardware,)")
    importance = np.ones(c.size) if weights is None else np.asarray(weights, np.float64)
    if importance.shape != c.shape:
        raise MetricsError(f"weights have shape {importance.shape}, expected one for each of {c.size} hardware")
    _check_all(latency, np.isnan(latency) | ((latency > 0) & np.isfinite(latency)), "latency", "a finite latency above 0, or NaN")
    _check_all(c, c > 0, "reference latency", "a latency above 0, or infinity to remove that hardware")
    _check_all(importance, (importance >= 0) & np.isfinite(importance), "weight", "a finite weight of at least 0")
    counts = np.isfinite(c) & (importance > 0)
    if not counts.any():
        raise MetricsError(
            f"all {c.size} hardware are removed (infinite reference or weight 0), expected at least one that counts"
        )
    return latency[..., counts] / c[counts], importance[counts]


def _check_all(values: Floats, good: NDArray[np.bool_], what: str, expected: str) -> None:
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        raise MetricsError(f"{what} at index {', '.join(map(str, where))} is {values[where]}, expected {expected}")


def _check_comparable(hardware: str, rows: Sequence[Measurement]) -> None:
    """Rows of one column must come from the same conditions."""
    found = mixture(rows)
    if found is not None:
        raise MetricsError(f"latencies on '{hardware}' do not compare: {found}; measure both in the same conditions (`--fresh`)")


def _index(what: str, name: str, known: tuple[str, ...]) -> int:
    try:
        return known.index(name)
    except ValueError:
        raise UnknownNameError(what, name, known) from None
