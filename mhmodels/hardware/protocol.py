"""What a family of hardware consists of: hardware as data, a job to measure, and the runner that measures it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypedDict, runtime_checkable

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.formats.checked import Checked
from mhmodels.hardware.measurement import Environment, Measurement, MeasurementKind

if TYPE_CHECKING:
    from mhmodels.hardware.layers.profile import LayerProfile


class Hardware(Checked, frozen=True, kw_only=True):
    """One hardware that latencies can be obtained for.

    Attributes:
        id: Identifier, such as `host-cpu-int8`, `ethos-u55-128` or `SERIAL/xnnpack`.
        format: Format of the files that it takes: float32, float16, int8 or uint8.
        kind: Kind of the latencies that it gives.
        description: One line for people.
        strict: Whether files of another format are refused. If not, the runner judges them itself, as a compiler does.
        turns: Whether it can time a reference network in turns with the network in question (`Job.reference`).
        configuration: Settings of the runner, JSON values only.

    Example:
        >>> from mhmodels.hardware import Hardware
        >>> Hardware(id="my-npu", format="int8", kind="estimated", description="My NPU").strict
        True
    """

    id: str
    format: str
    kind: MeasurementKind
    description: str
    strict: bool = True
    turns: bool = False
    configuration: dict[str, Any] = msgspec.field(default_factory=dict)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A file to measure, read and checked (`prepare`).

    Attributes:
        path: Absolute path of the .tflite file.
        model_hash: SHA-256 of the file.
        file_bytes: Size of the file.
        format: Format that the file computes in.
        model: Label for tables.
        architecture_id, weights: As in `Measurement`.
        batch: First dimension of the first input.
        runs: Timed inferences in a block.
        threads: Threads of the runtime.
        reference: Network to time in turns with this one, on hardware with `turns`; None times this one alone.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import prepare
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = prepare(latency_file(get_architecture("multi_max"), "int8", Path(folder)), label="multi_max")
        >>> job.model, job.format, job.batch, job.runs
        ('multi_max', 'int8', 1, 50)
    """

    path: Path
    model_hash: str
    file_bytes: int
    format: str
    model: str
    architecture_id: str | None
    weights: str
    batch: int
    runs: int
    threads: int
    reference: Job | None = None


class RowIdentity(TypedDict):
    """Fields of a `Measurement` that say what was measured, where and when."""

    model_hash: str
    architecture_id: str | None
    model: str
    hardware: str
    format: str
    kind: MeasurementKind
    weights: str
    file_bytes: int
    threads: int
    batch: int
    device: str
    runtime: str
    driver: str
    compiler: str
    configuration: dict[str, Any]
    time: str


def row_identity(job: Job, hardware: Hardware, environment: Environment) -> RowIdentity:
    """The fields of a row that a job, a hardware and its environment determine; the time is now."""
    return RowIdentity(
        model_hash=job.model_hash,
        architecture_id=job.architecture_id,
        model=job.model,
        hardware=hardware.id,
        format=job.format,
        kind=hardware.kind,
        weights=job.weights,
        file_bytes=job.file_bytes,
        threads=job.threads,
        batch=job.batch,
        device=environment.device,
        runtime=environment.runtime,
        driver=environment.driver,
        compiler=environment.compiler,
        configuration=environment.configuration,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def no_layer_costs(job: Job, hardware: Hardware, reason: str) -> MeasurementError:
    """The error for a network that a hardware gives no latency of as a whole, so that costs of its layers would explain none."""
    return MeasurementError(f"{hardware.id} gives no latency of '{job.model}' as a whole, so its layers have no costs: {reason}")


class Runner(Protocol):
    """Measures on one family of hardware.

    Attributes:
        exclusive: Whether it uses this machine, so that nothing else may be timed meanwhile. Compilers may run beside each
            other.
    """

    exclusive: bool

    def hardware(self) -> Sequence[Hardware]:
        """Lists the hardware of this family that can be named without asking for it."""

    def find(self, hardware_id: str) -> Hardware | None:
        """Finds a hardware by its id, also one that `hardware` does not list; None if it is not of this family."""

    def unavailable(self, hardware: Hardware) -> str:
        """Says why a hardware cannot be measured from here; "" if it can."""

    def environment(self, hardware: Hardware) -> Environment:
        """Tells what a latency measured now would depend on.

        Raises:
            MeasurementError: The hardware does not tell.
        """

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Measures one latency.

        Returns:
            A row with the latency, or with the reason why the network does not run there as a whole.

        Raises:
            MeasurementError: Neither could be found out.
        """


@runtime_checkable
class LayerProfiler(Protocol):
    """What a runner implements beside `Runner` if its tool tells what each layer costs.

    Example:
        >>> from mhmodels.hardware import LayerProfiler, get_hardware
        >>> [isinstance(get_hardware(name).runner, LayerProfiler) for name in ("ethos-u65-256", "roofline-40")]
        [True, False]
    """

    def profile_layers(self, job: Job, hardware: Hardware) -> LayerProfile:
        """Finds out what each layer of a file costs.

        Args:
            job: The file, of a format that the hardware takes.
            hardware: A hardware of this runner that can be reached (`Runner.unavailable`).

        Returns:
            The layers in the order of the network, under the names that the file gives them, and the latency of the whole
            network by the same tool.

        Raises:
            MeasurementError: The tool fails, its output cannot be understood, or the network does not run there as a whole.
        """


class TableRunner:
    """A part of a runner: its hardware is a table, whatever is asked.

    Attributes:
        table: The hardware of the family.
    """

    table: ClassVar[Sequence[Hardware]] = ()

    def hardware(self) -> Sequence[Hardware]:
        """Returns the table."""
        return self.table

    def find(self, hardware_id: str) -> Hardware | None:
        """Returns the hardware of an id in the table; None if it is not there."""
        return next((hardware for hardware in self.table if hardware.id == hardware_id), None)
