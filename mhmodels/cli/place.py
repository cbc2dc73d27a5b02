"""The command `mhmodels place`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import (
    FiniteRange,
    emit_json,
    is_file_target,
    json_option,
    note,
    progress_console,
    width_multiplier_option,
)
from mhmodels.cli.place_tables import print_placements, print_socs
from mhmodels.errors import MeasurementError, MhmodelsError

if TYPE_CHECKING:
    from mhmodels.hardware import Placement, PlacementSoc
    from mhmodels.hardware.placement.socs import PlacementFormat

FORMATS: tuple[PlacementFormat, ...] = ("int8", "uint8", "float32")
_NAMED = 3
"""Most verdicts that the last line names."""


class _Network(NamedTuple):
    name: str
    content: bytes


class PlacementFailure(NamedTuple):
    """A network and a SoC without a verdict.

    Attributes:
        model: Path of the file, or name of the network.
        soc: Name of the SoC.
        error: What went wrong.
    """

    model: str
    soc: str
    error: str


@click.command("place")
@click.argument("targets", nargs=-1, metavar="FILE|MODEL...")
@click.option("--soc", "names", multiple=True, metavar="SOC",
              help="Name of a SoC, such as SM8650 for Snapdragon 8 Gen 3; may be repeated (--list shows all).")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Place the networks on every SoC of --list.")
@click.option("--list", "listing", is_flag=True, help="List the SoCs and exit; no tool is needed.")
@click.option("--format", "fmt", type=click.Choice(FORMATS), default=None,
              help="Number format that a MODEL is written in, with random weights. A FILE keeps its own.  "
                   "[default: int8]")  # fmt: skip
@width_multiplier_option
@click.option("--timeout", "timeout_s", type=FiniteRange(1, 86400), default=600.0, show_default=True,
              help="Seconds that the compilation of one network for one SoC may take, from 1 to 86400.")  # fmt: skip
@json_option
def place(
    targets: tuple[str, ...],
    names: tuple[str, ...],
    every: bool,
    listing: bool,
    fmt: PlacementFormat | None,
    width_multiplier: float | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Say whether the NPU of a phone's SoC runs a network as a whole.

    Google's plug-in and Qualcomm's own compiler decide, on this machine and without a phone (`mhmodels hardware install
    qualcomm` installs them). For each network and SoC the command prints the operators taken, the partitions, the bytes moved
    from and to the main memory, and for each refused operator its place, the reason and what helps. A FILE is any .tflite file; a
    MODEL is written with random weights. The exit code is 1 if a network is not whole on a SoC, or if there is no verdict.
    """
    from mhmodels.hardware import PLACEMENT_SOCS
    from mhmodels.hardware.placement.socs import get_placement_socs

    if listing:
        emit_json({"socs": PLACEMENT_SOCS}) if as_json else print_socs(PLACEMENT_SOCS)
        return
    if every and names:
        raise click.UsageError("--soc and --all: give one of them")
    socs = PLACEMENT_SOCS if every else get_placement_socs(names)
    if not targets or not socs:
        raise click.UsageError("give a FILE or MODEL, and --soc SOC or --all")
    _check_tool()
    networks = _networks(targets, fmt, width_multiplier)
    placements, failures = _place(networks, socs, timeout_s)
    if as_json:
        _emit(placements, failures)
    elif placements:
        print_placements(placements)
    for failure in failures:
        note(f"error: {failure.error}")
    not_whole = [one for one in placements if not one.whole]
    if not_whole:
        more = f", and {len(not_whole) - _NAMED} more" if len(not_whole) > _NAMED else ""
        note(f"error: not whole: {', '.join(f'{one.model} on {one.soc}' for one in not_whole[:_NAMED])}{more}")
    if failures or not_whole:
        raise click.exceptions.Exit(1)


def _check_tool() -> None:
    from mhmodels.hardware.tools.catalogue import QUALCOMM
    from mhmodels.hardware.tools.environment import missing

    reason = missing(QUALCOMM)
    if reason:
        raise MeasurementError(f"`mhmodels place` {reason}")


def _networks(targets: Sequence[str], fmt: PlacementFormat | None, width: float | None) -> list[_Network]:
    """Reads or writes all files; if one of them cannot be placed, none is."""
    from mhmodels.export.writing.latency import latency_bytes
    from mhmodels.hardware.plausible import check_plausible
    from mhmodels.registry import resolve
    from mhmodels.system.files import read_bytes
    from mhmodels.tflite.file import MAX_BYTES, parse_tflite

    networks = []
    models = [target for target in targets if not is_file_target(target)]
    if not models and (fmt is not None or width is not None):
        raise click.UsageError("--format and --width-multiplier are for a MODEL; a FILE has its own")
    for target in dict.fromkeys(targets):
        if target in models:
            architecture = resolve(target)
            if width is not None:
                architecture = architecture.at(width_multiplier=width)
            networks.append(_Network(target, latency_bytes(architecture, fmt or "int8")))
            continue
        content = read_bytes(target, MAX_BYTES)
        check_plausible(parse_tflite(content, source=target), target)
        networks.append(_Network(target, content))
    return networks


def _place(
    networks: Sequence[_Network], socs: Sequence[PlacementSoc], timeout_s: float
) -> tuple[list[Placement], list[PlacementFailure]]:
    """Places every network on every SoC. A failure does not keep the others from being placed, unless it is the only one."""
    from rich.markup import escape

    from mhmodels.hardware.placement.placing import compile_for_soc

    placements: list[Placement] = []
    failures: list[PlacementFailure] = []
    total = len(networks) * len(socs)
    with progress_console().status("placing") as status:
        for network in networks:
            for soc in socs:
                done = len(placements) + len(failures)
                status.update(escape(f"placing {network.name} on {soc.title} ({done + 1} of {total})"))
                try:
                    placements.append(compile_for_soc(network.content, network.name, soc, timeout_s=timeout_s).placement)
                except MhmodelsError as error:
                    if total == 1:
                        raise
                    failures.append(PlacementFailure(network.name, soc.name, str(error)))
    return placements, failures


def _emit(placements: Sequence[Placement], failures: Sequence[PlacementFailure]) -> None:
    """Prints the fields of a single placement, or the list of several."""
    if len(placements) == 1 and not failures:
        emit_json(placements[0])
        return
    document: dict[str, object] = {"placements": placements}
    emit_json(document | ({"failures": [failure._asdict() for failure in failures]} if failures else {}))
