"""A file in memory: what is written is read, also where the system lets no file grow that far."""

from __future__ import annotations

import io
import random
import resource
import signal

import pytest

from mhmodels.system.spool import SpoolFile


def both(seed: int, steps: int = 200) -> tuple[bytes, bytes]:
    """The content of a spool file and of an ordinary file in memory after the same steps."""
    rng = random.Random(seed)
    with SpoolFile() as spool:
        plain = io.BytesIO()
        for _ in range(steps):
            step, at, size = rng.choice(("write", "read", "truncate")), rng.randrange(5000), rng.randrange(3000)
            spool.seek(at)
            plain.seek(at)
            if step == "write":
                content = rng.randbytes(size)
                assert spool.write(memoryview(content)) == size
                plain.write(content)
            elif step == "read":
                assert spool.read(size) == plain.read(size)
            elif at <= len(plain.getvalue()):
                spool.truncate(at)
                plain.truncate(at)
        end = spool.seek(0, io.SEEK_END)
        assert end == len(plain.getvalue()) == spool.tell()
        spool.seek(0)
        return spool.read(), plain.getvalue()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_is_read(seed: int) -> None:
    spool, plain = both(seed)
    assert spool == plain


def test_writing_does_not_fail_where_files_may_not_grow() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        spool, plain = both(7)
        with SpoolFile() as file:
            assert file.truncate(2000) == 2000
            assert len(file.read()) == 2000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool == plain
