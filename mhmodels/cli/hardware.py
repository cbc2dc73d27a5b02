"""The command `mhmodels hardware`: known hardware and its availability on this machine."""

from __future__ import annotations

import click

from mhmodels.cli.common import console, emit_json, json_option, note


@click.command("hardware")
@json_option
def hardware(as_json: bool) -> None:
    """List the hardware on which latency can be measured or estimated from this machine.

    The five default hardware of `mhmodels compare` come first. A `measured` latency was timed on the device, an `estimated`
    one was computed by a compiler, a `simulated` one by a roofline model. For unavailable hardware the last column gives the
    reason.
    """
    import msgspec

    from mhmodels.hardware import DEFAULT_HARDWARE, list_hardware

    rows = []
    for entry, runner in list_hardware():
        reason = runner.unavailable(entry)
        rows.append(
            {
                **msgspec.structs.asdict(entry),
                "default": entry.id in DEFAULT_HARDWARE,
                "available": not reason,
                "reason": reason,
                "environment": None if reason else runner.environment(entry),
            }
        )
    if as_json:
        emit_json({"hardware": rows})
        return
    from rich.table import Table

    table = Table("id", "takes", "kind", "default", "available", "description, or reason")
    for row in rows:
        table.add_row(
            row["id"],
            row["format"],
            row["kind"],
            "yes" if row["default"] else "",
            "yes" if row["available"] else "no",
            row["reason"] or row["description"],
        )
    console().print(table)
    note("phones: `mhmodels devices` lists them; measure on one with --hardware SERIAL/DELEGATE")
