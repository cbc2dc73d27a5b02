"""The process in which a file is timed. It is run by path through `contained.py` and never imported, so it uses only the standard
library, NumPy and LiteRT.

The first argument is the number of the channel (`mhmodels.system.child`), the second has the settings as JSON. A JSON line on
the channel asks for one block (`runs`, and `seconds` after which the block ends with the runs that it has), and a line answers
it. The first answer comes without a request, after warming up.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import TYPE_CHECKING, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from numpy.typing import NDArray

Inputs: TypeAlias = "list[tuple[int, NDArray[np.generic]]]"
Loaded: TypeAlias = "tuple[Interpreter, Inputs]"

WARMUP_RUNS, WARMUP_NS, WARMUP_MOST = 10, 250_000_000, 2000
"""Least number of runs, least time and largest number of runs of the warm-up."""
WARMUP_LIMIT_NS = 20_000_000_000
"""Time after which the warm-up ends in any case."""
REFERENCE_WARMUP_RUNS = 3
PACE_LOOPS, PACE_STEPS = 7, 2000


class Settings(TypedDict):
    """The settings of a session, as `session.py` writes them."""

    path: str
    xnnpack: bool
    threads: int
    reference: str | None


def fill(interpreter: Interpreter) -> Inputs:
    """Seeded random values for every input: uniform in -1..1, or over the whole range of an integer type."""
    import numpy as np

    random = np.random.default_rng(0)
    inputs = []
    for detail in interpreter.get_input_details():
        kind = np.dtype(detail["dtype"])
        if kind.kind == "f":
            values = random.uniform(-1, 1, detail["shape"]).astype(kind)
        elif kind.kind in "iu":
            values = random.integers(np.iinfo(kind).min, np.iinfo(kind).max, detail["shape"], kind, endpoint=True)
        elif kind.kind == "b":
            values = random.integers(0, 2, detail["shape"]).astype(kind)
        else:
            raise ValueError(f"input '{detail['name']}' is of type {kind}, expected numbers")
        inputs.append((detail["index"], values))
    return inputs


def count_nodes(interpreter: Interpreter) -> tuple[int | None, int | None]:
    """Number of operators inside delegates, and of all operators of the file; None where this LiteRT does not tell.

    The node of a delegate is at the end of the list and names only its borders, so the operators that it replaced are found by
    walking from its outputs back to its inputs.
    """
    try:
        nodes = interpreter._get_ops_details()
    except AttributeError:
        return None, None
    original = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {int(tensor): place for place, node in enumerate(original) for tensor in node["outputs"]}
    replaced: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == "DELEGATE"):
        border = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            place = producer.get(waiting.pop())
            if place is None or place in replaced:
                continue
            replaced.add(place)
            waiting += [int(tensor) for tensor in original[place]["inputs"] if int(tensor) not in border]
    return len(replaced), len(original)


def pace_ns() -> int:
    """Time in ns of a short loop that always does the same work: the speed of this core at this moment.

    Load that the system does not show, on the other thread of a core or in another virtual machine, slows this loop and networks
    alike. The median of seven loops leaves out one that was interrupted.
    """
    times = []
    for _ in range(PACE_LOOPS):
        start = time.perf_counter_ns()
        for _ in range(PACE_STEPS):
            pass
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[PACE_LOOPS // 2]


def timed_run(interpreter: Interpreter, inputs: Inputs) -> tuple[int, int]:
    """Times one inference.

    Inputs are written anew each time, because the memory planner may reuse their place.

    Returns:
        Duration of the inference in ns, and the time in ns for which this thread had the core.
    """
    for index, values in inputs:
        interpreter.set_tensor(index, values)
    own, start = time.thread_time_ns(), time.perf_counter_ns()
    interpreter.invoke()
    taken = time.perf_counter_ns() - start
    return taken, time.thread_time_ns() - own


def timed_block(network: Loaded, reference: Loaded | None, runs: int, seconds: float) -> dict[str, list[int]]:
    """Times inferences of a network one by one.

    Args:
        network: Interpreter and inputs.
        reference: Interpreter and inputs of a reference network that is timed once after each inference; None for none.
        runs: Number of inferences.
        seconds: Time after which no further inference begins; at least one is made.

    Returns:
        `ns` and `own_ns` of each inference (see `timed_run`), `reference_ns` where there is a reference, and `pace_ns` before and
        after the block.
    """
    end = time.perf_counter_ns() + int(seconds * 1e9)
    answer: dict[str, list[int]] = {"pace_ns": [pace_ns()], "ns": [], "own_ns": []} | ({"reference_ns": []} if reference else {})
    while len(answer["ns"]) < runs and (not answer["ns"] or time.perf_counter_ns() < end):
        taken, own = timed_run(*network)
        answer["ns"].append(taken)
        answer["own_ns"].append(own)
        if reference:
            answer["reference_ns"].append(timed_run(*reference)[0])
    answer["pace_ns"].append(pace_ns())
    return answer


def readable(path: str) -> str:
    """A name of a file that the runtime can open: it takes names in UTF-8 only."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"/dev/fd/{os.open(path, os.O_RDONLY)}"
    return path


def load(path: str, settings: Settings) -> Interpreter:
    """Makes an interpreter and allocates its tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if settings["xnnpack"] else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=readable(path), num_threads=settings["threads"], experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter


def load_reference(settings: Settings) -> Loaded | None:
    """Loads the reference network and warms it up; None if there is none."""
    if settings["reference"] is None:
        return None
    interpreter = load(settings["reference"], settings)
    inputs = fill(interpreter)
    for _ in range(REFERENCE_WARMUP_RUNS):
        timed_run(interpreter, inputs)
    return interpreter, inputs


def prepare(settings: Settings) -> tuple[Interpreter, Inputs, dict[str, object]]:
    """Loads the file and warms up; returns interpreter, inputs and facts about both."""
    start = time.perf_counter_ns()
    interpreter = load(settings["path"], settings)
    init = time.perf_counter_ns() - start
    inputs = fill(interpreter)
    first = timed_run(interpreter, inputs)[0]
    warmup, begin = 1, time.perf_counter_ns()
    while _still_cold(warmup, time.perf_counter_ns() - begin):
        timed_run(interpreter, inputs)
        warmup += 1
    delegated, total = count_nodes(interpreter)
    return (
        interpreter,
        inputs,
        {
            "init_ns": init,
            "first_ns": first,
            "warmup": warmup,
            "warmup_ns": time.perf_counter_ns() - begin + first,
            "pace_ns": pace_ns(),
            "delegated": delegated,
            "total": total,
        },
    )


def _still_cold(warmup: int, passed_ns: int) -> bool:
    return passed_ns < WARMUP_LIMIT_NS and (warmup < WARMUP_RUNS or (passed_ns < WARMUP_NS and warmup < WARMUP_MOST))


def serve(channel: int, settings: Settings) -> None:
    """Answers requests until the channel ends."""

    def answer(document: Mapping[str, object]) -> None:
        with open(channel, "w", encoding="utf-8", closefd=False) as answers:
            answers.write(json.dumps(document) + "\n")

    try:
        reference = load_reference(settings)
        interpreter, inputs, about = prepare(settings)
        gc.collect()
        gc.disable()
        answer(about)
        with open(channel, encoding="utf-8", closefd=False) as requests:
            for line in requests:
                request = json.loads(line)
                answer(timed_block((interpreter, inputs), reference, request["runs"], request["seconds"]))
    except (ValueError, RuntimeError, MemoryError, ImportError) as error:
        answer({"error": str(error) or type(error).__name__})


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]))
