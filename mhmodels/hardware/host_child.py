"""The process in which a file is timed. Run by path through `contained.py`, never imported:
it knows the standard library, NumPy and LiteRT only.

Settings come as JSON in the first argument; then one JSON line on stdin asks for one block, and one on stdout answers it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import IO, Any

WARMUP_RUNS, WARMUP_NS, WARMUP_MOST = 10, 250_000_000, 2000
REFERENCE_WARMUP_RUNS = 3


def fill(interpreter: Any) -> list[tuple[int, Any]]:
    """Seeded values for every input: uniform in -1..1, or over the whole range of an integer."""
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


def count_nodes(interpreter: Any) -> tuple[int | None, int | None]:
    """Operators inside delegates, and all operators of the file; None where this LiteRT does not tell.

    A delegate's node stands at the end of the list and names only its borders, so what it replaced is found by walking
    from its outputs back to its inputs.
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


def timed_block(interpreter: Any, inputs: list[tuple[int, Any]], runs: int) -> tuple[list[int], int]:
    """Times `runs` inferences one by one, in ns; with them the time that this thread really had the core, in all.

    Inputs are written anew each time, as the arena may reuse their place.
    """
    clock, own_clock, invoke = time.perf_counter_ns, time.thread_time_ns, interpreter.invoke
    times, own = [], 0
    for _ in range(runs):
        for index, values in inputs:
            interpreter.set_tensor(index, values)
        own_start, start = own_clock(), clock()
        invoke()
        times.append(clock() - start)
        own += own_clock() - own_start
    return times, own


def timed_turns(network: tuple[Any, Any], reference: tuple[Any, Any], runs: int) -> tuple[list[int], list[int], int]:
    """Times `runs` inferences of a network, each followed by one of a reference; as `timed_block`, the reference's second."""
    own_times, reference_times, own = [], [], 0
    for _ in range(runs):
        (time_ns,), thread_ns = timed_block(*network, 1)
        own_times.append(time_ns)
        own += thread_ns
        reference_times += timed_block(*reference, 1)[0]
    return own_times, reference_times, own


def load(path: str, settings: dict[str, Any]) -> Any:
    """An interpreter with its tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if settings["xnnpack"] else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=path, num_threads=settings["threads"], experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter


def load_reference(settings: dict[str, Any]) -> tuple[Any, list[tuple[int, Any]]] | None:
    """The reference network, warmed up; None if there is none."""
    if settings["reference"] is None:
        return None
    interpreter = load(settings["reference"], settings)
    inputs = fill(interpreter)
    timed_block(interpreter, inputs, REFERENCE_WARMUP_RUNS)
    return interpreter, inputs


def prepare(settings: dict[str, Any]) -> tuple[Any, list[tuple[int, Any]], dict[str, Any]]:
    """Loads the file and warms up; returns interpreter, inputs and what there is to tell about both."""
    start = time.perf_counter_ns()
    interpreter = load(settings["path"], settings)
    init = time.perf_counter_ns() - start
    inputs = fill(interpreter)
    first = timed_block(interpreter, inputs, 1)[0][0]
    warmup, begin = 1, time.perf_counter_ns()
    while warmup < WARMUP_RUNS or (time.perf_counter_ns() - begin < WARMUP_NS and warmup < WARMUP_MOST):
        timed_block(interpreter, inputs, 1)
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
            "delegated": delegated,
            "total": total,
        },
    )


def serve(settings: dict[str, Any], answers: IO[str]) -> None:
    """Answers requests until stdin ends."""

    def answer(document: dict[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    try:
        reference = load_reference(settings)
        interpreter, inputs, about = prepare(settings)
        gc.collect()
        gc.disable()
        answer(about)
        for line in sys.stdin:
            runs = json.loads(line)["runs"]
            if reference is None:
                times, own = timed_block(interpreter, inputs, runs)
                answer({"ns": times, "own_ns": own})
            else:
                times, beside, own = timed_turns((interpreter, inputs), reference, runs)
                answer({"ns": times, "reference_ns": beside, "own_ns": own})
    except (ValueError, RuntimeError, MemoryError, ImportError) as error:
        answer({"error": str(error) or type(error).__name__})


def main() -> None:
    """Keeps stdout for answers: whatever the runtime prints goes to stderr."""
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(settings, answers)


if __name__ == "__main__":
    main()
