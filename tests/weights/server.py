"""A web server on this machine that misbehaves on request."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves one content under any path.

    Attributes:
        content: the file.
        ranges: whether Range is understood.
        cut: bytes after which every answer breaks off, None for never.
        status: answered in place of the file, if not 200.
        length: whether Content-Length is sent.
        requests: the Range header of each request, or "".
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.ranges, self.length, self.status = content, True, True, 200
        self.cut: int | None = None
        self.requests: list[str] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.requests.append(asked)
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start and start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if self.cut is None else body[: self.cut])


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """Runs a server for a content on 127.0.0.1."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{running.server_port}/x.weights.h5"
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
