"""The program that runs a compiled ONNX file on Qualcomm's emulator of a Hexagon NPU; `emulator.py` asks it through `ask_tool`.

Request: file, inputs and outputs (paths of .npy files), soc_model, generation. The emulator computes what the compiled
network gives on the NPU; its time means nothing. A network of which a part would run on the CPU is refused.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))


def run_file(request: dict[str, Any]) -> dict[str, Any]:
    """Runs a file on all inputs and leaves its first output as an array (n, …)."""
    import numpy as np
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    name = "QNNExecutionProvider"
    ort.register_execution_provider_library(name, qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider = {
        "backend_path": qnn.get_qnn_htp_path(),
        "htp_arch": str(request["generation"]),
        "soc_model": str(request["soc_model"]),
        "offload_graph_io_quantization": "0",
        "htp_graph_finalization_optimization_mode": "3",
    }
    options.add_provider_for_devices(devices[:1], provider)
    try:
        session = ort.InferenceSession(request["file"], options)
    except Exception as error:
        # Whatever the compiler stumbles over is one file's trouble; the exceptions have no common base.
        raise _SERVE["RefusalError"](" ".join(str(error).split())[:600]) from error
    entry = session.get_inputs()[0].name
    outputs = [session.run(None, {entry: one[None]})[0][0] for one in np.load(request["inputs"])]
    np.save(request["outputs"], np.stack(outputs))
    return {"pictures": len(outputs)}


if __name__ == "__main__":
    _SERVE["serve"](run_file)
