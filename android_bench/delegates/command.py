"""The command line of one run on a device, and the shell script around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.device.cores import CLOCK_LIMITS
from mhmodels.android_bench.transport.phone import quote

Mode: TypeAlias = Literal["burst", "sustained"]
RESULT, PLACEMENT, OUTPUTS, CLOCKS = "result.pb", "placement.pb", "outputs.bin", "limits.txt"
WATCHDOG_S = 30
TAKEN_RC = 124


class BlockDuration(NamedTuple):
    """How long one block runs, in seconds.

    Attributes:
        min_secs: Least duration of the block.
        warmup_secs: Least duration of the warm-up.
        max_secs: Longest duration of the block.
    """

    min_secs: float
    warmup_secs: float
    max_secs: float


# Reads the clocks once a second, starts nothing but `sleep`, and writes a line only where something changed.
_SAMPLER = f"""n=0; m=
while [ $n -lt SECONDS ]; do
  l=
  for f in {CLOCK_LIMITS}; do read -r k < $f && l="$l $k"; done
  [ "$l" = "$m" ] || echo "$l"
  m=$l; n=$((n+1)); sleep 1
done"""
# burst: short blocks between pauses show the speed of a cool phone. sustained: blocks of a minute show what it can keep up.
TIMINGS: dict[Mode, BlockDuration] = {"burst": BlockDuration(0.3, 0.3, 60.0), "sustained": BlockDuration(60.0, 1.0, 120.0)}


class DevicePaths(NamedTuple):
    """Paths on the device that a run needs.

    Attributes:
        tool: The program.
        graph: The .tflite file.
        folder: Folder of the delegate's libraries.
    """

    tool: str
    graph: str
    folder: str


def arguments(
    choice: DelegateChoice, prepared: DevicePaths, run: str, *, runs: int, threads: int, timing: BlockDuration, placement: bool
) -> dict[str, str]:
    """Flags of a timed run. Each stands once, because the tool keeps the first value of a repeated flag.

    Args:
        choice: The delegate.
        prepared: Paths on the device.
        run: Folder of the run on the device.
        runs: Least number of inferences.
        threads: Threads of the runtime.
        timing: Duration of the block.
        placement: Whether to ask where each node ran.
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
    prepared: DevicePaths,
    run: str,
    flags: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    owned: str,
    mask: int,
    rest: int,
    timeout_s: float,
) -> str:
    """The shell script of a run: a folder, a watchdog, the environment, and the program in place of the shell.

    `exec` makes the program the process that ends with the connection. The watchdog is for a connection that ends without the
    phone noticing. Another process notes the highest allowed clocks meanwhile. All of them are ended after the run.

    Args:
        prepared, run, flags, environment: What to run, where and how.
        owned: Test whether the phone is still this session's; nothing is run if it is not.
        mask: Bit mask of the cores to run on; 0 for all.
        rest: Bit mask of the other cores, for the noting process; 0 if there are none or they cannot be chosen.
        timeout_s: Seconds after which, with a margin, the watchdog ends the run.
    """
    words: Sequence[str] = (
        *(("taskset", f"{mask:x}") if mask else ()),
        quote(prepared.tool),
        *(quote(f"--{name}={value}") for name, value in flags.items()),
    )
    seconds = f"{timeout_s + WATCHDOG_S:.0f}"
    aside = f"taskset {rest:x} " if rest else ""
    lines = [
        f"{owned} || exit {TAKEN_RC}",
        f"mkdir -p {quote(run)} && cd {quote(run)} || exit 125",
        *(f"export {name}={quote(value)}" for name, value in environment.items()),
        # A program that leads no process group may have left its number to another program by then.
        # With redirections behind the bracket, Android's shell would keep the connection open that long.
        f"(exec </dev/null >/dev/null 2>&1; sleep {seconds}; kill -9 -$$ || "
        "{ grep -q mhmodels/ /proc/$$/cmdline && kill -9 $$; }) &",
        f"{aside}sh -c {quote(_SAMPLER.replace('SECONDS', seconds))} </dev/null >{CLOCKS} 2>/dev/null &",
        f"exec {' '.join(words)}",
    ]
    return "\n".join(lines)
