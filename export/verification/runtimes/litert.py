"""Runs a TFLite file on pictures in a child process, because a runtime may crash on a damaged or hostile file.

As a program (REQUEST.npz RESULT.npz, started by `mhmodels.system.child.run_contained`) this module is that child: it imports
LiteRT and NumPy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError
from mhmodels.hardware.host.child import readable
from mhmodels.system.child import end_name, last_line, run_contained
from mhmodels.system.temporary import temporary_folder

NO_RUNTIME = 3
"""Exit code of a runtime that is not there; its last words say what to do."""
_MODULE = "mhmodels.export.verification.runtimes.litert"
RuntimeKernels: TypeAlias = Literal["xnnpack", "builtin", "reference"]
"""LiteRT's default (XNNPACK where it can), its own optimised kernels, or its reference kernels."""


def run_file(
    path: str | os.PathLike[str],
    inputs: NDArray[np.generic],
    tensors: Sequence[int],
    *,
    kernels: RuntimeKernels = "builtin",
    timeout_s: float = 600.0,
) -> list[NDArray[np.generic]]:
    """Runs a file with one input at batch 1 over a set of inputs.

    Args:
        path: The TFLite file.
        inputs: (n, …) in the input's own type and shape without batch.
        tensors: Indices of the tensors to return; inner ones only without XNNPACK, which keeps none.
        kernels: Who computes.
        timeout_s: For the whole run.

    Returns:
        For each tensor an array (n, …) of what it held, without the batch of 1 where it has one.

    Raises:
        ExportError: The runtime refuses the file, dies on it, or exceeds the time.
    """
    return run_in_child(_MODULE, path, inputs, tensors, {"kernels": kernels}, timeout_s=timeout_s)


def run_in_child(
    module: str,
    path: str | os.PathLike[str],
    inputs: NDArray[np.generic],
    tensors: Sequence[int] | Sequence[str],
    settings: Mapping[str, object],
    *,
    timeout_s: float,
) -> list[NDArray[np.generic]]:
    """Runs a file with the runtime that a module serves as a program.

    Args:
        module: Dotted name of the module, which reads a request and writes a result, as this one does.
        path: The file.
        inputs: (n, …) in the input's own type and shape without batch.
        tensors: What the module names the tensors to return by.
        settings: Further settings of the module.
        timeout_s: Limit of the whole run, in seconds.

    Returns:
        For each tensor an array (n, …).

    Raises:
        ExportError: The runtime refuses the file, dies on it, or exceeds the time.
    """
    with temporary_folder("runtime") as folder:
        request, result = folder / "request.npz", folder / "result.npz"
        described = json.dumps({"path": str(Path(path).resolve()), "tensors": list(tensors), **settings})
        np.savez(request, inputs=inputs, settings=np.array(described))
        try:
            child = run_contained(module, [str(request), str(result)], timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            raise ExportError(f"{path}: the runtime did not finish {len(inputs)} pictures in {timeout_s:g} s") from None
        if child.returncode != 0 or not result.is_file():
            raise ExportError(f"{path}: {_death_of(child)}")
        with np.load(result) as arrays:
            return [arrays[f"tensor{i}"] for i in range(len(tensors))]


def _death_of(child: subprocess.CompletedProcess[bytes]) -> str:
    """Returns why the process of a runtime ended without a result, in words."""
    if child.returncode < 0:
        return f"the runtime crashed on this file ({end_name(child.returncode)}); it is damaged or hostile"
    words = last_line(child.stderr) or end_name(child.returncode)
    return words if child.returncode == NO_RUNTIME else f"the runtime refuses this file: {words}"


def _serve(request: str, result: str) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with np.load(request) as arrays:
        inputs, settings = arrays["inputs"], json.loads(str(arrays["settings"]))
    resolver = {
        "xnnpack": OpResolverType.AUTO,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    }[settings["kernels"]]
    interpreter = Interpreter(
        model_path=readable(settings["path"]),
        num_threads=1,
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=settings["kernels"] != "xnnpack",
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    collected: list[list[NDArray[np.generic]]] = [[] for _ in settings["tensors"]]
    for one in inputs:
        interpreter.set_tensor(entry, one[None])
        interpreter.invoke()
        for values, index in zip(collected, settings["tensors"], strict=True):
            found = interpreter.get_tensor(index)
            if found.dtype.kind not in "biuf":
                raise ValueError(f"tensor {index} holds {found.dtype}, expected numbers")
            # A tensor without a batch of 1 in front, such as shape arithmetic, is kept as it is.
            values.append(found[0] if found.ndim and found.shape[0] == 1 else found)
    np.savez(result, **{f"tensor{i}": np.stack(values) for i, values in enumerate(collected)})


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
