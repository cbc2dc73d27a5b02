"""Outputs of benchmark_model as each generation of it prints them, written from the description of the format."""

from __future__ import annotations

from collections.abc import Sequence

WARMUP = "count=9 first=56903 curr=56276 min=56251 max=56903 avg=56415.2 std=245"
PERCENTILES = " p5=55100 median=55900 p95=57200"
RUNS = "count=50 first=56101 curr=55950 min=55017 max=58012 avg=56012.4 std=412"
AVERAGE = "56012.4"
MEMORY = (
    "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory "
    "footprint of the model at runtime. Take the information at your discretion."
)
STAGES = (
    "Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.",
    "Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.",
)
FULL = "Explicitly applied {} delegate, and the model graph will be completely executed by the delegate."
PART = "Explicitly applied {} delegate, and the model graph will be partially executed by the delegate w/ {} delegate kernels."
NONE = "Though {} delegate is explicitly applied, the model graph will not be executed by the delegate."
REPLACING = "Replacing {} out of {} node(s) with delegate ({}) node, yielding {} partitions for subgraph 0."


def info(*lines: str) -> bytes:
    """Lines as generations 3 and 4 print them; empty ones stay so."""
    return "".join(f"INFO: {line}\n" if line else "\n" for line in lines).encode()


def generation(number: int, facts: Sequence[str] = (), *, runs: str = RUNS, average: str = AVERAGE, memory: bool = True) -> bytes:
    """A whole successful standard output.

    Args:
        number: 1 to 4.
        facts: what the delegates said on this stream.
        runs: the measured statistics line, without percentiles.
        average: as the final line repeats it.
        memory: whether the memory lines follow.
    """
    extra = PERCENTILES if number == 4 else ""
    head = [
        "STARTING!",
        "Log parameter values verbosely: [0]",
        "Num threads: [1]",
        *facts,
        "Loaded model /data/local/tmp/m.tflite",
    ]
    count = runs.partition(" ")[0].removeprefix("count=")
    stages = STAGES[0], STAGES[1].replace("least 50", f"least {min(50, int(count))}")
    stages = stages if number > 1 else (stages[0].partition(" but ")[0], stages[1].partition(" but ")[0])
    body = ["Initialized session in 24.08ms.", stages[0], WARMUP + (extra.replace("55", "56") if extra else ""), "", stages[1]]
    body += [runs + extra, ""]
    if number == 1:
        head.insert(3, "resolved reporter")
        end = [f"Average inference timings in us: Warmup: 56415.2, Init: 24080, no stats: {average}"]
    else:
        end = [f"Inference timings in us: Init: 24080, First inference: 56903, Warmup (avg): 56415.2, Inference (avg): {average}"]
    if memory and number == 2:
        end.append("Peak memory footprint (MB): init=6.36328 overall=109.832")
    elif memory and number > 2:
        end += [
            MEMORY,
            "Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832",
            "Overall peak memory footprint (MB) via periodic monitoring: 10.9609",
            "Memory status at the end of exeution:",
            "- VmRSS              : 11 MB",
            "+ RssAnnon           : 3 MB",
        ]
    lines = [*head, *body, *end]
    return info(*lines) if number > 2 else "".join(f"{line}\n" for line in lines).encode()


def litert(facts: Sequence[str] = (), average: str = "56.01") -> bytes:
    """Standard output of benchmark_litert_model."""
    block = [
        "[benchmark_litert_model.h:71] ",
        "========== BENCHMARK RESULTS ==========",
        "Model initialization: 45.32 ms",
        "Warmup (first):       56.90 ms",
        "Warmup (avg):         56.42 ms (9 runs)",
        f"Inference (avg):      {average} ms (50 runs)",
        "Inference (min):      55.02 ms",
        "Inference (max):      58.01 ms",
        "Inference (std):      0.41",
        "Throughput:           2.62 MB/s",
        "",
        "Memory Usage:",
        "Init footprint:       6.36 MB",
        "======================================",
    ]
    body = [STAGES[0], WARMUP + PERCENTILES.replace("55", "56"), "", STAGES[1], RUNS + PERCENTILES, ""]
    return info("Log parameter values verbosely: [0]", *facts, *body) + info(
        *(f"[benchmark_litert_model.h:80] {b}" for b in block)
    )


def logcat(text: bytes) -> bytes:
    """The same in the system log, as the benchmark app leaves it."""
    lines = text.decode().removesuffix("\n").split("\n")
    bare = (line.removeprefix("INFO: ") for line in lines)
    return "".join(f"11-21 10:13:00.542  4000  4017 I tflite  : {line}\n" for line in bare).encode()
