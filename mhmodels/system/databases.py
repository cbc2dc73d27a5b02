"""Opens and creates SQLite files: the measurement store and the logs of searches.

The contract of every database of the package:

- A file belongs to one kind of database (`application_id`) and one version of its tables (`user_version`). Any other file is
  refused and left as it is.
- A new database is created whole under a temporary name and then renamed, under the lock of its folder. No process ever sees
  one without its tables, however many open it at the same time, and a killed process leaves no unfinished file.
- Databases use SQLite's write-ahead log. Readers never wait. Writers wait for each other up to the time limit of the
  connection. A commit that returned survives `kill -9`; with `synchronous = FULL` it survives a power cut too.
- A transaction that writes takes the write lock at its begin (`transaction`), so no statement in it fails half-way for a lock.
- A connection belongs to one thread. Each thread opens its own.
- A newer version of the tables is refused; an older one is upgraded in one transaction when it is opened for writing.
- The file must lie on a local file system: SQLite's locks do not work reliably on network file systems.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mhmodels.errors import FileFormatError, StoreError
from mhmodels.system.files import open_regular, replaced
from mhmodels.system.temporary import folder_lock, make_folder
from mhmodels.system.text import printable

_MAGIC = b"SQLite format 3\x00"


class DatabaseKind(NamedTuple):
    """A kind of database.

    Attributes:
        name: Name in messages, with its article: "a measurement store".
        application_id: SQLite's mark of the file.
        version: Version of the tables.
        schema: Statements that create the tables.
        remedy: What a user can do about a file that cannot be used.
        upgrades: By version, the statement that makes the next version of it; none is needed where only rows changed.
        synchronous: `FULL`, or `NORMAL` where rows are cheap to make again.
    """

    name: str
    application_id: int
    version: int
    schema: str
    remedy: str
    upgrades: Mapping[int, str] = MappingProxyType({})
    synchronous: str = "FULL"


def open_database(path: Path, kind: DatabaseKind, *, timeout_s: float = 30.0, read_only: bool = False) -> sqlite3.Connection:
    """Opens a database, and creates it where there is no file or an empty one.

    Args:
        path: The file.
        kind: Kind of database that the file is or becomes.
        timeout_s: Seconds that statements wait for another process that writes.
        read_only: Whether nothing is created or changed, for a file that somebody else may own.

    Returns:
        A connection without implicit transactions; write within `transaction`.

    Raises:
        StoreError: The file is of another kind or a newer version, damaged, locked, or cannot be read or written; with
            `read_only`, it does not exist.
    """
    path = real_path(path, kind)
    with translated(path, kind):
        _check(path, kind, read_only)
        if not read_only:
            _make(path, kind)
        where = path.absolute().as_uri() + _mode(path, read_only)
        connection = sqlite3.connect(where, timeout=timeout_s, isolation_level=None, uri=True)
    try:
        with translated(path, kind):
            _check_tables(connection, path, kind, read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def real_path(path: Path, kind: DatabaseKind) -> Path:
    """Where a database is: SQLite keeps its log beside the file that a link leads to.

    Raises:
        StoreError: No file can have this name.
    """
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise StoreError(f"{path}: cannot be opened ({error}); {kind.remedy}") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Runs all statements of the block or none. The write lock is taken at its begin."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path, kind: DatabaseKind) -> Iterator[None]:
    """Turns errors of SQLite and of the system into `StoreError` with the file and what to do."""
    try:
        yield
    except FileFormatError as error:
        raise StoreError(f"{error}; {kind.remedy}") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror}); {kind.remedy}") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: {printable(str(error), 300)}: {_hint(str(error), kind)}") from error


def _check(path: Path, kind: DatabaseKind, read_only: bool) -> None:
    """Checks the file before SQLite does, which would turn a foreign file into its own."""
    if "\0" in str(path):
        raise StoreError(f"{path}: cannot be opened (no file's name holds a zero byte); {kind.remedy}")
    if not os.path.lexists(path):
        if read_only:
            raise StoreError(f"{path}: no such file, expected {kind.name}")
        make_folder(path.parent)
    elif path.exists():
        with open_regular(path) as file:
            start = file.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise _foreign(path, kind, f"starts with {start[:8]!r}")
        if not start and read_only:
            raise StoreError(f"{path}: empty, expected {kind.name}; {kind.remedy}")
    elif path.is_symlink():
        raise StoreError(f"{path}: cannot be opened (a link that leads back to itself); {kind.remedy}")
    # SQLite keeps its log beside the file, so the folder counts too.
    for place in () if read_only else (path, path.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise StoreError(f"{path}: cannot be written ('{place}' is read-only); {kind.remedy}")


def _make(path: Path, kind: DatabaseKind) -> None:
    with folder_lock(path.parent):
        if path.exists() and path.stat().st_size:
            return
        path.unlink(missing_ok=True)
    # Whoever is later finds the database of the first one.
    with contextlib.suppress(FileExistsError), replaced(path, overwrite=False) as beside:
        connection = sqlite3.connect(beside.absolute().as_uri(), isolation_level=None, uri=True)
        with contextlib.closing(connection):
            marks = f"PRAGMA application_id = {kind.application_id}; PRAGMA user_version = {kind.version};"
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {kind.schema} {marks} COMMIT;")


def _mode(path: Path, read_only: bool) -> str:
    """How SQLite opens the file, as the query of its address."""
    if not read_only:
        return "?mode=rw"
    # Readers, too, write to the files beside a database of this kind. Where they cannot, and no rows wait there, SQLite may
    # assume that nobody writes.
    waiting = path.with_name(f"{path.name}-wal")
    alone = not os.access(path.parent, os.W_OK) and not (waiting.exists() and waiting.stat().st_size)
    return "?mode=ro&immutable=1" if alone else "?mode=ro"


def _check_tables(connection: sqlite3.Connection, path: Path, kind: DatabaseKind, read_only: bool) -> None:
    tables, application, version = (
        int(connection.execute(query).fetchone()[0])
        for query in ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id", "PRAGMA user_version")
    )
    if application != kind.application_id:
        raise _foreign(path, kind, f"an SQLite file of something else, with application id {application:#x} and {tables} tables")
    if version > kind.version:
        raise StoreError(
            f"{path}: {kind.name} of version {version}, expected at most {kind.version}; upgrade mhmodels, or {kind.remedy}"
        )
    if not tables or version < 1:
        found = "without tables" if version >= 1 else "with no mark of our version"
        raise StoreError(f"{path}: {kind.name} {found}, hence damaged; {kind.remedy}")
    if read_only:
        return
    if version < kind.version:
        with transaction(connection):
            for step in range(version, kind.version):
                connection.execute(kind.upgrades.get(step, "SELECT 1"))
            connection.execute(f"PRAGMA user_version = {kind.version}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {kind.synchronous}")


def _foreign(path: Path, kind: DatabaseKind, found: str) -> StoreError:
    return StoreError(f"{path}: not {kind.name} ({found}); it is left as it is, {kind.remedy}")


def _hint(text: str, kind: DatabaseKind) -> str:
    hints = {
        "locked": f"another process holds it; wait for that process, or {kind.remedy}",
        "readonly": f"it cannot be written; {kind.remedy}",
        "unable to open": f"it cannot be opened or written; {kind.remedy}",
        "full": "the disk is full; free some space and resume or repeat the command, what was stored before is kept",
        "disk I/O": "the disk refuses it; free some space or look after the disk, what was stored before is kept",
        "malformed": f"the file is damaged; `sqlite3 FILE .recover` may save its rows, or {kind.remedy}",
        "not a database": f"the file is damaged; {kind.remedy}",
        "UTF-8": f"the file is damaged; {kind.remedy}",
        "no such": f"the file is damaged; {kind.remedy}",
    }
    return next((hint for part, hint in hints.items() if part in text), f"it stays as it was; {kind.remedy}")
