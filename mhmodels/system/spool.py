"""A file in memory that does not count as memory of this process where the system can keep it apart."""

from __future__ import annotations

import contextlib
import io
import os


class SpoolFile(io.RawIOBase):
    """A file without a name, for content that a library writes piece by piece before it goes to its place whole.

    On Linux the content lies in a file in memory (`memfd_create`). Where that cannot be made or grow, because the process may not
    write files of such a size, the content moves into the memory of the process: writing to this file never fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory: io.BytesIO | None = None if hasattr(os, "memfd_create") else io.BytesIO()
        self._descriptor = -1 if self._memory is not None else os.memfd_create("mhmodels-spool")
        self._at = 0

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size if self._memory is None else len(self._memory.getbuffer())

    def readable(self) -> bool:
        """Returns True."""
        return True

    def writable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a place from the start, from here, or from the end; returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size()}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """Returns the place."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Cuts or extends the content to a size, or to the place."""
        wanted = self._at if size is None else size
        if self._memory is None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, wanted)
                return wanted
            self._move()
        assert self._memory is not None
        if wanted > self._size():
            self._memory.seek(wanted - 1)
            self._memory.write(b"\0")
        return self._memory.truncate(wanted)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; returns the number of bytes."""
        if self._memory is None:
            count = os.preadv(self._descriptor, [buffer], self._at)
        else:
            self._memory.seek(self._at)
            count = self._memory.readinto(buffer)
        self._at += count
        return count

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Writes all of a buffer; returns the number of bytes."""
        view, done = memoryview(data).cast("B"), 0
        while self._memory is None and done < len(view):
            try:
                done += os.pwrite(self._descriptor, view[done:], self._at + done)
            except OSError:
                self._move()
        if self._memory is not None:
            self._memory.seek(self._at + done)
            self._memory.write(view[done:])
        self._at += len(view)
        return len(view)

    def _move(self) -> None:
        """Moves the content into the memory of this process."""
        size = self._size()
        self._memory = io.BytesIO(os.pread(self._descriptor, size, 0))
        os.close(self._descriptor)
        self._descriptor = -1

    def close(self) -> None:
        """Forgets the content."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()
