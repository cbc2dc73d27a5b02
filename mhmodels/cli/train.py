"""The command `mhmodels train`: float training, quantisation-aware training, and distillation without labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mhmodels.architecture import MAX_INPUT, MIN_INPUT, Architecture
from mhmodels.cli.common import (
    FiniteRange,
    emit_json,
    json_option,
    label_offset_option,
    note,
    progress_console,
    width_multiplier_option,
)
from mhmodels.cli.option_groups import option_group
from mhmodels.registry import resolve

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
    from mhmodels.training.data.sources import Data
    from mhmodels.training.recipes import Recipe
    from mhmodels.training.run.checkpoint import EpochResult
    from mhmodels.training.run.progress import Status
    from mhmodels.training.run.run_folder import Metrics
    from mhmodels.training.strategies import StrategyName


@dataclass(frozen=True)
class RunOptions:
    """How a network is trained: weights to begin with, length, machine, precision, and simulated quantisation."""

    weights: str | None
    epochs: int | None
    batch_size: int | None
    seed: int
    strategy: StrategyName
    mixed_precision: Literal["none", "float16", "bfloat16"]
    checkpoint_minutes: float
    quantize_aware: QuantisedFormat | None
    granularity: Granularity | None
    freeze_after: int | None
    distil: bool
    temperature: float | None
    resume: bool


run_options = option_group(
    "options",
    RunOptions,
    click.option(
        "--weights",
        default=None,
        metavar="FILE|NAME",
        help="Initial weights. If their class count differs, all layers except the classifier are loaded.",
    ),
    click.option("--epochs", type=click.IntRange(1), default=None, help="Number of epochs.  [default: that of the recipe]"),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=None,
        help="Pictures per step, summed over all replicas.  [default: that of the recipe]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Random seed for initial weights, picture order, augmentation and dropout.",
    ),
    click.option(
        "--strategy",
        type=click.Choice(["none", "mirrored", "multi_worker", "tpu"]),
        default="none",
        show_default=True,
        help="How to distribute the training: none (one device), mirrored (all GPUs of this machine), multi_worker (one "
        "process per machine, each with its own environment variable TF_CONFIG) or tpu (never run).",
    ),
    click.option(
        "--mixed-precision",
        type=click.Choice(["none", "float16", "bfloat16"]),
        default="none",
        show_default=True,
        help="16-bit type of the computation; variables and saved weights stay float32.",
    ),
    click.option(
        "--checkpoint-minutes",
        type=FiniteRange(0),
        default=10.0,
        show_default=True,
        help="Minutes between checkpoints within an epoch. A checkpoint is also written after each epoch.",
    ),
    click.option(
        "--quantize-aware",
        type=click.Choice(["int8", "uint8"]),
        default=None,
        help="Fine-tune the network of --weights with simulated quantisation to this format; model.weights.h5 then contains "
        "the learned ranges.",
    ),
    click.option(
        "--granularity",
        type=click.Choice(["channel", "tensor"]),
        default=None,
        help="With --quantize-aware int8: one weight scale per output channel or per tensor.  [default: channel]",
    ),
    click.option(
        "--freeze-after",
        type=click.IntRange(0),
        default=None,
        metavar="STEPS",
        help="With --quantize-aware: number of steps after which batch normalisation uses frozen moving statistics.  "
        "[default: half of the run; with --distil 0]",
    ),
    click.option(
        "--distil",
        is_flag=True,
        help="With --quantize-aware: learn the scores of the float network of --weights instead of labels. --data may be any "
        "folder of pictures.",
    ),
    click.option(
        "--temperature",
        type=FiniteRange(0, min_open=True),
        default=None,
        help="With --distil: number above 0 by which the logits of both networks are divided.  [default: 1]",
    ),
    click.option("--resume", is_flag=True, help="Continue the interrupted run in RUNDIR from its newest checkpoint."),
)


@click.command("train")
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="DIR|TFRECORDS|idx:DIR|digits64",
    help="Training data: a folder with one subfolder per class (optionally inside train/ and val/), TFRecord files (a folder or "
    "a quoted pattern), a folder of IDX files such as idx:/usr/share/datasets/fashion-mnist, or the "
    "generated data sets digits64 and digits64-hard. With --distil also any folder of pictures.",
)
@click.option(
    "--recipe",
    default=None,
    metavar="NAME|FILE.json",
    help="Training recipe: paper, short, digits, digits-finetune, distil, or a JSON file.  [default: distil with --distil, "
    "digits for digits64, else paper]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="RUNDIR",
              help="Folder for checkpoints, logs, metrics and the trained weights.")  # fmt: skip
@click.option(
    "--test-data",
    default=None,
    metavar="DIR|TFRECORDS|idx:DIR",
    help="Test set, in the forms of --data, if the training data do not contain one. Not allowed for digits64.",
)
@label_offset_option
@width_multiplier_option
@click.option(
    "--input-size",
    type=click.IntRange(MIN_INPUT, MAX_INPUT),
    default=None,
    help="Height and width of the input in pixels, such as 192.  [default: the network's own]",
)
@click.option(
    "--classes",
    type=click.IntRange(1),
    default=None,
    help="Number of classes.  [default: that of the data; for TFRecords the network's]",
)
@run_options
@json_option
def train(
    model: str,
    data: str,
    recipe: str | None,
    output: Path,
    test_data: str | None,
    label_offset: int | None,
    width_multiplier: float | None,
    input_size: int | None,
    classes: int | None,
    options: RunOptions,
    as_json: bool,
) -> None:
    """Train a network on pictures and save its weights.

    The command writes metrics.json, model.weights.h5, curve.png, TensorBoard logs and checkpoints into RUNDIR. After an
    interruption, the same command with --resume continues the run; on a CPU of the same machine it ends with the same weights
    as an uninterrupted run.
    """
    chosen = _recipe("distil" if options.distil and recipe is None else recipe, data, options.epochs, options.batch_size)
    named = resolve(model).at(width_multiplier=width_multiplier)
    _check_distil(options, label_offset)
    if options.distil:
        from mhmodels.training.data.unlabelled import open_pictures

        opened = open_pictures(data, test=test_data)
        _check_aware(options)
        architecture = _as_weighted(named, options.weights, input_size, classes)
    else:
        from mhmodels.training.data.sources import open_data

        opened = open_data(data, label_offset=label_offset, test=test_data)
        _check_aware(options)
        architecture = _with_classes(named.at(input_size=input_size), opened, classes)
    metrics = _run(architecture, opened, chosen, output, options)
    if as_json:
        import msgspec

        emit_json({"folder": str(output), **msgspec.to_builtins(metrics)})
    else:
        _print(metrics, output)


def _check_aware(options: RunOptions) -> None:
    if options.quantize_aware:
        if options.weights is None:
            raise click.UsageError("--quantize-aware needs --weights: a network learns in floating point first")
        if options.mixed_precision != "none":
            raise click.UsageError(
                "--quantize-aware needs --mixed-precision none: the steps of 8 bits are finer than 16-bit floats"
            )
    elif options.granularity or options.freeze_after is not None:
        raise click.UsageError("--granularity and --freeze-after belong to --quantize-aware")


def _check_distil(options: RunOptions, label_offset: int | None) -> None:
    if options.distil:
        if options.quantize_aware is None:
            raise click.UsageError("--distil needs --quantize-aware int8 or uint8, the format that the network learns for")
        if label_offset is not None:
            raise click.UsageError("--label-offset has no effect with --distil, which has no labels: leave it out")
    elif options.temperature is not None:
        raise click.UsageError("--temperature belongs to --distil")


def _as_weighted(named: Architecture, weights: str | None, input_size: int | None, classes: int | None) -> Architecture:
    """Returns the network as its weights state it: class count, preprocessing and, if none is given, input size."""
    import msgspec

    from mhmodels.weights.stated import weighted_network

    weighted = weighted_network(named, weights, {"input_size": input_size, "classes": classes})
    info = weighted.info
    return (
        weighted.architecture
        if info is None
        else msgspec.structs.replace(weighted.architecture, preprocessing=info.preprocessing)
    )


def _recipe(name: str | None, data: str, epochs: int | None, batch_size: int | None) -> Recipe:
    import msgspec

    from mhmodels.training.data.digits64 import SETTINGS
    from mhmodels.training.named_recipes import load_recipe

    recipe = load_recipe(name or ("digits" if data in SETTINGS else "paper"))
    given = {key: value for key, value in {"epochs": epochs, "batch_size": batch_size}.items() if value is not None}
    return msgspec.structs.replace(recipe, **given) if given else recipe


def _with_classes(architecture: Architecture, data: Data, classes: int | None) -> Architecture:
    source = data.train or data.test
    return architecture.at(classes=classes or (source.classes if source else None))


def _run(architecture: Architecture, data: Data, recipe: Recipe, output: Path, options: RunOptions) -> Metrics:
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    from mhmodels.training.session import TrainingRequest, train_network

    request = TrainingRequest(
        architecture=architecture,
        data=data,
        recipe=recipe,
        folder=output,
        seed=options.seed,
        strategy=options.strategy,
        precision="float32" if options.mixed_precision == "none" else options.mixed_precision,
        weights=options.weights,
        checkpoint_seconds=60 * options.checkpoint_minutes,
        resume=options.resume,
    )
    if options.distil:
        from mhmodels.training.recipes import Distillation

        distillation = Distillation() if options.temperature is None else Distillation(temperature=options.temperature)
        request = request._replace(distillation=distillation)
    if options.quantize_aware:
        from mhmodels.cli.quantised_training import quantise_aware

        request = quantise_aware(request, options.quantize_aware, options.granularity, options.freeze_after)
    with _watch("agreement" if options.distil else "accuracy") as observer:
        return train_network(request, observer)


class _Watcher:
    """Shows the progress of a run on stderr: one line per epoch and, on a terminal, a live progress bar."""

    def __init__(self, bar: Progress, task: TaskID, accuracy: str) -> None:
        self._bar, self._task, self._accuracy = bar, task, accuracy

    def stepped(self, status: Status) -> None:
        rate = f"{status.images_per_second:.0f} images/s" if status.images_per_second else "warming up"
        text = (
            f"epoch {status.epoch}/{status.epochs}  loss {status.mean_loss:.4f}  {self._accuracy} {status.accuracy:.2%}  {rate}"
        )
        left = "" if status.remaining_s is None else f"{_duration(status.remaining_s)} left"
        self._bar.update(self._task, description=text, left=left, completed=status.step, total=status.steps)

    def epoch_done(self, result: EpochResult) -> None:
        word, tested = self._accuracy, ""
        if result.test_accuracy is not None:
            tested = f", test loss {result.test_loss:.4f}, {word} {result.test_accuracy:.2%}"
        self.note(f"epoch {result.epoch}: loss {result.loss:.4f}, {word} {result.accuracy:.2%}{tested}; {result.seconds:.1f} s")

    def note(self, message: str) -> None:
        self._bar.console.print(message, soft_wrap=True, markup=False)


@contextmanager
def _watch(accuracy: str) -> Iterator[_Watcher]:
    """Yields an observer that shows the progress; `accuracy` is its word for the share of right pictures."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    err = progress_console()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    # Without a terminal the bar is disabled, but the lines per epoch are still printed.
    with Progress(*columns, console=err, transient=True, refresh_per_second=4, disable=not err.is_terminal) as bar:
        yield _Watcher(bar, bar.add_task("building", total=None, left=""), accuracy)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


_ACCURACY = {False: "test accuracy", True: "agreement with the float network on held-out pictures"}


def _print(metrics: Metrics, output: Path) -> None:
    distilled = metrics.setup.distillation is not None
    tested = "no test data" if metrics.test_accuracy is None else f"{_ACCURACY[distilled]} {metrics.test_accuracy:.2%}"
    if metrics.start is not None and metrics.kept is not None:
        tested += f" after epoch {metrics.kept.epoch} (before: {metrics.start.accuracy:.2%})"
    click.echo(f"{metrics.setup.model}: {tested}, {metrics.steps} steps in {_duration(metrics.seconds)}")
    click.echo(f"weights in {output / metrics.weights_file}")
    if metrics.skipped:
        note(f"{len(metrics.skipped)} pictures could not be read: {'; '.join(metrics.skipped[:10])}")
