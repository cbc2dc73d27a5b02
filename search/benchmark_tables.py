"""Published benchmarks of trained networks as tables: NAS-Bench-201 and NAS-Bench-Macro. The files are the user's."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mhmodels.errors import FileFormatError
from search.errors import SearchError
from search.space import Space
from search.spaces import get_space
from search.tabular import Table

CELLS = "nasbench201_latency.npz"
"""Which cell has which number: the file of latencies, where a file of accuracies has no `ops` of its own."""


def nas_bench_201_table(path: Path) -> tuple[Table, str]:
    """A table of NAS-Bench-201 cells from an .npz file.

    Args:
        path: with `latency_ms` (cells, devices) and `devices`, or `acc` (cells, columns) in percent and `columns`; in the
            order of `ops` (cells, 6), which the file itself has or `nasbench201_latency.npz` beside it.

    Returns:
        The table, of the columns that are complete, accuracies as fractions; and the file in words, with its hash.

    Raises:
        FileFormatError: not such a file.
    """
    arrays = _arrays(path)
    cells = arrays if "ops" in arrays else _arrays(path.with_name(CELLS))
    if "latency_ms" in arrays and "devices" in arrays:
        names, values = arrays["devices"], arrays["latency_ms"].astype(np.float64)
    elif "acc" in arrays and "columns" in arrays:
        names, values = arrays["columns"], arrays["acc"].astype(np.float64) / 100
    else:
        raise FileFormatError(f"{path}: has arrays {', '.join(arrays)}, expected latency_ms and devices, or acc and columns")
    if "ops" not in cells or values.shape != (len(cells["ops"]), len(names)):
        raise FileFormatError(
            f"{path}: {values.shape} values for {len(names)} columns, expected one for each of the cells in ops"
        )
    complete = {str(name): column for name, column in zip(names, values.T, strict=True) if np.isfinite(column).all()}
    return Table(get_space("nas_bench_201"), cells["ops"].astype(np.int16), complete), _named(path)


def nas_bench_macro_table(path: Path) -> tuple[Table, str]:
    """The table of NAS-Bench-Macro from its CSV file (`arch,acc1,acc2,acc3,…`): column `accuracy`, the mean of three runs.

    Raises:
        FileFormatError: not that file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        encodings = np.array([[int(digit) for digit in row["arch"]] for row in rows], np.int16)
        runs = np.array([[float(row[f"acc{i}"]) for i in (1, 2, 3)] for row in rows]) / 100
    except (KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path}: not the table of NAS-Bench-Macro ({error}), expected columns arch, acc1, acc2, acc3"
        ) from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error
    space: Space = get_space("nas_bench_macro")
    # Strings that are one network have the same three accuracies in the file.
    members, first = np.unique(space.canonical(space.check(encodings)), axis=0, return_index=True)
    return Table(space, members, {"accuracy": runs.mean(axis=1)[first]}), _named(path)


def table_of(path: Path) -> tuple[Table, str]:
    """The table in a file, by its suffix.

    Raises:
        SearchError: another suffix.
        FileFormatError: not what it should be.
    """
    readers = {".npz": nas_bench_201_table, ".csv": nas_bench_macro_table}
    if path.suffix not in readers:
        raise SearchError(f"{path}: a table is an .npz file (NAS-Bench-201) or a .csv file (NAS-Bench-Macro)")
    return readers[path.suffix](path)


def _arrays(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, KeyError) as error:
        raise FileFormatError(f"{path}: not an .npz file of plain arrays ({error})") from error


def _named(path: Path) -> str:
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
