"""The program that compiles an ONNX file for a Hexagon NPU in Qualcomm's environment; `runner.py` asks it through `ask_tool`.

Request: file, folder, soc_model, generation, trace (whether the compiler also leaves the schedule behind its estimate). Answer:
names of the compiled file and of the profile in the folder; the compiled file is null where the NPU takes no operator. The
profile has Qualcomm's estimate. Nothing is run: on a PC an emulator would count its own cycles, which are no latency.
"""

from __future__ import annotations

import ctypes
import os
import runpy
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))
COMPILED, PROFILE = "compiled.onnx", "profile.csv"
TRACE, SCHEMATIC = "profile_qnn.log", "*_schematic.bin"
"""Files that the compiler leaves beside the profile and in the working directory."""


def compile_file(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles a file and leaves the compiled file and the profile in the folder."""
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    # Without its libraries the provider takes no operator, and says so in a log only.
    for library in ("libQnnSystem.so", Path(qnn.get_qnn_htp_path()).name):
        ctypes.CDLL(str(Path(qnn.get_qnn_htp_path()).with_name(library)))
    folder = Path(request["folder"])
    os.chdir(folder)  # the schematic would be left wherever the command was started
    name = "QNNExecutionProvider"
    ort.register_execution_provider_library(name, qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_file_path", str(folder / COMPILED))
    options.add_session_config_entry("ep.context_embed_mode", "1")
    provider = {
        "backend_path": qnn.get_qnn_htp_path(),
        "htp_arch": str(request["generation"]),
        "soc_model": str(request["soc_model"]),
        "profiling_level": "optrace" if request["trace"] else "basic",
        "profiling_file_path": str(folder / PROFILE),
        # Otherwise conversions at input and output are computed by the CPU and fall out of the estimate.
        "offload_graph_io_quantization": "0",
        "htp_graph_finalization_optimization_mode": "3",
    }
    options.add_provider_for_devices(devices[:1], provider)
    try:
        ort.InferenceSession(request["file"], options)
    except Exception as error:
        # Whatever the compiler stumbles over is one file's trouble; the exceptions have no common base.
        raise _SERVE["RefusalError"](" ".join(str(error).split())[:600]) from error
    return {"compiled": COMPILED if (folder / COMPILED).exists() else None, "profile": PROFILE}


if __name__ == "__main__":
    _SERVE["serve"](compile_file)
