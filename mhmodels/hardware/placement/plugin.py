"""The program that runs LiteRT's compiler with its plug-in for Qualcomm in the tool's environment; `placing.py` asks it.

Request: file, output, folder, soc. Answer: exit code of the compiler. What it printed is in the files `STDOUT` and `STDERR` of
the folder, what it compiled in `output`. Nothing is run.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import runpy
import signal
import subprocess
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))
STDOUT, STDERR = "stdout.txt", "stderr.txt"
PR_SET_PDEATHSIG = 1


def compile_file(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles a file and leaves the compiled file and the printed text in the folder."""
    litert, qnn = _package("ai_edge_litert"), _package("onnxruntime_qnn")
    folder = Path(request["folder"])
    # Lists of paths have no way to write a colon or a comma that is part of a path, so they get names without any.
    libraries = {
        "plugin": litert / "vendors" / "qualcomm" / "compiler",
        "qnn": qnn,
        "qnn.libs": qnn.with_name("onnxruntime_qnn.libs"),
    }
    for name, place in libraries.items():
        (folder / name).symlink_to(place)
    command = [
        str(litert / "tools" / "apply_plugin_main"),
        "--cmd=apply",
        f"--model={os.path.relpath(request['file'], folder)}",
        f"--o={os.path.relpath(request['output'], folder)}",
        "--libs=plugin",
        "--soc_manufacturer=Qualcomm",
        f"--soc_model={request['soc']}",
    ]
    with (folder / STDOUT).open("wb") as stdout, (folder / STDERR).open("wb") as stderr:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(("qnn", "qnn.libs"))},
            preexec_fn=_end_with_parent,
            check=False,
        )
    return {"code": done.returncode}


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name)
    return Path(found.origin).parent


def _end_with_parent() -> None:
    """Runs in the compiler's process before it starts: this program is killed when its time is over, and the compiler with it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _SERVE["serve"](compile_file)
