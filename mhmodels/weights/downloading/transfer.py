"""One request of a download: appends the missing part of a file, within limits of time and size."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from mhmodels.errors import WeightsError
from mhmodels.system.addresses import public_address

TIMEOUT_S = 30.0
"""How long a server may stay silent."""

CHUNK = 1 << 18
LARGEST = 4 << 30

Report = Callable[[int, int | None], None]
"""Called with bytes had and bytes in all, None if the server does not say."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


_Opened = http.client.HTTPConnection | socket.socket


class TimeLimit:
    """Time limit of a whole download, however many requests it makes.

    Args:
        seconds: Seconds from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._end

    @contextlib.contextmanager
    def guard(self, opened: list[_Opened]) -> Iterator[None]:
        """Breaks the connections off when the time has passed: a server that sends a byte now and then is never silent."""

        def end() -> None:
            for each in opened:
                with contextlib.suppress(OSError, AttributeError):
                    (each if isinstance(each, socket.socket) else each.sock).shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, self._end - time.monotonic()), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            here, there = public_address(req.full_url), public_address(newurl)
            raise WeightsError(f"{here}: the server sends on to {there}, expected an http or https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(opened: list[_Opened]) -> urllib.request.OpenerDirector:
    """Opens addresses, and lists the connections that it makes.

    A connection loses its socket to the answer once the header has come, so both are listed.
    """

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            opened.append(self)
            super().connect()
            opened.append(self.sock)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            opened.append(self)
            super().connect()
            opened.append(self.sock)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    return urllib.request.build_opener(PlainHandler, SecureHandler, _Redirects)


def request_missing(url: str, part: Path, offset: int, report: Report, clock: TimeLimit) -> int | None:
    """One request for what is missing, appended to `part`; returns the size of the whole file if the server tells.

    Raises:
        WeightsError: More than a file of weights has, or the server sends on to somewhere else than the web.
        OSError, http.client.HTTPException, ValueError: whatever the connection and the server's answer meet.
    """
    request = _request(url)
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    opened: list[_Opened] = []
    with clock.guard(opened):
        try:
            response = _opener(opened).open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not offset:
                raise
            # Nothing after the end of what is here, and it is not the file: of another one.
            part.unlink()
            return request_missing(url, part, 0, report, clock)
        with response:
            return _receive(url, response, part, offset, report, clock)


def _request(url: str) -> urllib.request.Request:
    """Returns a request that sends user and password of the address to its own host only."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(
        parts._replace(netloc=host).geturl(), headers={"User-Agent": "mhmodels", "Accept-Encoding": "identity"}
    )
    if user:
        encoded = base64.b64encode(unquote(user).encode()).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return request


def _receive(
    url: str, response: http.client.HTTPResponse, part: Path, offset: int, report: Report, clock: TimeLimit
) -> int | None:
    offset, total = _resumed(response, offset)
    if total is not None and total > LARGEST:
        raise WeightsError(f"{public_address(url)}: the server announces {total} bytes, expected at most {LARGEST} of weights")
    with part.open("r+b" if offset else "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        while not clock.over and (chunk := response.read1(CHUNK)):
            file.write(chunk)
            offset += len(chunk)
            if offset > LARGEST:
                raise WeightsError(
                    f"{public_address(url)}: over {LARGEST >> 30} GiB and still coming, expected a file of weights"
                )
            report(offset, total)
    return total


def _resumed(response: http.client.HTTPResponse, offset: int) -> tuple[int, int | None]:
    """Returns the position of the first byte of the answer, and the size of the whole file if the server states it."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is not None and int(found[1]) == offset:
            return offset, None if found[2] == "*" else int(found[2])
    # A server without ranges sends the whole file again.
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if _NUMBER.fullmatch(length) else None
