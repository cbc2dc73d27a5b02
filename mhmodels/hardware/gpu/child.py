"""The process in which a file is timed on LiteRT's GPU accelerator. It is run by path through `contained.py`, so it uses only the
standard library, NumPy and LiteRT.

The protocol is that of `hardware/host/child.py`: settings in the second argument, a first answer after warming up, then a
block of timings for each request. A timing covers writing the input, the inference, and reading the output, which waits for the
GPU.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WARMUP_RUNS, WARMUP_NS, WARMUP_LIMIT_NS = 10, 250_000_000, 20_000_000_000


class GpuNetwork:
    """A file compiled for LiteRT's GPU accelerator.

    Attributes:
        whole: Whether the GPU takes the whole network; if not, it must not be run.
        inputs, outputs: Details of the tensors in file order: `name`, `dtype`, `shape`.
    """

    def __init__(self, path: str) -> None:
        """Compiles a file.

        Raises:
            RuntimeError: There is no GPU, or LiteRT refuses the file.
        """
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        self._model = CompiledModel.from_file(path, HardwareAccelerator.GPU)
        self.whole = bool(self._model.is_fully_accelerated())
        if not self.whole:
            return
        key = self._model.get_signature_by_index(0)["key"]
        self.inputs = list(self._model.get_input_tensor_details(key).values())
        self.outputs = list(self._model.get_output_tensor_details(key).values())
        self._entries, self._exits = self._model.create_input_buffers(0), self._model.create_output_buffers(0)

    def run(self, values: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Writes the inputs, runs the network, and reads the outputs, which waits for the GPU.

        Args:
            values: An array for each input, in its type and shape, contiguous.
        """
        for entry, value in zip(self._entries, values, strict=True):
            entry.write(value)
        self._model.run_by_index(0, self._entries, self._exits)
        return [
            leave.read(math.prod(detail["shape"]), detail["dtype"]).reshape(detail["shape"])
            for leave, detail in zip(self._exits, self.outputs, strict=True)
        ]


def drawn_inputs(network: GpuNetwork) -> list[NDArray[np.generic]]:
    """Returns seeded random values for every input."""
    import numpy as np

    random = np.random.default_rng(0)
    values = []
    for detail in network.inputs:
        kind = np.dtype(detail["dtype"])
        drawn = random.uniform(-1, 1, detail["shape"]) if kind.kind == "f" else random.integers(0, 128, detail["shape"])
        values.append(np.ascontiguousarray(drawn.astype(kind)))
    return values


def timed_run(network: GpuNetwork, values: Sequence[NDArray[np.generic]]) -> int:
    """Returns the duration of one inference in ns."""
    start = time.perf_counter_ns()
    network.run(values)
    return time.perf_counter_ns() - start


def serve(channel: int, settings: dict[str, Any]) -> None:
    """Answers requests until the channel ends."""

    def answer(document: dict[str, Any]) -> None:
        with open(channel, "w", encoding="utf-8", closefd=False) as answers:
            answers.write(json.dumps(document) + "\n")

    try:
        start = time.perf_counter_ns()
        network = GpuNetwork(settings["path"])
        init = time.perf_counter_ns() - start
        if not network.whole:
            answer({"whole": False})
            return
        run = functools.partial(timed_run, network, drawn_inputs(network))
        first, begin, warmup = run(), time.perf_counter_ns(), 1
        while (passed := time.perf_counter_ns() - begin) < WARMUP_LIMIT_NS and (warmup < WARMUP_RUNS or passed < WARMUP_NS):
            run()
            warmup += 1
        answer({"whole": True, "init_ns": init, "first_ns": first, "warmup": warmup})
        with open(channel, encoding="utf-8", closefd=False) as requests:
            for line in requests:
                request = json.loads(line)
                end = time.perf_counter_ns() + int(request["seconds"] * 1e9)
                times: list[int] = []
                while len(times) < request["runs"] and (not times or time.perf_counter_ns() < end):
                    times.append(run())
                answer({"ns": times})
    except (ValueError, RuntimeError, MemoryError, ImportError, KeyError) as error:
        answer({"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
