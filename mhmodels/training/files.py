"""Files of a run that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; when the block ends well, that file takes the place of `path`.

    The suffix is kept, because libraries choose formats by it. On any failure the old file stays and the new one goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}{''.join(path.suffixes)}")
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        # A failed write does not say of which file, and nobody knows the one beside.
        if error.filename in (None, str(beside), beside):
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a small file whole."""
    with replaced(path) as beside:
        beside.write_bytes(content)


def _sync_folder(folder: Path) -> None:
    """The renaming itself must outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
