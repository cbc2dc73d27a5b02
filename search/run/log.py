"""The log of a search: an SQLite file with a row for every evaluation.

The header holds the settings of the search. A search that finds its log continues from its last row; a search with other
settings is refused, and the message says what differs. A running search holds the lock `FILE.db.lock`, because a second search
of the same log would write every row twice; the kernel releases the lock when the process ends. Reading a log needs no lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from mhmodels.errors import StoreError
from mhmodels.search.errors import SearchError
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.space.search_space import Encodings
from mhmodels.system.databases import DatabaseKind, open_database, transaction, translated
from mhmodels.system.locks import LockFileError, LockHeldError, file_lock

APPLICATION_ID = 0x4D485352
"""`MHSR`, the application id by which SQLite and `file` recognise a search log."""
VERSION = 1
REMEDY = "give another path (argument 'log')"
_SCHEMA = """
CREATE TABLE header (document TEXT NOT NULL, request TEXT NOT NULL);
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,
    encoding BLOB NOT NULL,
    accuracy REAL NOT NULL,
    latency_ms TEXT NOT NULL,
    f REAL NOT NULL,
    reward REAL NOT NULL,
    binding TEXT NOT NULL
);
CREATE TABLE statistics (after INTEGER NOT NULL, document TEXT NOT NULL);
"""
# NORMAL: a killed process loses no committed row, and evaluations from tables take less time than a sync.
_KIND = DatabaseKind("a search log", APPLICATION_ID, VERSION, _SCHEMA, REMEDY, synchronous="NORMAL")


class SearchLog:
    """An open log of a search; use it as a context manager."""

    def __init__(self, path: str | os.PathLike[str], request: Mapping[str, object] | None = None) -> None:
        """Opens a log, or creates it where there is no file.

        Args:
            path: `FILE.db`.
            request: Request of the search as plain values, kept beside the settings so that the search can be resumed; None for
                a search that has none.

        Raises:
            StoreError: The file is something else, of a newer version, locked, or cannot be read and written.
        """
        self.path, self._request, self._held, self._locked = Path(path), request, ExitStack(), False
        self._connection = open_database(self.path, _KIND, timeout_s=10.0)

    def header(self) -> dict[str, object] | None:
        """The settings of the search; None in a new log."""
        with self._errors():
            row = self._connection.execute("SELECT document FROM header").fetchone()
        with self._intact("header"):
            return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any])

    def request(self) -> dict[str, object] | None:
        """The request of the search as plain values; None in a new log, and for a search without a request."""
        with self._errors():
            row = self._connection.execute("SELECT request FROM header").fetchone()
        with self._intact("request"):
            return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any] | None)

    def begin(self, header: Mapping[str, object]) -> None:
        """Claims the log for this process; writes the settings into a new log, and compares them with those of an old one.

        Args:
            header: Everything that decides the search, as plain values.

        Raises:
            StoreError: Another process searches with this log.
            SearchError: The log is of a search with other settings; the message names what differs.
        """
        self._lock()
        wanted = msgspec.json.decode(msgspec.json.encode(header))
        found = self.header()
        if found is None:
            with self._errors():
                documents = [msgspec.json.encode(one).decode() for one in (wanted, self._request)]
                self._connection.execute("INSERT INTO header VALUES (?, ?)", documents)
            return
        there, now = _flat(found), _flat(wanted)
        differing = [
            f"{name} is {_short(there.get(name))} there and {_short(now.get(name))} now"
            for name in {**there, **now}
            if there.get(name) != now.get(name)
        ]
        if differing:
            raise SearchError(
                f"{self.path}: this log is of a search with other settings: {'; '.join(differing)}; continue it with those "
                f"(`mhmodels search resume {self.path}`), or {REMEDY}"
            )

    def add(self, phase: str, rows: Evaluations, statistics: Mapping[str, object]) -> None:
        """Writes evaluations; when this returns, all of them are in the file, and otherwise none.

        Args:
            phase: Phase of the method.
            rows: Evaluated networks.
            statistics: State of the method, as plain values; empty for none.

        Raises:
            StoreError: They cannot be written; earlier rows stay.
        """
        documents = [msgspec.json.encode(values.tolist()).decode() for values in rows.latencies]
        values = zip(
            [phase] * len(rows.accuracy),
            [row.astype("<i2").tobytes() for row in rows.encodings],
            rows.accuracy.tolist(),
            documents,
            rows.f.tolist(),
            rows.rewards.tolist(),
            rows.binding,
            strict=True,
        )
        with self._errors(), transaction(self._connection):
            if statistics:
                self._connection.execute(
                    "INSERT INTO statistics SELECT coalesce(max(id), 0), ? FROM evaluations",
                    [msgspec.json.encode(statistics).decode()],
                )
            self._connection.executemany(
                "INSERT INTO evaluations (phase, encoding, accuracy, latency_ms, f, reward, binding)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def evaluated(self, phase: str | None = None) -> Evaluations:
        """Reads all evaluations, or those of one phase, in order."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT phase, encoding, accuracy, latency_ms, f, reward, binding FROM evaluations"
                " WHERE phase = coalesce(?, phase) ORDER BY id",
                [phase],
            ).fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * 7
        width = -1 if rows else 0
        with self._intact("an evaluation"):
            encodings = [np.frombuffer(one, "<i2").astype(np.int16) for one in columns[1]]
            latencies = [msgspec.json.decode(one) for one in columns[3]]
            return Evaluations(
                phases=columns[0],
                encodings=np.array(encodings, np.int16).reshape(len(rows), width),
                accuracy=np.array(columns[2], np.float64),
                latencies=np.array(latencies, np.float64).reshape(len(rows), width),
                f=np.array(columns[4], np.float64),
                rewards=np.array(columns[5], np.float64),
                binding=columns[6],
            )

    def count(self) -> int:
        """Number of evaluations."""
        with self._errors():
            (found,) = self._connection.execute("SELECT count(*) FROM evaluations").fetchone()
        return int(found)

    def encodings(self) -> Encodings:
        """Every different encoding that was evaluated, (n, decisions), in no order; other columns are not read."""
        with self._errors():
            rows = self._connection.execute("SELECT DISTINCT encoding FROM evaluations").fetchall()
        with self._intact("an evaluation"):
            joined = np.frombuffer(b"".join(row for (row,) in rows), "<i2").astype(np.int16)
            return joined.reshape(len(rows), -1 if rows else 0)

    def sync(self) -> None:
        """Syncs everything that was added to the disk, so that it outlives a power cut.

        Raises:
            StoreError: It cannot be written.
        """
        with self._errors():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def statistics(self) -> Iterator[dict[str, object]]:
        """Yields the states of the method, each with `after`, the number of evaluations before it."""
        with self._errors():
            rows = self._connection.execute("SELECT after, document FROM statistics ORDER BY rowid").fetchall()
        for after, document in rows:
            with self._intact("a statistic"):
                values = msgspec.json.decode(document, type=dict[str, Any])
            yield {"after": after, **values}

    def truncate(self, evaluations: int) -> None:
        """Deletes all rows after a number of evaluations: a search that continues from a checkpoint writes them again.

        Args:
            evaluations: Number of evaluations that stay.

        Raises:
            SearchError: The log has fewer, so it does not belong to the checkpoint.
            StoreError: The log cannot be written.
        """
        with self._errors(), transaction(self._connection):
            (found,) = self._connection.execute("SELECT count(*) FROM evaluations").fetchone()
            if found < evaluations:
                raise SearchError(
                    f"{self.path}: {found} evaluations, but the checkpoint was written after {evaluations}: the log is of "
                    f"another search or was lost; {REMEDY}, or begin anew"
                )
            self._connection.execute("DELETE FROM statistics WHERE after >= ?", [evaluations])
            self._connection.execute("DELETE FROM evaluations WHERE id > ?", [evaluations])

    def close(self) -> None:
        """Closes the file and releases its lock."""
        self._connection.close()
        self._held.close()

    def __enter__(self) -> SearchLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _lock(self) -> None:
        if self._locked:
            return
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            self._held.enter_context(file_lock(lock))
        except LockFileError as error:
            raise StoreError(f"{error}: a search locks its log there; {REMEDY}") from error
        except LockHeldError as error:
            raise StoreError(
                f"{self.path}: {error.holder} searches with this log (it holds {lock}); wait for it, stop it, or {REMEDY}"
            ) from error
        self._locked = True

    @contextmanager
    def _intact(self, what: str) -> Iterator[None]:
        """Turns errors of decoding into a StoreError: an editor or a bad disk may have changed a cell."""
        try:
            yield
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise StoreError(f"{self.path}: {what} cannot be read ({error}): the file is damaged; {REMEDY}") from error

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self.path, _KIND)


def _flat(document: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested objects as `outer.inner`, so that a difference is named where it is."""
    flat: dict[str, object] = {}
    for name, value in document.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 160 else f"{text[:157]}…"
