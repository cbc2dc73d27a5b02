"""The process in which LiteRT's profiler runs. It is run by path through `contained.py` and never imported, so it uses only the
standard library, NumPy and LiteRT.

LiteRT's Python classes have no profiler; its C library has one (`litert_profiler.h`), which reports every operator that XNNPACK
runs inside its delegate. The library is called through `ctypes`: a wrong call kills this process only.

The arguments are the number of the channel and the settings as JSON. Every JSON line on the channel asks for a block (`runs`,
`profiled`), and a line answers it. The first answer comes without a request, after warming up.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

pace_ns: Callable[[], int] = runpy.run_path(str(Path(__file__).with_name("child.py")))["pace_ns"]

WARMUP_NS, WARMUP_RUNS = 250_000_000, 10
_OPERATOR, _DELEGATE_OPERATOR, _DELEGATED_OPERATOR = 2, 4, 8
"""Types of events (`litert_profiler_event.h`): an operator, and the two kinds of operators inside a delegate."""
_SOURCES = (0, 1, 2)
_CPU = 1
_WRITE = 1
_TYPE_BYTES = 512
"""Room for a `LiteRtRankedTensorType`, which is only handed on."""


class ProfileSettings(TypedDict):
    """The settings of a session, as `layers.py` writes them: `inputs` are type and shape by index of the tensor."""

    path: str
    xnnpack: bool
    threads: int
    inputs: dict[str, tuple[str, Sequence[int]]]


class Event(ctypes.Structure):
    """`ProfiledEventData` of LiteRT 2.3.0, whose memory figures are three words at the begin and three at the end."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("index", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class ProfiledModel:
    """A model that LiteRT compiled for the CPU, with a profiler."""

    def __init__(self, settings: ProfileSettings) -> None:
        """Loads the file, makes buffers for inputs and outputs, and fills the inputs."""
        import ai_edge_litert

        folder = os.path.dirname(ai_edge_litert.__file__)  # noqa: PTH120
        self.library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))  # noqa: PTH118
        self.alone = settings["threads"] == 1
        self.environment = self.made("LiteRtCreateEnvironment", 0, None)
        self.model = self.made("LiteRtCreateModelFromFile", self.environment, ctypes.c_char_p(os.fsencode(settings["path"])))
        options = self.made("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        kernels = f"num_threads = {settings['threads']}\n" + ("" if settings["xnnpack"] else "kernel_mode = 2\n")
        for name, text in (("runtime_options_string", "enable_profiling = true\n"), ("xnnpack", kernels)):
            self.call("LiteRtAddOpaqueOptions", options, self.option(name, text))
        self.compiled = self.made("LiteRtCreateCompiledModel", self.environment, self.model, options)
        self.profiler = self.made("LiteRtCompiledModelGetProfiler", self.compiled)
        self.signature = self.made("LiteRtGetModelSignature", self.model, ctypes.c_size_t(0))
        self.inputs, self.outputs = self.buffers("Input", settings["inputs"]), self.buffers("Output", {})

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function of the library."""
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls a function whose last argument is the address of its result."""
        result = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(result))
        return result

    def option(self, name: str, text: str) -> ctypes.c_void_p:
        """An option group in TOML; LiteRT frees the text."""
        c = ctypes.CDLL(None)
        c.strdup.restype = ctypes.c_void_p
        payload = ctypes.c_void_p(c.strdup(ctypes.c_char_p(text.encode())))
        free = ctypes.cast(c.free, ctypes.c_void_p)
        return self.made("LiteRtCreateOpaqueOptions", ctypes.c_char_p(name.encode()), payload, free)

    def buffers(self, side: str, values: dict[str, tuple[str, Sequence[int]]]) -> ctypes.Array[ctypes.c_void_p]:
        """Buffers of all inputs or outputs, filled where the type and shape are given."""
        count = ctypes.c_size_t()
        self.call(f"LiteRtGetNumSignature{side}s", self.signature, ctypes.byref(count))
        found = []
        for place in map(ctypes.c_size_t, range(count.value)):
            tensor = self.made(f"LiteRtGetSignature{side}TensorByIndex", self.signature, place)
            kind, index = (ctypes.c_uint8 * _TYPE_BYTES)(), ctypes.c_uint32()
            self.call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind))
            needs = self.made(f"LiteRtGetCompiledModel{side}BufferRequirements", self.compiled, ctypes.c_size_t(0), place)
            buffer = self.made("LiteRtCreateManagedTensorBufferFromRequirements", self.environment, ctypes.byref(kind), needs)
            self.call("LiteRtGetTensorIndex", tensor, ctypes.byref(index))
            if str(index.value) in values:
                self.fill(buffer, *values[str(index.value)])
            found.append(buffer)
        return (ctypes.c_void_p * len(found))(*found)

    def fill(self, buffer: ctypes.c_void_p, dtype: str, shape: Sequence[int]) -> None:
        """Writes seeded random values: uniform in -1..1, or over the whole range of an integer type."""
        import numpy as np

        random, kind = np.random.default_rng(0), np.dtype(dtype)
        if kind.kind == "f":
            values = random.uniform(-1, 1, shape).astype(kind)
        else:
            values = random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
        size = ctypes.c_size_t()
        self.call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
        if size.value != values.nbytes:
            raise RuntimeError(f"an input takes {size.value} bytes, expected {values.nbytes}")
        place = ctypes.c_void_p()
        self.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
        ctypes.memmove(place, values.ctypes.data, values.nbytes)
        self.call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> int:
        """Time in ns of one inference: that for which this thread had its core, if it is the only one."""
        clock = time.thread_time_ns if self.alone else time.perf_counter_ns
        start = clock()
        self.call(
            "LiteRtRunCompiledModel", self.compiled, ctypes.c_size_t(0), ctypes.c_size_t(len(self.inputs)), self.inputs,
            ctypes.c_size_t(len(self.outputs)), self.outputs,
        )  # fmt: skip
        return clock() - start

    def block(self, runs: int, *, profiled: bool) -> dict[str, object]:
        """Times inferences: `ns` of each; with the profiler also `operators` and, for each inference, their times `us`.

        `pace_ns` is the faster pace of this core of before and after the block.
        """
        before = pace_ns()
        answer = self.profiled(runs) if profiled else {"ns": [self.run() for _ in range(runs)]}
        return {**answer, "pace_ns": min(before, pace_ns())}

    def profiled(self, runs: int) -> dict[str, object]:
        """Times inferences with the profiler."""
        times: list[int] = []
        rows: list[list[int]] = []
        names: list[list[object]] = []
        for _ in range(runs):
            self.call("LiteRtResetProfiler", self.profiler)
            self.call("LiteRtStartProfiler", self.profiler)
            times.append(self.run())
            self.call("LiteRtStopProfiler", self.profiler)
            events = self.events()
            here = [[event.tag.decode("utf-8", "replace"), event.type != _OPERATOR, event.index] for event in events]
            if names and here != names:
                raise RuntimeError("two inferences ran different operators")
            names = here
            rows.append([event.elapsed_us for event in events])
        return {"ns": times, "operators": names, "us": rows}

    def events(self) -> list[Event]:
        """The operators of the last inference. Inside a delegate that reports its own, the delegate itself is left out."""
        count = ctypes.c_int()
        self.call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(count))
        found = (Event * count.value)()
        self.call("LiteRtGetProfilerEvents", self.profiler, count.value, found)
        if not count.value or any(event.source not in _SOURCES or event.type & (event.type - 1) for event in found):
            raise RuntimeError("the profiler's records have another form than those of LiteRT 2.3.0")
        kinds = (_OPERATOR, _DELEGATE_OPERATOR, _DELEGATED_OPERATOR)
        chosen = [event for event in found if event.type in kinds and event.tag]
        inside = any(event.type != _OPERATOR for event in chosen)
        return [event for event in chosen if not (inside and event.type == _OPERATOR and b"Delegate" in event.tag)]


def serve(channel: int, settings: ProfileSettings) -> None:
    """Answers requests until the channel ends."""

    def answer(document: dict[str, object]) -> None:
        with open(channel, "w", encoding="utf-8", closefd=False) as answers:
            answers.write(json.dumps(document) + "\n")

    try:
        model = ProfiledModel(settings)
        runs, end = 0, time.perf_counter_ns() + WARMUP_NS
        while runs < WARMUP_RUNS or time.perf_counter_ns() < end:
            taken = model.run()
            runs += 1
        gc.disable()
        answer({"warmup": runs, "ns": taken})
        with open(channel, encoding="utf-8", closefd=False) as requests:
            for line in requests:
                request = json.loads(line)
                answer(model.block(request["runs"], profiled=request["profiled"]))
    except (ValueError, RuntimeError, MemoryError, ImportError, OSError, AttributeError) as error:
        answer({"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
