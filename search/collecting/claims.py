"""Claims on hardware: one collection for each hardware and store at a time, since two would measure everything twice."""

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
    """Claims hardware for a store. The kernel releases the claims when the process ends, however it ends.

    Args:
        store: Measurements file; the claims are lock files in its folder.
        hardware_ids: Hardware to collect on.

    Raises:
        MeasurementError: Another process collects on one of them into the same store.
    """
    with contextlib.ExitStack() as stack:
        for name in sorted(set(hardware_ids)):
            try:
                stack.enter_context(file_lock(_claim(store, name)))
            except LockHeldError as error:
                raise MeasurementError(
                    f"{store}: {error.holder} collects on {name} into this store and would measure the same networks: wait for "
                    "it and give the same command again, which skips what is stored, or choose other hardware or "
                    "another store (argument 'store')"
                ) from None
            except LockFileError as error:
                raise MeasurementError(f"{store}: cannot be claimed for {name} ({error})") from error
        yield


def _claim(store: Path, hardware_id: str) -> Path:
    """Lock file of a hardware: named by a hash, because ids may have slashes, beside the file that links lead to."""
    real = Path(os.path.realpath(store))
    return real.with_name(f".{real.name}.{hashlib.sha256(hardware_id.encode()).hexdigest()[:8]}.collect")
