"""The command `mhmodels advise`: the costliest layers of a network on one hardware, and what changing their blocks would save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import OutputFile, emit_json, is_file_target, json_option, note, step_bar

if TYPE_CHECKING:
    from mhmodels.advice import Advice


@click.command("advise")
@click.argument("target", metavar="MODEL|FILE")
@click.option(
    "--hardware",
    "hardware_id",
    required=True,
    metavar="ID",
    help="Id of the hardware, such as ethos-u65-256, rknn-rk3588 or host-cpu-int8 (`mhmodels hardware` lists the ids).",
)
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Number of the costliest layers to show, and whose blocks are changed.",
)
@click.option("--no-changes", is_flag=True, help="Only show the layers; do not try what changes of their blocks would save.")
@click.option(
    "--png",
    "picture",
    type=OutputFile(".png", ".svg"),
    default=None,
    metavar="FILE",
    help="Draw the share of every layer over the depth of the network into this file, which ends with .png or .svg.",
)
@json_option
def advise(target: str, hardware_id: str, top: int, no_changes: bool, picture: Path | None, as_json: bool) -> None:
    """Show which layers cost most on a hardware, and what changing their blocks would save.

    The cost of each layer comes from the tool that also gives the latency: Vela's table for Ethos-U, Rockchip's table for
    rknn-…, the schedule behind Qualcomm's estimate for hexagon-…, LiteRT's profiler for the CPU of this machine. A MODEL gets
    random weights; each change of a block is applied to it, and the latency of the changed network is estimated or measured
    anew. A FILE (.tflite or .onnx) is only profiled. What a change costs in accuracy is not known.
    """
    from mhmodels.advice import advise as library_advise
    from mhmodels.advice import draw_profile
    from mhmodels.cli.common import check_places
    from mhmodels.registry import resolve

    check_places({"--png": picture})
    is_file = is_file_target(target)
    subject = target if is_file else resolve(target)
    with step_bar("costs of the layers") as advance:
        label = None if is_file else target
        advice = library_advise(subject, hardware_id, top=top, changes=not no_changes, label=label, advance=advance)
    if picture is not None:
        draw_profile(advice.profile, picture)
    if as_json:
        emit_json(document(advice, top))
        return
    from mhmodels.cli.advise_tables import print_advice

    print_advice(advice, top)
    if picture is not None:
        note(f"drawn into {picture}")


def document(advice: Advice, top: int) -> dict[str, object]:
    """Advice as JSON values: what `mhmodels advise --json` prints."""
    import msgspec

    profile = advice.profile
    return {
        "model": profile.model,
        "hardware": profile.hardware,
        "kind": profile.kind,
        "unit": profile.unit,
        "total": profile.total,
        "covered": profile.covered,
        "layers": [msgspec.structs.asdict(layer) for layer in profile.layers],
        "merged": profile.merged,
        "notes": profile.notes,
        "channel_multiple": profile.channel_multiple,
        "channel_source": profile.channel_source,
        "top": [layer.name for layer in profile.costliest(top)],
        "advice": [finding._asdict() for finding in advice.findings],
        "changes": [msgspec.structs.asdict(change) for change in advice.changes],
        "no_changes": advice.no_changes,
    }
