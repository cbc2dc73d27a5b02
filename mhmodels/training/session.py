"""One training run from a request to a finished run folder, and the evaluation of weights."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict

import keras
import msgspec
import tensorflow as tf

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.builder import create_model
from mhmodels.network import LOGITS, lower
from mhmodels.system.files import sha256_of
from mhmodels.training.data.feed import Feed
from mhmodels.training.data.sources import Data, Source
from mhmodels.training.distillation import StudentAccess, check_teacher, output_of, teacher_losses
from mhmodels.training.errors import DataError, TrainingError
from mhmodels.training.evaluation import Evaluation, evaluate
from mhmodels.training.loop import TrainingJob, TrainingOutcome, Transform, train
from mhmodels.training.recipes import Distillation, Recipe
from mhmodels.training.run.curve import CurveWords, plot_curve
from mhmodels.training.run.progress import Observer, Silent
from mhmodels.training.run.run_folder import Metrics, RunFolder, Setup
from mhmodels.training.strategies import Precision, StrategyName, make_strategy
from mhmodels.version import __version__
from mhmodels.weights import Claim, Labels, Learned, WeightsInfo, load_weights, read_info, save_weights
from mhmodels.weights.downloading.registered import locate
from mhmodels.weights.loading import ATTRIBUTE

_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow")


class _Network(TypedDict):
    """What the feeds of training and test data have in common."""

    classes: int
    size: tuple[int, int]
    preprocessing: Preprocessing
    max_bad_share: float


class TrainingRequest(NamedTuple):
    """Everything that a training run needs.

    Attributes:
        architecture: Network at its width and input size; its number of classes must be that of the data.
        data: Training data, and test data if there are any, from `open_data`.
        recipe: Optimizer, schedule, regularisation and augmentation.
        folder: Folder of the run; it is made.
        seed: Random seed of the first weights, the order of pictures, augmentation and dropout.
        strategy: Distribution strategy: `none`, `mirrored` (all GPUs of this machine), `multi_worker` (one process a machine,
            described by TF_CONFIG) or `tpu`.
        precision: `float32`, or mixed precision with `float16` or `bfloat16`.
        weights: Weights to begin with: the path of a weights file or a registered name. Weights of another number of classes give
            all but the classifier. None begins at random.
        transform: Function that changes the built model before training, such as quantisation-aware training; None for none.
        transform_name: Name of the transform in the record of the run.
        learned: Function that returns what the transformed model learned besides the weights, for the weights file.
        checkpoint_seconds: A checkpoint is written after each epoch, and within an epoch when so many seconds have passed.
        resume: Whether to continue the run that the folder holds.
        distillation: Settings of training without labels: the transformed network learns the scores of the network of `weights`,
            which must be at the class count and preprocessing that these state. None trains with labels.
        student: Access to the transformed model for distillation; None compares scores alone, with equal steps for all variables.

    Example:
        >>> from pathlib import Path
        >>> from mhmodels import resolve
        >>> from mhmodels.training import TrainingRequest, load_recipe, open_data
        >>> network = resolve("multi_max@0.25").at(input_size=64, classes=10)
        >>> request = TrainingRequest(network, open_data("digits64"), load_recipe("digits"), Path("run"), seed=1)
        >>> request.precision
        'float32'
    """

    architecture: Architecture
    data: Data
    recipe: Recipe
    folder: Path
    seed: int = 0
    strategy: StrategyName = "none"
    precision: Precision = "float32"
    weights: str | None = None
    transform: Transform | None = None
    transform_name: str | None = None
    learned: Callable[[keras.Model], Learned] | None = None
    checkpoint_seconds: float = 600.0
    resume: bool = False
    distillation: Distillation | None = None
    student: StudentAccess | None = None


def train_network(request: TrainingRequest, observer: Observer | None = None) -> Metrics:
    """Trains a network, and writes weights, metrics and the learning curve into the folder of the run.

    The same request with `resume=True` continues after any interruption and ends with the weights of a run without interruption.

    Args:
        request: Network, data, recipe and folder.
        observer: Receives the progress after each step and epoch; None for nobody.

    Returns:
        The metrics of the run, as its `metrics.json` holds them.

    Raises:
        DataError: There is nothing to train on, or the data do not fit the network.
        TrainingError: The folder holds another run, or the loss, a gradient or a weight is no longer finite.
        CheckpointError: A checkpoint cannot be written or read.
        WeightsError: The weights to begin with do not fit.
        RecipeError: Distillation contradicts a field of the recipe.
        InterruptedJobError: The user pressed Ctrl-C; a checkpoint was written.

    Example:
        >>> from pathlib import Path
        >>> import msgspec
        >>> from mhmodels import resolve
        >>> from mhmodels.training import TrainingRequest, load_recipe, open_data, train_network
        >>> network = resolve("multi_max@0.25").at(input_size=64, classes=10)
        >>> recipe = msgspec.structs.replace(load_recipe("digits"), epochs=1, batch_size=256)
        >>> metrics = train_network(TrainingRequest(network, open_data("digits64"), recipe, Path("run")))
        >>> metrics.weights_file
        'model.weights.h5'
    """
    observer = observer or Silent()
    # First of all: the collective operations of several workers must be set up before TensorFlow is used.
    strategy = make_strategy(request.strategy)
    job = _job(request, strategy, observer)
    outcome = train(job, observer)
    metrics = _metrics(job, outcome)
    if outcome.chief:
        learned = request.learned(outcome.trained) if request.learned else None
        architecture = with_preprocessing(request.architecture, request.recipe)
        teacher = read_info(locate(request.weights, architecture)) if request.distillation and request.weights else None
        _write(job, outcome, metrics, architecture, learned, teacher)
    return metrics


def evaluate_network(
    architecture: Architecture, weights: str, source: Source, *, batch_size: int = 64, max_bad_share: float = 0.01
) -> Evaluation:
    """Evaluates weights on a source, with the preprocessing that the weights file states.

    Args:
        architecture: Network of the weights.
        weights: Path of a weights file, or a registered name.
        source: Pictures to evaluate on.
        batch_size: Number of pictures computed at once; it does not change the result beyond rounding.
        max_bad_share: Largest share of pictures that may be unreadable, 0 to 1.

    Returns:
        Accuracy and loss.

    Raises:
        WeightsError: The weights do not fit the network.
        DataError: The data do not fit the network, or too many pictures are unreadable.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.training import evaluate_network, open_data
        >>> network = resolve("multi_max@0.25").at(input_size=64, classes=10)
        >>> evaluate_network(network, "digits64", open_data("digits64").test).top1 > 0.9
        True
    """
    _check_pictures(architecture, architecture.preprocessing)
    model = create_model(architecture, classifier_activation=None)
    load_weights(model, weights, architecture)
    preprocessing: Preprocessing = getattr(model, ATTRIBUTE).preprocessing  # what the weights state, or else the network's
    _check_pictures(architecture, preprocessing)
    feed = Feed(
        source,
        classes=architecture.classes,
        size=architecture.input_size,
        preprocessing=preprocessing,
        max_bad_share=max_bad_share,
    )
    return evaluate(model, feed, preprocessing, batch_size)


def stated_network(weights: str, architecture: Architecture) -> Architecture | None:
    """The network that weights state, at their input size, class count and preprocessing; None where they state none.

    Args:
        weights: A weights file or a registered name.
        architecture: Whose weights a registered name means.

    Raises:
        WeightsError: They cannot be had, or the file is damaged or foreign.
        UnknownNameError: Neither a file nor a registered name.
    """
    path = locate(weights, architecture)
    info = read_info(path)
    return info.network(str(path)) if info else None


def with_preprocessing(architecture: Architecture, recipe: Recipe) -> Architecture:
    """The architecture with the preprocessing that a recipe trains it for."""
    if recipe.preprocessing is None:
        return architecture
    return msgspec.structs.replace(architecture, preprocessing=recipe.preprocessing)


def _job(request: TrainingRequest, strategy: tf.distribute.Strategy, observer: Observer) -> TrainingJob:
    recipe, data = request.recipe, request.data
    if data.train is None:
        raise DataError(f"{data.test.name if data.test else 'data'}: only pictures to test on, expected some to train on")
    architecture = with_preprocessing(request.architecture, recipe)
    _check_pictures(architecture, architecture.preprocessing)
    losses = None
    if request.distillation is not None:
        weights = check_teacher(request.weights, architecture, recipe)
        if request.transform is None:
            raise TrainingError(
                "distillation without a transform: the network would learn from itself; expected quantisation-aware training "
                "(argument 'quantize_aware')"
            )
        losses = teacher_losses(weights, architecture, request.distillation, request.student)
    shared: _Network = {
        "classes": architecture.classes,
        "size": architecture.input_size,
        "preprocessing": architecture.preprocessing,
        "max_bad_share": recipe.max_bad_share,
    }
    return TrainingJob(
        build=lambda: _build(architecture, recipe, request.weights, observer),
        setup=Setup(
            model=architecture.name,
            architecture_id=architecture.architecture_id,
            recipe=recipe,
            train=_identity(data.train),
            test=_identity(data.test) if data.test else None,
            seed=request.seed,
            strategy=request.strategy,
            replicas=strategy.num_replicas_in_sync,
            precision=request.precision,
            weights=_weights_identity(request.weights, architecture),
            transform=request.transform_name,
            distillation=request.distillation,
        ),
        train=Feed(data.train, augmentation=recipe.augmentation, seed=request.seed, **shared),
        test=Feed(data.test, **shared) if data.test else None,
        preprocessing=architecture.preprocessing,
        folder=request.folder,
        strategy=strategy,
        transform=request.transform,
        checkpoint_seconds=request.checkpoint_seconds,
        resume=request.resume,
        losses=losses,
        step_sizes=request.student.step_sizes if losses and request.student else None,
    )


def _check_pictures(architecture: Architecture, preprocessing: Preprocessing) -> None:
    """Refuses a network that cannot be fed: pictures are RGB, whatever their files hold."""
    if architecture.input_channels != 3:
        raise DataError(
            f"{architecture.name}: field 'input_channels' is {architecture.input_channels}, expected 3: pictures are fed as RGB"
        )
    if len(preprocessing.mean) not in (1, 3):
        raise DataError(
            f"{architecture.name}: fields 'preprocessing.mean' and 'preprocessing.std' have {len(preprocessing.mean)} values, "
            "expected 3 (of red, green and blue) or 1 for all"
        )


def _build(architecture: Architecture, recipe: Recipe, weights: str | None, observer: Observer) -> keras.Model:
    model = create_model(architecture, classifier_activation=None, dropout=recipe.dropout)
    if weights is None:
        return model
    stated = stated_network(weights, architecture)
    if stated is None or stated.classes == architecture.classes:
        load_weights(model, weights, architecture)
        return model
    observer.note(f"{weights} has {stated.classes} classes: the classifier for {architecture.classes} begins anew")
    before = next(op.inputs[0] for op in lower(architecture).ops if op.name == LOGITS)
    load_weights(keras.Model(model.input, output_of(model, before)), weights, architecture)
    return model


def _identity(source: Source) -> str:
    return f"{source.name}: {source.fingerprint()}"


def _weights_identity(weights: str | None, architecture: Architecture) -> str | None:
    return None if weights is None else f"sha256 {sha256_of(locate(weights, architecture))}"


def _metrics(job: TrainingJob, outcome: TrainingOutcome) -> Metrics:
    progress, judged = outcome.progress, outcome.evaluation
    last = progress.history[-1]
    feeds = [feed for feed in (job.train, job.test) if feed is not None]
    return Metrics(
        setup=job.setup,
        steps=progress.step,
        seconds=round(progress.seconds, 3),
        images_per_second=round(progress.step * job.setup.recipe.batch_size / max(progress.seconds, 1e-9), 2),
        loss=last.loss,
        accuracy=last.accuracy,
        test_loss=judged.loss if judged else None,
        test_accuracy=judged.top1 if judged else None,
        test_top5=judged.top5 if judged else None,
        history=tuple(progress.history),
        skipped=tuple(str(picture) for feed in feeds for picture in feed.skipped),
        weights_file=RunFolder(job.folder).weights.name,
        versions={"mhmodels": __version__} | {library: importlib.metadata.version(library) for library in _LIBRARIES},
        start=progress.start,
        kept=progress.best,
    )


def _write(
    job: TrainingJob,
    outcome: TrainingOutcome,
    metrics: Metrics,
    architecture: Architecture,
    learned: Learned | None,
    teacher: WeightsInfo | None,
) -> None:
    """Writes weights, metrics and the learning curve. Distilled weights take labels and licence over from their teacher's."""
    folder, setup, source = RunFolder(job.folder), job.setup, job.train.source
    how = f"mhmodels train, recipe {setup.recipe.name}, {setup.recipe.epochs} epochs, seed {setup.seed}"
    claims: tuple[Claim, ...] = ()
    labels = Labels(name=source.label_set, names=source.labels) if len(source.labels) == architecture.classes else None
    licence, origin = None, f"{how}, on {source.name}"
    if teacher is not None:
        labels, licence, origin = teacher.labels, teacher.licence, f"{origin}, distilled from: {teacher.source}"
    elif job.test is not None and metrics.test_accuracy is not None and setup.distillation is None:
        claims = (Claim(top1=round(100 * metrics.test_accuracy, 2), dataset=job.test.source.name, source=how),)
    save_weights(
        outcome.model,
        architecture,
        folder.weights,
        labels=labels or Labels(background="unknown"),
        source=origin,
        licence=licence,
        accuracy=claims,
        step=metrics.steps,
        learned=learned,
    )
    if outcome.trained is not outcome.model:
        outcome.trained.save_weights(str(folder.transformed_weights))
    folder.finish(metrics)
    words = CurveWords() if setup.distillation is None else CurveWords("divergence (nats)", "agreement (%)", "held-out")
    plot_curve(metrics.history, folder.curve, f"{setup.model}, {how.removeprefix('mhmodels train, ')}", words)
