"""The measurement store: one SQLite file with one row for each measurement, each committed as it arrives.

`mhmodels.system.databases` says what happens with several processes, killed writers and files of another kind.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from mhmodels.errors import MeasurementError, StoreError
from mhmodels.hardware.conditions import Conditions
from mhmodels.hardware.measurement import Environment, Measurement, steadier
from mhmodels.system.databases import DatabaseKind, open_database, real_path, translated
from mhmodels.system.places import data_path

if TYPE_CHECKING:
    from mhmodels.hardware.protocol import Job

__all__ = ["Store", "default_path"]

# "MHMS" in the header's application id: how we and `file` know our own.
APPLICATION_ID = 0x4D484D53
# Fields of rows that a reader of the version before would refuse: `turns` in 2; `low_ms` and `high_ms` in 3.
VERSION = 3
FILE_NAME = "results.db"
REMEDY = "give another path (argument 'store')"
# Columns are what is searched by; `document` is the whole row as JSON, so that a new field needs no new table.
_SCHEMA = """
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    model_hash TEXT NOT NULL,
    architecture_id TEXT,
    model TEXT NOT NULL,
    weights TEXT NOT NULL,
    hardware TEXT NOT NULL,
    format TEXT NOT NULL,
    kind TEXT NOT NULL,
    threads INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    median_ms REAL CHECK (median_ms IS NULL OR (median_ms > 0 AND median_ms < 1e300)),
    environment TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX measurements_by_file ON measurements (model_hash, hardware);
CREATE INDEX measurements_by_architecture ON measurements (architecture_id, hardware);
"""
# All rows of an older version are rows of this one; the number keeps older readers from rows that they do not know.
_KIND = DatabaseKind("a measurement store", APPLICATION_ID, VERSION, _SCHEMA, REMEDY)
_COLUMNS = (
    "time", "model_hash", "architecture_id", "model", "weights", "hardware", "format", "kind", "threads", "batch", "runs",
    "median_ms",
)  # fmt: skip
# Of rows timed in turns with the reference network of that file, "" for none; where a network does not run, none is needed.
_REFERENCE = "coalesce(json_extract(document, '$.turns.model_hash'), '')"
_BESIDE = f"(median_ms IS NULL OR {_REFERENCE} = ?)"
# Of rows of one request, as `steadier`: noisy ones hide none that is not; of them the fastest counts.
_NOISY = "coalesce(json_extract(document, '$.noisy'), 0)"
_BEST_FIRST = f"{_NOISY}, CASE WHEN {_NOISY} THEN median_ms END, id DESC"
# `Measurement.request()` in columns; a test compares the two field by field.
_REQUEST = f"hardware, architecture_id, model_hash, weights, kind, format, threads, batch, environment, {_REFERENCE}"


def default_path() -> Path:
    """The usual place of the store: `results.db` in `$MHMODELS_HOME`, else in the user's data folder.

    Example:
        >>> from mhmodels.store import default_path
        >>> default_path().name
        'results.db'
    """
    return data_path() / FILE_NAME


class Store:
    """An open store; a context manager. One object belongs to one thread; processes may share the file.

    Example:
        >>> from mhmodels.store import Store
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.hardware import Measurement
        >>> row = Measurement(model_hash="0" * 64, model="net", hardware="roofline-40", format="int8", kind="simulated",
        ...                   file_bytes=1, device="roofline-40", time="2026-01-01", median_ms=1.5, architecture_id="cafe")
        >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "results.db") as store:
        ...     store.add(row)
        ...     [found.median_ms for found in store.latest(["roofline-40"])]
        [1.5]
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout_s: float = 30.0, read_only: bool | None = False
    ) -> None:
        """Opens a store, or makes one where there is no file or an empty one.

        Args:
            path: The file; None for `default_path()`.
            timeout_s: Longest wait in seconds for another process that is writing.
            read_only: True opens for reading only, and nothing is made or changed. None does so only if the file exists and
                cannot be written; rows can then be read, and `add` raises an error.

        Raises:
            StoreError: The file is something else, damaged, of a newer version, locked, or cannot be read and written; or it
                does not exist and `read_only` is True.
        """
        self.path = Path(path) if path is not None else default_path()
        self.read_only = self._is_read_only() if read_only is None else read_only
        self._connection = open_database(self.path, _KIND, timeout_s=timeout_s, read_only=self.read_only)

    def check_writable(self) -> None:
        """Refuses a store that rows cannot be added to, before anything is measured.

        Raises:
            StoreError: The store is open for reading only.
        """
        if self.read_only:
            raise StoreError(f"{self.path}: cannot be written, and not every row that is asked for is in it; {REMEDY}")

    def add(self, measurement: Measurement) -> None:
        """Keeps a row. It is on the disk when this returns.

        Raises:
            StoreError: The row cannot be written; the store stays as it was.
        """
        self.check_writable()
        values = [getattr(measurement, column) for column in _COLUMNS]
        document = msgspec.json.encode(measurement).decode()
        marks = ", ".join("?" * (len(_COLUMNS) + 2))
        with self._errors():
            self._connection.execute(
                f"INSERT INTO measurements ({', '.join(_COLUMNS)}, environment, document) VALUES ({marks})",
                [*values, _key(measurement.environment), document],
            )

    def find(self, job: Job, hardware_id: str, environment: Environment) -> Measurement | None:
        """The best row of a request: of the same file, hardware, threads and environment, with as many runs or more.

        The best row is the latest that is not noisy, or the fastest if all are noisy. The caller decides whether a noisy row
        is an answer. Further rules:

        * A row may have fewer runs if as many were asked for and its blocks ended by time. A row without a latency, and a row
          that was not timed, answers any number of runs.
        * If the job has an architecture id or known weights, the row must have the same, because tables find rows by them.
        * The row must have been timed in turns with the job's reference, or alone if the job has none, because a latency
          depends on what else runs in the same session.

        Raises:
            StoreError: The store cannot be read.
        """
        rows = self._rows(
            "model_hash = ? AND hardware = ? AND threads = ? AND environment = ? AND (? IS NULL OR architecture_id = ?)"
            " AND (? = 'unknown' OR weights = ?) AND (median_ms IS NULL OR kind != 'measured' OR runs >= ?"
            " OR coalesce(json_extract(document, '$.device_state.requested_runs'), 0) >= ?)"
            f" AND {_BESIDE} ORDER BY {_BEST_FIRST} LIMIT 1",
            (
                job.model_hash,
                hardware_id,
                job.threads,
                _key(environment),
                *(job.architecture_id,) * 2,
                *(job.weights,) * 2,
                *(job.runs,) * 2,
                job.reference.model_hash if job.reference else "",
            ),
        )
        return next(rows, None)

    def latest(
        self,
        hardware: Iterable[str] | None = None,
        architecture_ids: Iterable[str] | None = None,
        *,
        format: str | None = None,
        weights: str | None = None,
        threads: int | None = None,
        environment: Environment | None = None,
        beside: str | None = None,
    ) -> list[Measurement]:
        """The row of the latest request for each architecture and hardware, for a latency table.

        Of the rows of that request (`Measurement.request`) it is the best, as in `find`. Rows of unknown architectures are left
        out. Rows of different conditions may be among the result unless the arguments exclude it (`mixture` tells).

        Args:
            hardware: Ids; None for all.
            architecture_ids: Ids of architectures; None for all.
            format: Format of the files; None for any.
            weights, threads: As in `Measurement`; None for any.
            environment: Environment of the rows; None for any.
            beside: SHA-256 of the reference network's file that the rows were timed in turns with, "" for rows that were timed
                alone, None for any. Rows without a latency count as either.

        Returns:
            Rows in the order of hardware, then architecture.

        Raises:
            StoreError: The store cannot be read.
        """
        conditions, values = ["architecture_id IS NOT NULL"], list[str | int]()
        for column, wanted in (("hardware", hardware), ("architecture_id", architecture_ids)):
            if wanted is not None:
                # As one JSON value: SQLite bounds the number of parameters, and searches ask for thousands.
                conditions.append(f"{column} IN (SELECT value FROM json_each(?))")
                values.append(msgspec.json.encode(list(wanted)).decode())
        for column, value in (
            ("format", format),
            ("weights", weights),
            ("threads", threads),
            ("environment", _key(environment) if environment else None),
        ):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        if beside is not None:
            conditions.append(_BESIDE)
            values.append(beside)
        requests = (
            "SELECT id, hardware, architecture_id, max(id) OVER request AS newest,"
            f" row_number() OVER (request ORDER BY {_BEST_FIRST}) AS place"
            f" FROM measurements WHERE {' AND '.join(conditions)} WINDOW request AS (PARTITION BY {_REQUEST})"
        )
        # SQLite takes the other columns of a row with a maximum from that row.
        best = f"SELECT id, max(newest) FROM ({requests}) WHERE place = 1 GROUP BY hardware, architecture_id"
        return list(self._rows(f"id IN (SELECT id FROM ({best})) ORDER BY hardware, architecture_id", values))

    def latest_of_file(self, job: Job, hardware_id: str, settings: Mapping[str, object]) -> Measurement | None:
        """The row of the latest request for a file of a known architecture, where only a part of the conditions is known.

        Args:
            job: File, architecture, weights and threads of the row. It must not have been timed in turns with a reference.
            hardware_id: Hardware of the row.
            settings: Settings that the row's configuration must have; None for one that it must not have. Settings that are
                not named here, and all other conditions, may be anything.

        Returns:
            Of the rows of that request the best, as in `find`; None if there is none.

        Raises:
            StoreError: The store cannot be read.
        """
        wanted = {"threads": job.threads} | {f"configuration.{name}": value for name, value in settings.items()}
        rows = self._rows(
            "model_hash = ? AND hardware = ? AND architecture_id = ? AND weights = ? ORDER BY id",
            (job.model_hash, hardware_id, job.architecture_id, job.weights),
        )
        alike = [row for row in rows if row.turns is None and row.conditions().part(wanted) == Conditions(wanted)]
        repetitions = [row for row in alike if row.request() == alike[-1].request()]
        return functools.reduce(steadier, repetitions) if repetitions else None

    def of_hardware(self, hardware: str) -> Iterator[Measurement]:
        """All rows of a hardware with known architectures, oldest first.

        Raises:
            StoreError: The store cannot be read.
        """
        return self._rows("hardware = ? AND architecture_id IS NOT NULL ORDER BY id", (hardware,))

    def __iter__(self) -> Iterator[Measurement]:
        """All rows, oldest first."""
        return self._rows("1 ORDER BY id", ())

    def __len__(self) -> int:
        with self._errors():
            return int(self._connection.execute("SELECT count(*) FROM measurements").fetchone()[0])

    def close(self) -> None:
        """Closes the file; further use is an error."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _rows(self, condition: str, values: Iterable[object]) -> Iterator[Measurement]:
        with self._errors():
            found = self._connection.execute(f"SELECT id, document FROM measurements WHERE {condition}", tuple(values)).fetchall()
        for number, document in found:
            try:
                yield msgspec.json.decode(document, type=Measurement)
            except (msgspec.DecodeError, MeasurementError, TypeError, UnicodeDecodeError) as error:
                raise StoreError(f"{self.path}: row {number} is not a measurement ({error}); {REMEDY}") from error

    def hardware(self) -> list[str]:
        """Ids of all hardware in the store, sorted.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._errors():
            found = self._connection.execute("SELECT DISTINCT hardware FROM measurements ORDER BY hardware").fetchall()
        return [name for (name,) in found]

    def _is_read_only(self) -> bool:
        """Whether the file is there and cannot be written."""
        real = real_path(self.path, _KIND)
        return real.is_file() and not all(os.access(place, os.W_OK) for place in (real, real.parent))

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self.path, _KIND)


def _key(environment: Environment) -> str:
    return msgspec.json.encode(environment, order="sorted").decode()
