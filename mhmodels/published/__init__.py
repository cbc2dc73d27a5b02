"""The figures that the paper printed (arXiv 2008.08178, tables 1 and 2) as data. Every latency here has the kind `published`."""

from __future__ import annotations

import functools
import importlib.resources
from typing import TYPE_CHECKING, Literal, TypeAlias

from mhmodels.architecture import decode_json
from mhmodels.formats.checked import Checked

if TYPE_CHECKING:
    from mhmodels.metrics import LatencyTable

FORMAT = "mhmodels.published/1"
FILE = "multi_hardware.json"

TableNumber: TypeAlias = Literal[1, 2]


class PublishedHardware(Checked, frozen=True, kw_only=True):
    """A column of the tables.

    Attributes:
        id: Hardware id in this package.
        title: Heading in the paper.
        takes: Format of the files that ran there.
    """

    id: str
    title: str
    takes: Literal["float32", "uint8"]


class PublishedReference(Checked, frozen=True, kw_only=True):
    """The reference latencies C_i of equations 4 and 5, which are derived because the paper does not print them.

    Attributes:
        model: Network whose latencies they are: MobileNetV1 at width 1.0.
        derivation: How they were found.
        latency_ms: Latency in ms by hardware.
        interval_ms: Lowest and highest latency in ms that the printed figures admit, by hardware.
    """

    model: str
    derivation: str
    latency_ms: dict[str, float]
    interval_ms: dict[str, tuple[float, float]]


class PublishedRow(Checked, frozen=True, kw_only=True):
    """One printed row.

    Attributes:
        table: Table 1 or 2.
        title: Name of the network in the paper.
        models: Names of the network in this package (`NAME[@WIDTH]`); empty for networks that were never published.
        width_multiplier: Width that the table states.
        top1: ImageNet top-1 accuracy of the float model in percent.
        params_m: Parameters in millions; None where not printed.
        madds_m: Multiply-accumulates in millions; None where not printed.
        latency_ms: Latency in ms by hardware; None where the whole network did not run.
        mn_norm_avg: Printed average of normalised latencies; None where not printed.
        mn_norm_max: Printed maximum of normalised latencies; None where not printed.
    """

    table: TableNumber
    title: str
    models: tuple[str, ...]
    width_multiplier: float
    top1: float
    params_m: float | None
    madds_m: float | None
    latency_ms: dict[str, float | None]
    mn_norm_avg: float | None
    mn_norm_max: float | None


class PublishedTables(Checked, frozen=True, kw_only=True):
    """Both tables and where they come from."""

    source: str
    device: str
    hardware: tuple[PublishedHardware, ...]
    reference: PublishedReference
    rows: tuple[PublishedRow, ...]


@functools.cache
def published() -> PublishedTables:
    """Returns everything that was printed, read once.

    Raises:
        FileFormatError: The data file of the package is damaged.
    """
    data = importlib.resources.files(__name__).joinpath(FILE).read_bytes()
    return decode_json(data, PublishedTables, FORMAT, FILE)


def published_table(number: TableNumber) -> LatencyTable:
    """Returns table 1 or 2 of the paper as a latency table: rows by their titles, NaN where a network did not run."""
    from mhmodels.metrics import LatencyTable

    hardware = [column.id for column in published().hardware]
    rows = [row for row in published().rows if row.table == number]
    latency = [[_or_nan(row.latency_ms[column]) for column in hardware] for row in rows]
    return LatencyTable([row.title for row in rows], hardware, latency, "published")


def published_reference() -> dict[str, float]:
    """Returns C_i in ms by hardware: MobileNetV1 at width 1.0 on the Pixel 4, derived (`PublishedReference`)."""
    return dict(published().reference.latency_ms)


def published_row(model: str) -> PublishedRow | None:
    """Returns what the paper printed for a model (`multi_max`, `mobilenet_v1@1.25`), or None. A width of 1 is left out."""
    return next((row for row in published().rows if model in row.models), None)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
