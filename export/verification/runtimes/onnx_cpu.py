"""Runs an ONNX file on pictures with ONNX Runtime in a child process.

As a program (REQUEST.npz RESULT.npz, started by `mhmodels.system.child.run_contained`) this module is that child: it imports
onnx, ONNX Runtime and NumPy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.verification.runtimes.litert import run_in_child


def run_onnx_file(
    path: str | os.PathLike[str], inputs: NDArray[np.generic], tensors: Sequence[str], *, timeout_s: float = 600.0
) -> list[NDArray[np.generic]]:
    """Runs a file with one input at batch 1 over a set of inputs, on ONNX Runtime's kernels for the CPU.

    Args:
        path: The ONNX file.
        inputs: (n, …) in the input's own type and shape without batch.
        tensors: Names of the tensors to return.
        timeout_s: Limit of the whole run, in seconds.

    Returns:
        For each tensor an array (n, …) of its values.

    Raises:
        ExportError: The runtime refuses the file, dies on it, or exceeds the time.
    """
    return run_in_child("mhmodels.export.verification.runtimes.onnx_cpu", path, inputs, tensors, {}, timeout_s=timeout_s)


def _serve(request: str, result: str) -> None:
    import onnx
    import onnxruntime

    with np.load(request) as arrays:
        inputs, settings = arrays["inputs"], json.loads(str(arrays["settings"]))
    model, tensors = onnx.load(settings["path"]), settings["tensors"]
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The int8 kernels for x86 CPUs without VNNI add pairs of products in 16 bits, which saturate; these do not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    collected: list[list[NDArray[np.generic]]] = [[] for _ in tensors]
    for one in inputs:
        for values, found in zip(collected, session.run(tensors, {entry: one[None]}), strict=True):
            values.append(found[0])
    np.savez(result, **{f"tensor{i}": np.stack(values) for i, values in enumerate(collected)})


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
