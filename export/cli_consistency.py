"""`mhmodels consistency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.cli_options import model_options, network_of, refuse_changes
from mhmodels.cli.common import FiniteRange, console, emit_json, json_option, note, progress_console

if TYPE_CHECKING:
    from export.consistency import ConsistencyReport, Subject
    from mhmodels.architecture import Architecture

_FORMATS = ("float32", "float16", "int8", "uint8")
_PICTURES = 130
_CANVASES = 360


@click.command()
@click.argument("model")
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures. Default: the bundled photographs, or the test set of registered weights.")  # fmt: skip
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file, or a registered name. Without it: seeded random weights.")  # fmt: skip
@click.option("--format", "formats", type=click.Choice(_FORMATS), multiple=True, default=_FORMATS, show_default=True,
              help="Formats to compare.")  # fmt: skip
@click.option("--tolerance", type=FiniteRange(0, 1), default=0.2, show_default=True,
              help="Largest mean drift of the logits, as a share of their standard deviation.")  # fmt: skip
@click.option("--threshold", type=FiniteRange(0, 1), default=None,
              help="Score from which a decision is made. Default: 0.5, or the median best score if that is lower.")  # fmt: skip
@model_options
@json_option
def consistency(
    model: str,
    images: Path | None,
    weights: str | None,
    formats: tuple[Any, ...],
    tolerance: float,
    threshold: float | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Does a network say the same in every format and on every runner at hand?

    Exports all formats from one graph and one calibration, runs them on pictures with LiteRT (XNNPACK, its own kernels, its
    reference kernels) beside the float Keras model, and reports agreement, drift of the logits, and whether one score
    threshold leads to the same decisions everywhere. Exit code 1 beyond --tolerance.
    """
    from rich.markup import escape

    from mhmodels.quiet import load_tensorflow
    from mhmodels.registry import is_keras_file, resolve

    if is_keras_file(model):
        refuse_changes(model, changes)
        architecture = None
    else:
        architecture = network_of(resolve(model).at(**changes), weights, changes)
    with progress_console().status("loading TensorFlow") as status:
        load_tensorflow()
        from export.consistency import check_consistency

        subject = _subject(model, architecture, changes, weights, images)
        report = check_consistency(
            subject, tuple(dict.fromkeys(formats)), tolerance, threshold, lambda stage: status.update(escape(stage))
        )
    if as_json:
        emit_json(report)
    else:
        _print(report)
    if not report.consistent:
        note(
            f"error: the logits of a runner drift by {report.drift:.2%} of their standard deviation on average, "
            f"expected at most {tolerance:.2%}"
        )
        raise click.exceptions.Exit(1)


def _subject(
    model: str, architecture: Architecture | None, changes: dict[str, Any], weights: str | None, folder: Path | None
) -> Subject:
    """The network (None for a `.keras` file, which is one), and the pictures to compare it on."""
    from export.consistency import Subject
    from export.pictures import fit_preprocessing, photographs, read_pictures
    from export.source import keras_source, load_source, weights_info

    if architecture is None:
        source = keras_source(model, changes["input_size"])
        architecture = fit_preprocessing(source.architecture)
        calibration = read_pictures(None, architecture)
    else:
        info = weights_info(weights, architecture)
        if info is not None:
            import msgspec

            architecture = msgspec.structs.replace(architecture, preprocessing=info.preprocessing)
        architecture = fit_preprocessing(architecture)
        calibration = read_pictures(None, architecture)
        source = load_source(architecture, weights, calibration.images)
    known = None if folder is not None else _test_set(weights, architecture)
    if known is not None:
        return Subject(source, *known)
    if folder is not None:
        pictures = read_pictures(folder, architecture)
        # The bundled photographs are of three channels; for a network of others the folder calibrates too.
        return Subject(source, calibration if architecture.input_channels == 3 else pictures, pictures, None)
    pictures = calibration._replace(images=photographs(_PICTURES, architecture))
    return Subject(source, calibration, pictures, None)


def _test_set(weights: str | None, architecture: Any) -> Any:
    """Calibration pictures, test pictures and classes of the data set that registered weights were trained on."""
    from export.manifest import Calibration
    from export.pictures import Pictures
    from mhmodels.preprocessing import preprocess
    from mhmodels.training.digits64 import CLASSES, SETTINGS, SIDE, test_set, validation_set

    if weights not in SETTINGS or architecture.input_size != (SIDE, SIDE) or architecture.classes != CLASSES:
        return None
    sets = []
    for name, data, count in (("validation", validation_set, 256), ("test", test_set, _CANVASES)):
        drawn = data(SETTINGS[weights])
        every = slice(None, None, max(1, len(drawn.pixels) // count))
        images = preprocess(drawn.pixels[every], architecture.preprocessing)
        sets.append(
            (Pictures(images, Calibration(source=f"{weights} {name} canvases", pictures=len(images))), drawn.labels[every])
        )
    return sets[0][0], *sets[1]


def _print(report: ConsistencyReport) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "format", "runner", "top-1 as Keras", "top-5 as Keras", "logit drift mean", "max", "same decisions", "accuracy",
        box=box.SIMPLE, title=escape(f"{report.model} on {report.pictures} pictures ({report.source})"),
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for runner in report.runners:
        top5 = "-" if runner.top5_agreement is None else f"{runner.top5_agreement:.1%}"
        accuracy = "-" if runner.accuracy is None else f"{runner.accuracy:.2%}"
        table.add_row(
            runner.format, runner.kernels, f"{runner.top1_agreement:.1%}", top5, f"{runner.mean_drift:.2%}",
            f"{runner.max_drift:.2%}", f"{runner.same_decisions:.1%}", accuracy,
        )  # fmt: skip
    console().print(table)
    matrix = Table("same top-1", *(str(i) for i in range(1, len(report.runners) + 1)), box=box.SIMPLE)
    for i, (runner, row) in enumerate(zip(report.runners, report.agreement, strict=True), 1):
        matrix.add_row(f"{i} {runner.name}", *(f"{share:.0%}" for share in row))
    console().print(matrix)
    for text, one in (("threshold", report.threshold), ("worst threshold", report.worst_threshold)):
        click.echo(f"{text} {one.value:.3g}: all runners decide the same on {one.all_same:.1%} of the pictures")
    click.echo(f"two runners differ in the best class on at most {report.disagreement:.1%} of the pictures")
    click.echo(f"weights: {report.weights}")
    for runner_name, reason in report.not_run.items():
        click.echo(f"not run: {runner_name}: {reason}")
