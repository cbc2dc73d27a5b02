"""The program that compiles an ONNX file for a Hexagon NPU in Qualcomm's environment; `runner.py` asks it through `ask_tool`.

Request: file, folder, soc_model, generation, trace (whether the compiler also leaves the schedule behind its estimate). Answer:
names of the compiled file and of the profile in the folder; the compiled file is null where the NPU takes no operator. The
profile has Qualcomm's estimate. Nothing is run: on a PC an emulator would count its own cycles, which are no latency.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))
_OPEN = runpy.run_path(str(Path(__file__).with_name("session.py")))["open_session"]
COMPILED, PROFILE = "compiled.onnx", "profile.csv"
TRACE, SCHEMATIC = "profile_qnn.log", "*_schematic.bin"
"""Files that the compiler leaves beside the profile and in the working directory."""


def compile_file(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles a file and leaves the compiled file and the profile in the folder."""
    folder = Path(request["folder"])
    os.chdir(folder)  # the schematic would be left wherever the command was started
    entries = {
        "ep.context_enable": "1",
        "ep.context_file_path": str(folder / COMPILED),
        "ep.context_embed_mode": "1",
    }
    profiling = {
        "profiling_level": "optrace" if request["trace"] else "basic",
        "profiling_file_path": str(folder / PROFILE),
    }
    _OPEN(request, _SERVE["RefusalError"], entries, profiling)
    return {"compiled": COMPILED if (folder / COMPILED).exists() else None, "profile": PROFILE}


if __name__ == "__main__":
    _SERVE["serve"](compile_file)
