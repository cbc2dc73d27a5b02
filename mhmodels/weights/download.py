"""Downloads that are made once: with progress, resumed after a break, checked before they count."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mhmodels.errors import WeightsError

TIMEOUT_S = 30.0
ATTEMPTS = 4
"""Transfers that break off are continued this often in one call, as long as each of them brings something."""

CHUNK = 1 << 18
LARGEST = 4 << 30
PROGRESS_FROM = 1 << 20
"""Files larger than this show a bar."""

Report = Callable[[int, int | None], None]
"""Called with bytes had and bytes in all, None if the server does not say."""


class Digest(NamedTuple):
    """What a file must hash to: `sha256` or `md5` (where its publisher gives no other), and hex digits."""

    algorithm: str
    value: str


def download(url: str, target: Path, digest: Digest) -> Path:
    """Gets a file unless it is there already, whole and right.

    What has come so far lies beside the target as `NAME.part`, so that a later call goes on from there.

    Args:
        url: http or https.
        target: where the file shall be.
        digest: what it must hash to.

    Returns:
        `target`.

    Raises:
        WeightsError: no network, no such file, a broken transfer, another hash, a full disk; the message says which, and
            how to get the file by other means.
    """
    if not url.startswith(("https://", "http://")):
        raise WeightsError(f"{url}: expected an http or https address")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target):
            if target.is_file() and hash_file(target, digest.algorithm) == digest.value:
                return target
            part = target.with_name(f"{target.name}.part")
            resumed = part.exists()
            if not resumed or hash_file(part, digest.algorithm) != digest.value:
                with _progress(target.name) as report:
                    _transfer(url, part, report)
                    if resumed and hash_file(part, digest.algorithm) != digest.value:
                        # What lay here may be of an older file; the whole of it settles that.
                        part.unlink()
                        _transfer(url, part, report)
            _check(url, part, digest)
            part.replace(target)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror or error}); free space or set MHMODELS_HOME") from error
    return target


def hash_file(path: Path, algorithm: str) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _check(url: str, part: Path, digest: Digest) -> None:
    found = hash_file(part, digest.algorithm)
    if found != digest.value:
        size = part.stat().st_size
        part.unlink()
        raise WeightsError(
            f"{url}: {digest.algorithm} of the {size} bytes that came is {found}, expected {digest.value}; they were thrown "
            "away: the server has another file, or something on the way changes it"
        )


def _transfer(url: str, part: Path, report: Report) -> None:
    """Fills `part` to its end, in several requests if the connection breaks."""
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _request(url, part, before, report)
        except urllib.error.HTTPError as error:
            raise WeightsError(f"{url}: the server answers {error.code} {error.reason}; {_remedy(part)}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            if attempt == ATTEMPTS or not _grew(part, before):
                raise WeightsError(f"{url}: cannot be reached ({reason}): offline? {_remedy(part)}") from error
            continue
        have = part.stat().st_size
        if total is None or have >= total:
            return
    raise WeightsError(
        f"{url}: the connection broke off after {part.stat().st_size} of {total} bytes; run it again, it goes on from there"
    )


def _grew(part: Path, before: int) -> bool:
    return part.exists() and part.stat().st_size > before


def _remedy(part: Path) -> str:
    target = part.with_name(part.name.removesuffix(".part"))
    return f"try again with a network, or get the file by other means and put it at {target}, or give weights=PATH"


def _request(url: str, part: Path, offset: int, report: Report) -> int | None:
    """One request for what is missing, appended to `part`; returns the size of the whole file if the server tells."""
    request = urllib.request.Request(url, headers={"User-Agent": "mhmodels", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        # Nothing after the end of what is here, and it is not the file: of another one.
        part.unlink()
        return _request(url, part, 0, report)
    with response:
        offset, total = _resumed(response, offset)
        with part.open("r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                offset += len(chunk)
                if offset > LARGEST:
                    raise WeightsError(f"{url}: over {LARGEST >> 30} GiB and still coming, expected a file of weights")
                report(offset, total)
    return total


def _resumed(response: Any, offset: int) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and the size of the whole file if the server tells."""
    length = response.headers.get("Content-Length", "")
    remaining = int(length) if length.isdecimal() else None
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is not None and int(found[1]) == offset:
            return offset, None if found[2] == "*" else int(found[2])
    # A server without ranges sends the whole file again.
    return 0, remaining


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Report]:
    """A bar on stderr for a large file, if a person watches."""
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


@contextlib.contextmanager
def _exclusive(target: Path) -> Iterator[None]:
    """One process at a time for a target; the others wait and then find it there."""
    try:
        import fcntl
    except ImportError:  # Windows: a second process downloads as well, and renaming is atomic there too
        yield
        return
    with target.with_name(f".{target.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
