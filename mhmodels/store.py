"""The measurement store: one SQLite file, one row for each measurement, each committed as it arrives.

What happens with several processes, killed writers and files of another kind is written down in `mhmodels.system.databases`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from mhmodels.errors import MeasurementError, StoreError
from mhmodels.hardware.conditions import Conditions
from mhmodels.hardware.measurement import Environment, Measurement, steadier
from mhmodels.system.databases import Kind, open_database, real_path, translated
from mhmodels.system.places import data_path

if TYPE_CHECKING:
    from mhmodels.hardware.protocol import Job

# "MHMS" in the header's application id: how we and `file` know our own.
APPLICATION_ID = 0x4D484D53
# 1: no `turns` in rows, which a reader of that version would refuse.
VERSION = 2
FILE_NAME = "results.db"
REMEDY = "give another path"
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
# All rows of version 1 are rows of version 2; the number keeps older readers from rows that they do not know.
_KIND = Kind("a measurement store", APPLICATION_ID, VERSION, _SCHEMA, REMEDY)
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
    """Where the store is if nobody says otherwise: `results.db` in `$MHMODELS_HOME`, else in the user's data folder."""
    return data_path() / FILE_NAME


class Store:
    """An open store; use it as a context manager. One object belongs to one thread; processes may share the file."""

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout_s: float = 30.0, read_only: bool | None = False
    ) -> None:
        """Opens a store, or makes one where there is no file (or an empty one).

        Args:
            path: the file; None for `default_path()`.
            timeout_s: how long to wait for another process that is writing.
            read_only: for one that somebody else may own: nothing is made or changed. None: only if it exists and cannot be
                written; rows can then be read, and `add` is an error.

        Raises:
            StoreError: the file is something else, damaged, of a newer version, locked, or cannot be read and written; with
                `read_only`, there is none.
        """
        self.path = Path(path) if path is not None else default_path()
        with _of_the_store():
            self.read_only = self._is_read_only() if read_only is None else read_only
            self._connection = open_database(self.path, _KIND, timeout_s=timeout_s, read_only=self.read_only)

    def check_writable(self) -> None:
        """Refuses to go on with a store that rows cannot be added to, before anything is measured.

        Raises:
            StoreError: the store is open for reading only.
        """
        if self.read_only:
            raise StoreError(
                f"{self.path}: cannot be written, and not every row that is asked for is in it; {REMEDY}", field="store"
            )

    def add(self, measurement: Measurement) -> None:
        """Keeps a row; it is on the disk when this returns.

        Raises:
            StoreError: it cannot be written; the store stays as it was.
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
        """The best row that answers a request: same file, hardware, threads and environment, as many runs or more.

        The best is the latest that is not noisy; if all are, the fastest.
        A row may have fewer runs if as many were asked for and time ended its blocks. A row without a latency answers any number
        of runs, and so does one that was not timed. If the job knows its architecture or its weights, so must the row, because
        tables look rows up by them. A latency must have been timed in turns with the job's reference, or alone if it has none:
        latency depends on what else runs in the same session. Whether a noisy row is an answer is for the caller to say.

        Raises:
            StoreError: the store cannot be read.
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
        """The row of the latest request for each architecture and hardware, for a latency table; not of unknown networks.

        Of the rows of that request (same file, threads and environment) it is the best, as in `find`.

        Args:
            hardware: ids; None for all.
            architecture_ids: None for all.
            format: of the files; None for the latest of any, which may mix them.
            weights, threads: as in `Measurement`; None for any.
            environment: None for any: then a CPU of another model may be among them.
            beside: hash of the reference network's file that they were timed in turns with, "" for those that were not; None for
                any. Rows without a latency count as either.

        Returns:
            In order of hardware, then architecture.

        Raises:
            StoreError: the store cannot be read.
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

    def latest_of_file(self, job: Job, hardware_id: str, settings: Mapping[str, Any]) -> Measurement | None:
        """The row of the latest request for a file of a known architecture, where only a part of the conditions is known.

        Args:
            job: file, architecture, weights and threads of the row. It must not have been timed in turns with a reference.
            hardware_id: hardware of the row.
            settings: settings that the row's configuration must have; None for one that it must not have. Settings that are
                not named here, and all other conditions, may be anything.

        Returns:
            Of the rows of that request the best, as in `find`; None if there is none.

        Raises:
            StoreError: the store cannot be read.
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
        """All rows of a hardware and of known architectures, oldest first.

        Raises:
            StoreError: the store cannot be read.
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
                raise StoreError(f"{self.path}: row {number} is not a measurement ({error}); {REMEDY}", field="store") from error

    def hardware(self) -> list[str]:
        """Ids of all hardware that rows are of, sorted.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._errors():
            found = self._connection.execute("SELECT DISTINCT hardware FROM measurements ORDER BY hardware").fetchall()
        return [name for (name,) in found]

    def _is_read_only(self) -> bool:
        """Whether the file is there and cannot be written."""
        real = real_path(self.path, _KIND)
        return real.is_file() and not all(os.access(place, os.W_OK) for place in (real, real.parent))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _of_the_store(), translated(self.path, _KIND):
            yield


@contextmanager
def _of_the_store() -> Iterator[None]:
    """Says of errors that another store would mend them."""
    try:
        yield
    except StoreError as error:
        error.field = "store"
        raise


def _key(environment: Environment) -> str:
    return msgspec.json.encode(environment, order="sorted").decode()
