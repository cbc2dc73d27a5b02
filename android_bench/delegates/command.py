"""The command line of one run on the device, as words and as the script that runs them."""

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
    """How long one block runs: at least so many inferences and so many seconds."""

    min_secs: float
    warmup_secs: float
    max_secs: float


# Once a second, with nothing started but `sleep`, and a line only where something changed.
_SAMPLER = f"""n=0; m=
while [ $n -lt SECONDS ]; do
  l=
  for f in {CLOCK_LIMITS}; do read -r k < $f && l="$l $k"; done
  [ "$l" = "$m" ] || echo "$l"
  m=$l; n=$((n+1)); sleep 1
done"""
# Short blocks between pauses show what a phone can do at once; a minute each without pauses what it can keep up.
TIMINGS: dict[Mode, BlockDuration] = {"burst": BlockDuration(0.3, 0.3, 60.0), "sustained": BlockDuration(60.0, 1.0, 120.0)}


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
    choice: DelegateChoice, prepared: Prepared, run: str, *, runs: int, threads: int, timing: BlockDuration, placement: bool
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
    rest: int,
    timeout_s: float,
) -> str:
    """The shell script of a run: a folder, a watchdog, the environment, and the program in place of the shell.

    `exec` makes the program the process that the connection's end reaches; the watchdog is for a connection that ends
    without the phone noticing, and another process notes how high the clocks may go meanwhile. All are swept up after.

    Args:
        prepared, run, flags, environment: what to run, where and how.
        owned: test whether the phone is still this session's; nothing is run if it is not.
        mask: of the cores to run on, 0 for all.
        rest: of the other cores, for what runs beside; 0 if there are none, or they cannot be chosen.
        timeout_s: after which the watchdog ends it, and a while.
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
        # Where the program leads no group, its number may be another program's by then.
        # Android's shell keeps what a redirection behind the bracket replaces: the connection would stay open as long.
        f"(exec </dev/null >/dev/null 2>&1; sleep {seconds}; kill -9 -$$ || "
        "{ grep -q mhmodels/ /proc/$$/cmdline && kill -9 $$; }) &",
        f"{aside}sh -c {quote(_SAMPLER.replace('SECONDS', seconds))} </dev/null >{CLOCKS} 2>/dev/null &",
        f"exec {' '.join(words)}",
    ]
    return "\n".join(lines)
