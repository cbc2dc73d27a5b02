"""SQLite files: many processes that make one, foreign and damaged files, rollback."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mhmodels.errors import StoreError
from mhmodels.search.run.log import SearchLog
from mhmodels.store import Store
from mhmodels.system import databases
from mhmodels.system.databases import DatabaseKind, open_database, transaction, translated

KIND = DatabaseKind(
    "a test database", 0x54455354, 2, "CREATE TABLE rows (value INTEGER NOT NULL CHECK (value < 3));", "give another path"
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_processes_that_open_it_at_once_all_get_it(tmp_path: Path) -> None:
    """Of 160 that opened a new search log at the same moment, 77 failed."""
    code = (
        "import sys\nfrom mhmodels.store import Store\nfrom mhmodels.search.run.log import SearchLog\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for n in range(20):\n    Store(f'{sys.argv[1]}/{n}.store').close(); SearchLog(f'{sys.argv[1]}/{n}.log').close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1, stderr=-1, text=True) for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate()[1] for child in children] == [""] * 4
    # SQLite leaves the files of its write-ahead log where the last two connections close at the same moment.
    found = [name for name in names(tmp_path) if not name.endswith(("-wal", "-shm"))]
    assert found == sorted(f"{n}.{kind}" for n in range(20) for kind in ("store", "log"))


def test_threads_that_open_it_at_once_all_get_it(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        for n in range(10):
            path = tmp_path / f"{n}.db"
            list(pool.map(lambda _, path=path: open_database(path, KIND).close(), range(8)))


def test_an_empty_file_and_a_link_without_a_target_become_a_database(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "far" / "real.db")
    (tmp_path / "far").mkdir()
    for name in ("empty.db", "link.db"):
        open_database(tmp_path / name, KIND).close()
    assert (tmp_path / "link.db").is_symlink()
    open_database(tmp_path / "far" / "real.db", KIND, read_only=True).close()


@pytest.mark.parametrize("opened", [Store, SearchLog])
def test_names_that_are_not_utf8(tmp_path: Path, opened: type[Store] | type[SearchLog]) -> None:
    path = tmp_path / os.fsdecode(b"\xff?#%.db")
    opened(path).close()
    opened(path).close()
    assert names(tmp_path) == [path.name]


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "a.db", KIND)
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.execute("INSERT INTO rows VALUES (1)")
        connection.execute("INSERT INTO rows VALUES (7)")
    with transaction(connection):
        connection.execute("INSERT INTO rows VALUES (2)")
    assert connection.execute("SELECT value FROM rows").fetchall() == [(2,)]
    connection.close()


def test_the_cause_of_a_failure_is_told_where_sqlite_rolled_back_itself(tmp_path: Path) -> None:
    """A full disk used to end in 'cannot rollback - no transaction is active'."""
    connection = open_database(tmp_path / "a.db", KIND)
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full: the disk is full"), translated(tmp_path / "a.db", KIND), transaction(connection):
        connection.executemany("INSERT INTO rows VALUES (?)", [(1,)] * 10_000)
    connection.close()


def test_a_disk_that_is_full_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(databases.Path, "as_uri", full)
    with pytest.raises(StoreError, match=r"a\.db: cannot be opened \(No space left on device\); give another path"):
        open_database(tmp_path / "a.db", KIND)
    assert names(tmp_path) == []


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.db")
    for path in (tmp_path / "fifo.db", tmp_path, Path("/dev/zero")):
        with pytest.raises(StoreError, match="expected a regular file\\); give another path"):
            open_database(path, KIND)


def test_older_tables_are_upgraded_and_newer_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    open_database(path, KIND._replace(version=1)).close()
    newest = KIND._replace(version=3, upgrades={2: "ALTER TABLE rows ADD COLUMN note TEXT"})
    connection = open_database(path, newest)
    assert connection.execute("SELECT note FROM rows").fetchall() == []
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()
    with pytest.raises(StoreError, match="a test database of version 3, expected at most 2; upgrade mhmodels, or give"):
        open_database(path, KIND)
    with pytest.raises(StoreError, match="not a measurement store"):
        Store(path)


@pytest.mark.parametrize("version", [0, -1, -16_777_215])
def test_versions_that_no_version_of_ours_wrote_are_damage(tmp_path: Path, version: int) -> None:
    """One byte of the header makes it negative, and 16 million steps of upgrading would hang."""
    path = tmp_path / "a.db"
    with contextlib.closing(open_database(path, KIND)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match="with no mark of our version, hence damaged"):
        open_database(path, KIND)


def test_a_link_to_itself_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.symlink_to("a.db")
    with pytest.raises(StoreError, match="a link that leads back to itself"):
        open_database(path, KIND)
    assert path.is_symlink()


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT) WHERE name = 'measurements'",
        "PRAGMA writable_schema = 1; DELETE FROM sqlite_master",
        "INSERT INTO measurements SELECT NULL, '', '', 'a', '', '', 'h', '', '', 1, 1, 1, 1.0, '', x'ff'",
        "INSERT INTO measurements SELECT NULL, '', '', 'a', '', '', 'h', '', '', 1, 1, 1, 1.0, '', CAST(x'ff' AS TEXT)",
        "INSERT INTO measurements SELECT NULL, '', '', 'a', '', '', 'h', '', '', 1, 1, 1, 1.0, '', '[]'",
        "PRAGMA ignore_check_constraints = 1; DROP TABLE measurements; CREATE TABLE measurements (id, document, architecture_id,"
        " hardware); INSERT INTO measurements VALUES (1, NULL, 'a', 'h')",
    ],
)
def test_a_damaged_store_gives_one_message(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.db"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.executescript(damage)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"a\.db"), Store(path) as store:
        list(store)
        store.latest()
