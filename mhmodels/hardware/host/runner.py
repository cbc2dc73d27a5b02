"""Runner of this machine's CPU through LiteRT: pinned threads, with XNNPACK or with the built-in kernels."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mhmodels.hardware.host.layers import profile_layers
from mhmodels.hardware.host.pace import remember_pace
from mhmodels.hardware.host.session import HostSession, MeasurementTimeoutError
from mhmodels.hardware.host.timing import HostTiming, TimedBlock, settle, summarise
from mhmodels.hardware.host.turns import uncertainty
from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.measurement import NOISY_MAD_RATIO, Environment, Measurement, Turns
from mhmodels.hardware.protocol import Hardware, Job, TableRunner, row_identity

TURN_BLOCKS, CERTAIN = 3, 0.015
APART_S = 0.05
"""Seconds between the starts of two blocks: a short disturbance is then less likely to be in all of them."""
SESSION_S = 180.0
"""Seconds after which no further block begins."""


def _cpu(name: str, file_format: str, kernels: str) -> Hardware:
    return Hardware(
        id=f"host-cpu-{name}",
        format=file_format,
        kind="measured",
        description=f"this machine's CPU, {file_format}, LiteRT with {kernels} kernels",
        turns=True,
        configuration={"kernels": kernels},
    )


TABLE = (
    _cpu("float32", "float32", "XNNPACK"),
    _cpu("int8", "int8", "XNNPACK"),
    _cpu("uint8", "uint8", "XNNPACK"),
    _cpu("builtin", "float32", "built-in"),
)


class HostRunner(TableRunner):
    """Times files on this machine's CPU."""

    exclusive = True
    table = TABLE

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: LiteRT is not installed."""
        if importlib.util.find_spec("ai_edge_litert") is None:
            return f"{hardware.id} needs LiteRT, which is not installed (pip install ai-edge-litert)"
        return ""

    def environment(self, hardware: Hardware) -> Environment:
        """Model of the CPU, version of LiteRT, and kernels."""
        return Environment(
            device=cpu_identity(),
            runtime=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
            configuration=hardware.configuration,
        )

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Warms up and makes blocks of `job.runs` inferences until three agree, at most ten (`mhmodels.hardware.host.timing`).

        With a reference, one block is made, and up to two more as long as the ratio to the reference is uncertain by over 1.5 %.
        A block that takes over two minutes ends with the runs that it has.

        Raises:
            MeasurementError: The runtime refuses the file, dies on it or takes too long for a single block.
        """
        before, turns = os.getloadavg()[0], None
        xnnpack, reference = hardware.configuration["kernels"] == "XNNPACK", job.reference
        beside = None if reference is None else reference.path
        with HostSession(job.path, xnnpack=xnnpack, threads=job.threads, reference=beside) as session:
            if reference is None:
                timing, conditions = _alone(session, job.runs)
                summary, noisy = timing.summary, timing.noisy
            else:
                turns = _in_turns(session, job.runs, reference)
                summary, noisy = summarise(turns.own_ms), uncertainty(turns) > NOISY_MAD_RATIO
                conditions = {"stolen": session.stolen, "company": session.background_load}
        about = session.about
        return Measurement(
            **row_identity(job, hardware, self.environment(hardware)),
            **msgspec.structs.asdict(summary),
            init_ms=about["init_ns"] / 1e6,
            first_ms=about["first_ns"] / 1e6,
            warmup=about["warmup"],
            noisy=noisy,
            turns=turns,
            delegated_nodes=about["delegated"],
            total_nodes=about["total"],
            device_state={"load_before": before, "requested_runs": job.runs, **conditions, **_state(session.cores)},
        )

    def profile_layers(self, job: Job, hardware: Hardware) -> LayerProfile:
        """Times every operator with LiteRT's profiler.

        Raises:
            MeasurementError: The runtime refuses the file, dies on it, or has no profiler that is known here.
        """
        return profile_layers(job, hardware, _pace_key())


class _BlockMaker:
    """Makes one block for each call; None once the time of the session is over or a block did not come back in time.

    Attributes:
        made: Blocks that were made.
    """

    def __init__(self, session: HostSession, runs: int) -> None:
        self.made: list[TimedBlock] = []
        self._session, self._runs = session, runs
        self._last = time.monotonic()
        self._end = self._last + SESSION_S

    def __call__(self) -> TimedBlock | None:
        if self.made and time.monotonic() > self._end:
            return None
        if self.made:
            time.sleep(max(0.0, self._last + APART_S - time.monotonic()))
        self._last = time.monotonic()
        session = self._session
        try:
            times = session.block(self._runs)
        except MeasurementTimeoutError:
            if not self.made:
                raise
            return None
        self.made.append(TimedBlock(tuple(times), tuple(session.own_ms), session.pace_us, session.background_load))
        return self.made[-1]


def _alone(session: HostSession, runs: int) -> tuple[HostTiming, dict[str, object]]:
    """Makes blocks of one network until they agree; returns the timing and what the row says about the conditions."""
    key = _pace_key()
    fastest = remember_pace(key, session.about["pace_ns"] / 1e3)
    blocks = _BlockMaker(session, runs)
    timing = settle(blocks, fastest)
    remember_pace(key, min(block.pace_us for block in blocks.made))
    return timing, {
        "stolen": timing.block.stolen,
        "company": timing.block.background_load,
        "pace_key": key,
        "pace_us": timing.block.pace_us,
        "uncertainty": timing.uncertainty,
        "blocks_ms": list(_rounded(timing.blocks_ms)),
    }


def _pace_key() -> str:
    """What the pace depends on: machines may share a home folder, and builds of one Python version differ in speed."""
    build = " ".join((platform.python_version(), *platform.python_build(), platform.python_compiler()))
    return f"{cpu_identity()}, {platform.node()}, Python {build}"


def _in_turns(session: HostSession, runs: int, reference: Job) -> Turns:
    """Times a network in turns with a reference, until the ratio of the two is certain enough."""
    own: list[float] = []
    beside: list[float] = []
    for _ in range(TURN_BLOCKS):
        own += session.block(runs)
        beside += session.reference_ms
        turns = Turns(model=reference.model, model_hash=reference.model_hash, own_ms=_rounded(own), reference_ms=_rounded(beside))
        if uncertainty(turns) <= CERTAIN:
            break
    return turns


def _rounded(times_ms: Sequence[float]) -> tuple[float, ...]:
    """Rounds to 0.1 us: the clock is not more exact, and a store keeps thousands of timings."""
    return tuple(round(ms, 4) for ms in times_ms)


@functools.cache
def cpu_identity() -> str:
    """Model, family and stepping of the CPU with a hash of its flags. A CPU of another identity is other hardware."""
    fields = _cpuinfo()
    model = fields.get("model name") or fields.get("Hardware") or f"{platform.machine()} {platform.processor()}".strip()
    numbers = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant", "CPU revision")
    details = " ".join(fields[name] for name in numbers if fields.get(name))
    flags = " ".join(sorted((fields.get("flags") or fields.get("Features") or "").split()))
    return f"{model} ({details or platform.machine()}, flags {hashlib.sha256(flags.encode()).hexdigest()[:8]})"


def _cpuinfo() -> dict[str, str]:
    """The first processor in /proc/cpuinfo; empty where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _state(cores: Sequence[int]) -> dict[str, object]:
    return {
        "load_after": os.getloadavg()[0],
        "cores": list(cores),
        "cpus": os.cpu_count(),
        "mhz": _cpuinfo().get("cpu MHz", ""),
        "governor": _governor(cores[0]),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
    }


def _governor(core: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").read_text(encoding="ascii").strip()
    except OSError:
        return ""


RUNNER = HostRunner()
