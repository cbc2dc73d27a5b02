"""From a file and a hardware id to a stored row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware.lock import machine_lock, turns_lock
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.registry import Hardware, Job, Runner, get_hardware
from mhmodels.system.files import sha256_of
from mhmodels.tflite_file import TFLiteFile, read_tflite

if TYPE_CHECKING:
    from mhmodels.store import Store

MINIMUM_RUNS, MINIMUM_TURNS, MAXIMUM_RUNS = 50, 20, 100_000
# Operators with weights, and the positions of input and weights among their tensors.
_KERNELS = {"CONV_2D": (0, 1), "DEPTHWISE_CONV_2D": (0, 1), "FULLY_CONNECTED": (0, 1), "TRANSPOSE_CONV": (2, 1)}


class Answer(NamedTuple):
    """A row, and whether the store had it already."""

    measurement: Measurement
    from_store: bool


def measure(
    tflite_path: str | os.PathLike[str],
    hardware_id: str,
    *,
    architecture_id: str | None = None,
    label: str | None = None,
    weights: str = "unknown",
    runs: int = MINIMUM_RUNS,
    threads: int = 1,
    store: Store | None = None,
    fresh: bool = False,
) -> Measurement:
    """The latency of a file on a hardware: from the store if it has this very request, else measured and stored.

    Args:
        tflite_path: the file.
        hardware_id: as `mhmodels hardware` lists them.
        architecture_id: of the network in the file, if known; latency tables find rows by it.
        label: for tables; None for the file's name.
        weights: `random-v1`, or the sha256 of trained weights.
        runs: timed inferences a block; at least 50 are made.
        threads: of the runtime.
        store: where to look and to keep; None for neither.
        fresh: measures even if the store has an answer.

    Returns:
        A row; `median_ms` is None where the whole network does not run there, and `reason` says why.

    Raises:
        UnknownNameError: no such hardware.
        FileFormatError: not a whole TFLite file, or not of the format that the hardware takes.
        MeasurementError: it cannot be measured from here, or failed.
        StoreError: the store cannot be read or written.
    """
    job = prepare(tflite_path, label=label, architecture_id=architecture_id, weights=weights, runs=runs, threads=threads)
    return answer(job, *get_hardware(hardware_id), store=store, fresh=fresh).measurement


def prepare(
    tflite_path: str | os.PathLike[str],
    *,
    label: str | None = None,
    architecture_id: str | None = None,
    weights: str = "unknown",
    runs: int = MINIMUM_RUNS,
    threads: int = 1,
    reference: Job | None = None,
) -> Job:
    """Reads and checks a file once, for all hardware; arguments and errors as `measure`.

    With a `reference` to be timed in turns with it, 20 runs are the least.
    """
    for name, value, most in (("runs", runs, MAXIMUM_RUNS), ("threads", threads, 1024)):
        if type(value) is not int or not 1 <= value <= most:
            raise MeasurementError(f"{name} is {value!r}, expected a whole number from 1 to {most}")
    path = Path(tflite_path).absolute()
    content = read_tflite(path)
    shape = content.tensors[content.inputs[0]].shape
    return Job(
        path=path,
        model_hash=sha256_of(path),
        file_bytes=path.stat().st_size,
        format=kernel_format(content),
        model=label or path.stem,
        architecture_id=architecture_id,
        weights=weights,
        batch=max(1, shape[0]) if len(shape) > 1 else 1,
        runs=max(runs, MINIMUM_TURNS if reference else MINIMUM_RUNS),
        threads=threads,
        reference=reference,
    )


def kernel_format(content: TFLiteFile) -> str:
    """What a file computes in: float32, float16 (weights), int8 or uint8; else input and weights of its kernels.

    A file may take and give other types than it computes in, so its borders do not count; a file of float activations
    and int8 weights is neither float32 nor int8 and comes out as `float32 x int8`.
    """
    types = [tensor.dtype for tensor in content.tensors]
    operators = content.operators
    stored = {o.outputs[0]: types[o.inputs[0]] for o in operators if o.kind == "DEQUANTIZE" and o.inputs and o.outputs}
    pairs = set()
    for operator in operators:
        positions = _KERNELS.get(operator.kind)
        if positions and len(operator.inputs) > max(positions):
            source, kernel = (operator.inputs[position] for position in positions)
            if min(source, kernel) >= 0:
                pairs.add((types[source], stored.get(kernel, types[kernel])))
    if not pairs:
        pairs = {(types[tensor],) * 2 for o in operators if o.kind not in ("QUANTIZE", "DEQUANTIZE") for tensor in o.outputs[:1]}
    names = sorted(_pair_name(*pair) for pair in pairs)
    return " + ".join(names) or "empty"


def _pair_name(source: str, weights: str) -> str:
    if source == weights:
        return source
    return "float16" if (source, weights) == ("float32", "float16") else f"{source} x {weights}"


def check_format(job: Job, hardware: Hardware) -> None:
    """Refuses a file that the hardware does not take.

    Raises:
        FileFormatError: its format is another, and the hardware leaves no room.
        MeasurementError: it is to be timed in turns with a reference, which this hardware cannot do.
    """
    if job.reference is not None and not hardware.turns:
        raise MeasurementError(f"{hardware.id} cannot time a reference network in turns; measure without one")
    if hardware.strict and job.format != hardware.format:
        raise FileFormatError(
            f"{job.path}: computes in {job.format}, but {hardware.id} takes {hardware.format} files; "
            f"export it as {hardware.format}, or measure on hardware for {job.format} (`mhmodels hardware`)"
        )


def check(job: Job, hardware: Hardware, runner: Runner) -> None:
    """Refuses what cannot be measured, before anything is.

    Raises:
        FileFormatError: the hardware does not take files of this format.
        MeasurementError: the hardware cannot be reached from here.
    """
    check_format(job, hardware)
    why_not = runner.unavailable(hardware)
    if why_not:
        raise MeasurementError(why_not)


def answer(job: Job, hardware: Hardware, runner: Runner, *, store: Store | None = None, fresh: bool = False) -> Answer:
    """Looks the request up, else measures and stores it; errors as `measure`."""
    check(job, hardware, runner)
    environment = runner.environment(hardware)
    look_up = store if store is not None and not fresh else None
    found = _stored(job, hardware, environment, look_up)
    if found is not None:
        return Answer(found, True)
    with _alone(job, hardware) if runner.exclusive else nullcontext():
        # Whoever held the lock may have measured just this.
        found = _stored(job, hardware, environment, look_up)
        if found is not None:
            return Answer(found, True)
        measurement = runner.measure(job, hardware)
    if store is not None:
        store.add(measurement)
    return Answer(measurement, False)


@contextmanager
def _alone(job: Job, hardware: Hardware) -> Iterator[None]:
    """Timings have this machine to themselves; those in turns with a reference bear compilers beside them."""
    timed, in_turns = hardware.kind == "measured", job.reference is not None
    with machine_lock(shared=not timed or in_turns), turns_lock() if timed and in_turns else nullcontext():
        yield


def _stored(job: Job, hardware: Hardware, environment: Environment, store: Store | None) -> Measurement | None:
    found = store.find(job, hardware.id, environment) if store is not None else None
    # The same network may have been measured under another name.
    return msgspec.structs.replace(found, model=job.model) if found is not None else None
