"""One `search collect` for each hardware and store at a time: two would measure everything twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mhmodels.errors import MeasurementError
from mhmodels.system.locks import LockFileError, LockHeldError, file_lock


@contextmanager
def claimed(store: Path, hardware_ids: Sequence[str]) -> Iterator[None]:
    """Holds the claim on some hardware's rows of a store; the kernel releases it when the process ends, however it ends.

    Args:
        store: the measurements file; the claims are files beside it.
        hardware_ids: where rows are to be collected.

    Raises:
        MeasurementError: another process collects on one of them into the same store.
    """
    with contextlib.ExitStack() as stack:
        for name in sorted(set(hardware_ids)):
            try:
                stack.enter_context(file_lock(_claim(store, name)))
            except LockHeldError as error:
                raise MeasurementError(
                    f"{store}: {error.holder} collects on {name} into this store and would measure the same networks: wait for "
                    "it and give the same command again, which skips what is stored, or choose other hardware or another --store"
                ) from None
            except LockFileError as error:
                raise MeasurementError(f"{store}: cannot be claimed for {name} ({error})") from error
        yield


def _claim(store: Path, hardware_id: str) -> Path:
    """By a hash, since an id may have slashes; of the file itself, whatever links lead to it."""
    real = Path(os.path.realpath(store))
    return real.with_name(f".{real.name}.{hashlib.sha256(hardware_id.encode()).hexdigest()[:8]}.collect")
