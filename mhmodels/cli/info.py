"""The command `mhmodels info`: counts, feature endpoints and layers of one network."""

from __future__ import annotations

import click

from mhmodels.architecture import Architecture
from mhmodels.blocks import WINDOWED
from mhmodels.cli.common import console, emit_json, json_option, millions, width_multiplier_option
from mhmodels.complexity import layer_complexity, network_complexity
from mhmodels.network import Network, lower
from mhmodels.registry import resolve


@click.command()
@click.argument("model")
@width_multiplier_option
@click.option(
    "--input-size",
    type=int,
    default=None,
    help="Height and width of the input in pixels, from 32 to 4096, such as 192.  [default: the network's own]",
)
@click.option(
    "--classes",
    type=int,
    default=None,
    help="Number of classes of the classifier, at least 1.  [default: the network's own]",
)
@click.option("--layers", is_flag=True, help="Also list every operation with its output size, parameters and MAdds.")
@click.option(
    "--card", is_flag=True, help="Print a model card in Markdown: origin, sizes, feature maps, preprocessing, accuracy, weights."
)
@json_option
def info(
    model: str,
    width_multiplier: float | None,
    input_size: int | None,
    classes: int | None,
    layers: bool,
    card: bool,
    as_json: bool,
) -> None:
    """Show one network: parameters, MAdds, feature endpoints and, with --layers, its operations."""
    architecture = resolve(model).at(width_multiplier=width_multiplier, input_size=input_size, classes=classes)
    network = lower(architecture)
    if card:
        from mhmodels.report.model_cards import model_card

        text = model_card(architecture)
        if as_json:
            emit_json({"name": architecture.name, "card": text})
        else:
            click.echo(text, nl=False)
    elif as_json:
        emit_json(_document(architecture, network))
    else:
        _print(architecture, network, layers)


def _document(architecture: Architecture, network: Network) -> dict[str, object]:
    counts = network_complexity(network)
    height, width = architecture.input_size
    return {
        "name": architecture.name,
        "architecture_id": architecture.architecture_id,
        "width_multiplier": architecture.width_multiplier,
        "input_size": height if height == width else [height, width],
        "classes": architecture.classes,
        "params": counts.params,
        "params_total": counts.params_total,
        "madds": counts.madds,
        "madds_paper": counts.madds_paper,
        "endpoints": [endpoint._asdict() for endpoint in network.endpoints],
        "preprocessing": architecture.preprocessing,
        "layers": [
            {
                "name": op.name,
                "kind": op.kind,
                "kernel": op.kernel,
                "stride": op.stride,
                "in_channels": op.in_channels,
                "channels": op.channels,
                "size": op.size,
                "activation": op.activation,
                "params": layer.params,
                "madds": layer.madds,
            }
            for op in network.ops
            for layer in [layer_complexity(op)]
        ],
    }


def _print(architecture: Architecture, network: Network, layers: bool) -> None:
    counts = network_complexity(network)
    height, width = architecture.input_size
    click.echo(
        f"{architecture.name}, width {architecture.width_multiplier:g}, input {height}x{width}, {architecture.classes} classes"
    )
    click.echo(f"  architecture id  {architecture.architecture_id}")
    click.echo(f"  parameters       {millions(counts.params)} M in kernels, {millions(counts.params_total)} M in all")
    click.echo(f"  MAdds            {millions(counts.madds)} M ({millions(counts.madds_paper)} M as the paper counts)")
    for endpoint in network.endpoints:
        click.echo(f"  endpoint         stride {endpoint.stride:2d}, {endpoint.channels:4d} channels, {endpoint.layer}")
    if layers:
        _print_layers(network)


def _print_layers(network: Network) -> None:
    from rich import box
    from rich.table import Table

    table = Table("layer", "operation", "output", "activation", "params", "MAdds (M)", box=box.SIMPLE)
    for column in table.columns[4:]:
        column.justify = "right"
    for op in network.ops:
        layer = layer_complexity(op)
        what = f"{op.kind} {op.kernel}x{op.kernel}/{op.stride}" if op.kind in WINDOWED else op.kind
        output = f"{op.size[0]}x{op.size[1]}x{op.channels}"
        table.add_row(op.name, what, output, op.activation, f"{layer.params:,}", f"{layer.madds / 1e6:.2f}")
    console().print(table)
