"""Published benchmarks of trained networks as tables: NAS-Bench-201 and NAS-Bench-Macro. Users provide the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.errors import FileFormatError
from mhmodels.formats.archives import ArchiveError, load_arrays
from mhmodels.formats.json_files import plain_text
from mhmodels.formats.numbers import decimal
from mhmodels.search.cost_model.latencies.rows import read_csv
from mhmodels.search.errors import SearchError, SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.tabular import Table
from mhmodels.system.files import read_bytes, sha256_of

MOST_BYTES = 1 << 30
"""Largest size of a table in bytes, unpacked."""
CELLS = "nasbench201_latency.npz"
"""File that defines the order of the cells for files without an array `ops` of their own."""


def nas_bench_201_table(path: Path) -> tuple[Table, str]:
    """Reads a table of NAS-Bench-201 cells.

    Args:
        path: .npz file with arrays `latency_ms` (cells, devices) and `devices`, or `acc` (cells, columns) in percent and
            `columns`. The order of the cells is that of `ops` (cells, 6), in the file itself or in `nasbench201_latency.npz`
            beside it.

    Returns:
        Table of the complete columns, accuracies as fractions; and name and hash of the file.

    Raises:
        FileFormatError: The file has other arrays, is damaged, or lacks cells.
    """
    arrays = _arrays(path)
    cells = arrays if "ops" in arrays else _arrays(path.with_name(CELLS))
    if "latency_ms" in arrays and "devices" in arrays:
        names, values = arrays["devices"], _numbers(path, "latency_ms", arrays["latency_ms"])
    elif "acc" in arrays and "columns" in arrays:
        names, values = arrays["columns"], _numbers(path, "acc", arrays["acc"])
    else:
        raise FileFormatError(f"{path}: has arrays {', '.join(arrays)}, expected latency_ms and devices, or acc and columns")
    if (
        names.ndim != 1
        or not names.size
        or "ops" not in cells
        or cells["ops"].ndim != 2
        or values.shape != (len(cells["ops"]), len(names))
    ):
        raise FileFormatError(
            f"{path}: {values.shape} values for {names.size} columns, expected one for each of the cells in ops"
        )
    columns = {str(name): column for name, column in zip(names, values.T, strict=True)}
    if "latency_ms" in arrays:
        complete = {name: column for name, column in columns.items() if np.isfinite(column).all()}
        bad = next((name for name, column in complete.items() if (column <= 0).any()), None)
        if bad is not None:
            raise FileFormatError(f"{path}: column '{bad}' has a latency of {complete[bad].min():g}, expected ms above 0")
        table = _table(path, "nas_bench_201", cells["ops"], complete, "latencies")
    else:
        fractions = {name: _fractions(path, name, column) for name, column in columns.items()}
        table = _table(path, "nas_bench_201", cells["ops"], fractions, "accuracies")
    return table, named(path)


def nas_bench_macro_table(path: Path) -> tuple[Table, str]:
    """Reads the table of NAS-Bench-Macro.

    Args:
        path: CSV file of the benchmark (`arch,acc1,acc2,acc3,…`), accuracies in percent.

    Returns:
        Table with the column `accuracy`, the mean of three runs as a fraction; and name and hash of the file.

    Raises:
        FileFormatError: The file has other columns, is damaged, or lacks networks.
    """
    try:
        header, numbered = read_csv(read_bytes(path, limit=MOST_BYTES), path)
        rows = [row for _, row in numbered]
        if {"encoding", "ms"} <= set(header):
            raise FileFormatError(
                f"{path}: latencies that `search collect` wrote, not accuracies; give it as latencies (argument 'latencies')"
            )
        encodings = np.array([["0123456789".index(digit) for digit in row["arch"]] for row in rows])
        runs = np.array([[decimal(row[f"acc{i}"]) for i in (1, 2, 3)] for row in rows])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"{path}: not the table of NAS-Bench-Macro ({error}), expected columns arch, acc1, acc2, acc3"
        ) from error
    if encodings.ndim != 2:
        raise FileFormatError(f"{path}: no networks, expected the table of NAS-Bench-Macro")
    means = np.stack([_fractions(path, f"acc{i}", column) for i, column in enumerate(runs.T, 1)], axis=1).mean(axis=1)
    return _table(path, "nas_bench_macro", encodings, {"accuracy": means}, "accuracies"), named(path)


def table_of(path: Path) -> tuple[Table, str]:
    """Reads a benchmark's table: NAS-Bench-201 from .npz, NAS-Bench-Macro from .csv.

    Raises:
        SearchError: The file has another suffix.
        FileFormatError: The file is not such a table.
    """
    readers = {".npz": nas_bench_201_table, ".csv": nas_bench_macro_table}
    if path.suffix not in readers:
        raise SearchError(f"{path}: a table is an .npz file (NAS-Bench-201) or a .csv file (NAS-Bench-Macro)")
    return readers[path.suffix](path)


def named(path: Path) -> str:
    """Name and hash of a file."""
    return f"{plain_text(path.name)} sha256:{sha256_of(path)}"


def _arrays(path: Path) -> Mapping[str, NDArray[np.generic]]:
    try:
        arrays = load_arrays(path)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ArchiveError as error:
        raise FileFormatError(f"{path}: not an .npz file of plain arrays ({error}); it may be cut off") from error
    if not arrays:
        raise FileFormatError(f"{path}: not an .npz file of plain arrays, by name; found none")
    return arrays


def _numbers(path: Path, name: str, array: NDArray[np.generic]) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise FileFormatError(f"{path}: array '{name}' is {array.dtype}, expected numbers ({error})") from error
    return values


def _fractions(path: Path, name: str, percent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracies of a column in percent as fractions; other numbers are refused."""
    bad = np.flatnonzero(~((percent >= 0) & (percent <= 100)))
    if len(bad):
        raise FileFormatError(
            f"{path}: column '{name}' has {percent[bad[0]]:g} in row {bad[0] + 1} ({len(bad)} such rows), expected accuracies in "
            "percent, 0 to 100"
        )
    if percent.max(initial=0) <= 1:
        raise FileFormatError(
            f"{path}: column '{name}' has accuracies of at most {percent.max(initial=0):g}, which look like fractions; expected "
            "percent, as the benchmark has them"
        )
    return percent / 100


def _table(path: Path, name: str, encodings: ArrayLike, columns: Mapping[str, ArrayLike], quantity: str) -> Table:
    """Makes a table, which must have all members of a space."""
    space: SearchSpace = get_space(name)
    try:
        members, first, place = np.unique(space.canonical(space.check(encodings)), axis=0, return_index=True, return_inverse=True)
    except SpaceError as error:
        raise FileFormatError(f"{path}: {error}") from error
    if len(members) < space.sizes.distinct:
        raise FileFormatError(
            f"{path}: {len(members)} different networks of '{name}', expected all {space.sizes.distinct}; the file may be cut off"
        )
    place, kept = place.ravel(), {column: np.asarray(values)[first] for column, values in columns.items()}
    for column, values in columns.items():
        # Several strings of NAS-Bench-Macro are the same network and have the same accuracies.
        differing = np.flatnonzero(values != kept[column][place])
        if len(differing):
            row = int(differing[0])
            raise FileFormatError(
                f"{path}: column '{column}' has two values for {space.label(members[place[row]])}, the second in row "
                f"{row + 1} ({len(differing)} such rows), expected one a network"
            )
    return Table(space, members, kept, quantity)
