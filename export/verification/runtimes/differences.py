"""How much the outputs of a file differ between the runtimes of this machine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.verification.file_graph import dequantise
from mhmodels.export.verification.runtimes.gpu import gpu_outputs
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.export.verification.verified_file import VerifiedFile
from mhmodels.tflite.file import Tensor


class RuntimeDifferences(NamedTuple):
    """Largest differences at the outputs from LiteRT's builtin kernels.

    Attributes:
        xnnpack: With XNNPACK.
        gpu: On LiteRT's GPU accelerator; None where it did not run.
        unit: `lsb` (steps of an integer output) or `spread` (standard deviations of a float output).
    """

    xnnpack: float
    gpu: float | None
    unit: str


def runtime_differences(subject: VerifiedFile, encoded: NDArray[np.generic], *, gpu: bool) -> RuntimeDifferences:
    """Runs a file on the runtimes of this machine and compares its outputs.

    Args:
        subject: The file.
        encoded: Inputs (n, …) in the type of its input.
        gpu: Whether LiteRT's GPU accelerator is among the runtimes.

    Raises:
        ExportError: The GPU is asked for and there is none, or the file has several outputs or does not run on it as a whole.
        ParityError: An output has no values, wrong scales, NaN or infinite values, or another shape on another runtime.
    """
    file, outputs = subject.file, list(subject.file.outputs)
    if gpu and len(outputs) != 1:
        raise ExportError(f"{subject.path}: argument 'gpu': the file has {len(outputs)} outputs, expected 1")
    tensors = [file.tensors[position] for position in outputs]
    with_xnnpack, builtin = (run_file(subject.path, encoded, outputs, kernels=kernels) for kernels in ("xnnpack", "builtin"))
    pairs = zip(tensors, with_xnnpack, builtin, strict=True)
    return RuntimeDifferences(
        xnnpack=max((_difference(subject, *pair) for pair in pairs), default=0.0),
        gpu=_difference(subject, tensors[0], gpu_outputs(subject.path, encoded), builtin[0]) if gpu else None,
        unit="lsb" if any(len(tensor.scale) for tensor in tensors[-1:]) else "spread",
    )


def _difference(subject: VerifiedFile, tensor: Tensor, found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Returns the largest difference of an output between two runtimes, in steps or in standard deviations."""
    these, those = (dequantise(values, tensor) for values in (found, expected))
    if not those.size or these.shape != those.shape or not (tensor.scale > 0).all():
        raise ParityError(
            f"{subject.path}: output '{tensor.name}' is {those.shape[1:]} with scales {tensor.scale.tolist()[:4]}, "
            "expected values, and steps above 0"
        )
    if not np.isfinite(these).all() or not np.isfinite(those).all():
        raise ParityError(f"{subject.path}: output '{tensor.name}' has NaN or infinite values on {len(these)} pictures")
    scale = float(tensor.scale[0]) if len(tensor.scale) else max(float(those.std()), 1e-30)
    return float(np.abs(these - those).max()) / scale
