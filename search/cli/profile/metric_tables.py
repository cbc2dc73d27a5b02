"""Tables of a metric that is not latency: a column beside encodings, or the file of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mhmodels.cli.common import note
from mhmodels.errors import FileFormatError

if TYPE_CHECKING:
    from mhmodels.search.arrays import Floats
    from mhmodels.search.space.search_space import Encodings, SearchSpace

_BENCHMARKS = {
    "nas_bench_macro": "the benchmark's table as a CSV file with columns arch, acc1, acc2, acc3",
    "nas_bench_201": "an .npz file with arrays acc and columns, as docs/search.md describes it",
}
"""Spaces whose benchmarks have files of their own, and where to get them."""
_FAR = 12.0
"""Robust standard deviations from the median beyond which a value is told."""


def where_from(space: SearchSpace) -> str:
    """Says what to give as `--data` for a metric.

    Args:
        space: Space of the networks.
    """
    offered = _BENCHMARKS.get(space.name)
    return "The package has no such table: give a CSV file with a column encoding" + (f", or {offered}" if offered else "")


def read(path: Path, space: SearchSpace, metric: str) -> tuple[Encodings, Floats]:
    """Reads a column of a table.

    Args:
        path: CSV file with the columns `encoding` and the metric, or the file of the space's benchmark.
        space: Space of the networks, as it is profiled.
        metric: Name of the column.

    Returns:
        Encodings (n, decisions) and values (n,).

    Raises:
        FileFormatError: The file cannot be read, or has other columns.
        CostModelError: A value is no finite number, or there is none.
        SpaceError: An encoding is not a member of the space.
    """
    if path.suffix == ".npz":
        return _benchmark(path, space, metric)
    return _column(path, space, metric)


def _column(path: Path, space: SearchSpace, metric: str) -> tuple[Encodings, Floats]:
    import numpy as np

    from mhmodels.formats.json_files import read_bytes
    from mhmodels.formats.numbers import decimal
    from mhmodels.search.cost_model.latencies.dataset import by_network
    from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES
    from mhmodels.search.cost_model.latencies.rows import encoding_of, read_csv
    from mhmodels.search.errors import CostModelError

    header, rows = read_csv(read_bytes(path, limit=MAX_BYTES), path)
    if space.name in _BENCHMARKS and "encoding" not in header:
        return _benchmark(path, space, metric)
    lacking = [name for name in ("encoding", metric) if name not in header]
    if lacking:
        raise FileFormatError(f"{path}: columns are {header}, expected '{lacking[0]}' (and {', '.join(('encoding', metric))})")
    encodings, values, empty = [], [], 0
    for number, row in rows:
        line = f"{path}: line {number}"
        text = row[metric]
        if text is None or not text.strip():
            empty += 1
            continue
        try:
            values.append(decimal(text))
        except ValueError:
            raise CostModelError(f"{line}: field '{metric}' is {text[:40]!r}, expected a finite decimal number") from None
        encodings.append(encoding_of({"encoding": row["encoding"], "schema": row.get("schema")}, space, line))
    if empty:
        note(f"{empty} of {len(rows)} rows have no '{metric}' and are left out")
    if not values:
        raise CostModelError(f"{path}: none of {len(rows)} rows has a '{metric}'")
    different, _, groups = by_network(space.canonical(np.array(encodings)), np.array(values))
    merged = np.array([np.median(group) for group in groups])
    if len(different) < len(encodings):
        note(f"{path}: {len(encodings) - len(different)} repeated networks: the median of their values counts")
    _tell_far(path, metric, merged)
    return different, merged


def _tell_far(path: Path, metric: str, values: Floats) -> None:
    """Tells of values far from all others: a failed evaluation among accuracies widens every interval."""
    import numpy as np

    from mhmodels.search.cost_model.regression.robust import spread

    middle, usual = float(np.median(values)), spread(values)
    far = np.flatnonzero(np.abs(values - middle) > _FAR * usual)
    if usual > 0 and len(far):
        note(
            f"warning: {path}: {len(far)} of {len(values)} values of '{metric}' are far from the others (the first is "
            f"{values[far[0]]:g}, the median {middle:g}, the robust standard deviation {usual:.2g}): leave out networks whose "
            "evaluation failed"
        )


def _benchmark(path: Path, space: SearchSpace, metric: str) -> tuple[Encodings, Floats]:
    """All networks of a benchmark, at every position of skipped layers."""
    from itertools import product

    import numpy as np

    from mhmodels.search.objective.benchmark_tables import table_of

    table, _ = table_of(path)
    if table.space.name != space.name:
        raise FileFormatError(f"{path}: a table of space '{table.space.name}', expected one of '{space.name}'")
    if metric not in table.columns:
        raise FileFormatError(f"{path}: columns are {', '.join(table.columns)}, expected '{metric}'")
    encodings = np.array(list(product(*(choices.tolist() for choices in space.allowed))), np.int16)
    return encodings, table.evaluate(encodings, metric)
