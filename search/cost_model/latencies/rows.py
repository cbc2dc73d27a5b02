"""Rows of files of latencies: parses JSON lines and tables, and reads the network and the latency of a row."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.errors import FileFormatError, MhmodelsError
from mhmodels.formats.numbers import decimal
from mhmodels.registry import resolve
from mhmodels.search.cost_model.data import LONGEST_MS, SHORTEST_MS
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Field separator of a table by its suffix."""
LATENCIES = ("ms", "latency_ms", "median_ms")
COLUMNS = ("encoding", "architecture", "schema", "distribution", "hardware", *LATENCIES)
"""Columns of a table that have a meaning here; other columns are ignored."""
_NONE = ("", "null", "none", "×")


def file_rows(text: bytes, path: Path) -> list[tuple[int, Mapping[str, object]]]:
    """Parses a file.

    Args:
        text: Content of the file.
        path: Its path; the suffix `.csv` or `.tsv` means a table, others JSON lines.

    Returns:
        (line number, fields by name) of each row.

    Raises:
        FileFormatError: The file is not JSON lines or a table with the expected columns.
    """
    return list(_csv_rows(text, path) if path.suffix.lower() in DELIMITERS else _json_rows(text, path))


def _json_rows(text: bytes, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FileFormatError(
                f"{path}: line {number}: not JSON ({error}); expected one object a line, or a table whose name ends with "
                f"{' or '.join(DELIMITERS)}"
            ) from error
        if not isinstance(row, dict):
            raise FileFormatError(f"{path}: line {number}: found {line[:40]!r}, expected an object")
        yield number, row


def _csv_rows(text: bytes, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    header, rows = read_csv(text, path)
    _check_columns(header, path)
    for number, row in rows:
        if None in row:
            raise FileFormatError(
                f"{path}: line {number} has {len(header) + len(row[None])} fields, the header {len(header)}; fields are "
                "separated by commas (.csv) or tabs (.tsv), decimals by points"
            )
        yield number, {key: value for key, value in row.items() if value not in (None, "")}


def _check_columns(header: list[str], path: Path) -> None:
    """Refuses misspelt columns, which would otherwise be ignored silently."""
    expected = "expected 'encoding' or 'architecture', and 'ms' (or 'latency_ms', 'median_ms')"
    plain = {_plain(name): name for name in COLUMNS}
    slips = {name: plain[_plain(name)] for name in header if name not in COLUMNS and _plain(name) in plain}
    if not set(LATENCIES) & set(header):
        near = {name: difflib.get_close_matches(_plain(name), list(map(_plain, LATENCIES)), n=1, cutoff=0.6) for name in header}
        slips |= {name: plain[match[0]] for name, match in near.items() if match and name not in COLUMNS and name not in slips}
    if slips:
        meant = ", ".join(f"{name!r} should be {known!r}" for name, known in slips.items())
        raise FileFormatError(f"{path}: columns are {header}, {expected}: {meant}")
    if not {"encoding", "architecture"} & set(header):
        raise FileFormatError(f"{path}: columns are {sorted(set(header))}, {expected}")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def read_csv(content: bytes, path: Path) -> tuple[list[str], list[tuple[int, dict[Any, Any]]]]:
    """Parses a table with a header (`.csv` with commas, `.tsv` with tabs).

    Args:
        content: Content of the file.
        path: Its path.

    Returns:
        Header, and (line number, fields by column) of each row, as `csv.DictReader` gives them.

    Raises:
        FileFormatError: The file is not UTF-8 text, has a column twice, or is wrongly quoted. An unclosed quote would swallow all
            lines after it.
    """
    line, rows = 1, list[tuple[int, dict[Any, Any]]]()
    delimiter = DELIMITERS.get(path.suffix.lower(), ",")
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True, delimiter=delimiter)
        header = list(reader.fieldnames or ())
        twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
        if twice is not None:
            raise FileFormatError(f"{path}: column '{twice}' is there twice (columns are {header}), expected each once")
        line = reader.line_num + 1
        for row in reader:
            rows.append((reader.line_num, row))
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: not UTF-8 text ({error})") from error
    except csv.Error as error:
        raise FileFormatError(
            f"{path}: line {line}: {error}; expected fields separated by commas, and every quote closed in its field"
        ) from error
    return header, rows


def encoding_of(row: Mapping[str, object], space: SearchSpace, where: str) -> Encodings:
    """The encoding of the network in a row.

    Args:
        row: Fields by name: `encoding` or `architecture`, as in `read_latencies`. A `schema` must be the space's.
        space: Space that the network belongs to.
        where: File and line, for messages.

    Returns:
        (decisions,), int16.

    Raises:
        SpaceError: The network is not a member of the space.
        FileFormatError: The row is wrong.
    """
    try:
        return _encoding(row, space)
    except (SpaceError, FileFormatError) as error:
        raise type(error)(f"{where}: {error}") from error
    except MhmodelsError as error:
        raise FileFormatError(f"{where}: {error}") from error


def _encoding(row: Mapping[str, object], space: SearchSpace) -> Encodings:
    schema = row.get("schema")
    if schema not in (None, space.schema):
        raise SpaceError(f"field 'schema' is {schema!r}, but space '{space.name}' has {space.schema}: another space or version")
    encoding = row.get("encoding")
    if isinstance(encoding, str):
        return space.parse(encoding)
    if isinstance(encoding, list):
        if not all(isinstance(value, int) and abs(value) < 1 << 15 for value in encoding):
            raise FileFormatError(f"field 'encoding' is {str(encoding)[:60]}, expected whole numbers")
        parsed: Encodings = space.check(encoding)[0]
        return parsed
    architecture = row.get("architecture")
    if architecture is None:
        raise FileFormatError("neither 'encoding' nor 'architecture' is given")
    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: expected 'encoding', not 'architecture'")
    if isinstance(architecture, str):
        if "\0" in architecture:
            raise FileFormatError(f"field 'architecture' is {architecture[:40]!r}, expected a name of the zoo or a path")
        return space.encode(resolve(architecture))
    return space.encode(Architecture.from_json(msgspec.json.encode(architecture), source="architecture"))


def latency_of(row: Mapping[str, object], where: str) -> float | None:
    """The latency in a row, in ms; None if it has none.

    Args:
        row: Fields by name.
        where: File and line, for messages.

    Raises:
        FileFormatError: The field is not a decimal number, or several fields contradict each other.
        CostModelError: The number is not a possible latency, which means that the measurement is broken.
    """
    found: dict[str, float] = {}
    for name in LATENCIES:
        value = row.get(name)
        if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
            continue
        try:
            number = decimal(value) if isinstance(value, str) else _number(value)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError):
            raise FileFormatError(
                f"{where}: field '{name}' is {str(value)[:40]!r}, expected milliseconds as a decimal number like 12.5"
            ) from None
        if isinstance(value, bool) or not SHORTEST_MS <= number <= LONGEST_MS:
            raise CostModelError(
                f"{where}: field '{name}' is {value!r:.40}, expected finite milliseconds above 0 ({SHORTEST_MS:g} to "
                f"{LONGEST_MS:g}); leave it empty where the network does not run"
            )
        found[name] = number
    if len(set(found.values())) > 1:
        stated = " and ".join(f"'{name}' {number:g}" for name, number in found.items())
        raise FileFormatError(f"{where}: several latencies, {stated}, expected one; leave the other columns out")
    return next(iter(found.values()), None)


def _number(value: object) -> float:
    """A JSON number as float; TypeError for anything else."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    return float(value)
