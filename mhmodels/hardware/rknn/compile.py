"""The program that compiles an ONNX file for a Rockchip NPU in Rockchip's environment; `runner.py` asks it through `ask_tool`.

Request: file, folder (for temporary files), target (chip). The answer is empty: the table of layers is in what the compiler
prints. Nothing is run.

ONNX files need no TensorFlow in the environment, as TFLite files would, and give the same cycles. RKNN-Toolkit2 imports torch,
800 MB without its own requirements, for quantisation that this program never asks for: it derives a class from
`torch.nn.Module` and decorates a function with `torch.no_grad` while it is imported. A stand-in provides these two names and no
others. A compilation that used the class or the function would end the process: it never goes on with something else than torch.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SERVE = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "serve.py"))
_CHANNELS_FIRST = [0, 3, 1, 2]


def compile_file(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles a file; the compiler prints its table of layers."""
    # The compiler leaves files in the working directory and in the folder of temporary files.
    os.chdir(request["folder"])
    os.environ["TMPDIR"] = request["folder"]
    _stand_in_for_torch()
    from rknn.api import RKNN  # type: ignore[import-not-found]

    compiler = RKNN(verbose=True)
    steps: dict[str, Callable[[], int]] = {
        "config": lambda: compiler.config(target_platform=request["target"]),
        "load_onnx": lambda: compiler.load_onnx(model=request["file"], **_network_input(request["file"])),
        "build": lambda: compiler.build(do_quantization=False),
    }
    for name, step in steps.items():
        try:
            code = step()
        except Exception as error:
            # Whatever the compiler stumbles over is one file's trouble; the exceptions have no common base.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise _SERVE["RefusalError"](f"{name}: {lines[-1].strip()[:300]}") from error
        if code != 0:
            raise _SERVE["RefusalError"](f"{name} failed with code {code}")
    # The process ends without the destructors that write out what C libraries have printed.
    ctypes.CDLL(None).fflush(None)
    return {}


def _stand_in_for_torch() -> None:
    torch, nn = types.ModuleType("torch"), types.ModuleType("torch.nn")

    class Module:
        def __init__(self, *_: object, **__: object) -> None:
            # No exception, which the compiler might catch.
            print("RKNN-Toolkit2 uses torch, which is not in its environment", flush=True)
            os._exit(1)

    vars(torch).update(nn=nn, no_grad=lambda: lambda _: Module)
    vars(nn).update(Module=Module)
    sys.modules.update({"torch": torch, "torch.nn": nn})


def _network_input(path: str) -> dict[str, Any]:
    """Returns arguments for `load_onnx` that let the network begin behind the transposition of its pixels.

    RKNN networks take channels first, and the NPU reads pixels in the order in which cameras give them. With the transposition,
    the table would have a layer without cycles that no usual RKNN network has.
    """
    import onnx

    graph = onnx.load(path).graph
    readers = {name: node for node in graph.node for name in node.input}
    stored = {tensor.name for tensor in graph.initializer}
    (name, sizes), *others = (
        (value.name, [size.dim_value for size in value.type.tensor_type.shape.dim])
        for value in graph.input
        if value.name not in stored
    )
    while (node := readers.get(name)) is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        name = node.output[0]
    order = [list(value.ints) for value in node.attribute if value.name == "perm"] if node is not None else []
    if node is None or node.op_type != "Transpose" or order != [_CHANNELS_FIRST]:
        return {}
    first = (node.output[0], [sizes[place] for place in _CHANNELS_FIRST])
    return {"inputs": [each for each, _ in (first, *others)], "input_size_list": [each for _, each in (first, *others)]}


if __name__ == "__main__":
    _SERVE["serve"](compile_file)
