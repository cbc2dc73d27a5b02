"""The tool's side of the protocol with its child process. Standard library only: tools do not have this package installed.

A program of a tool is run by path through `contained.py`. It loads this file by path and calls `serve` with a function from a
request to an answer. One JSON line on the channel is the request, one JSON line is the answer: `{"answer": …}`, or
`{"refusal": …}` where the program raises `RefusalError`. Any other exception ends the process with a traceback, which
`running.ask_tool` reports.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


class RefusalError(Exception):
    """The tool works, and refuses what it is asked for; the text says why."""


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers one request.

    Args:
        answer: Computes the answer, JSON values only.
    """
    channel = int(sys.argv[1])
    with open(channel, encoding="utf-8", closefd=False) as requests:
        request = json.loads(requests.readline())
    try:
        said: dict[str, Any] = {"answer": answer(request)}
    except RefusalError as refusal:
        said = {"refusal": str(refusal)}
    sys.stdout.flush()
    sys.stderr.flush()
    line = json.dumps(said).encode() + b"\n"
    while line:
        line = line[os.write(channel, line) :]
    # Libraries of vendors crash in their destructors; the answer is complete.
    os._exit(0)
