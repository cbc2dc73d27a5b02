"""The commands `mhmodels weights import`, `inspect`, `list` and `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from mhmodels.cli.common import FiniteRange, OutputFile, check_places, console, emit_json, json_option, note
from mhmodels.cli.messages import OptionNamingGroup

if TYPE_CHECKING:
    from mhmodels.weights import Imported, WeightsInfo
    from mhmodels.weights.info import Background
    from mhmodels.weights.sources.source import Layer, WeightsSource

SHOWN_NAMES = 10


class _Stated(TypedDict):
    """The options of an import that are fields of `Stated`."""

    preprocessing: str | None
    label_set: str | None
    background: Background | None
    licence: str | None
    description: str | None


@click.group(cls=OptionNamingGroup)
def weights() -> None:
    """Import, inspect, list and download trained weights."""


@weights.command("import")
@click.argument("checkpoint")
@click.option("--model", required=True, help="Network of the checkpoint: a zoo name, NAME@WIDTH, or an architecture file.")
@click.option(
    "-o", "--output", required=True, type=OutputFile(".weights.h5"), help="Weights file to write, named NAME.weights.h5."
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --output if it exists.")
@click.option(
    "--width-multiplier",
    type=float,
    default=None,
    help="Expected width multiplier, above 0 and at most 16; a mismatch is an error.  [default: derived from the shapes]",
)
@click.option(
    "--classes",
    type=click.IntRange(1),
    default=None,
    help="Expected class count; a mismatch is an error.  [default: derived from the shapes]",
)
@click.option(
    "--averages",
    is_flag=True,
    help="Import the moving averages of the optimiser, with which TF Model Garden evaluates, instead of the trained variables.",
)
@click.option("--preprocessing", type=click.Choice(("tf_model_garden", "imagenet", "symmetric", "torchvision")), default=None,
              help="Preprocessing of the pictures with which the network was trained.  [default: tf_model_garden for a "
                   "checkpoint, the rule in the .keras file or in timm's config.json, torchvision for its weights, else the "
                   "network's own]")  # fmt: skip
@click.option(
    "--labels",
    "label_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Text file with class names, one per line, to store in the weights file.",
)
@click.option("--label-set", default=None, help="Name of the label set. The class names of imagenet-1k come with the package.")
@click.option("--background", type=click.Choice(("none", "first", "last", "unknown")), default=None,
              help="Which output is the background class.  [default: none; unknown for 1001 outputs]")  # fmt: skip
@click.option("--licence", default=None, help="Licence of the weights, for example Apache-2.0.")
@click.option(
    "--source", "description", default=None, help="Origin of the weights, as free text.  [default: the name of the file]"
)
@click.option("--top1", type=FiniteRange(0, 100), default=None, help="Claimed top-1 accuracy in percent, for example 75.3.")
@click.option("--dataset", default="ImageNet-1k validation", show_default=True, help="Data set on which --top1 was measured.")
@json_option
def import_command(
    checkpoint: str,
    model: str,
    output: Path,
    overwrite: bool,
    width_multiplier: float | None,
    classes: int | None,
    averages: bool,
    label_file: Path | None,
    top1: float | None,
    dataset: str,
    as_json: bool,
    **stated: Unpack[_Stated],
) -> None:
    """Import weights from a TensorFlow checkpoint (TF Model Garden), a Keras file or a state dict of PyTorch.

    CHECKPOINT is the prefix, one file or the folder of a TensorFlow checkpoint; a .h5, .weights.h5 or .keras file, for example
    of keras.applications; or a .safetensors or .pth file of timm, torchvision or EfficientNet-PyTorch. Variables are matched
    by the order and shapes of the layers; each variable is used exactly once or reported as unused. If CHECKPOINT is a weights
    file of mhmodels, its description is kept, and each option replaces one field of the description.
    """
    check_places({"--output": output}, (Path(checkpoint), label_file))
    if output.exists() and not overwrite:
        raise click.UsageError(f"--output: '{output}' exists already; give --overwrite to replace it, or another name")
    from mhmodels.weights import Claim, Stated, import_weights
    from mhmodels.weights.labels import read_labels

    accuracy = () if top1 is None else (Claim(top1=top1, dataset=dataset, source="given at import"),)
    names = () if label_file is None else read_labels(label_file)
    done = import_weights(
        checkpoint,
        model,
        output,
        width_multiplier=width_multiplier,
        classes=classes,
        averages=averages,
        stated=Stated(names=names, accuracy=accuracy, **stated),
    )
    if as_json:
        emit_json(_imported(done))
    else:
        _print_imported(done)


@weights.command("inspect")
@click.argument("file")
@click.option("--layers", is_flag=True, help="List every layer with its variables.")
@json_option
def inspect(file: str, layers: bool, as_json: bool) -> None:
    """Show the contents of a weights file or checkpoint, and check its hash.

    Only weights files of mhmodels contain a hash.
    """
    from mhmodels.weights.importing import open_source
    from mhmodels.weights.matching import candidates

    info = _checked_info(file)
    with open_source(file) as source:
        fits = [] if info is not None else candidates(source)
    if as_json:
        emit_json(_document(source, info, fits))
        return
    _print(source, info, fits)
    if layers:
        _print_layers(source)


@weights.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List registered weights: the names that `--weights NAME` and `create_model(weights=NAME)` take."""
    from mhmodels.weights.downloading.registered import entries

    if as_json:
        emit_json({"weights": [entry.public for entry in entries()]})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "model", "claimed top-1", "licence", "from", box=box.SIMPLE)
    for entry in (entry.public for entry in entries()):
        claims = ", ".join(f"{claim.top1:g} ({claim.dataset})" for claim in entry.accuracy)
        cells = (entry.name, entry.model, claims, entry.licence or "not stated", entry.origin)
        table.add_row(*map(Text, cells))
    console().print(table)
    click.echo("keras.applications also has weights of MobileNetV1 and V2: docs/weights.md shows how to import them.")


@weights.command("fetch")
@click.argument("name")
@click.option("--model", required=True, help="Network of the weights: a zoo name or NAME@WIDTH.")
@json_option
def fetch_command(name: str, model: str, as_json: bool) -> None:
    """Download registered weights into the cache, for later use without a network connection."""
    from mhmodels.registry import resolve
    from mhmodels.weights.downloading.registered import fetch, find

    entry = find(name, resolve(model))
    path = fetch(entry)
    if as_json:
        emit_json({"name": name, "model": entry.model, "path": str(path)})
    else:
        click.echo(f"{name} for {entry.model}: {path}")


def _checked_info(file: str) -> WeightsInfo | None:
    """Returns the description of a weights file of mhmodels after checking its hash; None for any other file."""
    from mhmodels.weights.files import open_weights, read_arrays
    from mhmodels.weights.sources.checkpoint import find_checkpoint
    from mhmodels.weights.sources.pytorch.state_dict import is_state_dict

    if find_checkpoint(file) is not None or not Path(file).is_file() or is_state_dict(file):
        return None
    with open_weights(file) as opened:
        if opened.info is not None:
            read_arrays(opened, file)
        return opened.info


def _imported(done: Imported) -> dict[str, object]:
    return {
        "path": done.path,
        "model": done.architecture.name,
        "width_multiplier": done.architecture.width_multiplier,
        "classes": done.architecture.classes,
        "architecture_id": done.info.architecture_id,
        "sha256": done.info.sha256,
        "holds": done.info.holds,
        "labels": {**_labels(done.info), "count": len(done.info.labels.names)},
        "format": done.source,
        "part": done.part,
        "used": done.used,
        "unused": done.unused,
        "training_state": done.training_state,
        "averages": done.averages,
        "notes": list(done.notes),
    }


def _labels(info: WeightsInfo) -> dict[str, object]:
    return {"name": info.labels.name, "background": info.labels.background, "offset": info.labels.offset}


def _print_imported(done: Imported) -> None:
    network = done.architecture
    click.echo(f"{done.path}: {network.name} at width {network.width_multiplier:g}, {done.info.holds}")
    click.echo(f"  from     {done.source}, its {done.part}: {done.used} variables, each used once")
    rule = done.info.preprocessing
    click.echo(f"  pictures mean {list(rule.mean)}, std {list(rule.std)}, crop {rule.crop_fraction:g}, {rule.interpolation}")
    click.echo(f"  sha256   {done.info.sha256}")
    if done.info.holds == "the whole network":
        click.echo(f"  classes  {network.classes}, background {done.info.labels.background}")
    if done.training_state:
        click.echo(f"  left     {done.training_state} variables of the training (optimizer, counters)")
    if done.unused:
        more = f" and {len(done.unused) - SHOWN_NAMES} more" if len(done.unused) > SHOWN_NAMES else ""
        click.echo(f"  unused   {len(done.unused)}: {', '.join(done.unused[:SHOWN_NAMES])}{more}")
    for text in done.notes:
        note(f"note: {text}")
    if done.averages is False:
        note("note: the file has moving averages, which the trainer evaluates with; --averages takes them")
    if done.info.labels.background == "unknown":
        note(
            f"note: {network.classes} outputs: say where the background is with --background first (slim, most TFRecords), "
            "last or none"
        )


def _document(source: WeightsSource, info: WeightsInfo | None, fits: list[str]) -> dict[str, object]:
    return {
        "path": source.path,
        "format": source.kind,
        "info": None if info is None else {**_plain(info), "preprocessing": info.preprocessing},
        "fits": fits,
        "variables": len(source.variables),
        "training_state": len(source.training_state),
        "averages": len(source.averages),
        "step": source.step,
        "parts": [{"name": part.name, "layers": [_layer(layer) for layer in part.layers]} for part in source.parts],
    }


def _plain(info: WeightsInfo) -> dict[str, object]:
    import msgspec

    return {key: value for key, value in msgspec.to_builtins(info).items() if key != "architecture"}


def _layer(layer: Layer) -> dict[str, object]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "variables": {role: list(variable.shape) for role, variable in layer.variables.items()},
    }


def _print(source: WeightsSource, info: WeightsInfo | None, fits: list[str]) -> None:
    click.echo(f"{source.path}: {source.kind}, {len(source.variables)} variables")
    if source.training_state:
        step = "" if source.step is None else f", step {source.step}"
        averages = f", {len(source.averages)} moving averages among them" if source.averages else ""
        click.echo(f"  training  {len(source.training_state)} variables{averages}{step}")
    if info is None:
        click.echo(f"  fits      {', '.join(fits) if fits else 'no network of the zoo at a published width'}")
        return
    network = info.network(source.path)
    click.echo(f"  network   {network.name} at width {network.width_multiplier:g} ({info.architecture_id}): {info.holds}")
    click.echo(f"  classes   {network.classes}, labels {info.labels.name or 'unnamed'}, background {info.labels.background}")
    rule = network.preprocessing
    click.echo(f"  pictures  mean {list(rule.mean)}, std {list(rule.std)}, crop {rule.crop_fraction:g}, {rule.interpolation}")
    click.echo(f"  source    {info.source or 'not stated'}; licence {info.licence or 'not stated'}")
    for claim in info.accuracy:
        click.echo(f"  claimed   {claim.top1:g} % top-1 on {claim.dataset} ({claim.source})")
    click.echo(f"  sha256    {info.sha256} (checked)")


def _print_layers(source: WeightsSource) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("part", "layer", "kind", "variables", box=box.SIMPLE)
    for part in source.parts:
        for layer in part.layers:
            shapes = ", ".join(f"{role} {list(variable.shape)}" for role, variable in layer.variables.items())
            table.add_row(*map(Text, (part.name, layer.name, layer.kind, shapes)))
    console().print(table)
