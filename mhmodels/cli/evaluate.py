"""The command `mhmodels evaluate`: accuracy of trained weights on pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mhmodels.architecture import MAX_INPUT, MIN_INPUT
from mhmodels.cli.common import FiniteRange, emit_json, json_option, label_offset_option, note, width_multiplier_option
from mhmodels.registry import resolve

if TYPE_CHECKING:
    from mhmodels.architecture import Architecture
    from mhmodels.training.data.sources import Source


@click.command("evaluate")
@click.argument("model")
@click.option(
    "--weights", required=True, metavar="FILE|NAME", help="Weights to evaluate: a file, or a registered name such as digits64."
)
@click.option(
    "--data",
    required=True,
    metavar="DIR|TFRECORDS|idx:DIR|digits64",
    help="Pictures with labels, in the forms that `mhmodels train --data` takes.",
)
@label_offset_option
@width_multiplier_option
@click.option(
    "--input-size",
    type=click.IntRange(MIN_INPUT, MAX_INPUT),
    default=None,
    help="Height and width of the input in pixels, such as 192.  [default: that of the weights]",
)
@click.option("--classes", type=click.IntRange(1), default=None, help="Number of classes.  [default: that of the weights]")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Pictures per batch.")
@click.option(
    "--max-bad-share",
    type=FiniteRange(0, 1),
    default=0.01,
    show_default=True,
    help="Largest share of unreadable pictures before the command fails.",
)
@json_option
def evaluate(
    model: str,
    weights: str,
    data: str,
    label_offset: int | None,
    width_multiplier: float | None,
    input_size: int | None,
    classes: int | None,
    batch_size: int,
    max_bad_share: float,
    as_json: bool,
) -> None:
    """Compute top-1 accuracy, top-5 accuracy and loss of weights on pictures.

    Pictures are cropped, resized and normalised by the rule in the weights file. If --data has a test part, only this part is
    evaluated, else all pictures. A test part is a folder val/, validation/ or test/, TFRecord files whose names begin with
    val, validation or test, or the t10k files of an IDX data set.
    """
    from mhmodels.training.data.sources import open_data
    from mhmodels.training.errors import DataError

    opened = open_data(data, label_offset=label_offset)
    source = opened.test or opened.train
    if source is None:
        raise DataError(f"{data}: no pictures")
    architecture = _network(model, width_multiplier, input_size, classes, weights, source)
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    from mhmodels.training.session import evaluate_network

    judged = evaluate_network(architecture, weights, source, batch_size=batch_size, max_bad_share=max_bad_share)
    if judged.skipped:
        named = "; ".join(map(str, judged.skipped[:10]))
        note(f"{len(judged.skipped)} pictures could not be read: {named}")
    if as_json:
        emit_json(
            {
                "model": architecture.name,
                "architecture_id": architecture.architecture_id,
                "weights": weights,
                "data": source.name,
                "input_size": list(architecture.input_size),
                "classes": architecture.classes,
                "pictures": judged.pictures,
                "top1": judged.top1,
                "top5": judged.top5,
                "loss": judged.loss,
                "skipped": [{"path": picture.path, "reason": picture.reason} for picture in judged.skipped],
            }
        )
        return
    click.echo(f"{architecture.name} on {source.name}: top-1 {judged.top1:.2%}, top-5 {judged.top5:.2%}, loss {judged.loss:.4f}")
    click.echo(f"{judged.pictures} pictures")


def _network(
    model: str, width: float | None, input_size: int | None, classes: int | None, weights: str, source: Source
) -> Architecture:
    """Returns the network at the size and class count of its weights.

    Raises:
        DataError: The class counts of weights and data differ. The check runs before TensorFlow is imported.
    """
    from mhmodels.training.errors import DataError
    from mhmodels.weights.downloading.registered import locate
    from mhmodels.weights.files import read_info
    from mhmodels.weights.stated import weighted_network

    named = resolve(model).at(width_multiplier=width)
    if read_info(locate(weights, named)) is None:
        return named.at(input_size=input_size, classes=classes or source.classes)
    architecture = weighted_network(named, weights, {"input_size": input_size, "classes": classes}).architecture
    if source.classes not in (None, architecture.classes):
        raise DataError(
            f"{source.name}: has {source.classes} classes, the weights {architecture.classes}; give data of the weights' classes"
        )
    return architecture
