"""The process in which a file is timed on LiteRT's GPU accelerator. It is run by path through `contained.py` and never imported.

The protocol is that of `hardware/host/child.py`: settings in the second argument, a first answer after warming up, then a
block of timings for each request. A timing covers writing the input, the inference, and reading the output, which waits for the
GPU.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

WARMUP_RUNS, WARMUP_NS, WARMUP_LIMIT_NS = 10, 250_000_000, 20_000_000_000


def load(path: str) -> tuple[Callable[[], int], bool]:
    """Compiles a file; returns a function that times one inference in ns, and whether the GPU takes the whole network."""
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    model = CompiledModel.from_file(path, HardwareAccelerator.GPU)
    if not model.is_fully_accelerated():
        return lambda: 0, False
    key = model.get_signature_by_index(0)["key"]
    inputs = list(model.get_input_tensor_details(key).values())
    outputs = list(model.get_output_tensor_details(key).values())
    entries, exits = model.create_input_buffers(0), model.create_output_buffers(0)
    random = np.random.default_rng(0)
    values = []
    for detail in inputs:
        kind = np.dtype(detail["dtype"])
        drawn = random.uniform(-1, 1, detail["shape"]) if kind.kind == "f" else random.integers(0, 128, detail["shape"])
        values.append(np.ascontiguousarray(drawn.astype(kind)))

    def run() -> int:
        start = time.perf_counter_ns()
        for entry, value in zip(entries, values, strict=True):
            entry.write(value)
        model.run_by_index(0, entries, exits)
        for leave, detail in zip(exits, outputs, strict=True):
            leave.read(int(np.prod(detail["shape"])), np.dtype(detail["dtype"]))
        return time.perf_counter_ns() - start

    return run, True


def serve(channel: int, settings: dict[str, Any]) -> None:
    """Answers requests until the channel ends."""

    def answer(document: dict[str, Any]) -> None:
        with open(channel, "w", encoding="utf-8", closefd=False) as answers:
            answers.write(json.dumps(document) + "\n")

    try:
        start = time.perf_counter_ns()
        run, whole = load(settings["path"])
        init = time.perf_counter_ns() - start
        if not whole:
            answer({"whole": False})
            return
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
