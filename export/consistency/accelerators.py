"""Accelerators of phones that compute a network on this machine, beside LiteRT's kernels, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MeasurementError, UnknownNameError
from mhmodels.export.errors import ExportError
from mhmodels.export.formats import ExportFormat
from mhmodels.export.verification.runtimes.gpu import gpu_outputs
from mhmodels.hardware.hexagon.emulator import emulated_outputs
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.environment import missing
from mhmodels.tflite.format import FileFormat


class Accelerator(NamedTuple):
    """A runner of a network on an accelerator.

    Attributes:
        files: By format of the TFLite file that is compared, the format of the file of the same numbers that the accelerator
            takes.
        outputs: Computes outputs (n, …) of a file from inputs (n, …), both in the types of the file.
        to_run: How to run it, for reports that did not.
        missing: Says what it lacks on this machine, as far as that is known before a file is there; "" for nothing.
    """

    files: Mapping[FileFormat, ExportFormat]
    outputs: Callable[[Path, NDArray[np.generic]], NDArray[np.generic]]
    to_run: str
    missing: Callable[[], str] = str


ACCELERATORS: Mapping[str, Accelerator] = {
    # A float32 file is computed in float16.
    "hexagon": Accelerator(
        {"float32": "onnx-float32", "int8": "onnx-int8", "uint8": "onnx-uint8"},
        emulated_outputs,
        "emulated with argument 'accelerators=hexagon', after `mhmodels hardware install qualcomm`",
        lambda: missing(QUALCOMM),
    ),
    "gpu": Accelerator(
        {fmt: fmt for fmt in ("float32", "float16", "int8", "uint8")},
        gpu_outputs,
        "run with argument 'accelerators=gpu', where there is a Vulkan driver",
    ),
}


def chosen_accelerators(names: Iterable[str], formats: Sequence[FileFormat]) -> dict[str, Accelerator]:
    """Returns accelerators by name.

    Args:
        names: Names of accelerators.
        formats: Formats of the TFLite files that are compared.

    Raises:
        UnknownNameError: There is no such accelerator.
        ExportError: An accelerator runs none of the formats.
        MeasurementError: The tool of an accelerator is not installed.
    """
    chosen = {}
    for name in names:
        if name not in ACCELERATORS:
            raise UnknownNameError("accelerator", name, ACCELERATORS)
        one = ACCELERATORS[name]
        if not set(one.files) & set(formats):
            raise ExportError(
                f"argument 'accelerators': {name} runs {', '.join(one.files)}, and the compared formats are {', '.join(formats)}"
            )
        reason = one.missing()
        if reason:
            raise MeasurementError(f"{name} {reason}")
        chosen[name] = one
    return chosen
