"""The multi-hardware comparison as data: latencies of models by hardware, and norms against a reference."""

from __future__ import annotations

import math

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.hardware.measurement import MeasurementKind
from mhmodels.metrics import LatencyTable


class ComparedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is compared.

    Attributes:
        label: Name in tables, unique in its comparison: `NAME@WIDTH`, without the width where it is 1.
        architecture: The network.
        params: Number of elements of the convolution kernels.
        madds: Multiply-accumulates at the input size of the architecture, batch 1.
    """

    label: str
    architecture: Architecture
    params: int
    madds: int

    @property
    def id(self) -> str:
        """Content hash of the architecture; equal for equal networks with different names."""
        return self.architecture.architecture_id


class PublishedNorms(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that the paper printed for the same model."""

    source: str
    device: str
    mn_norm_avg: float | None
    mn_norm_max: float | None
    latency_ms: dict[str, float | None]


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model on all hardware.

    Attributes:
        latency_ms: Latency in ms by hardware; None where the whole network does not run, or the measurement failed.
        kind: Kind of the latency by hardware; hardware whose measurement failed is left out.
        reason: By hardware, why there is no latency; hardware with a latency is left out.
        failed: Hardware whose measurement failed, so that nothing is known; `reason` then has the error.
        noisy: Hardware with noisy latencies.
        partial: By phone, nodes on the delegate out of all nodes, where the CPU ran the rest.
        weights: By hardware, `random-v1` or the sha256 of trained weights.
        mn_norm_avg, mn_norm_max: Norms; None where any latency, of the model or the reference, is missing.
        mn_norm_noisy: Whether any latency that the norms depend on, of the model or the reference, is noisy.
        slowest: Hardware that gives `mn_norm_max`.
        published: Figures of the paper for this model, if it has any.

    Example:
        >>> from mhmodels.report import compare_models
        >>> row = compare_models(["multi_max"], ["roofline-pixel6-cpu", "roofline-pixel4-dsp"]).rows[0]
        >>> row.label, row.slowest
        ('multi_max', 'roofline-pixel4-dsp')
    """

    model: str
    label: str
    architecture_id: str
    width_multiplier: float
    input_size: tuple[int, int]
    classes: int
    params: int
    madds: int
    latency_ms: dict[str, float | None]
    kind: dict[str, MeasurementKind]
    reason: dict[str, str]
    failed: tuple[str, ...]
    noisy: tuple[str, ...]
    partial: dict[str, str]
    weights: dict[str, str]
    mn_norm_avg: float | None
    mn_norm_max: float | None
    mn_norm_noisy: bool
    slowest: str | None
    published: PublishedNorms | None


class ColumnOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Device, runtime, compiler and format of the latencies of one hardware."""

    hardware: str
    kind: MeasurementKind
    device: str
    runtime: str
    compiler: str
    format: str
    threads: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Models on several hardware, with their norms.

    Attributes:
        hardware: Ids of the columns.
        reference: Row of the model whose latencies count as 1.
        rows: Rows of the models; the reference is among them only if it was asked for.
        origins: Device, runtime, compiler and format of the latencies of each hardware.

    Example:
        >>> from mhmodels.report import compare_models
        >>> comparison = compare_models(["multi_max"], ["roofline-pixel6-cpu", "roofline-pixel4-dsp"])
        >>> comparison.latency_table()
        <LatencyTable of 2 models on 2 hardware>
        >>> sorted(comparison.records()[0])
        ['madds', 'mn_norm_avg', 'mn_norm_max', 'model', 'params', 'roofline-pixel4-dsp', 'roofline-pixel6-cpu']
    """

    hardware: tuple[str, ...]
    reference: ComparisonRow
    rows: tuple[ComparisonRow, ...]
    origins: tuple[ColumnOrigin, ...]

    def latency_table(self) -> LatencyTable:
        """All rows as a latency table, the reference first."""
        rows = (self.reference, *(row for row in self.rows if row.label != self.reference.label))
        return LatencyTable(
            [row.label for row in rows],
            self.hardware,
            [[_nan_if_none(row.latency_ms[name]) for name in self.hardware] for row in rows],
            [[row.kind.get(name) for name in self.hardware] for row in rows],
            [[name in row.noisy for name in self.hardware] for row in rows],
        )

    def records(self) -> list[dict[str, str | float | None]]:
        """The models that were asked for as one dictionary each, as `pandas.DataFrame` and CSV writers take it.

        Returns:
            By model: `model`, `params`, `madds`, the latency in ms under each hardware id, `mn_norm_avg` and `mn_norm_max`;
            None for what is missing.
        """
        return [
            {
                "model": row.label,
                "params": row.params,
                "madds": row.madds,
                **row.latency_ms,
                "mn_norm_avg": row.mn_norm_avg,
                "mn_norm_max": row.mn_norm_max,
            }
            for row in self.rows
        ]


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value
