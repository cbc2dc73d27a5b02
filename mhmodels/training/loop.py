"""The training loop: steps, checkpoints and evaluation, with the same result whether or not it was interrupted.

The loop does not use Keras' `fit`, which fails under MultiWorkerMirroredStrategy. Keras' `apply_gradients` sums gradients over
replicas, so each replica divides its loss by the global batch size and nothing is reduced twice.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.errors import InterruptedJobError
from mhmodels.training.data.feed import Feed, Pipeline
from mhmodels.training.divergence import all_finite, first_not_finite, gradient_norm, scaled_gradient_norm
from mhmodels.training.errors import DataError, TrainingError
from mhmodels.training.evaluation import (
    DistributedBatch,
    Evaluation,
    EvaluationStep,
    make_test_step,
    normaliser,
    right_first,
    run_test,
)
from mhmodels.training.losses import RunLosses, label_losses
from mhmodels.training.optimisation import (
    StepSizes,
    decayed_kernels,
    l2_penalty,
    make_optimizer,
    make_schedule,
    set_batch_norm,
)
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import EpochResult, EvaluatedEpoch, RunProgress
from mhmodels.training.run.interrupts import stop_requests
from mhmodels.training.run.progress import Observer, RunClock, Silent, Status
from mhmodels.training.run.run_folder import RunFolder, Setup
from mhmodels.training.strategies import Precision, is_chief, precision_policy

Transform = Callable[[keras.Model], keras.Model]

_BEST = "best/"
"""Prefix of the arrays in a checkpoint that hold the model of the best evaluation."""


class TrainingJob(NamedTuple):
    """A training run with its objects made: model builder, feeds and strategy.

    Attributes:
        build: Function that makes the model with logits as output (no softmax); called once, within the strategy's scope.
        setup: Record that a resumed run is compared with; `recipe`, `seed` and `precision` are taken from it.
        train: Feed of training pictures.
        test: Feed of test pictures; None evaluates nothing.
        preprocessing: Rule whose mean and std normalise the pixels.
        folder: Folder of the run.
        strategy: Distribution strategy from `strategies.make_strategy`.
        transform: Function from the built model to the model to train, which shares its variables (quantisation-aware training).
        checkpoint_seconds: A checkpoint is written after each epoch, and within an epoch when so many seconds have passed.
        resume: Whether to continue the run in the folder.
        losses: Function from the trained model to the loss functions; called once, within the strategy's scope. None takes the
            cross-entropy with the labels.
        step_sizes: Function from the trained model to the factors of the learning rate by variable; None for 1.
    """

    build: Callable[[], keras.Model]
    setup: Setup
    train: Feed
    test: Feed | None
    preprocessing: Preprocessing
    folder: Path
    strategy: tf.distribute.Strategy
    transform: Transform | None = None
    checkpoint_seconds: float = 600.0
    resume: bool = False
    losses: Callable[[keras.Model], RunLosses] | None = None
    step_sizes: Callable[[keras.Model], StepSizes] | None = None


class TrainingOutcome(NamedTuple):
    """Result of a training run.

    Attributes:
        model: The built model with the trained weights: their moving average where the recipe has one, those of the best
            evaluation where the recipe has a patience.
        trained: The transformed model; the same model without a transform.
        progress: Steps, seconds and history.
        evaluation: Evaluation of these weights; None without test data.
        chief: Whether this process writes the files of the run.
    """

    model: keras.Model
    trained: keras.Model
    progress: RunProgress
    evaluation: Evaluation | None
    chief: bool


def train(job: TrainingJob, observer: Observer | None = None) -> TrainingOutcome:
    """Trains a model from the state of its folder to the last epoch of the recipe.

    Args:
        job: Model builder, feeds, strategy and folder.
        observer: Receives the progress; None for nobody.

    Raises:
        TrainingError: The folder holds another run, the batch does not divide over the replicas, or the loss, a gradient or a
            weight became infinite or NaN (the last good checkpoint stays).
        DataError: The data do not fit, too many pictures are unreadable, or the recipe stops early and there are no test data.
        CheckpointError: A checkpoint cannot be written or read.
        InterruptedJobError: The user pressed Ctrl-C; after the first time a checkpoint is written at the end of the step.
    """
    with contextlib.closing(RunFolder(job.folder)) as folder:
        run = _Run(job, observer or Silent(), folder)
        try:
            run.restore()
            return run.to_end()
        except InterruptedJobError:
            raise
        except KeyboardInterrupt as error:
            raise InterruptedJobError(run.kept()) from error


class _Run:
    """State of a training run."""

    def __init__(self, job: TrainingJob, observer: Observer, folder: RunFolder) -> None:
        recipe = job.setup.recipe
        self.job, self.observer, self.recipe = job, observer, recipe
        self.strategy = job.strategy
        self.chief = is_chief(job.strategy)
        self.folder = folder
        self.replicas = job.strategy.num_replicas_in_sync
        if recipe.batch_size % self.replicas:
            raise TrainingError(f"batch size is {recipe.batch_size}, expected a multiple of the {self.replicas} replicas")
        if recipe.patience is not None and job.test is None:
            raise DataError(
                f"recipe '{recipe.name}': field 'patience' is {recipe.patience}, which needs pictures to test on; give test data "
                "(argument 'test_data'), or a recipe without it"
            )
        self.pipeline = Pipeline(recipe.batch_size, recipe.batch_size // self.replicas)
        self.epoch_steps = len(job.train.source) // recipe.batch_size
        self.steps = self.epoch_steps * recipe.epochs
        # Raises before anything is built if there is less than one batch.
        job.train.training(self.pipeline, start=0, stop=0)
        self.folder.begin(job.setup, resume=job.resume, write=self.chief)
        self._build()
        self.progress = RunProgress()
        self.evaluation: Evaluation | None = None
        self.best: dict[str, NDArray[np.generic]] = {}
        self.summaries = tf.summary.create_file_writer(os.fsencode(self.folder.tensorboard)) if self.chief else None

    def _build(self) -> None:
        recipe, setup = self.recipe, self.job.setup
        precision: Precision = setup.precision  # type: ignore[assignment]
        keras.utils.set_random_seed(setup.seed)
        with self.strategy.scope(), precision_policy(precision):
            self.model = self.job.build()
            set_batch_norm(self.model, recipe.batch_norm_momentum, recipe.synchronised_batch_norm)
            self.trained = self.job.transform(self.model) if self.job.transform else self.model
            set_batch_norm(self.trained, recipe.batch_norm_momentum, recipe.synchronised_batch_norm)
            self.schedule = make_schedule(recipe.learning_rate, recipe.batch_size, self.steps)
            step_sizes = self.job.step_sizes(self.trained) if self.job.step_sizes else None
            self.optimizer = make_optimizer(recipe, self.schedule, step_sizes)
            if precision == "float16":
                self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self.trained.trainable_variables)
            self.losses = self.job.losses(self.trained) if self.job.losses else label_losses(recipe.label_smoothing)
        self.train_step = self._make_train_step()
        self.test_step = make_test_step(self.trained, self.job.preprocessing, self.strategy, self.losses.test)

    def _make_train_step(self) -> EvaluationStep:
        model, optimizer, recipe = self.trained, self.optimizer, self.recipe
        normalise, scale = normaliser(self.job.preprocessing), getattr(optimizer, "dynamic_scale", None)
        kernels = decayed_kernels(model) if recipe.l2 else []
        features = self.losses.features
        network = keras.Model(model.input, [model.output, *features]) if features else model

        def replica_step(pixels: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            """One replica's part of a step: summed loss, right answers, gradient norm, and 1 if a variable is not finite."""
            with tf.GradientTape() as tape:
                images = normalise(pixels)
                outputs = [tf.cast(output, tf.float32) for output in tf.nest.flatten(network(images, training=True))]
                losses, expected = self.losses.train(images, labels, outputs)
                total = tf.reduce_sum(losses) / recipe.batch_size
                penalties = [*network.losses, *([l2_penalty(kernels, recipe.l2)] if kernels else [])]
                if penalties:
                    total += tf.add_n(penalties) / self.replicas
                scaled = optimizer.scale_loss(total)
            gradients = tape.gradient(scaled, model.trainable_variables)
            norm = gradient_norm(gradients)
            if scale is not None:
                norm = scaled_gradient_norm(norm, tf.convert_to_tensor(scale.value))
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            correct = tf.reduce_sum(tf.cast(right_first(expected, outputs[0]), tf.float32))
            spoilt = tf.cast(tf.logical_not(all_finite(tf.convert_to_tensor(each.value) for each in model.variables)), tf.float32)
            return tf.stack([tf.reduce_sum(losses), correct, norm, spoilt])

        def step(batch: DistributedBatch) -> tf.Tensor:
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(replica_step, args=batch), axis=None)

        compiled: EvaluationStep = tf.function(step, reduce_retracing=True, autograph=False)
        return compiled

    def restore(self) -> None:
        """Restores the newest checkpoint, if there is one."""
        found = checkpoint.latest(self.folder.checkpoints)
        if found is not None and self.job.resume:
            variables = self._variables()
            expected = [(name, tuple(variable.shape)) for name, variable in variables.items()]
            if self.recipe.patience is not None:
                expected += [(_BEST + name, tuple(variable.shape)) for name, variable in self._model_variables().items()]
            self.progress, arrays = checkpoint.load(found, expected)
            self.best = {name: array for name, array in arrays.items() if name.startswith(_BEST)}
            for name, variable in variables.items():
                variable.assign(arrays[name])
            self.observer.note(f"resuming at step {self.progress.step} of {self.steps}")
        self._agree_on_step()

    def _agree_on_step(self) -> None:
        """Checks that all workers begin at the same step: otherwise they would train on different batches unnoticed."""
        total = self.strategy.reduce(
            tf.distribute.ReduceOp.SUM,
            self.strategy.run(lambda: tf.identity(tf.constant(float(self.progress.step)))),
            axis=None,
        )
        if float(total) != self.progress.step * self.replicas:
            raise TrainingError(
                f"this worker begins at step {self.progress.step}, others elsewhere: all workers need the same run folder, on "
                "storage that they share"
            )

    def to_end(self) -> TrainingOutcome:
        """Trains the remaining steps."""
        if self.recipe.patience is not None and self.progress.start is None:
            self._evaluate_start()
        batches = self.strategy.distribute_datasets_from_function(
            lambda context: self.job.train.training(
                self.pipeline._replace(worker=context.input_pipeline_id, workers=context.num_input_pipelines),
                start=self.progress.step,
                stop=self.progress.step if self._waited_enough() else self.steps,
            )
        )
        clock = RunClock(self.progress, self.recipe.batch_size)
        with stop_requests(self.observer.note) as stop:
            for batch in batches:
                loss, correct, norm, spoilt = self.train_step(batch).numpy().tolist()
                self._count(loss, correct, norm, finite=not spoilt)
                clock.tick()
                self.observer.stepped(self._status(loss, clock))
                if self.progress.step % self.epoch_steps == 0:
                    self._end_epoch(clock)
                elif stop.made or clock.since_checkpoint() >= self.job.checkpoint_seconds:
                    self._save()
                    clock.checkpointed()
                if stop.made:
                    raise InterruptedJobError(self.kept())
                if self._waited_enough():
                    break
        self._finish()
        return TrainingOutcome(self.model, self.trained, self.progress, self.evaluation, self.chief)

    def _finish(self) -> None:
        """Gives the model the weights of the result, and evaluates them unless the last epoch did."""
        if self.recipe.patience is not None:
            assert self.job.test is not None
            for name, variable in self._model_variables().items():
                variable.assign(self.best[_BEST + name])
            self.evaluation = run_test(self.test_step, self.job.test, self.pipeline, self.strategy)
            return
        if self.job.test is not None and self.evaluation is None:
            self.evaluation = self._evaluate()
        if self.recipe.ema is not None:
            self.optimizer.finalize_variable_values(self.trained.trainable_variables)

    def _evaluate_start(self) -> None:
        """Evaluates the weights before the first step: early stopping keeps them where no epoch is better."""
        judged = self._evaluate()
        self.progress.start = EvaluatedEpoch(epoch=0, accuracy=judged.top1, loss=judged.loss)
        self._keep_if_best(self.progress.start)
        what = "accuracy" if self.job.setup.distillation is None else "agreement with the float network"
        self.observer.note(f"before the first step: {what} {judged.top1:.2%}, loss {judged.loss:.4f}")

    def _keep_if_best(self, judged: EvaluatedEpoch) -> None:
        best = self.progress.best
        if best is None or judged.better_than(best):
            self.progress.best = judged
            self.best = {_BEST + name: array for name, array in self._averaged_arrays().items()}

    def _waited_enough(self) -> bool:
        """Returns whether the last evaluations, as many as the patience of the recipe, brought no improvement."""
        best = self.progress.best
        if self.recipe.patience is None or best is None:
            return False
        evaluated = [result for result in self.progress.history if result.test_accuracy is not None]
        return sum(result.epoch > best.epoch for result in evaluated) >= self.recipe.patience

    def kept(self) -> str:
        """Returns what an interrupted run keeps, for messages."""
        return checkpoint.kept(self.folder.checkpoints, self.steps, f"`mhmodels train … -o {self.job.folder} --resume`")

    def _count(self, loss: float, correct: float, gradient_norm: float, *, finite: bool) -> None:
        """Counts a step. Ends the run in the step in which the loss, a gradient or a variable is no longer finite."""
        progress = self.progress
        self.job.train.check()
        progress.step += 1
        for what, value in (("loss", loss), ("gradient norm", gradient_norm)):
            if not math.isfinite(value):
                raise self._diverged(f"the {what} became {value}")
        if not finite:
            self._check_arrays(self._arrays())
        progress.loss_sum += loss
        progress.correct += correct
        progress.pictures += self.recipe.batch_size

    def _diverged(self, what: str) -> TrainingError:
        good = checkpoint.last_good(self.folder.checkpoints)
        return TrainingError(
            f"step {self.progress.step} of {self.steps}: {what}; {good}. A lower learning rate, a longer warm-up or another "
            "seed may help, in a new run"
        )

    def _status(self, loss: float, clock: RunClock) -> Status:
        progress = self.progress
        ahead = range((progress.step - 1) // self.epoch_steps + 1, self.recipe.epochs + 1)
        return Status(
            step=progress.step,
            steps=self.steps,
            epoch=(progress.step - 1) // self.epoch_steps + 1,
            epochs=self.recipe.epochs,
            loss=loss / self.recipe.batch_size,
            mean_loss=progress.loss_sum / progress.pictures,
            accuracy=progress.correct / progress.pictures,
            images_per_second=clock.images_per_second(),
            remaining_s=clock.left(self.steps - progress.step, sum(map(self._evaluates, ahead))),
        )

    def _end_epoch(self, clock: RunClock) -> None:
        progress = self.progress
        epoch = progress.step // self.epoch_steps
        self.evaluation = self._evaluate() if self._evaluates(epoch) else None
        if self.evaluation is not None:
            clock.evaluated()
        result = EpochResult(
            epoch=epoch,
            step=progress.step,
            loss=progress.loss_sum / progress.pictures,
            accuracy=progress.correct / progress.pictures,
            learning_rate=self._learning_rate(progress.step - 1),
            seconds=progress.epoch_seconds,
            test_loss=self.evaluation.loss if self.evaluation else None,
            test_accuracy=self.evaluation.top1 if self.evaluation else None,
            test_top5=self.evaluation.top5 if self.evaluation else None,
        )
        progress.history.append(result)
        if self.recipe.patience is not None and self.evaluation is not None:
            self._keep_if_best(EvaluatedEpoch(epoch=epoch, accuracy=self.evaluation.top1, loss=self.evaluation.loss))
        progress.loss_sum = progress.correct = progress.epoch_seconds = 0.0
        progress.pictures = 0
        self._save()
        self._summarise(result)
        clock.checkpointed()
        self.observer.epoch_done(result)

    def _evaluates(self, epoch: int) -> bool:
        """Returns whether the model is evaluated after an epoch."""
        due = epoch % self.recipe.evaluate_every == 0 or epoch == self.recipe.epochs
        return due and self.job.test is not None

    def _evaluate(self) -> Evaluation:
        """Evaluates the model, with the averaged weights where the recipe has them."""
        assert self.job.test is not None
        with self._averaged():
            return run_test(self.test_step, self.job.test, self.pipeline, self.strategy)

    def _averaged_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Returns the variables of the model, averaged where the recipe averages them."""
        with self._averaged():
            return {name: variable.value.numpy() for name, variable in self._model_variables().items()}

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Gives the model the averaged weights where the recipe has them, and restores the trained ones."""
        if self.recipe.ema is None:
            yield
            return
        variables = self.trained.trainable_variables
        live = [variable.value.numpy() for variable in variables]
        self.optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, live, strict=True):
                variable.assign(value)

    def _learning_rate(self, step: int) -> float:
        return float(self.schedule(step)) if callable(self.schedule) else float(self.schedule)

    def _variables(self) -> dict[str, keras.Variable]:
        """Returns everything that changes in training: weights, statistics, counters of dropout, slots of the optimizer."""
        optimizer = {f"optimizer/{i:05d}": variable for i, variable in enumerate(self.optimizer.variables)}
        return self._model_variables() | optimizer

    def _model_variables(self) -> dict[str, keras.Variable]:
        # Not by path: Keras numbers unnamed layers and optimizers by what the process has built before.
        return {f"model/{i:05d}/{variable.name}": variable for i, variable in enumerate(self.trained.variables)}

    def _save(self) -> None:
        if not self.chief:
            return
        arrays = self._arrays()
        self._check_arrays(arrays)
        checkpoint.save(self.folder.checkpoints, self.progress, arrays | self.best)

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {name: variable.value.numpy() for name, variable in self._variables().items()}

    def _check_arrays(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Ends the run where a variable of the model or a slot of the optimizer is not finite; the message names it."""
        spoilt = first_not_finite(arrays)
        if spoilt is not None:
            raise self._diverged(f"variable '{spoilt}' is no longer finite")

    def _summarise(self, result: EpochResult) -> None:
        if self.summaries is None:
            return
        values = {
            "loss/train": result.loss,
            "accuracy/train": result.accuracy,
            "learning_rate": result.learning_rate,
            "loss/test": result.test_loss,
            "accuracy/test": result.test_accuracy,
        }
        with self.summaries.as_default():
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=result.step)
        self.summaries.flush()
