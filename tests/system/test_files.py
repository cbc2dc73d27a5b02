"""Files that are whole or absent: special files, killed writers, races, symbolic links, full disks."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mhmodels.errors import FileFormatError
from mhmodels.system import files, moving, temporary
from mhmodels.system.files import open_regular, read_bytes, replaced, replaced_together, try_place, write_atomically
from mhmodels.system.temporary import folder_lock, sweep, temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(code: str, *arguments: object, **settings: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **settings)  # type: ignore[call-overload, no-any-return]


def killed(code: str, *arguments: object) -> None:
    """Runs code until it prints a line, then kills it."""
    child = run(code, *arguments)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "folder", "link to a device", "link loop", "nothing", "NUL"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link loop":
        path.symlink_to(path)
    elif kind == "NUL":
        path = Path("a\0b")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_bytes(path)


def test_reads_at_most_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(FileFormatError, match="5 bytes, expected at most 4"):
        read_bytes(path, 4)
    # Its size is told as 0, as that of everything under /proc.
    with pytest.raises(FileFormatError, match="expected at most 10"):
        read_bytes("/proc/self/status", 10)
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link") == b"12345"
    with open_regular(path) as file:
        assert file.read(2) == b"12"


def test_a_file_appears_whole_with_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.weights.h5"
    with replaced(path) as beside:
        assert beside.name.endswith(".partial.weights.h5")
        assert not path.exists()
        beside.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert names(path.parent) == [path.name]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    with pytest.raises(ZeroDivisionError), replaced(path) as beside:
        beside.write_bytes(b"half")
        _ = 1 / 0
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


def test_the_longest_name_that_the_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    write_atomically(path, b"x")
    assert names(tmp_path) == [path.name]
    with pytest.raises(OSError, match="too long") as refused:
        write_atomically(tmp_path / ("n" * 260), b"x")
    assert refused.value.filename == str(tmp_path / ("n" * 260))


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as refused:
        write_atomically(tmp_path / "a.json", b"x")
    assert refused.value.filename == str(tmp_path / "a.json")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as nowhere:
        write_atomically(tmp_path / "file" / "a.json", b"x")
    assert ".partial" not in str(nowhere.value)


def test_temporary_names_cannot_be_laid_out_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even whoever guesses a name gains nothing: a link there is not followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(temporary.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".mhm-{os.getpid()}-{temporary._machine()}{'0' * 16}.partial.json").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.json", b"x")
    assert victim.read_text() == "precious"


def no_links(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("missing", ["", "renameat2", "renameat2 and links"])
def test_without_overwriting_one_writer_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing:
        monkeypatch.setattr(moving, "_rename_without_replacing", lambda *_: False)
    if "links" in missing:
        monkeypatch.setattr(os, "link", no_links)
        write_atomically(tmp_path / "new.json", b"x", overwrite=False)
        (tmp_path / "new.json").unlink()
    path = tmp_path / "a.json"
    with pytest.raises(FileExistsError) as lost, replaced(path, overwrite=False) as late:
        late.write_bytes(b"late")
        write_atomically(path, b"first", overwrite=False)
    assert lost.value.filename == str(path)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("there", ["a.tflite", "a.json"])
def test_files_that_belong_together_appear_together(tmp_path: Path, there: str) -> None:
    pair = (tmp_path / "a.tflite", tmp_path / "a.json")
    (tmp_path / there).write_bytes(b"old")
    with pytest.raises(FileExistsError, match=there), replaced_together(*pair, overwrite=False) as beside:
        for file in beside:
            file.write_bytes(b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {there: b"old"}
    with replaced_together(*pair) as beside:
        for file in beside:
            file.write_bytes(b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.tflite": b"new", "a.json": b"new"}


def test_of_files_that_belong_together_none_stays_where_the_last_cannot_be_moved(tmp_path: Path) -> None:
    pair = (tmp_path / "a.tflite", tmp_path / "a.json")
    with pytest.raises(FileNotFoundError), replaced_together(*pair, overwrite=False) as beside:
        beside[1].write_bytes(b"x")
        with folder_lock(tmp_path):
            pass
        beside[0].unlink()
    assert names(tmp_path) == []


@pytest.mark.parametrize("links", [True, False], ids=["links", "copies"])
def test_files_that_are_replaced_together_come_back_where_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no hard links")))
    first, second, third = (tmp_path / name for name in "abc")
    first.write_text("old")
    third.write_text("old")
    move = moving.move

    def failing(beside: Path, path: Path, overwrite: bool) -> None:
        if path == first:
            raise OSError(errno.EIO, "the disk broke")
        move(beside, path, overwrite)

    monkeypatch.setattr(moving, "move", failing)
    with pytest.raises(OSError, match="the disk broke"), files.replaced_together(first, second, third) as beside:
        for file in beside:
            file.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "c": "old"}


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    killed(
        "import sys, pathlib, time\nfrom mhmodels.system.files import replaced\n"
        "with replaced(pathlib.Path(sys.argv[1])) as beside:\n"
        "    beside.write_bytes(b'half'); print('ready', flush=True); time.sleep(60)",
        tmp_path / "a.json",
    )
    assert len(names(tmp_path)) == 1
    write_atomically(tmp_path / "b.json", b"x")
    assert names(tmp_path) == ["b.json"]


def test_sweeping_spares_running_processes_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / f".mhm-1-{temporary._machine()}0123456789abcdef.partial").touch()
    (tmp_path / ".mhm-999999999-00000000deadbeef01234567.partial").touch()  # of another machine
    (tmp_path / ".mhm-notes").touch()
    (tmp_path / f".mhm-999999999-{temporary._machine()}0123456789abcdef.partial").symlink_to(tmp_path / ".mhm-notes")
    with replaced(tmp_path / "a.json") as beside:
        sweep(tmp_path)
        assert beside.exists()
        beside.write_bytes(b"x")
    assert len(names(tmp_path)) == 5


def test_a_temporary_folder_ends_with_its_block_and_after_a_kill_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with temporary_folder("test") as folder:
        write_atomically(folder / "x", b"x")
        with temporary_folder("test") as other:
            assert folder.exists()
            assert folder != other
    assert names(tmp_path) == []
    killed(
        "import time\nfrom mhmodels.system.temporary import temporary_folder\n"
        "with temporary_folder('test') as f:\n    (f / 'big').write_bytes(b'x'); print('ready', flush=True); time.sleep(60)"
    )
    assert len(names(tmp_path)) == 1
    with temporary_folder("test"):
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["n" * 256, "ü" * 130, "a/b/" + "n" * 256])
def test_a_name_that_cannot_be_written_is_found_out_without_writing_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="too long") as refused:
        try_place(tmp_path / name)
    assert refused.value.filename == str(tmp_path / name)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.json", "n" * 255, "new/folder/a.json", "line\nbreak\t.json", os.fsdecode(b"\xff")])
def test_a_place_that_can_be_written_stays_as_it_is(tmp_path: Path, name: str) -> None:
    try_place(tmp_path / name)
    assert names(tmp_path) == []


def test_a_place_below_a_file_or_in_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        try_place(tmp_path / "file" / "a.json")
    with pytest.raises(OSError, match=r"proc|Permission|No such"):
        try_place(Path("/proc/a.json"))


@pytest.mark.parametrize("kind", ["fifo", "link to a device", "folder"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    """`-o /dev/null` in a container would turn the device into a file."""
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    for write in (lambda: try_place(path), lambda: write_atomically(path, b"x")):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            write()
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"), replaced_together(path, tmp_path / "y") as beside:
        beside[1].write_bytes(b"x")
    assert names(tmp_path) == ["x"]
