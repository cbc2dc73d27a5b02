"""The command line of one run on the device, as words and as the script that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from android_bench.delegates import Choice
from android_bench.phone import quote

Mode: TypeAlias = Literal["burst", "sustained"]
RESULT, PLACEMENT, OUTPUTS = "result.pb", "placement.pb", "outputs.bin"
WATCHDOG_S = 30
TAKEN_RC = 124


class Timing(NamedTuple):
    """How long one block runs: at least so many inferences and so many seconds."""

    min_secs: float
    warmup_secs: float
    max_secs: float


# Short blocks between pauses show what a phone can do at once; a minute each without pauses what it can keep up.
TIMINGS: dict[Mode, Timing] = {"burst": Timing(0.3, 0.3, 60.0), "sustained": Timing(60.0, 1.0, 120.0)}


class Prepared(NamedTuple):
    """What a run needs on the device.

    Attributes:
        tool: path of the program.
        graph: path of the network.
        folder: where the delegate's libraries are.
    """

    tool: str
    graph: str
    folder: str


def arguments(
    choice: Choice, prepared: Prepared, run: str, *, runs: int, threads: int, timing: Timing, placement: bool
) -> dict[str, str]:
    """Flags of a timed run; a flag given twice would keep its first value, so each stands once.

    Args:
        choice: the delegate.
        prepared: paths on the device.
        run: the run's own folder there.
        runs: inferences at least.
        threads: of the runtime.
        timing: further limits.
        placement: also ask where each node ran.
    """
    flags = {
        "graph": prepared.graph,
        "num_threads": str(threads),
        "num_runs": str(runs),
        "min_secs": f"{timing.min_secs:g}",
        "max_secs": f"{timing.max_secs:g}",
        "warmup_runs": "1",
        "warmup_min_secs": f"{timing.warmup_secs:g}",
        "result_file_path": f"{run}/{RESULT}",
    }
    if placement:
        flags["model_runtime_info_output_file"] = f"{run}/{PLACEMENT}"
        if choice.delegate.tool == "benchmark_model":
            flags["export_model_runtime_info"] = "true"
    return {**flags, **choice.flags(prepared.folder)}


def script(
    prepared: Prepared,
    run: str,
    flags: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    owned: str,
    mask: int,
    timeout_s: float,
) -> str:
    """The shell script of a run: a folder, a watchdog, the environment, and the program in place of the shell.

    `exec` makes the program the process that the connection's end reaches; the watchdog is for a connection that ends
    without the phone noticing. Both are swept up after the run.

    Args:
        prepared, run, flags, environment: what to run, where and how.
        owned: test whether the phone is still this session's; nothing is run if it is not.
        mask: of the cores to run on, 0 for all.
        timeout_s: after which the watchdog ends it, and a while.
    """
    words: Sequence[str] = (
        *(("taskset", f"{mask:x}") if mask else ()),
        quote(prepared.tool),
        *(quote(f"--{name}={value}") for name, value in flags.items()),
    )
    lines = [
        f"{owned} || exit {TAKEN_RC}",
        f"mkdir -p {quote(run)} && cd {quote(run)} || exit 125",
        *(f"export {name}={quote(value)}" for name, value in environment.items()),
        f"(sleep {timeout_s + WATCHDOG_S:.0f}; kill -9 -$$ $$) </dev/null >/dev/null 2>&1 &",
        f"exec {' '.join(words)}",
    ]
    return "\n".join(lines)
