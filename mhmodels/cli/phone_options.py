"""The options of commands that measure on phones."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
    def collected(**values: Any) -> object:
        phones = PhoneOptions(**{name: values.pop(name) for name in PhoneOptions.__struct_fields__})
        return command(phones=phones, **values)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]
