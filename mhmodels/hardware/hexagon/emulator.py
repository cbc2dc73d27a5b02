"""Outputs of a network as a Hexagon NPU computes them, from Qualcomm's emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MeasurementError
from mhmodels.hardware.hexagon import emulate
from mhmodels.hardware.placement.socs import get_placement_soc
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.running import ask_tool
from mhmodels.system.temporary import temporary_folder

SOC = get_placement_soc("SM8650")
"""Snapdragon 8 Gen 3, HTP v75: a phone's NPU. Its outputs are emulated, though no latency is estimated for it."""

_SECONDS_A_PICTURE, _SECONDS_TO_COMPILE = 60.0, 600.0
_PROGRAM = Path(emulate.__file__)


def emulated_outputs(path: Path, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the first output of an ONNX file on Qualcomm's emulator, for every input.

    Args:
        path: The file, at batch 1 and with one input.
        inputs: (n, …) in the input's own type and shape without batch.

    Returns:
        (n, …) in the output's own type.

    Raises:
        MeasurementError: The tool is not installed, crashes or hangs, or does not take the whole network.
    """
    with temporary_folder("emulator") as folder:
        np.save(folder / "inputs.npy", inputs)
        request = {
            "file": str(path.absolute()),
            "inputs": str(folder / "inputs.npy"),
            "outputs": str(folder / "outputs.npy"),
            "soc_model": SOC.soc_model,
            "generation": SOC.generation,
        }
        timeout_s = _SECONDS_TO_COMPILE + _SECONDS_A_PICTURE * len(inputs)
        said = ask_tool(QUALCOMM, _PROGRAM, request, timeout_s=timeout_s)
        if said.answer is None:
            raise MeasurementError(f"{path}: does not run as a whole on the Hexagon NPU ({said.refusal})")
        outputs: NDArray[np.generic] = np.load(folder / "outputs.npy")
        return outputs
