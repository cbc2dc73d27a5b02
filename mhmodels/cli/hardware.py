"""`mhmodels hardware`."""

from __future__ import annotations

import click

from mhmodels.cli.common import console, emit_json, json_option, note


@click.command("hardware")
@json_option
def hardware(as_json: bool) -> None:
    """What can be measured from here, and why not.

    The default five, on which `compare` works, come first. `measured` means timed on the device, `estimated` that a
    compiler computed it.
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

    table = Table("id", "takes", "kind", "default", "available", "what it is, or why not")
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
    note("phones: `mhmodels devices` lists them, SERIAL/delegate measures on them")
