"""`mhmodels search show`: a network that was found, or any other, on the terminal or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console, emit_json, json_option, note
from mhmodels.search.cli.options import PICTURE

if TYPE_CHECKING:
    from rich.console import Console

    from mhmodels.search.run.results import NetworkFile


@click.command("show")
@click.argument("model", metavar="FILE|MODEL")
@click.option(
    "--png",
    type=PICTURE,
    default=None,
    metavar="FILE.png",
    help="Draw the network to this file (.png, .svg or .pdf): one box per block, whose height shows the number of channels.",
)
@json_option
def show_command(model: str, png: Path | None, as_json: bool) -> None:
    """Show a network, found by a search or any other: its stages, blocks and widths, and its origin."""
    from mhmodels.search.run import drawing
    from mhmodels.search.run.results import NetworkFile, read_network

    path = Path(model)
    if path.suffix == ".json" and path.is_file():
        file = read_network(path)
    else:
        from mhmodels.registry import resolve

        file = NetworkFile(resolve(model), None, None, {})
    if png is not None:
        drawing.draw(file, png)
        note(f"drawn to {png}")
    if as_json:
        emit_json(drawing.document(file))
    else:
        show(console(), file)


def show(out: Console, file: NetworkFile) -> None:
    """Prints a line for each stage, or for each decision of a tabular space, and the origin of the network."""
    from rich.markup import escape
    from rich.table import Table

    from mhmodels.search.run import drawing

    if file.architecture is None:
        table = Table("decision", file.space_name)
        for name, choice in file.choices().items():
            table.add_row(name, choice)
        out.print(table)
    else:
        network = file.architecture
        out.print(
            f"[bold]{escape(network.name)}[/] at width {network.width_multiplier:g}, {drawing.size_text(network.input_size)} "
            "pixels",
            highlight=False,
            emoji=False,
        )
        table = Table("", "map", "channels", "blocks (! strides, + adds its input)")
        found = drawing.boxes(network)
        for part in dict.fromkeys(box.part for box in found):
            own = [box for box in found if box.part == part]
            blocks = "  ".join(f"[{drawing.LOOKS[box.kind].terminal}]{drawing.block_label(box)}[/]" for box in own)
            table.add_row(part, drawing.size_text(own[-1].size), str(own[-1].channels), blocks)
        out.print(table)
    for line in drawing.origin_lines(file.provenance):
        out.print(line, highlight=False, markup=False, emoji=False)
