"""Runs that are not for latency: times of the operators, and outputs compared with those of the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mhmodels.android_bench.delegates.command import OUTPUTS, DevicePaths
from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.output.profile import OperatorTime, parse_profile
from mhmodels.android_bench.session.blocks import BlockRunner
from mhmodels.android_bench.session.workspace import Workspace
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.phone import Phone, quote
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Job
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import Tensor, read_tflite

PROFILE_RUNS = 10


class OutputComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Outputs of a delegate compared with those of TFLite's own CPU kernels, on the same random input.

    Attributes:
        max_abs, mean_abs: Differences over all outputs, in units of the output (levels of a quantised one).
        same_top1: Whether the largest value of the first output is at the same position.
    """

    max_abs: float
    mean_abs: float
    same_top1: bool


def profile_operators(
    runner: BlockRunner, workspace: Workspace, choice: DelegateChoice, prepared: DevicePaths, threads: int
) -> tuple[OperatorTime, ...]:
    """Measures the times of the operators, in a run of its own because profiling slows the network down.

    Raises:
        MeasurementError: The tool printed no complete table.
    """
    flags = {
        "graph": prepared.graph,
        "num_threads": str(threads),
        "num_runs": str(PROFILE_RUNS),
        "enable_op_profiling": "true",
        **choice.flags(prepared.folder),
    }
    run = runner.plain(choice, prepared, workspace.new_run(), flags)
    operators = parse_profile(run.stdout) if run.rc == 0 else ()
    if not operators:
        raise MeasurementError(f"no times of operators from {choice.id} (exit code {run.rc})")
    return operators


def compare_outputs(
    runner: BlockRunner,
    workspace: Workspace,
    job: Job,
    choice: DelegateChoice,
    prepared: DevicePaths,
    cpu: tuple[DelegateChoice, DevicePaths],
) -> OutputComparison:
    """Runs a network once on a delegate and once on the CPU with the same input.

    Args:
        runner, workspace: Tool runner and workspace of the phone.
        job: The network.
        choice, prepared: The delegate.
        cpu: TFLite's own kernels, prepared likewise.

    Raises:
        MeasurementError: One of the runs failed or left other outputs than the network has.
        FileFormatError, OSError, TypeError, ValueError: The file cannot be read, or has tensors of a type that numpy lacks.
    """
    import numpy as np

    content = read_tflite(job.path)
    inputs = [content.tensors[place] for place in content.inputs]
    outputs = [content.tensors[place] for place in content.outputs]
    sizes = [int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize for tensor in outputs]
    with temporary_folder("outputs") as place:
        files = {}
        random = np.random.default_rng(0)
        for number, tensor in enumerate(inputs):
            files[f"input{number}"] = Path(place, f"input{number}")
            files[f"input{number}"].write_bytes(_values(tensor, random))
        folder = workspace.place(files)
        results = []
        for one, where in (cpu, (choice, prepared)):
            run = workspace.new_run()
            done = runner.plain(one, where, run, {**_input_flags(inputs, folder), **_single(one, where, run)})
            if done.rc != 0:
                raise MeasurementError(f"no outputs from {one.id} (exit code {done.rc})")
            results.append(_pull(workspace.phone, f"{run}/{OUTPUTS}", Path(place, one.id.replace(":", "_")), sum(sizes)))
    return _compare(outputs, sizes, *results)


def _pull(phone: Phone, remote: str, local: Path, size: int) -> bytes:
    """A file of a known size. What a device tells of another one is not fetched: it may fill the disk here."""
    found = phone.script(f"wc -c < {quote(remote)}").stdout.strip()
    if found != str(size):
        raise MeasurementError(f"outputs are {without_controls(found)[:20] or 'no'} bytes, expected {size}")
    phone.pull(remote, local)
    return local.read_bytes()


def _single(choice: DelegateChoice, prepared: DevicePaths, run: str) -> dict[str, str]:
    flags = {"graph": prepared.graph, "num_runs": "1", "min_secs": "0", "warmup_runs": "1", "warmup_min_secs": "0"}
    return {**flags, "output_filepath": f"{run}/{OUTPUTS}", **choice.flags(prepared.folder)}


def _input_flags(inputs: Sequence[Tensor], folder: str) -> dict[str, str]:
    """The tool separates inputs by commas and their parts by colons; a colon in a name is written twice."""
    wrong = next((tensor.name for tensor in inputs if "," in tensor.name), None)
    if wrong is not None:
        raise MeasurementError(f"input '{wrong}' holds a comma, which the tool takes for the end of a name")
    return {
        "input_layer": ",".join(tensor.name for tensor in inputs),
        "input_layer_shape": ":".join(",".join(map(str, tensor.shape)) for tensor in inputs),
        "input_layer_value_files": ",".join(
            f"{tensor.name.replace(':', '::')}:{folder}/input{number}" for number, tensor in enumerate(inputs)
        ),
    }


def _values(tensor: Tensor, random: object) -> bytes:
    import numpy as np

    assert isinstance(random, np.random.Generator)
    kind = np.dtype(tensor.dtype)
    if kind.kind == "f":
        return random.uniform(-1, 1, tensor.shape).astype(kind).tobytes()
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, tensor.shape, kind, endpoint=True).tobytes()


def _compare(outputs: Sequence[Tensor], sizes: Sequence[int], expected: bytes, found: bytes) -> OutputComparison:
    import numpy as np

    if len(expected) != sum(sizes) or len(found) != sum(sizes):
        raise MeasurementError(f"outputs are {len(expected)} and {len(found)} bytes, expected {sum(sizes)}")
    differences, same, start = [], True, 0
    for number, (tensor, size) in enumerate(zip(outputs, sizes, strict=True)):
        one, other = (np.frombuffer(data[start : start + size], tensor.dtype).astype(np.float64) for data in (expected, found))
        differences.append(np.abs(one - other))
        same = same if number else bool(one.argmax() == other.argmax())
        start += size
    every = np.concatenate(differences)
    if not np.isfinite(every).all():
        raise MeasurementError("an output holds NaN or infinity")
    return OutputComparison(max_abs=float(every.max()), mean_abs=float(every.mean()), same_top1=same)
