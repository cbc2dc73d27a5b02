"""The command `mhmodels export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import emit_json, json_option, note, progress_console
from mhmodels.cli.messages import named_options
from mhmodels.errors import MhmodelsError
from mhmodels.export.cli.export_output import document_of, not_compiled, print_files
from mhmodels.export.cli.messages import ExportCommand
from mhmodels.export.cli.options import REMARKS_SHOWN, model_options, preprocessing_options, resolve_and_tell, tell
from mhmodels.export.formats import EXPORT_FORMATS, ExportFormat, is_onnx, number_formats

if TYPE_CHECKING:
    from mhmodels.export.file_export import Exported
    from mhmodels.export.graph.outputs import Pooling
    from mhmodels.export.opening.model_request import ModelRequest, ResolvedModel
    from mhmodels.export.options import Engine, ExportOptions
    from mhmodels.export.quantisation.parameters import Granularity, WeightRounding
    from mhmodels.export.writing.labels import OutputLabels
    from mhmodels.export.writing.writer import InterfaceType


class ExportFailure(NamedTuple):
    """A network, or one format of it, that could not be exported.

    Attributes:
        model: As it was given.
        error: What was wrong.
        format: The format that failed. None where the network could be exported in no format.
    """

    model: str
    error: str
    format: str | None = None

    def text(self) -> str:
        """Returns a line for people."""
        return f"{self.model}{f', {self.format}' if self.format else ''}: {self.error}"


@click.command(cls=ExportCommand)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Folder to write the files to; it is created if it does not exist.")  # fmt: skip
@click.option("--format", "formats", type=click.Choice(EXPORT_FORMATS), multiple=True, default=("float32",), show_default=True,
              help="Format to write; may be repeated. float32: float32 throughout. float16: weights stored in 16 bits. int8: "
                   "int8 kernels with one weight scale per channel. uint8: asymmetric uint8 throughout. onnx-float32, "
                   "onnx-int8, onnx-uint8: ONNX files with the same numbers; they need onnx and onnxruntime (pip install "
                   "'mhmodels[onnx]').")  # fmt: skip
@click.option("--io", type=click.Choice(("uint8", "int8", "float32")), default="uint8", show_default=True,
              help="Element type of the input and output of int8 and onnx-int8 files.")  # fmt: skip
@model_options
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file, or name of registered weights. Default: seeded random weights, which every output labels as "
                   "random.")  # fmt: skip
@click.option("--calibration", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures that determine the value ranges of integer formats; for networks without 3 input "
                   "channels, a folder of .npy arrays. Default: the bundled photographs.")  # fmt: skip
@click.option("--calibration-method", default=None, metavar="METHOD",
              help="Method that computes value ranges from the pictures: min-max; moving-average; percentile-P with P from 50 "
                   "to below 100, such as percentile-99.9; or auto, the best of these on held-out pictures. Default: auto with "
                   "--calibration of 32 pictures or more, else min-max.")  # fmt: skip
@click.option("--equalise/--no-equalise", default=None,
              help="Whether to equalise the ranges of weights across the layers of integer files, which does not change the "
                   "float network. Default: with calibration method auto what lowers the error on held-out pictures, else "
                   "no.")  # fmt: skip
@click.option("--bias-correction/--no-bias-correction", default=None,
              help="Whether to correct the mean error of each channel of integer files, measured on the calibration pictures. "
                   "Default: as for --equalise.")  # fmt: skip
@click.option("--rounding", type=click.Choice(("nearest", "compensated")), default=None,
              help="How the weights of integer files are rounded: each to the nearest integer, or compensated, so that later "
                   "weights make up for the rounding of earlier ones on the calibration pictures. Default: as for --equalise; "
                   "without auto nearest.")  # fmt: skip
@click.option("--labels", "labels_file", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Text file of class names, one per line, for the manifest and for the metadata of the file.")  # fmt: skip
@click.option("--label-offset", type=click.IntRange(0, 1_000_000), default=0, show_default=True,
              help="Index of the output that the first label names, for example 1 if output 0 is a background "
                   "class.")  # fmt: skip
@click.option("--metadata/--no-metadata", default=None,
              help="Whether to write the metadata of tflite-support into the TFLite files. Default: only if there are "
                   "labels.")  # fmt: skip
@click.option("--granularity", type=click.Choice(("channel", "tensor")), default=None,
              help="Granularity of the weight scales of int8 and onnx-int8 files: one scale per output channel, or one per "
                   "tensor.  [default: channel]")  # fmt: skip
@click.option("--pooling", type=click.Choice(("mean", "avgpool")), default="mean", show_default=True,
              help="Operator of the global average pooling: MEAN, or AVERAGE_POOL_2D for drivers without MEAN; in ONNX "
                   "files GlobalAveragePool or AveragePool.")  # fmt: skip
@click.option("--no-softmax", is_flag=True, help="Omit the softmax, so that the outputs are logits.")
@preprocessing_options
@click.option(
    "--features",
    is_flag=True,
    help="Write a feature extractor without classifier; its outputs are feature maps named by their stride.",
)
@click.option("--normalise-in-model", is_flag=True,
              help="Write a file that takes raw pixels from 0 to 255; a 1x1 depthwise convolution normalises them.")  # fmt: skip
@click.option("--engine", type=click.Choice(("direct", "tensorflow")), default="direct", show_default=True,
              help="Program that writes the file: direct (the writer of mhmodels) or tensorflow (TensorFlow's "
                   "converter).")  # fmt: skip
@click.option("--aot", multiple=True, metavar="SOC",
              help="Also compile each TFLite file ahead of time for the NPU of a SoC, such as SM8650, with Qualcomm's tool "
                   "(`mhmodels hardware install qualcomm`); may be repeated (`mhmodels place --list` shows all SoCs). The "
                   "compiled file NAME_aot-SOC.tflite is written only if the NPU runs the whole network; if not, the exit code "
                   "is 1, and the other files are kept.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@json_option
def export(
    models: tuple[str, ...],
    output: Path,
    formats: tuple[ExportFormat, ...],
    io: InterfaceType,
    input_size: tuple[int, int] | None,
    input_channels: int | None,
    width_multiplier: float | None,
    classes: int | None,
    weights: str | None,
    calibration: Path | None,
    calibration_method: str | None,
    equalise: bool | None,
    bias_correction: bool | None,
    rounding: WeightRounding | None,
    labels_file: Path | None,
    label_offset: int,
    metadata: bool | None,
    granularity: Granularity | None,
    pooling: Pooling,
    no_softmax: bool,
    preprocessing: str | None,
    mean: str | None,
    std: str | None,
    features: bool,
    normalise_in_model: bool,
    engine: Engine,
    aot: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write TFLite or ONNX files, and compare each file with its network on real pictures.

    MODEL may also be a .keras file, such as a network of the zoo with a head of your own; docs/export.md lists the layers that
    are supported. A manifest is written beside each file. A file that does not agree with its network is not kept. If a
    network or a format fails, the others are still exported, the failures are listed at the end, and the exit code is 1.
    """
    from mhmodels.export.cli.stated_rule import stated_rule_of
    from mhmodels.export.graph.outputs import WriterOptions
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.options import ExportOptions

    options = ExportOptions(
        directory=output,
        formats=tuple(dict.fromkeys(formats)),
        io=io,
        calibration=calibration,
        calibration_method=calibration_method,
        equalise=equalise,
        bias_correction=bias_correction,
        rounding=rounding,
        granularity=granularity,
        writer=WriterOptions(pooling=pooling, softmax=not no_softmax, features=features),
        engine=engine,
        normalise_in_model=normalise_in_model,
        labels=_labels(labels_file, label_offset),
        metadata=metadata,
        overwrite=overwrite,
        aot=aot,
    )
    rule = stated_rule_of(preprocessing, mean, std)
    requests = [
        ModelRequest(
            model=model,
            weights=weights,
            preprocessing=rule,
            width_multiplier=width_multiplier,
            input_size=input_size,
            input_channels=input_channels,
            classes=classes,
        )
        for model in models
    ]
    options.check()
    if options.io != "uint8" and "int8" not in number_formats(options.formats):
        note(f"--io {options.io} is for int8 files, of which there are none; uint8 files take uint8, float files float32")
    openers = [_opener(request, options, alone=len(models) == 1) for request in requests]
    exported, failed = _export_all(models, openers, options)
    if as_json:
        document: dict[str, object] = {"files": [document_of(one) for one in exported]}
        emit_json(document | ({"failed": [failure._asdict() for failure in failed]} if failed else {}))
    elif exported:
        print_files(exported, options)
    for failure in failed:
        note(f"error: {failure.text()}")
    if failed:
        raise click.exceptions.Exit(1)


def _labels(file: Path | None, offset: int) -> OutputLabels:
    """Reads the labels file.

    Raises:
        click.UsageError: There is an offset and no file.
    """
    from mhmodels.export.writing.labels import NO_LABELS, labels_from_file

    if offset and file is None:
        raise click.UsageError("--label-offset says where the labels of --labels begin, and there is none")
    return NO_LABELS if file is None else labels_from_file(file, offset)


def _opener(request: ModelRequest, options: ExportOptions, *, alone: bool) -> Callable[[], ResolvedModel]:
    """Checks names and sizes of a model and, for a single one, its files; returns what resolves its weights."""
    from mhmodels.export.opening.model_request import requested_network
    from mhmodels.export.targets import target_paths

    top = not options.writer.features
    if requested_network(request) is None or not alone:
        return lambda: resolve_and_tell(request, top=top)
    resolved = resolve_and_tell(request, top=top)
    assert resolved.architecture is not None
    options.labels.check(resolved.architecture.classes)
    target_paths(resolved.architecture, options, set())
    return lambda: resolved


def _export_all(
    models: Sequence[str], openers: Sequence[Callable[[], ResolvedModel]], options: ExportOptions
) -> tuple[list[Exported], list[ExportFailure]]:
    """Exports every network in turn, in every format.

    Failures are returned, except one that leaves nothing to do, which is raised.
    """
    from rich.markup import escape

    from mhmodels.system.quiet import load_tensorflow

    exported: list[Exported] = []
    failed: list[ExportFailure] = []
    with ExitStack() as stack:
        status = stack.enter_context(progress_console().status("loading TensorFlow"))
        load_tensorflow()
        from mhmodels.export.pipeline import export_files
        from mhmodels.export.writing.metadata.writer import MetadataWriter

        def progress(stage: str) -> None:
            status.update(escape(named_options(stage)))

        metadata, taken = stack.enter_context(MetadataWriter()), set[Path]()
        for model, opener in zip(models, openers, strict=True):

            def format_failed(fmt: str, error: MhmodelsError, model: str = model) -> None:
                failed.append(ExportFailure(model, named_options(str(error)), fmt))

            several = len(models) > 1 or len(options.formats) > 1
            goes_on = format_failed if several else None
            try:
                for one in export_files(opener(), options, progress, taken=taken, metadata=metadata, failed=goes_on):
                    exported.append(one)
                    failed.extend(ExportFailure(model, error, one.manifest.precision) for error in not_compiled(one))
                    _tell_remarks(one, options)
            except MhmodelsError as error:
                if len(models) == 1:
                    raise
                failed.append(ExportFailure(model, named_options(str(error))))
    return exported, failed


def _tell_remarks(one: Exported, options: ExportOptions) -> None:
    """Prints remarks on a file that nobody must miss."""
    manifest = one.manifest
    skipped = () if manifest.calibration is None else manifest.calibration.skipped
    if skipped:
        more = f"; and {len(skipped) - REMARKS_SHOWN} more" if len(skipped) > REMARKS_SHOWN else ""
        shown = "; ".join(skipped[:REMARKS_SHOWN]) + more
        note(f"{len(skipped)} calibration pictures could not be read and were skipped: {shown}")
    if manifest.labels.names and not manifest.metadata and options.metadata is None and not is_onnx(manifest.precision):
        note(f"{one.path.name}: no metadata, because tflite-support is not installed; the labels are in the manifest")
    if manifest.architecture is None:
        known = f"recognised: {manifest.backbone}" if manifest.backbone else "unknown"
        note(f"{one.path.name}: a network that is in no table; its backbone is {known}")
    tell(one.path.name, one.notes)
