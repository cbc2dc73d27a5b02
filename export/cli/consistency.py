"""`mhmodels consistency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mhmodels.cli.common import FiniteRange, console, emit_json, json_option, note, progress_console
from mhmodels.export.cli.options import model_options, network_of, preprocessing_options, refuse_changes
from mhmodels.tflite.format import FORMATS

if TYPE_CHECKING:
    from mhmodels.architecture import Architecture
    from mhmodels.export.reading.stated_rule import StatedRule
    from mhmodels.export.verification.consistency import ConsistencyReport, ConsistencySubject

_PICTURES = 130
_CANVASES = 360
_SHOWN_OUTPUTS = 5
_DECIDES = {
    "best": "the decision on a picture is its best output, or none below the threshold",
    "each": "every output is a decision: at or above the threshold, or below",
}


@click.command()
@click.argument("model")
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures. Default: the bundled photographs, or the test set of registered weights.")  # fmt: skip
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file, or a registered name. Without it: seeded random weights.")  # fmt: skip
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, default=FORMATS, show_default=True,
              help="Formats to compare.")  # fmt: skip
@click.option("--tolerance", type=FiniteRange(0, 1), default=0.2, show_default=True,
              help="Largest mean drift of the logits (without a softmax, of the outputs), as a share of their standard "
                   "deviation.")  # fmt: skip
@click.option("--threshold", type=FiniteRange(), default=None,
              help="Score from which a decision is made. Default: 0.5 for a sigmoid; 0.5, or the median best score if that is "
                   "lower, for a softmax; the median output for a network without a last activation.")  # fmt: skip
@click.option("--decide", type=click.Choice(("auto", "best", "each")), default="auto", show_default=True,
              help="best: a picture's decision is its best output. each: every value of the output is a decision (multi-label, "
                   "regression). auto: best for a softmax and for several outputs without activation, else each.")  # fmt: skip
@preprocessing_options
@model_options
@json_option
def consistency(
    model: str,
    images: Path | None,
    weights: str | None,
    formats: tuple[Any, ...],
    tolerance: float,
    threshold: float | None,
    decide: Any,
    preprocessing: str | None,
    mean: str | None,
    std: str | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Does a network say the same in every format and on every runner at hand?

    Exports all formats from one graph and one calibration, runs them on pictures with LiteRT (XNNPACK, its own kernels, its
    reference kernels) beside the float Keras model, and reports agreement, drift of the logits, and whether one score
    threshold leads to the same decisions everywhere. Scores follow the network's last activation. Exit code 1 beyond
    --tolerance.
    """
    from rich.markup import escape

    from mhmodels.export.reading.stated_rule import stated_rule_of
    from mhmodels.registry import is_keras_file, resolve
    from mhmodels.system.quiet import load_tensorflow

    rule = stated_rule_of(preprocessing, mean, std)
    if is_keras_file(model):
        refuse_changes(model, changes)
        architecture = None
    else:
        architecture = network_of(resolve(model).at(**changes), weights, changes)
    with progress_console().status("loading TensorFlow") as status:
        load_tensorflow()
        from mhmodels.export.verification.consistency import check_consistency

        subject = _subject(model, architecture, changes, weights, images, rule)
        report = check_consistency(
            subject,
            tuple(dict.fromkeys(formats)),
            tolerance,
            threshold,
            lambda stage: status.update(escape(stage)),
            decide=decide,
        )
    if as_json:
        emit_json(report)
    else:
        _print(report)
    if not report.consistent:
        what = "logits" if report.activation == "softmax" else "outputs"
        note(
            f"error: the {what} of a runner drift by {report.drift:.2%} of their standard deviation on average, "
            f"expected at most {tolerance:.2%}"
        )
        raise click.exceptions.Exit(1)


def _subject(
    model: str,
    architecture: Architecture | None,
    changes: dict[str, Any],
    weights: str | None,
    folder: Path | None,
    rule: StatedRule | None = None,
) -> ConsistencySubject:
    """The network (None for a `.keras` file, which is one), and the pictures to compare it on."""
    import msgspec

    from mhmodels.export.reading.pictures import fit_preprocessing, photographs, read_pictures
    from mhmodels.export.reading.source import keras_source, load_source, weights_rule
    from mhmodels.export.verification.consistency import ConsistencySubject

    if architecture is None:
        source = keras_source(model, changes["input_size"]).stated(rule)
        source.check_rule()
        architecture = fit_preprocessing(source.architecture)
        calibration = read_pictures(None, architecture)
    else:
        expected = weights_rule(weights, architecture) or architecture.preprocessing
        expected = expected if rule is None else rule.over(expected)
        architecture = fit_preprocessing(msgspec.structs.replace(architecture, preprocessing=expected))
        calibration = read_pictures(None, architecture)
        source = load_source(architecture, weights, calibration.images)
    known = None if folder is not None else _test_set(weights, architecture)
    if known is not None:
        return ConsistencySubject(source, *known)
    if folder is not None:
        pictures = read_pictures(folder, architecture)
        # The bundled photographs are of three channels; for a network of others the folder calibrates too.
        return ConsistencySubject(source, calibration if architecture.input_channels == 3 else pictures, pictures, None)
    pictures = calibration._replace(images=photographs(_PICTURES, architecture))
    return ConsistencySubject(source, calibration, pictures, None)


def _test_set(weights: str | None, architecture: Any) -> Any:
    """Calibration pictures, test pictures and classes of the data set that registered weights were trained on."""
    from mhmodels.export.reading.pictures import InputPictures
    from mhmodels.export.writing.manifest import Calibration
    from mhmodels.preprocessing.pictures import preprocess
    from mhmodels.training.data.digits64 import CLASSES, SETTINGS, SIDE, test_set, validation_set

    if weights not in SETTINGS or architecture.input_size != (SIDE, SIDE) or architecture.classes != CLASSES:
        return None
    sets = []
    for name, data, count in (("validation", validation_set, 256), ("test", test_set, _CANVASES)):
        drawn = data(SETTINGS[weights])
        every = slice(None, None, max(1, len(drawn.pixels) // count))
        images = preprocess(drawn.pixels[every], architecture.preprocessing)
        sets.append(
            (InputPictures(images, Calibration(source=f"{weights} {name} canvases", pictures=len(images))), drawn.labels[every])
        )
    return sets[0][0], *sets[1]


def _print(report: ConsistencyReport) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    drifts = "logit drift mean" if report.activation == "softmax" else "output drift mean"
    table = Table(
        "format", "runner", "top-1 as Keras", "top-5 as Keras", drifts, "max", "same decisions", "of the surer half", "accuracy",
        box=box.SIMPLE, title=escape(f"{report.model} on {report.pictures} pictures ({report.source})"),
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for runner in report.runners:
        accuracy = "-" if runner.accuracy is None else f"{runner.accuracy:.2%}"
        table.add_row(
            runner.format, runner.kernels, _share(runner.top1_agreement), _share(runner.top5_agreement),
            f"{runner.mean_drift:.2%}", f"{runner.max_drift:.2%}", f"{runner.same_decisions:.1%}",
            f"{runner.sure_same_decisions:.1%}", accuracy,
        )  # fmt: skip
    console().print(table)
    heading = "same top-1" if report.decides == "best" else "same decisions"
    matrix = Table(heading, *(str(i) for i in range(1, len(report.runners) + 1)), box=box.SIMPLE)
    for i, (runner, row) in enumerate(zip(report.runners, report.agreement, strict=True), 1):
        matrix.add_row(f"{i} {runner.name}", *(f"{share:.0%}" for share in row))
    console().print(matrix)
    _print_decisions(report)
    click.echo(f"weights: {report.weights}")
    for runner_name, reason in report.not_run.items():
        click.echo(f"not run: {runner_name}: {reason}")


def _print_decisions(report: ConsistencyReport) -> None:
    click.echo(f"last activation: {report.activation}; {_DECIDES[report.decides]}")
    for text, one in (("threshold", report.threshold), ("worst threshold", report.worst_threshold)):
        value = f"{one.value:.3g}" if isinstance(one.value, float) else f"{min(one.value):.3g} to {max(one.value):.3g}"
        click.echo(
            f"{text} {value}: all runners decide the same in {one.all_same:.1%} of all cases, in {one.sure_all_same:.1%} of "
            "the surer half"
        )
    what = "the best output" if report.decides == "best" else "a decision"
    click.echo(f"two runners differ in {what} in at most {report.disagreement:.1%} of the cases")
    worst = sorted(report.outputs, key=lambda output: (output.all_same, -output.drift))[:_SHOWN_OUTPUTS]
    if len(report.outputs) > 1:
        for output in worst:
            click.echo(f"  output {output.output}: all decide the same on {output.all_same:.1%}, drift {output.drift:.2%}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
