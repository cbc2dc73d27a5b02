"""The options of commands that measure on phones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mhmodels.cli.common import FiniteRange

if TYPE_CHECKING:
    from mhmodels.android_bench.delegates.command import Mode

F = TypeVar("F", bound=Callable[..., object])
DEFAULT_DELEGATES = ("xnnpack", "xnnpack-int8", "gpu-opencl")

_OPTIONS = (
    click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="SERIAL|NAME",
        help="Phone to measure on, given as serial number or name (`mhmodels devices` lists both); may be repeated.",
    ),
    click.option(
        "--delegate",
        "delegates",
        multiple=True,
        metavar="ID",
        help="Delegate that runs the networks on each phone of --device, such as gpu-opencl or nnapi:google-edgetpu; may be "
        f"repeated.  [default: {', '.join(DEFAULT_DELEGATES)}]",
    ),
    click.option(
        "--benchmark-binary",
        "binaries",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="Program benchmark_model for the ABI of the phone (arm64 or arm32); may be repeated, once per ABI. "
        "docs/phones.md states where TensorFlow publishes it and how to build it; nothing is downloaded. Default: the "
        "program in the data folder, else the one on the phone.",
    ),
    click.option(
        "--libraries",
        multiple=True,
        type=click.Path(exists=True, file_okay=False),
        help="Folder with the libraries that delegates need (docs/phones.md); may be repeated.",
    ),
    click.option(
        "--delegates-file",
        type=click.Path(exists=True, dir_okay=False),
        help="JSON or TOML file that defines delegates of your own (docs/phones.md).",
    ),
    click.option(
        "--require-full-delegation",
        is_flag=True,
        help="Store no latency of a network that runs only partly on its delegate; tables then show × for it.",
    ),
    click.option(
        "--blocks",
        type=click.IntRange(1, 1000),
        default=5,
        show_default=True,
        help="Number of blocks of inferences per network and delegate on a phone; the delegates alternate.",
    ),
    click.option(
        "--mode",
        type=click.Choice(("burst", "sustained")),
        default="burst",
        show_default=True,
        help="Timing mode on phones. burst: short blocks, each after a cool-down. sustained: blocks of one minute each "
        "without pauses.",
    ),
    click.option(
        "--cool-down",
        "cool_down_s",
        type=FiniteRange(0, 7200),
        default=300.0,
        show_default=True,
        help="Longest wait in seconds, before each block, for a phone to cool down to its starting temperature; 0 does not wait.",
    ),
    click.option(
        "--min-battery",
        "battery_level",
        type=click.IntRange(0, 100),
        default=30,
        show_default=True,
        help="Lowest battery level in percent at which a phone is measured. The level is not checked while a power supply "
        "charges the battery or holds its level.",
    ),
    click.option(
        "--timeout",
        type=FiniteRange(1, 36_000),
        default=300.0,
        show_default=True,
        help="Longest duration in seconds of one run of benchmark_model on a phone.",
    ),
    click.option(
        "--profile",
        is_flag=True,
        help="On phones, measure the time of each operator in one additional run; --json prints the times.",
    ),
    click.option(
        "--compare-outputs",
        is_flag=True,
        help="On phones, compare the outputs of the delegate with those of the CPU in one additional run; --json prints the "
        "difference.",
    ),
    click.option(
        "--keep-settings",
        is_flag=True,
        help="Leave the screen settings of the phone as they are. By default the screen is darkened and kept on during the "
        "measurement, and its settings are restored afterwards.",
    ),
    click.option(
        "--fixed-clocks",
        is_flag=True,
        help="Measure in Android's fixed performance mode, in which the clocks are lower and steady. A phone that refuses "
        "this mode is not measured.",
    ),
    click.option(
        "--adb",
        type=click.Path(),
        default=None,
        help="Path of the adb executable. Default: the adb of the package adbutils, else the one on PATH or in ANDROID_HOME.",
    ),
    click.option(
        "--adb-server",
        default=None,
        metavar="HOST:PORT",
        help="Address of the adb server, for example 192.168.1.5:5037. Default: ADB_SERVER_SOCKET, else the server of this "
        "machine.",
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


_OF_ONE_MODEL: dict[str, Any] = {"devices": (), "delegates": (), "profile": False, "compare_outputs": False}
"""Options that choose phones or print more about one model, with the values of commands that do not have them."""


def phone_options(command: F) -> F:
    """Adds the options of phones to a command, which gets their values as one argument `phones`."""
    return _with_options(command, {})


def phone_settings_options(command: F) -> F:
    """Adds the options that decide how a phone is measured, for commands that know the phones from elsewhere.

    The command gets the values as one argument `phones`, without phones and delegates.
    """
    return _with_options(command, _OF_ONE_MODEL)


def phone_settings_parameters() -> tuple[str, ...]:
    """Names of the parameters that `phone_settings_options` adds."""
    return tuple(name for name in PhoneOptions.__struct_fields__ if name not in _OF_ONE_MODEL)


def _with_options(command: F, fixed: Mapping[str, Any]) -> F:
    """Adds the options of phones except those in `fixed`, whose values the command gets as they are there."""
    asked = [name for name in PhoneOptions.__struct_fields__ if name not in fixed]

    @functools.wraps(command)
    def collected(**values: Any) -> object:
        phones = PhoneOptions(**{name: values.pop(name) for name in asked}, **fixed)
        return command(phones=phones, **values)

    for name, option in reversed(list(zip(PhoneOptions.__struct_fields__, _OPTIONS, strict=True))):
        if name not in fixed:
            collected = option(collected)
    return collected  # type: ignore[return-value]
