"""The process that compiles with Vela. It is run by path through `contained.py` and never imported, so it uses only the standard
library and Vela.

Importing Vela takes about as long as compiling a small network, so it is imported once and every file is compiled in a fork.
Whatever a file does to Vela's memory, state or life ends with the fork. A JSON line on the channel (cores, folder, arguments)
asks for a compilation, which leaves the files `stdout` and `stderr` in its folder; a line answers with the exit code, below 0
for a signal. A fork has no channel, so nothing in it can answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import NoReturn, TypedDict

contain = runpy.run_path(str(Path(__file__).parents[2] / "system" / "contained.py"))["contain"]


class VelaRequest(TypedDict):
    """A request for a compilation."""

    cores: list[int] | None
    folder: str
    arguments: list[str]


def compile_here(request: VelaRequest, parent: int) -> NoReturn:
    """Compiles and ends the process."""
    code: object = 1
    try:
        contain(request["cores"], parent)  # limits are inherited, but not that it ends with the parent
        os.chdir(request["folder"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for place, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), place)
        from ethosu.vela import vela

        code = vela.main(request["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    """Answers requests until the channel ends."""
    channel, here = int(sys.argv[1]), os.getpid()
    with contextlib.suppress(Exception, SystemExit):  # every fork reports what is wrong with it
        import ethosu.vela.vela  # noqa: F401
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # a fork would print the content of these buffers among the output of Vela
    with open(channel, encoding="utf-8", closefd=False) as requests:
        for line in requests:
            request = json.loads(line)
            child = os.fork()
            if not child:
                os.close(channel)
                compile_here(request, here)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os.write(channel, f"{code}\n".encode())


if __name__ == "__main__":
    main()
