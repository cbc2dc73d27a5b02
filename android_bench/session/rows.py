"""Rows of the store from outcomes, with the raw logs beside them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mhmodels.android_bench.session.blocks import PhoneBlock
from mhmodels.android_bench.session.tasks import PhoneOutcome
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Environment, Hardware, Measurement
from mhmodels.hardware.protocol import row_identity
from mhmodels.system.files import write_atomically

MOST_MB = 1e7


class PhoneFailure(MeasurementError):
    """A run that failed for a temporary reason: it may succeed when it is repeated.

    Attributes:
        status: Name of a `RunStatus`.
        reason: Why it failed.
    """

    def __init__(self, hardware: str, model: str, status: str, reason: str) -> None:
        super().__init__(f"{model} on {hardware}: {status}: {reason}")
        self.status, self.reason = status, reason


def measurement(
    outcome: PhoneOutcome, hardware: Hardware, environment_of: Callable[[Hardware], Environment], log: Path
) -> Measurement:
    """Makes the row of an outcome.

    Args:
        outcome: How the task ended.
        hardware: Hardware of the row.
        environment_of: Tells the environment of a hardware; it is not asked where there is no row.
        log: Folder for the raw output of every run; the row names its file in it.

    Raises:
        PhoneFailure: The status is not lasting. Its log is kept all the same.
        OSError: The log cannot be written.
    """
    job = outcome.task.job
    file = write_log(outcome, hardware, log)
    series = outcome.series
    if series is None and not outcome.lasting:
        raise PhoneFailure(hardware.id, job.model, outcome.status, f"{outcome.reason} (log: {file})")
    try:
        return _row(outcome, hardware, environment_of(hardware), file)
    except MeasurementError as error:
        # A number that no row can hold costs only this row.
        raise PhoneFailure(hardware.id, job.model, "UNKNOWN", f"{error} (log: {file})") from error


def _row(outcome: PhoneOutcome, hardware: Hardware, environment: Environment, file: Path) -> Measurement:
    job, series = outcome.task.job, outcome.series
    first = outcome.blocks[0].verdict if outcome.blocks else None
    latency = first.latency if first else None
    return Measurement(
        **row_identity(job, hardware, environment),
        median_ms=series.median_ms if series else None,
        mean_ms=series.mean_ms if series else None,
        min_ms=series.min_ms if series else None,
        max_ms=series.max_ms if series else None,
        std_ms=series.std_ms if series else None,
        p95_ms=series.p95_ms if series else None,
        init_ms=latency.init if latency and series else None,
        first_ms=latency.first if latency and series else None,
        dram_bytes=_memory(outcome) if series else None,
        runs=series.runs if series else 0,
        warmup=series.warmup if series else 0,
        noisy=bool(series and (series.noisy or series.drifting or outcome.disturbed)),
        mad_ratio=series.mad_ratio if series else None,
        delegated_nodes=first.delegated if first else None,
        total_nodes=first.total if first else None,
        reason="" if series else f"{outcome.status}: {outcome.reason}",
        device_state=_state(outcome, file),
    )


def write_log(outcome: PhoneOutcome, hardware: Hardware, folder: Path) -> Path:
    """Writes command, output and condition of every run into one compressed JSON file; returns its path."""
    now = datetime.now(UTC)
    document = {
        "model": outcome.task.job.model,
        "model_hash": outcome.task.job.model_hash,
        "hardware": hardware.id,
        "status": outcome.status.value,
        "reason": outcome.reason,
        "blocks": [_block(block) for block in outcome.blocks],
        "operators": outcome.operators,
    }
    content = msgspec.json.encode(document)
    name = f"{now:%Y%m%dT%H%M%S}-{hashlib.sha256(content + now.isoformat().encode()).hexdigest()[:12]}.json.gz"
    path = folder / f"{now:%Y-%m-%d}" / name
    write_atomically(path, gzip.compress(content, mtime=0))
    return path


def _block(block: PhoneBlock) -> dict[str, object]:
    run = block.run
    return {
        "script": block.script,
        "rc": run.rc,
        "stopped": run.stopped,
        "lost": run.lost,
        "dropped_bytes": run.dropped,
        "wall_s": run.wall_s,
        "stdout": run.stdout.decode(errors="replace"),
        "stderr": run.stderr.decode(errors="replace"),
        "status": block.verdict.status.value,
        "reason": block.verdict.reason,
        "before": block.before,
        "after": block.after,
        "waited_s": block.waited_s,
        "lowest_khz": block.lowest_khz,
    }


def _memory(outcome: PhoneOutcome) -> int | None:
    """Memory in bytes that the tool reports for the network, above that at its start."""
    overall = outcome.blocks[0].verdict.output.memory_mb.get("overall") if outcome.blocks else None
    return round(overall * (1 << 20)) if overall is not None and 0 <= overall < MOST_MB else None


def _lowest(blocks: Sequence[PhoneBlock]) -> list[int]:
    """Lowest limit of each core in kHz during any block; empty where the blocks report different cores."""
    told = [block.lowest_khz for block in blocks if block.lowest_khz]
    return [min(clocks) for clocks in zip(*told, strict=True)] if len({len(clocks) for clocks in told}) == 1 else []


def _state(outcome: PhoneOutcome, log: Path) -> dict[str, object]:
    state: dict[str, object] = {"status": outcome.status.value, "log": str(log), "remarks": list(outcome.remarks)}
    if outcome.blocks:
        before, after = outcome.blocks[0].before, outcome.blocks[-1].after
        state |= {
            "start_c": before.temperature_c,
            "end_c": after.temperature_c if after else None,
            "battery_level": before.battery_level,
            "charging": before.charging,
            "thermal_status": after.thermal_status if after else before.thermal_status,
            "waited_s": sum(block.waited_s for block in outcome.blocks),
            "throttled": outcome.throttled,
            "clock_limits_khz": list(outcome.blocks[0].start_khz),
            "lowest_clock_limits_khz": _lowest(outcome.blocks),
            "requested_runs": outcome.task.job.runs,
        }
    if outcome.series:
        series = outcome.series
        state |= {
            "blocks_ms": list(series.blocks_ms),
            "block_statistic": series.statistic,
            "ci95_ms": [series.low_ms, series.high_ms],
            "drift": series.drift,
            "drifting": series.drifting,
        }
    if outcome.operators:
        state["operators"] = [msgspec.structs.asdict(operator) for operator in outcome.operators]
    if outcome.comparison:
        state["outputs"] = msgspec.structs.asdict(outcome.comparison)
    return state
