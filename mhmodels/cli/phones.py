"""Phones on the command line: their options, and the runner of `mhmodels.android_bench` that they make."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mhmodels.cli.common import FiniteRange
from mhmodels.errors import FileFormatError, MhmodelsError
from mhmodels.system.files import read_bytes

if TYPE_CHECKING:
    from mhmodels.android_bench.delegates.command import Mode
    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.hardware import HardwareCollection

F = TypeVar("F", bound=Callable[..., Any])
MOST_MATRIX_BYTES = 1 << 20
DEFAULT_DELEGATES = ("xnnpack", "xnnpack-int8", "gpu-opencl")


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of `bench --matrix`: every model is measured on every delegate of every phone.

    Attributes:
        models: zoo names, architecture files or .tflite files.
        devices: serial numbers or names of phones; empty for every usable phone.
        delegates: ids of delegates.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...] = ()
    delegates: tuple[str, ...] = DEFAULT_DELEGATES


_OPTIONS = (
    click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="SERIAL|NAME",
        help="Phone to measure on, by serial number or name (`mhmodels devices` lists both); may be repeated.",
    ),
    click.option(
        "--delegate",
        "delegates",
        multiple=True,
        metavar="ID",
        help="Delegate to measure with on each phone, such as gpu-opencl or nnapi:google-edgetpu; may be repeated. "
        f"[default: {', '.join(DEFAULT_DELEGATES)}]",
    ),
    click.option(
        "--benchmark-binary",
        "binaries",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="File of benchmark_model for the phone's ABI (arm64 or arm32); may be repeated. TensorFlow publishes nightly "
        "builds; docs/phones.md says where, and how to build one. Nothing is downloaded.",
    ),
    click.option(
        "--libraries",
        multiple=True,
        type=click.Path(exists=True, file_okay=False),
        help="Folder with the libraries that delegates need; may be repeated.",
    ),
    click.option(
        "--delegates-file",
        type=click.Path(exists=True, dir_okay=False),
        help="JSON or TOML file with delegates of your own (docs/phones.md).",
    ),
    click.option(
        "--require-full-delegation", is_flag=True, help="Store no latency of a network that runs only in part on its delegate."
    ),
    click.option(
        "--blocks",
        type=click.IntRange(1, 1000),
        default=5,
        show_default=True,
        help="Number of blocks of each network and delegate on a phone; the delegates take turns.",
    ),
    click.option(
        "--mode",
        type=click.Choice(("burst", "sustained")),
        default="burst",
        show_default=True,
        help="burst: short blocks, each after a cool-down. sustained: blocks of a minute each without pauses.",
    ),
    click.option(
        "--cool-down",
        "cool_down_s",
        type=FiniteRange(0, 7200),
        default=300.0,
        show_default=True,
        help="Longest wait in seconds for the phone to cool down before a block; 0 does not wait.",
    ),
    click.option(
        "--min-battery",
        "battery_level",
        type=click.IntRange(0, 100),
        default=30,
        show_default=True,
        help="Lowest battery level in per cent at which a phone is measured. It does not count while a power supply holds or "
        "charges the battery.",
    ),
    click.option(
        "--timeout",
        type=FiniteRange(1, 36_000),
        default=300.0,
        show_default=True,
        help="Longest time in seconds of one run of the benchmark tool.",
    ),
    click.option("--profile", is_flag=True, help="Measure the times of the operators too, in one more run."),
    click.option("--compare-outputs", is_flag=True, help="Compare the outputs with those of the CPU too, in one more run."),
    click.option(
        "--keep-settings",
        is_flag=True,
        help="Leave the brightness of the phone's screen as it is. By default the screen is darkened and put back afterwards.",
    ),
    click.option(
        "--fixed-clocks",
        is_flag=True,
        help="Measure in Android's fixed performance mode, in which the clocks are lower and steady.",
    ),
    click.option("--adb", type=click.Path(), default=None, help="Path of the adb executable. By default it is looked for."),
    click.option(
        "--adb-server",
        default=None,
        metavar="HOST:PORT",
        help="Address of the adb server. By default the server of this machine is used.",
    ),
)


class PhoneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the options of phones, by the names of their parameters."""

    devices: tuple[str, ...]
    delegates: tuple[str, ...]
    binaries: tuple[str, ...]
    libraries: tuple[str, ...]
    delegates_file: str | None
    require_full_delegation: bool
    blocks: int
    mode: Mode
    cool_down_s: float
    battery_level: int
    timeout: float
    profile: bool
    compare_outputs: bool
    keep_settings: bool
    fixed_clocks: bool
    adb: str | None
    adb_server: str | None


def phone_options(command: F) -> F:
    """Adds the options of phones to a command, which gets their values as one argument `phones`."""

    @functools.wraps(command)
    def collected(**values: Any) -> Any:
        phones = PhoneOptions(**{name: values.pop(name) for name in PhoneOptions.__struct_fields__})
        return command(phones=phones, **values)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def phone_runner(phones: PhoneOptions, store: str | None) -> PhoneRunner:
    """Makes the runner of phones from the options.

    Args:
        phones: values of the options.
        store: path of the store; raw logs go beside it.

    Raises:
        DelegateError: the user's delegates cannot be read, or one is wrong.
    """
    from mhmodels.android_bench.delegates.catalogue import load_delegates
    from mhmodels.android_bench.device.condition import PhoneLimits
    from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
    from mhmodels.android_bench.session.tasks import PhonePlan

    plan = PhonePlan(
        blocks=phones.blocks,
        mode=phones.mode,
        limits=PhoneLimits(battery_level=phones.battery_level, cool_down_s=phones.cool_down_s),
        timeout_s=phones.timeout,
        require_full=phones.require_full_delegation,
        profile=phones.profile,
        compare=phones.compare_outputs,
        prepare=not phones.keep_settings,
        fixed_clocks=phones.fixed_clocks,
    )
    options = PhoneRunnerOptions(
        adb=phones.adb,
        adb_server=phones.adb_server,
        binaries=phones.binaries,
        libraries=phones.libraries,
        delegates=load_delegates(phones.delegates_file) if phones.delegates_file else (),
        logs=str(Path(store).with_suffix(".logs")) if store else None,
        plan=plan,
    )
    return PhoneRunner(options)


def with_phones(runner: PhoneRunner) -> HardwareCollection:
    """The collection of hardware of a command: what comes with the package, and phones."""
    from mhmodels.hardware import built_in_hardware

    return built_in_hardware().with_runner("phones", runner)


def wanted(phones: PhoneOptions, runner: PhoneRunner, matrix: Matrix | None = None) -> list[tuple[str, str]]:
    """Pairs of phone and delegate that `--device` and `--delegate`, or a matrix, ask for; empty if none is asked for.

    Raises:
        UnknownNameError: no such delegate.
        UsageError: a delegate is given without a phone, and not exactly one phone is connected.
    """
    devices, delegates = phones.devices, phones.delegates or DEFAULT_DELEGATES
    if matrix is not None:
        devices, delegates = devices or matrix.devices, phones.delegates or matrix.delegates
        devices = devices or tuple(line.serial for line in runner.adb.devices() if not line.problem)
    elif phones.delegates and not devices:
        usable = [line.serial for line in runner.adb.devices() if not line.problem]
        if len(usable) != 1:
            raise click.UsageError(f"--delegate needs a --device: {len(usable)} phones are there ({', '.join(usable) or 'none'})")
        devices = tuple(usable)
    wrong = next((device for device in devices if not device or "/" in device), None)
    if wrong is not None:
        raise MhmodelsError(f"device '{wrong}': expected a serial or name as `mhmodels devices` lists them")
    for delegate in delegates:
        runner.delegates.get(delegate)
    return [(device, delegate) for device in devices for delegate in delegates]


def hardware_ids(pairs: Sequence[tuple[str, str]], runner: PhoneRunner, fmt: str | None = None) -> list[str]:
    """Hardware ids of pairs of phone and delegate.

    Args:
        pairs: as `wanted` gives them.
        runner: runner of the phones.
        fmt: format of a file: pairs whose delegate does not take it are left out, the others are in that format. None keeps the
            usual format of each delegate.

    Raises:
        DelegateError: no delegate takes the format.
    """
    from mhmodels.android_bench.errors import DelegateError

    ids, refused = [], None
    for device, delegate in pairs:
        try:
            choice = runner.delegates.get(delegate) if fmt is None else runner.delegates.for_format(delegate, fmt)
        except DelegateError as error:
            refused = error
            continue
        if fmt is None or choice.format == fmt:
            ids.append(f"{device}/{choice.id}")
    if not ids and refused is not None:
        raise refused
    return list(dict.fromkeys(ids))


def read_matrix(path: str) -> Matrix:
    """Reads a matrix file, JSON if its name ends with `.json` and else TOML.

    Raises:
        MhmodelsError: the file cannot be read, or a field is wrong.
    """
    file = Path(path)
    decode = msgspec.json.decode if file.suffix == ".json" else msgspec.toml.decode
    try:
        return decode(read_bytes(file, MOST_MATRIX_BYTES), type=Matrix)
    except (FileFormatError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MhmodelsError(f"{file}: not a matrix of models, devices and delegates ({error})") from error
