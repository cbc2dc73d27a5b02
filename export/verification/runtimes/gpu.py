"""Runs a TFLite file on LiteRT's GPU accelerator, in a child process.

The accelerator computes through Vulkan: on a GPU, or on a driver in software such as SwiftShader, whose outputs are those of the
GPU's code and whose time means nothing. As a program this module is that child, as `litert.py` is.
"""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.verification.runtimes.litert import NO_RUNTIME, run_in_child
from mhmodels.hardware.gpu.child import GpuNetwork
from mhmodels.hardware.host.child import readable

_NO_GPU = (
    "LiteRT finds no GPU, which takes the Vulkan loader (Debian: libvulkan1) and a driver; the environment variable "
    "VK_ICD_FILENAMES may name one, such as the vk_swiftshader_icd.json of Debian's chromium"
)
_SECONDS_A_PICTURE, _SECONDS_TO_COMPILE = 60.0, 600.0


def gpu_outputs(path: str | os.PathLike[str], inputs: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the first output of a file on LiteRT's GPU accelerator, for every input.

    Args:
        path: The TFLite file, with one input at batch 1.
        inputs: (n, …) in the input's own type and shape without batch.

    Returns:
        (n, …) in the output's own type.

    Raises:
        ExportError: There is no Vulkan driver, the accelerator does not take the whole network, crashes or hangs.
    """
    timeout_s = _SECONDS_TO_COMPILE + _SECONDS_A_PICTURE * len(inputs)
    (outputs,) = run_in_child(__name__, path, inputs, ("first",), {}, timeout_s=timeout_s)
    return outputs


def _serve(request: str, result: str) -> None:
    with np.load(request) as arrays:
        inputs, settings = arrays["inputs"], json.loads(str(arrays["settings"]))
    try:
        network = GpuNetwork(readable(settings["path"]))
    except RuntimeError:
        _end(NO_RUNTIME, _NO_GPU)
    if not network.whole:
        _end(4, "LiteRT's GPU accelerator leaves a part of the network to the CPU")
    found = [np.array(network.run([np.ascontiguousarray(one[None])])[0][0]) for one in inputs]
    np.savez(result, tensor0=np.stack(found))
    _end(0, "")


def _end(code: int, last_words: str) -> NoReturn:
    """Ends the process at once: destructors of Vulkan drivers crash, and those of LiteRT print."""
    print(last_words, file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
