"""A measured, estimated or refused latency as data."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware.conditions import Conditions

MeasurementKind: TypeAlias = Literal["measured", "estimated", "simulated", "predicted", "published"]

UNSUPPORTED = "×"
RANDOM_WEIGHTS = "random-v1"
"""`Measurement.weights` of files with random weights, which are good for latency only."""
NOISY_MAD_RATIO = 0.02

_CONDITIONS = ("kind", "device", "format", "threads", "batch", "runtime", "driver", "compiler")
_TIMES = (
    "median_ms", "mean_ms", "min_ms", "max_ms", "std_ms", "p95_ms", "low_ms", "high_ms", "init_ms", "first_ms", "mad_ratio",
)  # fmt: skip
_COUNTS = (
    "threads", "batch", "runs", "warmup", "file_bytes", "sram_bytes", "dram_bytes", "flash_bytes",
    "delegated_nodes", "total_nodes",
)  # fmt: skip


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and with which software a latency is measured: the part of its conditions that the file does not determine.

    Attributes:
        device: The piece of hardware. For a host it is the model of the CPU and a hash of its flags, because every model is
            different hardware.
        runtime: Name and version of what runs the file ("LiteRT 2.3.0"); empty where nothing runs it.
        driver: Version of the delegate's driver; empty where there is none.
        compiler: Name and version of the compiler ("Vela 5.2.0"); empty where there is none.
        configuration: Settings of runtime or compiler, JSON values only. A null is dropped, because a setting that is null and a
            setting that is absent are the same.

    Example:
        >>> from mhmodels.hardware import Environment
        >>> Environment(device="CPU A", runtime="LiteRT 2.3.0", configuration={"kernels": "XNNPACK", "other": None}).configuration
        {'kernels': 'XNNPACK'}
    """

    device: str
    runtime: str = ""
    driver: str = ""
    compiler: str = ""
    configuration: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if None in self.configuration.values():
            known = {name: value for name, value in self.configuration.items() if value is not None}
            msgspec.structs.force_setattr(self, "configuration", known)


class Turns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Timings of a network and of a reference network in turns: own, reference, own, reference, …

    Attributes:
        model, model_hash: Name of the reference network, and sha256 of its file.
        own_ms, reference_ms: Timings in ms, in the order in which they were made, as many of one as of the other.

    Raises:
        MeasurementError: The numbers of timings differ or are 0, or a timing is not a finite number above 0.
    """

    model: str
    model_hash: str
    own_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        times = (*self.own_ms, *self.reference_ms)
        if not self.own_ms or len(self.own_ms) != len(self.reference_ms):
            raise MeasurementError(
                f"turns with '{self.model}': {len(self.own_ms)} own and {len(self.reference_ms)} reference timings, expected as "
                "many of both"
            )
        wrong = next((ms for ms in times if not (math.isfinite(ms) and ms > 0)), None)
        if wrong is not None:
            raise MeasurementError(f"turns with '{self.model}': a timing of {wrong!r} ms is not one: expected a number above 0")


class MeasurementRequest(NamedTuple):
    """What a row answers: a file, on a hardware, in certain conditions."""

    hardware: str
    architecture_id: str | None
    model_hash: str
    weights: str
    conditions: Conditions


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of the store. `median_ms` is None where the whole network does not run; `reason` then says why.

    Attributes:
        model_hash: SHA-256 of the .tflite or .onnx file.
        architecture_id: Content hash of the architecture; None for a file of unknown origin.
        model: Label for tables.
        hardware: Hardware id.
        format: Format that the file computes in: float32, float16, int8, uint8, …
        kind: Kind of the latency (`measured`, `estimated`, …); a latency is never shown without its kind.
        threads, batch: Threads of the runtime, and batch size.
        weights: `random-v1`, the sha256 of trained weights, or `unknown`.
        median_ms, mean_ms, min_ms, max_ms, std_ms, p95_ms: Statistics of `runs` inferences; an estimate has only the median.
        low_ms, high_ms: Bounds that an estimator gives for its own estimate, `median_ms`; None where it gives none.
        init_ms, first_ms: Creation of the interpreter with its tensors, and the first inference.
        sram_bytes, dram_bytes, flash_bytes: Peak memory, where a compiler reports it.
        file_bytes: Size of the file.
        runs, warmup: Timed inferences in the block that was kept, and inferences before the first block. There are fewer runs
            than `device_state["requested_runs"]` where a block ended by time.
        noisy: Whether the median may be wrong: in turns with a reference, its standard error is over 2 %; on this machine alone,
            no three sound blocks agree (`hardware.host.timing.judge`); on a phone, blocks differ, drift or were disturbed.
        mad_ratio: Median absolute deviation over median.
        delegated_nodes, total_nodes: Operators on the accelerator (or delegate), and all operators, as the runtime or compiler
            counts them.
        reason: Why there is no latency, or "".
        device, runtime, driver, compiler, configuration: See `Environment`.
        turns: Timings of a reference network in between, where `Job.reference` asked for one.
        device_state: Load, clocks, pinned cores and the like during the measurement; for information only.
        time: Time of the measurement in UTC, ISO 8601.

    Raises:
        MeasurementError: A latency is zero, negative, infinite or NaN, or there is neither a latency nor a reason.

    Example:
        >>> from mhmodels.hardware import Measurement
        >>> row = Measurement(model_hash="0" * 64, model="net", hardware="host-cpu-int8", format="int8", kind="measured",
        ...                   file_bytes=1, device="CPU A", time="2026-01-01", median_ms=1.5,
        ...                   configuration={"kernels": "XNNPACK"})
        >>> row.supported, row.conditions()["configuration.kernels"]
        (True, 'XNNPACK')
    """

    model_hash: str
    model: str
    hardware: str
    format: str
    kind: MeasurementKind
    file_bytes: int
    device: str
    time: str
    architecture_id: str | None = None
    weights: str = "unknown"
    threads: int = 1
    batch: int = 1
    median_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    p95_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    sram_bytes: int | None = None
    dram_bytes: int | None = None
    flash_bytes: int | None = None
    runs: int = 0
    warmup: int = 0
    noisy: bool = False
    mad_ratio: float | None = None
    delegated_nodes: int | None = None
    total_nodes: int | None = None
    reason: str = ""
    runtime: str = ""
    driver: str = ""
    compiler: str = ""
    configuration: dict[str, Any] = {}
    turns: Turns | None = None
    device_state: dict[str, Any] = {}

    def __post_init__(self) -> None:
        where = f"measurement of '{self.model}' on {self.hardware}"
        for field in _TIMES:
            value = getattr(self, field)
            if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise MeasurementError(f"{where}: field '{field}' is {value!r}, expected a finite number of at least 0")
        for field in _COUNTS:
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < 0):
                raise MeasurementError(f"{where}: field '{field}' is {value!r}, expected a whole number of at least 0")
        if self.median_ms == 0:
            raise MeasurementError(f"{where}: field 'median_ms' is 0, which is no latency")
        bounds = (self.low_ms, self.high_ms)
        if bounds != (None, None) and not (self.low_ms or 0) <= (self.median_ms or 0) <= (self.high_ms or 0):
            raise MeasurementError(f"{where}: 'low_ms' and 'high_ms' are {bounds}, expected bounds around {self.median_ms} ms")
        if (self.median_ms is None) != bool(self.reason):
            raise MeasurementError(f"{where}: expected either a latency or a reason why there is none, found {self.reason!r}")

    @property
    def supported(self) -> bool:
        """Whether the whole network runs there, so that there is a latency."""
        return self.median_ms is not None

    @property
    def environment(self) -> Environment:
        """Where and with which software the row was measured."""
        return Environment(
            device=self.device, runtime=self.runtime, driver=self.driver, compiler=self.compiler, configuration=self.configuration
        )

    def conditions(self) -> Conditions:
        """Everything but the network that this latency depends on: latencies may be mixed only where it is equal.

        It consists of `kind`, `device`, `format`, `threads`, `batch`, `runtime`, `driver`, `compiler`, of every setting as
        `configuration.NAME` (for a phone among them its delegate, its burst or sustained mode, and its clocks), and of
        `turns.model_hash` where a reference network was timed in turns.
        """
        values = {name: getattr(self, name) for name in _CONDITIONS}
        values |= {f"configuration.{name}": value for name, value in self.configuration.items()}
        return Conditions(values | {"turns.model_hash": self.turns.model_hash if self.turns else None})

    def request(self) -> MeasurementRequest:
        """The request that this row answers. Rows of equal requests repeat one measurement, and the best of them counts."""
        return MeasurementRequest(self.hardware, self.architecture_id, self.model_hash, self.weights, self.conditions())


def steadier(earlier: Measurement, later: Measurement) -> Measurement:
    """Chooses between two rows of one request: a noisy row gives way, of two noisy rows the faster one counts.

    A disturbance only ever slows an inference down. Of two rows that are not noisy the later one counts.
    """
    if earlier.noisy != later.noisy:
        return later if earlier.noisy else earlier
    if earlier.noisy and (earlier.median_ms or math.inf) < (later.median_ms or 0.0):
        return earlier
    return later
