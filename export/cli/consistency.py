"""The command `mhmodels consistency`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import FiniteRange, console, emit_json, json_option, note, progress_console
from mhmodels.cli.messages import named_options
from mhmodels.export.cli.messages import ExportCommand
from mhmodels.export.cli.options import model_options, preprocessing_options, resolve_and_tell
from mhmodels.export.tolerances import DRIFT_TOLERANCE
from mhmodels.tflite.format import FORMATS, FileFormat

if TYPE_CHECKING:
    from mhmodels.export.consistency.decisions import Decide
    from mhmodels.export.consistency.report import ConsistencyReport

_SHOWN_OUTPUTS = 5
_DECIDES = {
    "best": "the decision on a picture is its best output, or none below the threshold",
    "each": "every output is a decision: at or above the threshold, or below",
}


@click.command(cls=ExportCommand)
@click.argument("model")
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures to compare on. Default: the test set of registered weights, else the bundled "
                   "photographs.")  # fmt: skip
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file, or name of registered weights. Default: seeded random weights, which every output labels as "
                   "random.")  # fmt: skip
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True, default=FORMATS, show_default=True,
              help="Format to compare; may be repeated.")  # fmt: skip
@click.option("--tolerance", type=FiniteRange(0, 1), default=DRIFT_TOLERANCE, show_default=True,
              help="Largest allowed mean difference from the logits of the Keras model (without a softmax, from its outputs), "
                   "in standard deviations, from 0 to 1. Beyond it the exit code is 1.")  # fmt: skip
@click.option("--threshold", type=FiniteRange(), default=None,
              help="Score from which a decision is made, from 0 to 1; for a network without a last activation any number. "
                   "Default: 0.5 after a sigmoid; after a softmax 0.5, or the median over all pictures of the best score if this "
                   "median is lower; without a last activation the median over all pictures of the output.")  # fmt: skip
@click.option("--decide", type=click.Choice(("auto", "best", "each")), default="auto", show_default=True,
              help="How scores become decisions. best: the decision on a picture is its best output. each: every output value "
                   "is a decision of its own (multi-label, regression). auto: best for a softmax and for several outputs "
                   "without activation, else each.")  # fmt: skip
@click.option("--accelerator", "accelerators", type=click.Choice(("hexagon", "gpu")), multiple=True,
              help="Further runner; may be repeated. hexagon: Qualcomm's emulator of a phone's NPU (Snapdragon 8 Gen 3), a few "
                   "seconds a picture, after `mhmodels hardware install qualcomm`. gpu: LiteRT's GPU accelerator, where there is "
                   "a Vulkan driver.")  # fmt: skip
@preprocessing_options
@model_options
@json_option
def consistency(
    model: str,
    images: Path | None,
    weights: str | None,
    formats: tuple[FileFormat, ...],
    tolerance: float,
    threshold: float | None,
    decide: Decide,
    accelerators: tuple[str, ...],
    preprocessing: str | None,
    mean: str | None,
    std: str | None,
    width_multiplier: float | None,
    input_size: tuple[int, int] | None,
    input_channels: int | None,
    classes: int | None,
    as_json: bool,
) -> None:
    """Compare the decisions of a network over all formats and runtimes on this machine.

    The command exports all formats from one graph and one calibration. It runs each format on pictures with LiteRT (with
    XNNPACK, with the builtin kernels and with the reference kernels) and on the accelerators of --accelerator, and compares
    them with the float Keras model. It reports how often the best classes agree, how far the logits differ from those of Keras
    (drift), and whether one score threshold leads to the same decisions everywhere. Scores are computed by the last activation
    of the network. The exit code is 1 if the drift exceeds --tolerance.
    """
    from rich.markup import escape

    from mhmodels.export.cli.stated_rule import stated_rule_of
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.system.quiet import load_tensorflow

    request = ModelRequest(
        model=model,
        weights=weights,
        preprocessing=stated_rule_of(preprocessing, mean, std),
        width_multiplier=width_multiplier,
        input_size=input_size,
        input_channels=input_channels,
        classes=classes,
    )
    resolved = resolve_and_tell(request)
    with progress_console().status("loading TensorFlow") as status:
        load_tensorflow()
        from mhmodels.export.consistency.check import check_consistency

        report = check_consistency(
            resolved,
            images=images,
            formats=tuple(dict.fromkeys(formats)),
            tolerance=tolerance,
            threshold=threshold,
            decide=decide,
            accelerators=tuple(dict.fromkeys(accelerators)),
            progress=lambda stage: status.update(escape(named_options(stage))),
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
