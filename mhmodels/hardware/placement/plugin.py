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
    command = [
        str(litert / "tools" / "apply_plugin_main"),
        "--cmd=apply",
        f"--model={request['file']}",
        f"--o={request['output']}",
        f"--libs={litert / 'vendors' / 'qualcomm' / 'compiler'}",
        "--soc_manufacturer=Qualcomm",
        f"--soc_model={request['soc']}",
    ]
    libraries = os.pathsep.join((str(qnn), str(qnn.with_name("onnxruntime_qnn.libs"))))
    with (folder / STDOUT).open("wb") as stdout, (folder / STDERR).open("wb") as stderr:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
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
