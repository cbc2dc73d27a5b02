"""`mhmodels export`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console
from mhmodels.errors import MhmodelsError
from mhmodels.export.cli.options import model_options, network_of, preprocessing_options, refuse_changes
from mhmodels.tflite.format import FORMATS

if TYPE_CHECKING:
    from mhmodels.architecture import Architecture
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.pipeline import Exported
    from mhmodels.export.reading.source import ExportSource


class ExportFailure(NamedTuple):
    """A network, or one format of it, that could not be exported.

    Attributes:
        format: the one that failed; None where the network could be exported in no format.
    """

    model: str
    error: str
    format: str | None = None

    def text(self) -> str:
        """As a line for people."""
        return f"{self.model}{f', {self.format}' if self.format else ''}: {self.error}"


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the files.")
@click.option(
    "--format", "formats", type=click.Choice(FORMATS), multiple=True, default=("float32",), show_default=True,
    help="May be repeated. int8: int8 kernels, per-channel weights. uint8: asymmetric uint8 throughout.",
)  # fmt: skip
@click.option("--io", type=click.Choice(("uint8", "int8", "float32")), default="uint8", show_default=True,
              help="Input and output type of int8 files.")  # fmt: skip
@model_options
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file, or a registered name. Without it: seeded random weights, labelled as such.")  # fmt: skip
@click.option("--calibration", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures (.npy arrays, if not of 3 channels) that give the ranges of integer formats. Default: the "
                   "bundled photographs.")  # fmt: skip
@click.option("--calibration-method", default=None, metavar="METHOD",
              help="min-max (default), moving-average, percentile-P, or auto: the best on held-out pictures.")  # fmt: skip
@click.option("--labels", "labels_file", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Class names, one per line. They go into the manifest and, as metadata, into the file.")  # fmt: skip
@click.option("--label-offset", type=click.IntRange(0, 1_000_000), default=0, show_default=True,
              help="Output of the first label: 1 where output 0 is a background class.")  # fmt: skip
@click.option("--metadata/--no-metadata", default=None,
              help="tflite-support's metadata in the file. Default: where there are labels.")  # fmt: skip
@click.option(
    "--granularity",
    type=click.Choice(("channel", "tensor")),
    default=None,
    help="One scale of int8 weights for each channel (default) or for a whole tensor.",
)
@click.option("--pooling", type=click.Choice(("mean", "avgpool")), default="mean", show_default=True,
              help="Global pooling as MEAN or AVERAGE_POOL_2D.")  # fmt: skip
@click.option("--no-softmax", is_flag=True, help="Leave out the softmax: the outputs are logits.")
@preprocessing_options
@click.option("--features", is_flag=True, help="Output the feature maps, named by stride, without a classifier.")
@click.option("--normalise-in-model", is_flag=True, help="Take raw pixels 0..255; a 1x1 depthwise convolution normalises them.")
@click.option("--engine", type=click.Choice(("direct", "tensorflow")), default="direct", show_default=True,
              help="Our own writer, or TensorFlow's converter.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
def export(
    models: tuple[str, ...],
    output: Path,
    input_size: tuple[int, int] | None,
    input_channels: int | None,
    width_multiplier: float | None,
    classes: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write TFLite files and verify each at once on real pictures.

    MODEL may also be a .keras file, such as a network of the zoo with a head of your own; docs/export.md lists its layers.
    Each file gets a manifest beside it. A file that does not agree with its network is not kept. If a network or a format
    fails, the others are still exported, the failures are listed at the end, and the exit code is 1.
    """
    changes = {
        "width_multiplier": width_multiplier, "input_size": input_size, "input_channels": input_channels, "classes": classes,
    }  # fmt: skip
    options = _options(output, **settings)
    openers = [_opener(model, changes, options, len(models) == 1) for model in models]
    exported, failed = _export_all(models, openers, options)
    if as_json:
        document: dict[str, Any] = {"files": [_document(one) for one in exported]}
        emit_json(document | ({"failed": [failure._asdict() for failure in failed]} if failed else {}))
    elif exported:
        _print(exported, options)
    for failure in failed:
        note(f"error: {failure.text()}")
    if failed:
        raise click.exceptions.Exit(1)


def _opener(
    model: str, changes: dict[str, Any], options: ExportOptions, alone: bool
) -> Callable[[], Architecture | ExportSource]:
    """What opens a MODEL once TensorFlow is loaded; names, sizes and, for a single one, its files are checked before."""
    from mhmodels.export.options import target_paths
    from mhmodels.registry import is_keras_file, resolve

    if not is_keras_file(model):
        named = resolve(model).at(**changes)
        if not alone:
            return lambda: network_of(named, options.weights, changes, top=not options.writer.features)
        architecture = network_of(named, options.weights, changes, top=not options.writer.features)
        options.labels.check(architecture.classes)
        target_paths(architecture, options, set())
        return lambda: architecture
    refuse_changes(model, changes)

    def load() -> ExportSource:
        from mhmodels.export.reading.source import keras_source

        return keras_source(model, changes["input_size"])

    return load


def _options(
    output: Path,
    formats: tuple[Any, ...],
    pooling: Any,
    no_softmax: bool,
    features: bool,
    labels_file: Path | None,
    label_offset: int,
    preprocessing: str | None,
    mean: str | None,
    std: str | None,
    **settings: Any,
) -> ExportOptions:
    from mhmodels.export.graph.outputs import WriterOptions
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.reading.stated_rule import stated_rule_of
    from mhmodels.export.writing.labels import NO_LABELS, labels_from_file

    if label_offset and labels_file is None:
        raise click.UsageError("--label-offset says where the labels of --labels begin, and there is none")
    options = ExportOptions(
        directory=output,
        formats=tuple(dict.fromkeys(formats)),
        writer=WriterOptions(pooling=pooling, softmax=not no_softmax, features=features),
        labels=NO_LABELS if labels_file is None else labels_from_file(labels_file, label_offset),
        preprocessing=stated_rule_of(preprocessing, mean, std),
        **settings,
    )
    options.check()
    if options.io != "uint8" and "int8" not in options.formats:
        note(f"--io {options.io} is for int8 files, of which there are none; uint8 files take uint8, float files float32")
    return options


def _export_all(
    models: tuple[str, ...], openers: list[Callable[[], Architecture | ExportSource]], options: ExportOptions
) -> tuple[list[Exported], list[ExportFailure]]:
    """Every network in turn, in every format. Failures are told at the end; one that leaves nothing to do is raised."""
    from rich.markup import escape

    from mhmodels.system.quiet import load_tensorflow

    exported: list[Exported] = []
    failed: list[ExportFailure] = []
    with ExitStack() as stack:
        status = stack.enter_context(progress_console().status("loading TensorFlow"))
        load_tensorflow()
        from mhmodels.export.pipeline import export_model
        from mhmodels.export.writing.metadata import MetadataWriter

        def progress(stage: str) -> None:
            status.update(escape(stage))

        metadata, taken = stack.enter_context(MetadataWriter()), set[Path]()
        for model, opener in zip(models, openers, strict=True):

            def format_failed(fmt: str, error: MhmodelsError, model: str = model) -> None:
                failed.append(ExportFailure(model, str(error), fmt))

            several = len(models) > 1 or len(options.formats) > 1
            goes_on = format_failed if several else None
            try:
                for one in export_model(opener(), options, progress, taken=taken, metadata=metadata, failed=goes_on):
                    exported.append(one)
                    _tell(one, options)
            except MhmodelsError as error:
                if len(models) == 1:
                    raise
                failed.append(ExportFailure(model, str(error)))
    return exported, failed


def _tell(one: Exported, options: ExportOptions) -> None:
    """Remarks on a file that nobody must miss."""
    manifest = one.manifest
    skipped = () if manifest.calibration is None else manifest.calibration.skipped
    if skipped:
        shown = "; ".join(skipped[:3]) + (f"; and {len(skipped) - 3} more" if len(skipped) > 3 else "")
        note(f"{len(skipped)} calibration pictures could not be read and were skipped: {shown}")
    if manifest.labels.names and not manifest.metadata and options.metadata is None:
        note(f"{one.path.name}: no metadata, because tflite-support is not installed; the labels are in the manifest")
    if manifest.architecture is None:
        known = f"recognised: {manifest.backbone}" if manifest.backbone else "unknown"
        note(f"{one.path.name}: a network that is in no table; its backbone is {known}")
    for text in one.notes:
        note(f"{one.path.name}: {text}")


def _document(one: Exported) -> dict[str, Any]:
    manifest = one.manifest
    return {
        "path": str(one.path),
        "format": manifest.precision,
        "sha256": manifest.sha256,
        "bytes": manifest.file_bytes,
        "weights": manifest.weights,
        "metadata": manifest.metadata,
        "outputs": manifest.outputs,
        "parity": manifest.parity,
    }


def _print(exported: list[Exported], options: ExportOptions) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from mhmodels.formats.json_files import plain_text

    pictures = "real photographs" if options.calibration is None else f"pictures of {options.calibration}"
    table = Table(
        "file", "MB", "outputs against", "correlation", "mean error (LSB)", "top-1 same", "against float", "top-1 same",
        box=box.SIMPLE, title=escape(plain_text(f"Exported and verified on {pictures}")),
    )  # fmt: skip
    for column in table.columns[1:2] + table.columns[3:]:
        column.justify = "right"
    for one in exported:
        p = one.manifest.parity
        lsb = "-" if p.mean_error_lsb is None else f"{p.mean_error_lsb:.2f}"
        against_float = "-" if p.float_correlation is None else f"{p.float_correlation:.4f}"
        table.add_row(
            one.path.name, f"{one.manifest.file_bytes / 1e6:.2f}", p.reference, f"{p.correlation:.4f}", lsb,
            _share(p.top1_agreement), against_float, _share(p.float_top1_agreement),
        )  # fmt: skip
    console().print(table)
    for weights in dict.fromkeys(one.manifest.weights for one in exported):
        click.echo(f"weights: {weights}")
    click.echo(f"folder: {plain_text(str(exported[0].path.parent))}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
