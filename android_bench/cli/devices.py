"""`mhmodels devices`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypedDict

import click

from mhmodels.cli.common import console, emit_json, json_option, note

if TYPE_CHECKING:
    from mhmodels.android_bench.device.condition import PhoneCondition
    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.android_bench.transport.listing import ListedDevice


class _Core(TypedDict):
    number: int
    max_mhz: float


class _Delegate(TypedDict):
    id: str
    can_run: bool
    remark: str


class _Row(TypedDict, total=False):
    serial: str
    name: str
    state: str
    problem: str
    model: str
    soc: str
    android: str
    sdk: int
    fingerprint: str
    abis: tuple[str, ...]
    cores: list[_Core]
    big_cores: str
    gpu: str
    nnapi_accelerators: tuple[str, ...]
    free_bytes: int | None
    condition: PhoneCondition
    delegates: list[_Delegate]


@click.command("devices")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="SERIAL=NAME",
    help="Name for a phone, for example 0A1B2C3D=pixel4, so that pixel4/xnnpack stands for 0A1B2C3D/xnnpack. An empty "
    "name removes the name. May be repeated.",
)
@click.option(
    "--clean",
    "cleaned",
    multiple=True,
    metavar="SERIAL|NAME",
    help="Remove all files that mhmodels has copied to this phone, and restore its settings; may be repeated.",
)
@click.option(
    "--delegates-file",
    type=click.Path(exists=True, dir_okay=False),
    help="JSON or TOML file that defines delegates of your own (docs/phones.md).",
)
@click.option(
    "--adb",
    type=click.Path(),
    default=None,
    help="Path of the adb executable. Default: the adb of the package adbutils, else the one on PATH or in ANDROID_HOME.",
)
@click.option(
    "--adb-server",
    default=None,
    metavar="HOST:PORT",
    help="Address of the adb server, for example 192.168.1.5:5037. Default: ADB_SERVER_SOCKET, else the server of this machine.",
)
@json_option
def devices(
    names: tuple[str, ...],
    cleaned: tuple[str, ...],
    delegates_file: str | None,
    adb: str | None,
    adb_server: str | None,
    as_json: bool,
) -> None:
    """List the phones that adb sees: model, condition, and the delegates that can run on them.

    `mhmodels bench MODEL --device SERIAL --delegate ID` measures a network on one of these phones.
    """
    from mhmodels.android_bench.delegates.catalogue import load_delegates
    from mhmodels.android_bench.device.names import serial_of, set_name
    from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
    from mhmodels.android_bench.session.workspace import Workspace, device_lock

    for pair in names:
        serial, equals, name = pair.partition("=")
        if not (serial and equals):
            raise click.UsageError(f"--name {pair}: expected SERIAL=NAME")
        set_name(serial, name)
    own = load_delegates(delegates_file) if delegates_file else ()
    runner = PhoneRunner(PhoneRunnerOptions(adb=adb, adb_server=adb_server, delegates=own, wait_s=5.0))
    for phone in cleaned:
        # A session that measures there now is waited for, not swept away.
        serial = serial_of(phone)
        with device_lock(runner.facts(serial).hardware_serial):
            Workspace(runner.phone(serial)).clean()
        note(f"removed everything of ours from {phone}")
    listed = runner.adb.devices()
    for serial, _, name in (pair.partition("=") for pair in names):
        if name and serial not in [line.serial for line in listed]:
            note(f"{name} stands for '{serial}' from now on, which is not connected: is that its serial?")
    # All at once: one that hangs is waited for a minute.
    with ThreadPoolExecutor(max_workers=16) as pool:
        rows = list(pool.map(lambda line: _row(runner, line), listed))
    if as_json:
        emit_json({"adb": str(runner.adb.executable), "devices": rows})
        return
    if not rows:
        note("no phones: turn on USB debugging (Settings, System, Developer options), connect the cable and allow this computer")
        return
    _print(rows)


def _row(runner: PhoneRunner, line: ListedDevice) -> _Row:
    """One device as data; one that cannot be used carries its problem and nothing else."""
    from mhmodels.android_bench.delegates.suitability import obstacle, remark
    from mhmodels.android_bench.device.condition import read_condition
    from mhmodels.android_bench.device.description import core_mask
    from mhmodels.android_bench.device.names import name_of
    from mhmodels.android_bench.errors import AdbError

    row: _Row = {"serial": line.serial, "name": name_of(line.serial), "state": line.state, "problem": line.problem}
    if line.problem:
        return row
    try:
        facts, now = runner.facts(line.serial), read_condition(runner.phone(line.serial))
    except AdbError as error:
        return {**row, "problem": str(error)}
    return {
        **row,
        "model": facts.title,
        "soc": facts.soc or facts.platform,
        "android": facts.android,
        "sdk": facts.sdk,
        "fingerprint": facts.fingerprint,
        "abis": facts.abis,
        "cores": [{"number": core.number, "max_mhz": core.max_khz / 1e3} for core in facts.cores],
        "big_cores": f"{core_mask(facts):x}",
        "gpu": facts.gpu,
        "nnapi_accelerators": facts.accelerators,
        "free_bytes": facts.free_bytes,
        "condition": now,
        "delegates": [
            {
                "id": delegate.id,
                "can_run": not obstacle(delegate, facts),
                "remark": obstacle(delegate, facts) or remark(delegate, facts),
            }
            for delegate in runner.delegates
        ],
    }


def _print(rows: list[_Row]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from mhmodels.android_bench.device.limits import STATUS_NAMES

    table = Table("phone", "model", "SoC", "Android", "ABI", "cores", "GPU", "NNAPI", "state", "delegates", show_lines=True)
    for row in rows:
        name = row["serial"] if row["name"] == row["serial"] else f"{row['name']}\n{row['serial']}"
        if row["problem"]:
            table.add_row(escape(name), *("",) * 7, escape(row["problem"]), "")
            continue
        now = row["condition"]
        heat = "" if now.temperature_c is None else f"{now.temperature_c:.1f} °C"
        level = "" if now.battery_level is None else f"battery {now.battery_level} %"
        thermal = "" if now.thermal_status is None else f"throttling: {STATUS_NAMES[min(now.thermal_status, 6)]}"
        clocks: dict[float, int] = {}
        for core in row["cores"]:
            clocks[core["max_mhz"]] = clocks.get(core["max_mhz"], 0) + 1
        cells = (
            name,
            row["model"],
            row["soc"],
            f"{row['android']} (API {row['sdk']})",
            row["abis"][0] if row["abis"] else "",
            "\n".join(f"{count} × {mhz:.0f} MHz" for mhz, count in clocks.items()) + f"\nmask {row['big_cores']}",
            row["gpu"],
            ", ".join(row["nnapi_accelerators"]),
            "\n".join(filter(None, (level, heat, thermal))),
            ", ".join(delegate["id"] for delegate in row["delegates"] if delegate["can_run"]),
        )
        table.add_row(*(escape(str(cell)) for cell in cells))
    console().print(table)
