"""Training and judging the shared weights: architectures of a step on the replicas, their gradients averaged.

Every process knows all architectures of a step (equal controllers draw equal samples) and runs its own part of them, one
after the other on each replica. Their number is that of the preset, whatever the number of replicas, so two workers and
one process compute the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.network.optimizers import make_rule
from mhmodels.search.supernet.network.plan import NetworkPath
from mhmodels.search.supernet.network.sliced import SuperNetwork, called, compiled_functions, local
from mhmodels.search.supernet.presets import Preset
from mhmodels.training.divergence import all_finite
from mhmodels.training.evaluation import normaliser, right_first
from mhmodels.training.optimisation import cross_entropy, make_schedule

Floats = NDArray[np.float64]


class StepReport(NamedTuple):
    """What a training step reports.

    Attributes:
        loss: mean cross-entropy of each architecture in nats, (architectures,).
        accuracy: share of right answers of each, (architectures,).
        gradient_norm: norm of each architecture's share of the step's gradient, L2 included, (architectures,).
        finite: whether all weights are finite after the update.
    """

    loss: Floats
    accuracy: Floats
    gradient_norm: Floats
    finite: bool


class ReplicaShare(NamedTuple):
    """Which of n architectures this process runs, and on which of its replicas."""

    first: int
    number: int
    replicas: int

    def turns(self) -> Iterator[list[int]]:
        """For each turn the architecture of each local replica."""
        for turn in range(self.number // self.replicas):
            yield [self.first + turn * self.replicas + replica for replica in range(self.replicas)]


def share(strategy: Any, count: int, what: str) -> ReplicaShare:
    """This process' part of `count` architectures.

    Raises:
        SearchError: they do not divide over the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if count % replicas:
        raise SearchError(f"preset: {what} is {count}, expected a multiple of the {replicas} replicas")
    local = len(_devices(strategy))
    resolver = strategy.cluster_resolver
    worker = resolver.task_id if resolver is not None and resolver.task_type == "worker" else 0
    each = count * local // replicas
    return ReplicaShare(worker * each, each, local)


def _devices(strategy: Any) -> tuple[str, ...]:
    """The devices of this process' replicas; the default strategy has none of its own and takes what there is."""
    return ("",) if strategy.num_replicas_in_sync == 1 else tuple(strategy.extended.worker_devices)


class Trainer:
    """Shared weights, their optimizer, and what both do with architectures."""

    def __init__(self, network: Callable[[], SuperNetwork], preset: Preset, preprocessing: Preprocessing, strategy: Any) -> None:
        """Builds network and optimizer in the strategy's scope."""
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
        """How many functions were compiled so far: a step that adds to them says nothing of how long steps take."""
        return compiled_functions()

    def train(self, step: int, paths: Sequence[NetworkPath], batches: Iterator[Any]) -> StepReport:
        """One step: every architecture on the next batch of its replica, then one update with the mean of the gradients.

        Args:
            step: steps done before.
            paths: of all architectures of the step.
            batches: (pixels, labels) of one architecture for each local replica.

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

    def judge(self, paths: Sequence[NetworkPath], batches: Iterator[Any], *, one_batch: bool) -> Floats:
        """Accuracies (architectures,) with the weights as they are.

        Args:
            paths: of all architectures.
            batches: as of `train`; with `one_batch` a single (pixels, labels) for all of them.
            one_batch: whether every architecture sees the same pictures.
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
        """Share of right answers on one batch."""
        return float(self._right(path, pixels, labels, 0))

    def agree_on(self, step: int) -> None:
        """Refuses workers that begin at different steps: they would train on different batches and never know.

        Raises:
            SearchError: another worker begins elsewhere.
        """
        total = self._shared(np.array([float(step)]))[0]
        if total != step * self._workers:
            raise SearchError(
                f"this worker begins at step {step}, others elsewhere: all workers need the same folder, on storage that they "
                "share"
            )

    def variables(self) -> dict[str, Any]:
        """Everything that training changes, by name."""
        weights = {f"weights/{name}": variable for name, variable in self.network.weights.items()}
        return weights | {f"slots/{name}": variable for name, variable in self.slots.items()}

    def values(self) -> dict[str, NDArray[Any]]:
        """The first local replica's values of `variables`; all replicas have the same."""
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

    def _trained(self, told: Mapping[int, Sequence[tf.Tensor]], count: int, finite: Any) -> StepReport:
        """Reads what the devices report of a step; `finite` is of the local replicas, which hold the same weights."""
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
    def _apply(self) -> Callable[[Any, tf.Tensor, tf.Tensor], Any]:
        function = tf.function(self._applied, autograph=False)
        if self.strategy.num_replicas_in_sync > 1:
            return function
        shapes = [tf.TensorSpec(variable.shape, variable.dtype) for variable in self.network.weights.values()]
        alone = function.get_concrete_function(shapes, *[tf.TensorSpec((), tf.float32)] * 2)
        return lambda gradients, rate, step: called(alone, [*gradients, rate, step])[0]

    def _applied(self, gradients: Any, rate: tf.Tensor, step: tf.Tensor) -> Any:
        return self.strategy.run(self._update, args=(gradients, rate, step))

    def _update(self, own: list[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Moves a replica's weights by the gradients of all replicas; gives whether all of them are finite afterwards."""
        context, summed = tf.distribute.get_replica_context(), own
        if context.num_replicas_in_sync > 1:
            # A function's arguments are on no device; what is reduced must be on the replica's.
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(gradient) for gradient in own])
        slots = iter(self.slots.values())
        for variable, gradient in zip(self.network.weights.values(), summed, strict=True):
            handles = [next(slots).handle for _ in self.rule.slots]
            self.rule.update(variable.handle, handles, gradient, rate, step)
        return all_finite(variable.read_value() for variable in self.network.weights.values())

    def _local(self, batch: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
        columns = [self.strategy.experimental_local_results(column) for column in batch]
        return list(zip(*columns, strict=True))

    @property
    def _workers(self) -> int:
        return int(self.strategy.num_replicas_in_sync) // len(_devices(self.strategy))

    def _device(self, replica: int) -> str:
        devices = _devices(self.strategy)
        return devices[replica] if len(devices) > 1 else ""

    def _distributed(self, values: list[Any]) -> Any:
        """What each local replica has, as `strategy.run` takes it."""
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
        """Adds up what the workers have: each knows its own architectures' values, and zeros for the others'."""
        if self._workers == 1:
            return values
        first = share(self.strategy, self.strategy.num_replicas_in_sync, "replicas").first
        parts = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values if context.replica_id_in_sync_group == first else np.zeros_like(values))
        )
        total: Floats = self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()
        return total


def share_right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Of one batch, labels (n,) and logits (n, classes)."""
    return tf.reduce_mean(tf.cast(right_first(labels, logits), tf.float32))


def numbers(told: Mapping[int, Sequence[tf.Tensor]], count: int, each: int) -> Floats:
    """What architectures told, (each, count), with zeros for other workers' architectures.

    For the end of all turns: a number waits for its device, and meanwhile the other devices would be given nothing to do.
    """
    values = np.zeros((each, count))
    for which, tensors in told.items():
        values[:, which] = [float(tensor) for tensor in tensors]
    return values
