"""The program that runs a compiled ONNX file on Qualcomm's emulator of a Hexagon NPU; `emulator.py` asks it through `ask_tool`.

Request: file, inputs and outputs (paths of .npy files), soc_model, generation. The emulator computes what the compiled
network gives on the NPU; its time means nothing. A network of which a part would run on the CPU is refused.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))
_OPEN = runpy.run_path(str(Path(__file__).with_name("session.py")))["open_session"]


def run_file(request: dict[str, Any]) -> dict[str, Any]:
    """Runs a file on all inputs and leaves its first output as an array (n, …)."""
    import numpy as np

    session = _OPEN(request, _SERVE["RefusalError"], {"session.disable_cpu_ep_fallback": "1"}, {})
    entry = session.get_inputs()[0].name
    outputs = [session.run(None, {entry: one[None]})[0][0] for one in np.load(request["inputs"])]
    np.save(request["outputs"], np.stack(outputs))
    return {"pictures": len(outputs)}


if __name__ == "__main__":
    _SERVE["serve"](run_file)
