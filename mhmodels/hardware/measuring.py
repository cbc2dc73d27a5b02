"""Measuring a file on a hardware: checking it, looking the store up, repeating what is noisy, storing the row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.formats.json_files import plain_text
from mhmodels.formats.onnx_file import is_onnx_path, read_onnx
from mhmodels.hardware.collection import HardwareCollection, built_in_hardware
from mhmodels.hardware.host.pace import outdated, pace_path
from mhmodels.hardware.machine_lock import machine_lock, turns_lock
from mhmodels.hardware.measurement import Environment, Measurement, steadier
from mhmodels.hardware.plausible import check_plausible
from mhmodels.hardware.protocol import Hardware, Job, Runner
from mhmodels.system.files import sha256_of
from mhmodels.tflite.file import read_tflite
from mhmodels.tflite.format import compute_format

if TYPE_CHECKING:
    from mhmodels.store import Store

USUAL_RUNS, MINIMUM_TURNS, MAXIMUM_RUNS = 50, 20, 100_000
TRIES = 3
"""Largest number of measurements for one answer, as long as each is noisy."""
TRIES_S = 120.0
"""Seconds after which no further measurement begins."""


class MeasuredRow(NamedTuple):
    """A row, and whether the store had it already.

    Example:
        >>> from mhmodels.hardware import MeasuredRow, Measurement
        >>> row = Measurement(model_hash="0" * 64, model="net", hardware="roofline-40", format="int8", kind="simulated",
        ...                   file_bytes=1, device="roofline-40", time="2026-01-01", median_ms=1.5)
        >>> MeasuredRow(row, from_store=True).measurement.median_ms
        1.5
    """

    measurement: Measurement
    from_store: bool


def measure(
    file: str | os.PathLike[str],
    hardware_id: str,
    *,
    hardware: HardwareCollection | None = None,
    architecture_id: str | None = None,
    label: str | None = None,
    weights: str = "unknown",
    runs: int = USUAL_RUNS,
    threads: int = 1,
    store: Store | None = None,
    fresh: bool = False,
) -> Measurement:
    """Measures the latency of a file on a hardware, or takes it from the store if it has this very measurement.

    Args:
        file: A .tflite file, or an .onnx file for hardware that takes one.
        hardware_id: Identifier, such as `ethos-u55-128` (`list_hardware` has more).
        hardware: Collection that has the id; None for the hardware that comes with the package.
        architecture_id: Id of the architecture in the file, if known; latency tables find rows by it.
        label: Label of the row in tables; None for the file's name.
        weights: `random-v1`, or the sha256 of trained weights.
        runs: Timed inferences in a block, 1 to 100,000. A row of few runs is more often noisy.
        threads: Threads of the runtime, 1 to 1,024.
        store: Store to look into and to keep the row in; None for neither.
        fresh: Whether to measure even if the store has an answer.

    Returns:
        A row; `median_ms` is None where the whole network does not run there, and `reason` says why.

    Raises:
        UnknownNameError: No such hardware.
        FileFormatError: The file is not a whole TFLite or ONNX file, or not of the format that the hardware takes.
        MeasurementError: The hardware cannot be measured from here, or the measurement failed.
        StoreError: The store cannot be read or written.

    Example:
        >>> from mhmodels.hardware import measure
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = latency_file(get_architecture("multi_max"), "int8", Path(folder))
        ...     row = measure(file, "roofline-pixel4-dsp")
        >>> row.kind, round(row.median_ms, 2)
        ('simulated', 3.51)
    """
    job = prepare(file, label=label, architecture_id=architecture_id, weights=weights, runs=runs, threads=threads)
    return answer(job, *(hardware or built_in_hardware()).get(hardware_id), store=store, fresh=fresh).measurement


def prepare(
    file: str | os.PathLike[str],
    *,
    label: str | None = None,
    architecture_id: str | None = None,
    weights: str = "unknown",
    runs: int = USUAL_RUNS,
    threads: int = 1,
    reference: Job | None = None,
) -> Job:
    """Reads and checks a file once, to measure it on any number of hardware with `answer`.

    Args:
        file: A .tflite file, or an .onnx file for hardware that takes one.
        label, architecture_id, weights, runs, threads: As in `measure`.
        reference: Network to time in turns with this one; `runs` is then at least 20.

    Raises:
        FileFormatError: The file is not a whole TFLite or ONNX file, or cannot be measured in a meaningful way.
        MeasurementError: `runs` or `threads` is out of range.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import prepare
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = prepare(latency_file(get_architecture("multi_max"), "uint8", Path(folder)), runs=100)
        >>> job.format, job.runs
        ('uint8', 100)
    """
    least = MINIMUM_TURNS if reference else 1
    for name, value, lowest, most in (("runs", runs, least, MAXIMUM_RUNS), ("threads", threads, 1, 1024)):
        if type(value) is not int or not lowest <= value <= most:
            raise MeasurementError(f"{name} is {value!r}, expected a whole number from {lowest} to {most}")
    path = Path(file).absolute()
    fmt, shape = _format_and_shape(path)
    return Job(
        path=path,
        model_hash=sha256_of(path),
        file_bytes=path.stat().st_size,
        format=fmt,
        model=plain_text(label or path.stem),
        architecture_id=architecture_id,
        weights=weights,
        batch=max(1, shape[0]) if len(shape) > 1 else 1,
        runs=runs,
        threads=threads,
        reference=reference,
    )


def _format_and_shape(path: Path) -> tuple[str, tuple[int, ...]]:
    """Returns the format of a checked file and the shape of its input."""
    if is_onnx_path(path):
        model = read_onnx(path)
        return model.format, model.shape
    content = read_tflite(path)
    check_plausible(content, str(path))
    return compute_format(content), content.tensors[content.inputs[0]].shape


def check_format(job: Job, hardware: Hardware) -> None:
    """Refuses a file that a hardware does not take.

    Raises:
        FileFormatError: The file is of another format, and the hardware is strict about it.
        MeasurementError: The file is to be timed in turns with a reference, which this hardware cannot do.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import check_format, get_hardware, prepare
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = prepare(latency_file(get_architecture("multi_max"), "int8", Path(folder)))
        ...     check_format(job, get_hardware("host-cpu-int8").hardware)
    """
    if job.reference is not None and not hardware.turns:
        raise MeasurementError(f"{hardware.id} cannot time a reference network in turns; measure without one")
    other_kind = is_onnx_path(job.path) != hardware.format.startswith("onnx-")
    if (hardware.strict or other_kind) and job.format != hardware.format:
        raise FileFormatError(
            f"{job.path}: computes in {job.format}, but {hardware.id} takes {hardware.format} files; "
            f"export it as {hardware.format}, or measure on hardware for {job.format} (`mhmodels hardware`)"
        )


def check(job: Job, hardware: Hardware, runner: Runner) -> None:
    """Refuses a measurement that cannot be made, before anything is measured.

    Raises:
        FileFormatError, MeasurementError: As `check_format`, or the hardware cannot be reached from here.
    """
    check_format(job, hardware)
    why_not = runner.unavailable(hardware)
    if why_not:
        raise MeasurementError(why_not)


def answer(
    job: Job,
    hardware: Hardware,
    runner: Runner,
    *,
    store: Store | None = None,
    fresh: bool = False,
    tries: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
    check_wanted: Callable[[], None] = lambda: None,
) -> MeasuredRow:
    """Takes a measurement from the store, or measures and stores it.

    A noisy row of the store is measured again. A measurement that is noisy is repeated, up to `tries` times in all; then the
    fastest row counts, because disturbances only slow inferences down, and stays marked as noisy.

    Args:
        job: The file (`prepare`).
        hardware, runner: Hardware and its runner (`HardwareCollection.get`).
        store, fresh: As in `measure`.
        tries: Largest number of measurements; None for `TRIES`.
        tell: Called with one line for every repetition.
        check_wanted: Called repeatedly while another process measures; an exception that it raises ends the wait.

    Raises:
        FileFormatError, MeasurementError, StoreError: As in `measure`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import answer, get_hardware, prepare
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = prepare(latency_file(get_architecture("multi_max"), "int8", Path(folder)))
        ...     rows = [answer(job, *get_hardware(name)).measurement for name in ("roofline-40", "roofline-400")]
        >>> rows[0].median_ms < rows[1].median_ms
        True
    """
    check(job, hardware, runner)
    environment = runner.environment(hardware)
    look_up = store if store is not None and not fresh else None
    found = _stored(job, hardware, environment, look_up)
    if found is not None and (not found.noisy or (store is not None and store.read_only)):
        return MeasuredRow(found, True)
    if store is not None:
        store.check_writable()
    with _alone(job, hardware, check_wanted) if runner.exclusive else nullcontext():
        # Whoever held the lock may have measured just this.
        found = _stored(job, hardware, environment, look_up)
        if found is not None and not found.noisy:
            return MeasuredRow(found, True)
        if found is not None:
            tell(f"{job.model} on {hardware.id}: the stored row is noisy; measured again")
        measurement = _repeated(job, hardware, runner, TRIES if tries is None else tries, tell)
    if found is not None and steadier(found, measurement) is found:
        return MeasuredRow(found, True)
    if store is not None:
        store.add(measurement)
    return MeasuredRow(measurement, False)


def _repeated(job: Job, hardware: Hardware, runner: Runner, tries: int, tell: Callable[[str], None]) -> Measurement:
    """Measures until a row is not noisy."""
    end = time.monotonic() + TRIES_S
    row, made = runner.measure(job, hardware), 1
    while row.noisy and made < tries and time.monotonic() < end:
        made += 1
        tell(f"{job.model} on {hardware.id}: {row.median_ms:.4g} ms is noisy; measured again ({made} of {tries})")
        row = steadier(row, runner.measure(job, hardware))
    if row.noisy and tries > 1:
        known = f" (its fastest pace is kept in {pace_path()})" if "pace_key" in row.device_state else ""
        tell(
            f"{job.model} on {hardware.id}: noisy ({made} of {tries} tries); the machine is busy or slower than it can be{known}"
        )
    return row if made == 1 else msgspec.structs.replace(row, device_state={**row.device_state, "tries": made})


@contextmanager
def _alone(job: Job, hardware: Hardware, check_wanted: Callable[[], None]) -> Iterator[None]:
    """Timings have this machine to themselves; those in turns with a reference bear compilers beside them."""
    timed, in_turns = hardware.kind == "measured", job.reference is not None
    turns = turns_lock(check=check_wanted) if timed and in_turns else nullcontext()
    with machine_lock(shared=not timed or in_turns, check=check_wanted), turns:
        yield


def _stored(job: Job, hardware: Hardware, environment: Environment, store: Store | None) -> Measurement | None:
    found = store.find(job, hardware.id, environment) if store is not None else None
    if found is None:
        return None
    # The same network may have been measured under another name.
    return msgspec.structs.replace(found, model=job.model, noisy=found.noisy or outdated(found))
