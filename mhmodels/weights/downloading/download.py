"""Downloads a file once: with progress, resumed after a break, and checked by its hash."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import WeightsError
from mhmodels.system.addresses import public_address, without_secrets_of
from mhmodels.system.files import move_finished, open_regular
from mhmodels.system.locks import LockFileError, file_lock
from mhmodels.weights.downloading.transfer import Report, TimeLimit, request_missing

TOTAL_S = 3600.0
"""A download that is not finished by then is broken off; what has come is kept, and a later call goes on from there."""

ATTEMPTS = 4
"""Transfers that break off are continued this often in one call, as long as each of them brings something."""

PROGRESS_FROM = 1 << 20
"""Files larger than this show a bar."""


class Digest(NamedTuple):
    """Required hash of a file.

    Attributes:
        algorithm: `sha256`, or `md5` where the publisher gives no other.
        value: Hexadecimal digits: all of them, or the first ones where the publisher states no more.
    """

    algorithm: str
    value: str

    def is_of(self, path: Path) -> bool:
        """Returns whether a file has this hash."""
        return hash_file(path, self.algorithm).startswith(self.value)


def download(url: str, target: Path, digest: Digest) -> Path:
    """Downloads a file unless it is there already with the right hash.

    The received part lies beside the target as `NAME.part`, so that a later call continues from there.

    Args:
        url: Http or https address.
        target: Path of the file to write.
        digest: Required hash.

    Returns:
        `target`.

    Raises:
        WeightsError: There is no network or no such file, the transfer breaks off or takes over an hour, the hash differs, or the
            file cannot be written. The message says which, without passwords and tokens of the address, and how to get the file
            by other means.
    """
    if not url.startswith(("https://", "http://")):
        raise WeightsError(f"{public_address(url)}: expected an http or https address")
    clock = TimeLimit(TOTAL_S)
    try:
        # One process at a time for a target; the others wait and then find it there.
        with file_lock(target.with_name(f".{target.name}.lock"), timeout_s=math.inf):
            if target.is_file() and digest.is_of(target):
                return target
            part = target.with_name(f"{target.name}.part")
            resumed = part.exists()
            if not resumed or not digest.is_of(part):
                with _progress(target.name) as report:
                    _transfer(url, part, report, clock)
                    if resumed and not digest.is_of(part):
                        # What lay here may be of an older file; the whole of it settles that.
                        part.unlink()
                        _transfer(url, part, report, clock)
            _check(url, part, digest)
            move_finished(part, target)
    except (OSError, LockFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{target}: cannot be written ({reason}); free space or set MHMODELS_HOME") from error
    return target


def hash_file(path: Path, algorithm: str) -> str:
    """Returns the hash of a file as hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _check(url: str, part: Path, digest: Digest) -> None:
    if not digest.is_of(part):
        found = hash_file(part, digest.algorithm)
        size = part.stat().st_size
        part.unlink()
        raise WeightsError(
            f"{public_address(url)}: {digest.algorithm} of the {size} bytes that came is {found}, expected {digest.value}; they "
            "were thrown away: the server has another file, or something on the way changes it"
        )


def _transfer(url: str, part: Path, report: Report, clock: TimeLimit) -> None:
    """Fills `part` to its end, in several requests if the connection breaks."""
    shown, total = public_address(url), None
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            total = request_missing(url, part, before, report, clock)
        except WeightsError:
            raise
        except urllib.error.HTTPError as error:
            reason = without_secrets_of(url, str(error.reason))[:200]
            raise WeightsError(f"{shown}: the server answers {error.code} {reason}; {_remedy(part)}") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
            if not clock.over:
                if attempt == ATTEMPTS or not _grew(part, before):
                    # The cause may quote the address, with its secrets.
                    raise WeightsError(f"{shown}: cannot be reached ({_cause(url, error)}): offline? {_remedy(part)}") from None
                continue
        have = part.stat().st_size if part.exists() else 0
        if clock.over and (total is None or have < total):
            raise WeightsError(
                f"{shown}: not finished after {clock.seconds:g} s, {have} bytes have come; run it again, it goes on from there, "
                f"or {_remedy(part)}"
            )
        if total is None or have >= total:
            return
    raise WeightsError(
        f"{shown}: the connection broke off after {part.stat().st_size} of {total} bytes; run it again, it goes on from there"
    )


def _cause(url: str, error: Exception) -> str:
    return without_secrets_of(url, str(getattr(error, "reason", None) or error or type(error).__name__))[:200]


def _grew(part: Path, before: int) -> bool:
    return part.exists() and part.stat().st_size > before


def _remedy(part: Path) -> str:
    target = part.with_name(part.name.removesuffix(".part"))
    return f"try again with a network, or get the file by other means and put it at {target}, or give weights=PATH"


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Shows a bar on stderr for a large file, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _have, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None, visible=False)

        def report(have: int, total: int | None) -> None:
            progress.update(task, completed=have, total=total, visible=(total or have) > PROGRESS_FROM)

        yield report
