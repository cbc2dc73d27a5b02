"""The command `mhmodels hardware`: known hardware, its availability on this machine, and tools of chip vendors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console
from mhmodels.cli.messages import OptionNamingGroup

if TYPE_CHECKING:
    from mhmodels.hardware.tools.catalogue import VendorTool


@click.group("hardware", cls=OptionNamingGroup, invoke_without_command=True)
@json_option
@click.pass_context
def hardware(ctx: click.Context, as_json: bool) -> None:
    """List the hardware on which latency can be measured or estimated from this machine.

    The five default hardware of `mhmodels compare` come first. A `measured` latency was timed on the device, an `estimated`
    one was computed by a compiler, a `simulated` one by a roofline model. For unavailable hardware the last column gives the
    reason. Some hardware needs a tool of its vendor, which `mhmodels hardware install TOOL` installs into a Python environment
    of its own.
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json is for the list, not for `{ctx.command_path} {ctx.invoked_subcommand}`")
        return
    rows, tools = _hardware_rows(), _tool_rows()
    if as_json:
        from mhmodels.hardware import HARDWARE_SETS

        emit_json({"hardware": rows, "tools": tools, "sets": HARDWARE_SETS})
        return
    _print_hardware(rows)
    _print_tools(tools)
    note("phones: `mhmodels devices` lists them; measure on one with --hardware SERIAL/DELEGATE")


@hardware.command("install")
@click.argument("tool")
@click.option("--yes", is_flag=True, help="Accept the licence of the tool and its size without a question.")
def install(tool: str, yes: bool) -> None:
    """Install a tool of a chip vendor: qualcomm (hardware hexagon-…) or rockchip (hardware rknn-…).

    The tool gets a Python environment of its own under MHMODELS_HOME, with pinned versions whose hashes are checked; this
    environment stays as it is. The command tells the licence and the size first and asks. An installation that is interrupted
    leaves nothing; the same command starts again.
    """
    from mhmodels.hardware.tools.catalogue import get_tool
    from mhmodels.hardware.tools.environment import environment_path, missing, unsuitable
    from mhmodels.hardware.tools.environment import install as install_tool

    chosen = get_tool(tool)
    if not missing(chosen):
        note(f"{chosen.name} is already installed in {environment_path(chosen)}")
        return
    if not unsuitable(chosen):
        _ask(chosen, yes)
    with progress_console().status(f"installing {chosen.name}"):
        place = install_tool(chosen, note)
    note(f"installed {chosen.title} in {place}")


@hardware.command("uninstall")
@click.argument("tool")
def uninstall(tool: str) -> None:
    """Remove a tool that `mhmodels hardware install` installed."""
    from mhmodels.hardware.tools.catalogue import get_tool
    from mhmodels.hardware.tools.environment import environment_path
    from mhmodels.hardware.tools.environment import uninstall as uninstall_tool

    chosen = get_tool(tool)
    removed = uninstall_tool(chosen, note)
    note(f"removed {environment_path(chosen)}" if removed else f"{chosen.name} is not installed")


def _ask(tool: VendorTool, yes: bool) -> None:
    """Tells what would be installed and asks for consent.

    Raises:
        UsageError: There is no terminal to ask on, and no --yes.
        Abort: The answer is no.
    """
    from mhmodels.hardware.tools.environment import environment_path

    note(f"{tool.title}")
    note(f"size: {tool.download_mb} MB to download, {tool.installed_mb} MB installed in {environment_path(tool)}")
    note(f"licence: {tool.licence}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("the licence must be accepted: run this in a terminal, or give --yes")
    click.confirm("Accept the licence and install?", abort=True, err=True)


def _hardware_rows() -> list[dict[str, Any]]:
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
    return rows


def _tool_rows() -> list[dict[str, Any]]:
    from mhmodels.hardware.tools.catalogue import TOOLS
    from mhmodels.hardware.tools.environment import environment_path, missing

    rows = []
    for tool in TOOLS:
        reason = missing(tool)
        rows.append(
            {
                "name": tool.name,
                "title": tool.title,
                "enables": tool.enables,
                "licence": tool.licence,
                "download_mb": tool.download_mb,
                "installed_mb": tool.installed_mb,
                "installed": not reason,
                "reason": reason,
                "path": str(environment_path(tool)),
            }
        )
    return rows


def _print_hardware(rows: list[dict[str, Any]]) -> None:
    from rich.table import Column, Table

    # In a narrow terminal a name goes on in the next line: a part of one is of no use.
    names = (Column(name, overflow="fold") for name in ("id", "takes", "kind", "default", "available", "description, or reason"))
    table = Table(*names)
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


def _print_tools(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("tool", "enables", "installed", "title, or reason")
    for row in rows:
        table.add_row(row["name"], row["enables"], "yes" if row["installed"] else "no", row["reason"] or row["title"])
    console().print(table)
