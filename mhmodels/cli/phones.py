"""Phones on the command line: the runner of `mhmodels.android_bench`, and the hardware ids that options and matrices ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mhmodels.cli.phone_options import DEFAULT_DELEGATES, PhoneOptions
from mhmodels.errors import FileFormatError, MhmodelsError
from mhmodels.system.files import read_bytes

if TYPE_CHECKING:
    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.hardware import HardwareCollection

MOST_MATRIX_BYTES = 1 << 20


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of `bench --matrix`: every model is measured on every delegate of every phone.

    Attributes:
        models: Zoo names, architecture files or .tflite files.
        devices: Serial numbers or names of phones; empty for every usable phone.
        delegates: Ids of delegates.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...] = ()
    delegates: tuple[str, ...] = DEFAULT_DELEGATES


def phone_runner(phones: PhoneOptions, store: str | None) -> PhoneRunner:
    """Makes the runner of phones from the options.

    Args:
        phones: Values of the options.
        store: Path of the store; raw logs go beside it.

    Raises:
        DelegateError: The user's delegates cannot be read, or one is wrong.
    """
    from mhmodels.android_bench.delegates.catalogue import load_delegates
    from mhmodels.android_bench.device.limits import PhoneLimits
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
        UnknownNameError: No such delegate.
        UsageError: A delegate is given without a phone, and not exactly one phone is connected.
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
        pairs: As `wanted` gives them.
        runner: Runner of the phones.
        fmt: Format of a file: pairs whose delegate does not take it are left out, the others are in that format. None keeps the
            usual format of each delegate.

    Raises:
        DelegateError: No delegate takes the format.
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
        MhmodelsError: The file cannot be read, or a field is wrong.
    """
    file = Path(path)
    decode = msgspec.json.decode if file.suffix == ".json" else msgspec.toml.decode
    try:
        return decode(read_bytes(file, MOST_MATRIX_BYTES), type=Matrix)
    except (FileFormatError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MhmodelsError(f"{file}: not a matrix of models, devices and delegates ({error})") from error
