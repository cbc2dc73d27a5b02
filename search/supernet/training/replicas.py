"""Training and judging the shared weights: architectures of a step on the replicas, their gradients averaged.

Every process knows all architectures of a step, because equal controllers draw equal samples, and runs its share of them one
after the other on each replica. The preset decides their number, whatever the number of replicas is, so two workers and one
process compute the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.network.optimizers import make_rule
from mhmodels.search.supernet.network.plan import NetworkPath
from mhmodels.search.supernet.network.sliced import SuperNetwork, called, compiled_functions, local
from mhmodels.search.supernet.presets import Preset
from mhmodels.search.supernet.training.feeds import PictureBatch
from mhmodels.search.supernet.training.sharing import replica_devices, share
from mhmodels.training.divergence import all_finite
from mhmodels.training.evaluation import normaliser, right_first
from mhmodels.training.optimisation import cross_entropy, make_schedule

Floats: TypeAlias = NDArray[np.float64]
ApplyGradients: TypeAlias = Callable[[list[tf.Tensor], tf.Tensor, tf.Tensor], tf.Tensor]
"""Moves the weights: takes the gradients of each local replica, the learning rate and the step from 1, float32."""


class StepReport(NamedTuple):
    """What a training step reports.

    Attributes:
        loss: (architectures,), mean cross-entropy of each architecture, in nats.
        accuracy: (architectures,), accuracy of each architecture on its batch, a fraction.
        gradient_norm: (architectures,), norm of each architecture's share of the gradient, L2 included.
        finite: Whether all weights are finite after the update.
    """

    loss: Floats
    accuracy: Floats
    gradient_norm: Floats
    finite: bool


class Trainer:
    """Trains the shared weights with sampled architectures, and judges architectures with them."""

    def __init__(
        self,
        network: Callable[[], SuperNetwork],
        preset: Preset,
        preprocessing: Preprocessing,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Builds network and optimizer in the scope of the strategy.

        Args:
            network: Makes the super-network.
            preset: Optimizer, learning rate, regularisation and batch sizes.
            preprocessing: Normalisation of the pictures.
            strategy: Distributes architectures over replicas.
        """
        self.preset, self.strategy = preset, strategy
        with strategy.scope():
            self.network = network()
            self.rule = make_rule(preset.optimizer)
            self.slots = {
                f"{name}/{slot}": tf.Variable(tf.zeros(variable.shape), trainable=False)
                for name, variable in self.network.weights.items()
                for slot in self.rule.slots
            }
        self.schedule = make_schedule(preset.learning_rate, preset.batch_size * preset.architectures, preset.steps)
        self._normalise = normaliser(preprocessing)

    @property
    def traces(self) -> int:
        """Number of functions compiled so far; the duration of a step that compiles one says nothing about other steps."""
        return compiled_functions()

    def train(self, step: int, paths: Sequence[NetworkPath], batches: Iterator[PictureBatch]) -> StepReport:
        """Trains one step: every architecture on the next batch of its replica, then one update with the mean gradient.

        Args:
            step: Number of steps done before.
            paths: Paths of all architectures of the step.
            batches: Pixels and labels for one architecture on each local replica.

        Returns:
            Losses, accuracies and gradient norms of all architectures, from all workers.
        """
        part = share(self.strategy, len(paths), "architectures")
        told: dict[int, Sequence[tf.Tensor]] = {}
        sums: list[Any] = [None] * part.replicas
        for turn in part.turns():
            for replica, (which, batch) in enumerate(zip(turn, self._local(next(batches)), strict=True)):
                gradients, *told[which] = self._gradients(paths[which], *batch, replica, len(paths))
                sums[replica] = self._added(sums[replica], gradients, replica)
        finite = self._apply(self._distributed(sums), tf.constant(self._rate(step)), tf.constant(step + 1.0))
        return self._trained(told, len(paths), finite)

    def judge(self, paths: Sequence[NetworkPath], batches: Iterator[PictureBatch], *, one_batch: bool) -> Floats:
        """Judges architectures with the weights as they are.

        Args:
            paths: Paths of all architectures.
            batches: As for `train`; with `one_batch` pixels and labels for all architectures.
            one_batch: Whether every architecture sees the same pictures.

        Returns:
            Accuracies (architectures,), fractions from 0 to 1.
        """
        part = share(self.strategy, len(paths), "scored" if one_batch else "architectures")
        right: dict[int, tuple[tf.Tensor, ...]] = {}
        same = next(batches) if one_batch else None
        for turn in part.turns():
            own = [same] * part.replicas if one_batch else self._local(next(batches))
            for replica, (which, batch) in enumerate(zip(turn, own, strict=True)):
                assert batch is not None
                pixels, labels = batch
                right[which] = (self._right(paths[which], pixels, labels, replica),)
        return self._shared(numbers(right, len(paths), 1)[0])

    def accuracy(self, path: NetworkPath, pixels: tf.Tensor, labels: tf.Tensor) -> float:
        """Accuracy of an architecture on one batch, a fraction from 0 to 1."""
        return float(self._right(path, pixels, labels, 0))

    def agree_on(self, step: int) -> None:
        """Refuses workers that begin at different steps, because they would train on different batches.

        Args:
            step: Step at which this worker begins.

        Raises:
            SearchError: Another worker begins at another step.
        """
        total = self._shared(np.array([float(step)]))[0]
        if total != step * self._workers:
            raise SearchError(
                f"this worker begins at step {step}, others elsewhere: all workers need the same folder, on storage that they "
                "share"
            )

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that training changes: weights and the slots of the optimizer, by name."""
        weights = {f"weights/{name}": variable for name, variable in self.network.weights.items()}
        return weights | {f"slots/{name}": variable for name, variable in self.slots.items()}

    def values(self) -> dict[str, NDArray[np.generic]]:
        """Values of `variables` on the first local replica; all replicas have the same values."""
        return {name: local(variable, 0).numpy() for name, variable in self.variables().items()}

    def _right(self, path: NetworkPath, pixels: tf.Tensor, labels: tf.Tensor, replica: int) -> tf.Tensor:
        with tf.device(self._device(replica)):
            return share_right(labels, self.network(self._normalise(pixels), path, self.network.read(path, replica)))

    def _gradients(
        self, path: NetworkPath, pixels: tf.Tensor, labels: tf.Tensor, replica: int, count: int
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        """One architecture's share of the step's gradient, its loss, accuracy and gradient norm, on the replica's device."""
        with tf.device(self._device(replica)):
            slices = self.network.read(path, replica)
            images = self._normalise(pixels)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(list(slices.values()))
                logits = self.network(images, path, slices)
                loss = tf.reduce_mean(cross_entropy(labels, logits, self.preset.label_smoothing))
                total = loss / count
            gradients = tape.gradient(total, slices)
            spread, norm = self.network.spread(gradients, self.preset.l2 / count, replica, path)
            return spread, loss, share_right(labels, logits), norm

    def _trained(self, told: Mapping[int, Sequence[tf.Tensor]], count: int, finite: tf.Tensor) -> StepReport:
        """Reads the report of the devices on a step; `finite` is a value for each local replica, and all are equal."""
        loss, accuracy, norm = self._shared(numbers(told, count, 3))
        return StepReport(loss, accuracy, norm, bool(self.strategy.experimental_local_results(finite)[0]))

    def _added(self, known: list[tf.Tensor] | None, gradients: list[tf.Tensor], replica: int) -> list[tf.Tensor]:
        if known is None:
            return gradients
        with tf.device(self._device(replica)):  # else both go to the first device to be added
            return [a + b for a, b in zip(known, gradients, strict=True)]

    def _rate(self, step: int) -> float:
        return float(self.schedule(step) if callable(self.schedule) else self.schedule)

    @functools.cached_property
    def _apply(self) -> ApplyGradients:
        function = tf.function(self._applied, autograph=False)
        if self.strategy.num_replicas_in_sync > 1:
            replicated: ApplyGradients = function
            return replicated
        shapes = [tf.TensorSpec(variable.shape, variable.dtype) for variable in self.network.weights.values()]
        alone = function.get_concrete_function(shapes, *[tf.TensorSpec((), tf.float32)] * 2)
        return lambda gradients, rate, step: called(alone, [*gradients, rate, step])[0]

    def _applied(self, gradients: list[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return self.strategy.run(self._update, args=(gradients, rate, step))

    def _update(self, own: list[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Moves the weights of a replica by the gradients of all replicas; returns whether all weights are finite after it."""
        context, summed = tf.distribute.get_replica_context(), own
        if context.num_replicas_in_sync > 1:
            # A function's arguments are on no device; what is reduced must be on the replica's.
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(gradient) for gradient in own])
        slots = iter(self.slots.values())
        for variable, gradient in zip(self.network.weights.values(), summed, strict=True):
            handles = [next(slots).handle for _ in self.rule.slots]
            self.rule.update(variable.handle, handles, gradient, rate, step)
        return all_finite(variable.read_value() for variable in self.network.weights.values())

    def _local(self, batch: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        columns = [self.strategy.experimental_local_results(column) for column in batch]
        return list(zip(*columns, strict=True))

    @property
    def _workers(self) -> int:
        return int(self.strategy.num_replicas_in_sync) // len(replica_devices(self.strategy))

    def _device(self, replica: int) -> str:
        devices = replica_devices(self.strategy)
        return devices[replica] if len(devices) > 1 else ""

    def _distributed(self, values: list[list[tf.Tensor]]) -> list[tf.Tensor]:
        """Values of the local replicas as one distributed value, for `strategy.run`."""
        if self.strategy.num_replicas_in_sync == 1:
            return values[0]
        first = share(self.strategy, self.strategy.num_replicas_in_sync, "replicas").first
        return [
            self.strategy.experimental_distribute_values_from_function(
                lambda context, i=i: values[context.replica_id_in_sync_group - first][i]
            )
            for i in range(len(values[0]))
        ]

    def _shared(self, values: Floats) -> Floats:
        """Adds up the values of the workers: each has the values of its own architectures, and zeros for the others."""
        if self._workers == 1:
            return values
        first = share(self.strategy, self.strategy.num_replicas_in_sync, "replicas").first
        parts = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values if context.replica_id_in_sync_group == first else np.zeros_like(values))
        )
        total: Floats = self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()
        return total


def share_right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Accuracy on a batch, of labels (n,) and logits (n, classes); a float32 scalar."""
    return tf.reduce_mean(tf.cast(right_first(labels, logits), tf.float32))


def numbers(told: Mapping[int, Sequence[tf.Tensor]], count: int, each: int) -> Floats:
    """Reads numbers of architectures from their devices, with zeros for architectures of other workers.

    To be called after all turns: reading a number waits for its device, and meanwhile the other devices would be idle.

    Args:
        told: Scalars by index of the architecture.
        count: Number of architectures.
        each: Number of scalars for each architecture.

    Returns:
        Values (each, count).
    """
    values = np.zeros((each, count))
    for which, tensors in told.items():
        values[:, which] = [float(tensor) for tensor in tensors]
    return values
