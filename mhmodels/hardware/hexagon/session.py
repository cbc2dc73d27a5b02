"""Opens a session of ONNX Runtime on a Hexagon NPU, for the programs in Qualcomm's environment, which load this file by path."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROVIDER = "QNNExecutionProvider"


def open_session(
    request: Mapping[str, Any], refusal: type[Exception], entries: Mapping[str, str], profiling: Mapping[str, str]
) -> Any:
    """Compiles a file for a Hexagon NPU.

    Args:
        request: Has file, soc_model and generation.
        refusal: What to raise if the compiler refuses the file.
        entries: Settings of the session.
        profiling: Options of the provider beside those that every session has.

    Returns:
        The session.
    """
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    backend = Path(qnn.get_qnn_htp_path())
    # Without its libraries the provider takes no operator, and says so in a log only.
    for library in ("libQnnSystem.so", backend.name):
        ctypes.CDLL(str(backend.with_name(library)))
    ort.register_execution_provider_library(PROVIDER, qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    provider = {
        "backend_path": str(backend),
        "htp_arch": str(request["generation"]),
        "soc_model": str(request["soc_model"]),
        # Otherwise conversions at input and output are computed by the CPU and fall out of the estimate.
        "offload_graph_io_quantization": "0",
        "htp_graph_finalization_optimization_mode": "3",
        **profiling,
    }
    options.add_provider_for_devices(devices[:1], provider)
    try:
        return ort.InferenceSession(request["file"], options)
    except Exception as error:
        # Whatever the compiler stumbles over is one file's trouble; the exceptions have no common base.
        raise refusal(" ".join(str(error).split())[:600]) from error
