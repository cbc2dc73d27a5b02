"""Accelerators of phones that compute a network on this machine, beside LiteRT's kernels, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import UnknownNameError
from mhmodels.export.formats import ExportFormat
from mhmodels.export.verification.runtimes.gpu import gpu_outputs
from mhmodels.hardware.hexagon.emulator import emulated_outputs
from mhmodels.tflite.format import FileFormat


class Accelerator(NamedTuple):
    """A runner of a network on an accelerator.

    Attributes:
        files: By format of the TFLite file that is compared, the format of the file of the same numbers that the accelerator
            takes.
        outputs: Computes outputs (n, …) of a file from inputs (n, …), both in the types of the file.
        to_run: How to run it, for reports that did not.
    """

    files: Mapping[FileFormat, ExportFormat]
    outputs: Callable[[Path, NDArray[np.generic]], NDArray[np.generic]]
    to_run: str


ACCELERATORS: Mapping[str, Accelerator] = {
    # A float32 file is computed in float16.
    "hexagon": Accelerator(
        {"float32": "onnx-float32", "int8": "onnx-int8", "uint8": "onnx-uint8"},
        emulated_outputs,
        "emulated with argument 'accelerators=hexagon', after `mhmodels hardware install qualcomm`",
    ),
    "gpu": Accelerator(
        {fmt: fmt for fmt in ("float32", "float16", "int8", "uint8")},
        gpu_outputs,
        "run with argument 'accelerators=gpu', where there is a Vulkan driver",
    ),
}


def chosen_accelerators(names: Iterable[str]) -> dict[str, Accelerator]:
    """Returns accelerators by name.

    Raises:
        UnknownNameError: There is no such accelerator.
    """
    chosen = {}
    for name in names:
        if name not in ACCELERATORS:
            raise UnknownNameError("accelerator", name, ACCELERATORS)
        chosen[name] = ACCELERATORS[name]
    return chosen
