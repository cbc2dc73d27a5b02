#!/usr/bin/env python3
"""Stands in for benchmark_model on the device double: runs the .tflite with LiteRT and prints the newest format.

It lies where the real one lies: unknown flags are a warning, a platform without GPU or NNAPI runs on the CPU, exit code 0.
"""

import struct
import sys
import time
from pathlib import Path

KNOWN = {
    "graph": str, "num_threads": int, "num_runs": int, "min_secs": float, "max_secs": float, "warmup_runs": int,
    "warmup_min_secs": float, "use_xnnpack": bool, "use_gpu": bool, "gpu_backend": str, "use_nnapi": bool,
    "nnapi_accelerator_name": str, "disable_nnapi_cpu": bool, "result_file_path": str, "export_model_runtime_info": bool,
    "model_runtime_info_output_file": str, "input_layer": str, "input_layer_shape": str, "input_layer_value_files": str,
    "output_filepath": str, "enable_op_profiling": bool,
}  # fmt: skip


def say(text=""):
    print(f"INFO: {text}" if text else "", flush=True)


def flags(words):
    found, unknown = {}, []
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in KNOWN or name in found:
            unknown.append(word)
        else:
            found[name] = value in ("true", "1") if KNOWN[name] is bool else KNOWN[name](value)
    if unknown:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}")
    return found


def fail(text):
    print(f"ERROR: {text}", file=sys.stderr)
    print("ERROR: Benchmarking failed.", file=sys.stderr)
    sys.exit(1)


def statistics(times):
    """Microseconds as the real tool prints them, percentile p at floor(n * p / 100)."""
    ordered, count = sorted(times), len(times)
    mean = sum(times) / count
    std = (sum((t - mean) ** 2 for t in times) / count) ** 0.5
    part = {p: ordered[min(count - 1, count * p // 100)] for p in (5, 50, 95)}
    tail = f"p5={part[5]} median={part[50]} p95={part[95]}"
    if count == 1:
        line = f"count=1 curr={times[0]} {tail}"
    elif ordered[0] == ordered[-1]:
        line = f"count={count} curr={times[-1]}(all same)"
    else:
        line = (
            f"count={count} first={times[0]} curr={times[-1]} min={ordered[0]} max={ordered[-1]} "
            f"avg={mean:g} std={std:.0f} {tail}"
        )
    return line, mean, part, std


def stage(invoke, runs, seconds, most):
    least = f"at least {runs} iterations and at least {seconds:g} seconds"
    say(f"Running benchmark for {least} but terminate if exceeding {most:g} seconds.")
    times, start = [], time.perf_counter()
    while (len(times) < runs or time.perf_counter() - start < seconds) and time.perf_counter() - start <= most:
        before = time.perf_counter_ns()
        invoke()
        times.append(max(1, (time.perf_counter_ns() - before) // 1000))
    line, *numbers = statistics(times)
    say(line)
    say()
    return times, *numbers


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def load(options):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO
    resolver = kinds[options.get("use_xnnpack", True)]
    try:
        interpreter = Interpreter(
            options["graph"], num_threads=max(1, options.get("num_threads", 1)), experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        fail(f"Failed to load model {options['graph']}")
    return interpreter


def inputs(interpreter, options):
    import numpy as np

    files = dict(part.rsplit(":", 1) for part in options.get("input_layer_value_files", "").split(",") if part)
    random = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        kind = np.dtype(detail["dtype"])
        file = files.get(detail["name"].replace(":", "::"))
        if file:
            values = np.frombuffer(Path(file).read_bytes(), kind).reshape(detail["shape"])
        else:
            values = (random.uniform(0, 1, detail["shape"]) * (1 if kind.kind == "f" else 100)).astype(kind)
        interpreter.set_tensor(detail["index"], values)


def main():
    print("INFO: STARTING!")
    options = flags(sys.argv[1:])
    say("Log parameter values verbosely: [0]")
    for name in ("num_runs", "num_threads", "use_xnnpack", "use_gpu", "use_nnapi"):
        if name in options:
            say(f"{name.replace('_', ' ').capitalize()}: [{int(options[name])}]")
    if "graph" not in options:
        fail("Please specify the name of your TF Lite input file with --graph")
    if not Path(options["graph"]).exists():
        print(f"ERROR: Could not open '{options['graph']}'.", file=sys.stderr)
        fail(f"Failed to load model {options['graph']}")
    for name, title in (("use_gpu", "GPU"), ("use_nnapi", "NNAPI")):
        if options.get(name):
            print(f"WARN: {title} acceleration is unsupported on this platform.")
    from mhmodels.hardware.host.child import count_nodes

    start = time.perf_counter_ns()
    interpreter = load(options)
    init_us = (time.perf_counter_ns() - start) // 1000
    say(f"Loaded model {options['graph']}")
    delegated, total = count_nodes(interpreter)
    if options.get("use_xnnpack"):
        say("XNNPACK delegate created.")
        print(
            f"VERBOSE: Replacing {delegated} out of {total} node(s) with delegate (TfLiteXNNPackDelegate) node, "
            "yielding 1 partitions for subgraph 0.",
            file=sys.stderr,
        )
        how = (
            "completely executed by the delegate."
            if delegated == total
            else "partially executed by the delegate w/ 1 delegate kernels."
        )
        if delegated:
            say(f"Explicitly applied XNNPACK delegate, and the model graph will be {how}")
        else:
            say("Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate.")
    say(f"The input model file size (MB): {Path(options['graph']).stat().st_size / 1e6:g}")
    say(f"Initialized session in {init_us / 1e3:g}ms.")
    inputs(interpreter, options)
    most = options.get("max_secs", 150.0)
    warm, warm_mean, _, _ = stage(interpreter.invoke, options.get("warmup_runs", 1), options.get("warmup_min_secs", 0.5), most)
    times, mean, part, std = stage(interpreter.invoke, options.get("num_runs", 50), options.get("min_secs", 1.0), most)
    firsts = f"Init: {init_us}, First inference: {warm[0]}, Warmup (avg): {warm_mean:g}"
    say(f"Inference timings in us: {firsts}, Inference (avg): {mean:g}")
    say("Memory footprint delta from the start of the tool (MB): init=6.25 overall=10.5")
    if "output_filepath" in options:
        outputs = (interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details())
        Path(options["output_filepath"]).write_bytes(b"".join(outputs))
    if "result_file_path" in options:
        numbers = mean, min(times), max(times), std, part[50], part[5], part[95], init_us, warm[0], warm_mean
        latency = b"".join(varint(i + 1 << 3 | 5) + struct.pack("<f", value / 1e3) for i, value in enumerate(numbers))
        misc = b"\x10" + varint(len(times)) + b"\x18" + varint(len(warm))
        Path(options["result_file_path"]).write_bytes(message(1, b"m") + message(2, latency) + message(4, misc))
    if "model_runtime_info_output_file" in options:
        nodes = b"".join(message(3, b"\x08" + varint(i)) for i in range(total))
        if delegated:
            details = message(1, b"TfLiteXNNPackDelegate") + b"".join(b"\x10" + varint(i) for i in range(delegated))
            nodes += message(3, message(8, details))
        Path(options["model_runtime_info_output_file"]).write_bytes(message(2, nodes))


main()
