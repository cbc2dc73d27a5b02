"""Latencies of models on hardware as a table, each with its kind, and the norms of its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.errors import UnknownNameError
from mhmodels.hardware.measurement import Measurement, MeasurementKind
from mhmodels.hardware.mixing import mixture
from mhmodels.metrics.norms import Floats, MetricsError, f_avg, f_max

Reference: TypeAlias = str | Mapping[str, float] | Sequence[float] | Floats
"""Reference latencies C: those of a model of the table, in ms by hardware id, or in ms in the order of the hardware."""

KINDS: tuple[str, ...] = get_args(MeasurementKind)


class Norms(NamedTuple):
    """Both norms of several models.

    Attributes:
        average: f_avg by model, dimensionless; NaN where a latency that counts is missing.
        maximum: f_max by model, likewise.

    Example:
        >>> from mhmodels.metrics import LatencyTable
        >>> LatencyTable(["a", "b"], ["cpu"], [[2.0], [3.0]], "measured").norms("a").average.tolist()
        [1.0, 1.5]
    """

    average: Floats
    maximum: Floats


class LatencyTable:
    """Latencies of models on hardware, each with its kind. Immutable.

    Attributes:
        models: Labels of the rows, each once.
        hardware: Ids of the columns, each once.
        latency_ms: Latencies in ms, shape (models, hardware), read-only; NaN where the whole network does not run there.
        kinds: Kind of each latency by model and hardware (measured, estimated, …); None only where there is no latency.
        noisy: Whether each latency is noisy, bool, shape (models, hardware), read-only. Norms of noisy latencies are noisy.

    Example:
        >>> from mhmodels.metrics import LatencyTable
        >>> table = LatencyTable(["mobilenet_v1", "multi_max"], ["cpu", "npu"], [[10.0, 2.0], [8.0, 3.0]], "measured")
        >>> table.norms("mobilenet_v1").maximum.tolist()
        [1.0, 1.5]
        >>> table.records("mobilenet_v1")[1]
        {'model': 'multi_max', 'cpu': 8.0, 'npu': 3.0, 'mn_norm_avg': 1.15, 'mn_norm_max': 1.5}
    """

    __slots__ = ("hardware", "kinds", "latency_ms", "models", "noisy")

    def __init__(
        self,
        models: Iterable[str],
        hardware: Iterable[str],
        latency_ms: ArrayLike,
        kinds: MeasurementKind | Sequence[Sequence[MeasurementKind | None]],
        noisy: ArrayLike | None = None,
    ) -> None:
        """Checks the values and makes a table of them.

        Args:
            models: Labels of the rows.
            hardware: Ids of the columns.
            latency_ms: Latencies in ms, shape (models, hardware); NaN where the whole network does not run there.
            kinds: One kind for the whole table, or one for each model and hardware.
            noisy: Whether each latency is noisy, bool, shape (models, hardware); None if none is.

        Raises:
            MetricsError: A name occurs twice, a shape is wrong, a latency is zero, negative or infinite, or a kind is missing
                or unknown; the message names model and hardware.
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
            self.kinds: tuple[tuple[MeasurementKind | None, ...], ...] = ((kinds,) * shape[1],) * shape[0]
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
        """Makes the table of measurements: their medians, NaN where one is missing or the network does not run.

        Args:
            measurements: Rows of several models on several hardware. Of two rows of one model on one hardware the later counts.
            models: Labels of the table's rows; None for all, in the order of the measurements.
            hardware: Ids of the table's columns; None for all, in the order of the measurements.

        Raises:
            MetricsError: Rows of one hardware were taken in different conditions (`Measurement.conditions`), so that they do
                not compare.
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
        """One latency in ms, NaN where the whole network does not run.

        Raises:
            UnknownNameError: No such model or hardware in the table.
        """
        return float(self.latency_ms[_index("model", model, self.models), _index("hardware", hardware, self.hardware)])

    def kind(self, model: str, hardware: str) -> MeasurementKind | None:
        """The kind of one latency.

        Raises:
            UnknownNameError: No such model or hardware in the table.
        """
        return self.kinds[_index("model", model, self.models)][_index("hardware", hardware, self.hardware)]

    def select(self, models: Sequence[str] | None = None, hardware: Sequence[str] | None = None) -> LatencyTable:
        """A part of the table.

        Args:
            models: Labels in the order of the new rows; None keeps all.
            hardware: Ids in the order of the new columns; None keeps all.

        Raises:
            UnknownNameError: No such model or hardware in the table.
        """
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
        """The reference latencies C in ms, in the order of this table's hardware, shape (hardware,).

        Args:
            reference: A model of this table, C in ms by hardware id, or C in ms in the order of the hardware.

        Raises:
            UnknownNameError: No such model in the table, or no C for one of its hardware.
            MetricsError: Not one value per hardware.
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

        If the reference is a model that does not run on some hardware, no model has a norm, unless a weight of 0 removes that
        hardware.

        Args:
            reference: A model of this table, C in ms by hardware id, or C in ms in the order of the hardware.
            weights: Importance of each hardware, at least 0, in their order; None for equal weights.

        Raises:
            UnknownNameError, MetricsError: See `reference` and `f_avg`.
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

    def records(
        self, reference: Reference | None = None, weights: ArrayLike | None = None
    ) -> list[dict[str, str | float | None]]:
        """The table as one dictionary a model, as `pandas.DataFrame` and CSV writers take it.

        Args:
            reference: As in `norms`; None leaves the norms out.
            weights: As in `norms`.

        Returns:
            By model: `model`, the latency in ms under each hardware id, `mn_norm_avg` and `mn_norm_max`; None for what is
            missing.

        Raises:
            UnknownNameError, MetricsError: See `norms`.
        """
        columns = {hardware: self.latency_ms[:, place] for place, hardware in enumerate(self.hardware)}
        if reference is not None:
            norms = self.norms(reference, weights)
            columns |= {"mn_norm_avg": norms.average, "mn_norm_max": norms.maximum}
        return [
            {"model": model, **{name: None if np.isnan(values[row]) else float(values[row]) for name, values in columns.items()}}
            for row, model in enumerate(self.models)
        ]

    def noisy_norms(self, reference: Reference, weights: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Whether the norms of each model depend on a noisy latency, of the model or of the reference, on hardware that counts.

        Args:
            reference, weights: As in `norms`.

        Returns:
            Shape (models,), bool; for both norms, since noise on any hardware may decide which is the maximum.

        Raises:
            UnknownNameError, MetricsError: See `reference`.
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


def _check_comparable(hardware: str, rows: Sequence[Measurement]) -> None:
    """Refuses rows of one column that were taken in different conditions."""
    found = mixture(rows)
    if found is not None:
        raise MetricsError(
            f"latencies on '{hardware}' do not compare: {found}; measure both in the same conditions (argument 'fresh')"
        )


def _index(what: str, name: str, known: tuple[str, ...]) -> int:
    try:
        return known.index(name)
    except ValueError:
        raise UnknownNameError(what, name, known) from None
