"""Training and judging by compiled functions with static shapes, for TPUs, which run nothing else, and for XLA anywhere.

Everything on a device runs inside `strategy.run`, with shapes that do not depend on the network. It is compiled once for
networks with one branch at each position and, where operations are warmed up, once for networks that average several branches.
The gradients of a replica's turns are added up in variables of the replica until all replicas move their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from mhmodels.architecture import Preprocessing
from mhmodels.search.supernet.network.masked import MaskedChoice, MaskedNetwork
from mhmodels.search.supernet.network.plan import NetworkPath
from mhmodels.search.supernet.network.sliced import SuperNetwork
from mhmodels.search.supernet.presets import Preset
from mhmodels.search.supernet.training.feeds import PictureBatch
from mhmodels.search.supernet.training.replicas import Floats, StepReport, Trainer, numbers, share_right
from mhmodels.search.supernet.training.sharing import share
from mhmodels.training.divergence import gradient_norm
from mhmodels.training.optimisation import cross_entropy


class MaskedTrainer(Trainer):
    """Trains and judges like `Trainer`, to the same numbers, with the masked form of the network.

    The backward pass always computes the activations of a position again, whatever `SuperNetwork.recompute` is.
    """

    def __init__(
        self,
        network: Callable[[], SuperNetwork],
        preset: Preset,
        preprocessing: Preprocessing,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Builds network and optimizer in the scope of the strategy; functions are compiled when they are first used."""
        super().__init__(network, preset, preprocessing, strategy)
        self.masked = MaskedNetwork(self.network.plan)
        with strategy.scope():
            self._sums = [_replicas_own(variable.shape) for variable in self.network.weights.values()]
        # On a TPU everything is compiled, and the strategy decides how.
        compiled = None if isinstance(strategy, tf.distribute.TPUStrategy) else True
        self._compiled_gradients = tf.function(self._one_gradient, autograph=False, jit_compile=compiled)
        self._compiled_right = tf.function(self._one_right, autograph=False, jit_compile=compiled)
        self._accumulate = tf.function(self._accumulated, autograph=False)
        self._judge = tf.function(self._judged, autograph=False)
        self._move = tf.function(self._moved, autograph=False)

    @property
    def traces(self) -> int:
        """Number of functions for training and judging that were traced so far."""
        return sum(each.experimental_get_tracing_count() for each in (self._accumulate, self._judge))

    def train(self, step: int, paths: Sequence[NetworkPath], batches: Iterator[PictureBatch]) -> StepReport:
        """Trains one step; see `Trainer.train`."""
        told: dict[int, Sequence[tf.Tensor]] = {}
        for turn in share(self.strategy, len(paths), "architectures").turns():
            found = self._accumulate(*next(batches), self._choices([paths[which] for which in turn]))
            told |= zip(turn, self._local(found), strict=True)
        finite = self._move(tf.constant(self._rate(step)), tf.constant(step + 1.0))
        return self._trained(told, len(paths), finite)

    def judge(self, paths: Sequence[NetworkPath], batches: Iterator[PictureBatch], *, one_batch: bool) -> Floats:
        """Judges architectures; see `Trainer.judge`."""
        told: dict[int, tuple[tf.Tensor, ...]] = {}
        same = next(batches) if one_batch else None
        for turn in share(self.strategy, len(paths), "scored" if one_batch else "architectures").turns():
            pixels, labels = next(batches) if same is None else same
            found = self._judge(pixels, labels, self._choices([paths[which] for which in turn]))
            told |= zip(turn, self._local((found,)), strict=True)
        return self._shared(numbers(told, len(paths), 1)[0])

    def accuracy(self, path: NetworkPath, pixels: tf.Tensor, labels: tf.Tensor) -> float:
        """Accuracy of an architecture on one batch, a fraction; all replicas compute the same."""
        replicas = share(self.strategy, self.strategy.num_replicas_in_sync, "replicas").replicas
        found = self._judge(pixels, labels, self._choices([path] * replicas))
        return float(self._local((found,))[0][0])

    def _choices(self, paths: Sequence[NetworkPath]) -> MaskedChoice:
        """The networks of the local replicas as one distributed choice, for `strategy.run`."""
        several = any(len(position.branches) > 1 for path in paths for position in path)
        choices = [self.masked.choice(path, several=several) for path in paths]
        return MaskedChoice(*self._distributed([[tf.constant(array) for array in choice] for choice in choices]))

    def _accumulated(self, pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice) -> list[tf.Tensor]:
        def run(pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice) -> list[tf.Tensor]:
            """Loss, accuracy and gradient norm of one network; its gradients are added to the sums."""
            gradients, loss, right, norm = self._compiled_gradients(self._weights(), pixels, labels, choice)
            for total, gradient in zip(self._sums, gradients, strict=True):
                total.assign_add(gradient)
            return [loss, right, norm]

        told: list[tf.Tensor] = self.strategy.run(run, args=(pixels, labels, choice))
        return told

    def _judged(self, pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice) -> tf.Tensor:
        def run(pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice) -> tf.Tensor:
            return self._compiled_right(self._weights(), pixels, labels, choice)

        return self.strategy.run(run, args=(pixels, labels, choice))

    def _moved(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        def run() -> tf.Tensor:
            finite = self._update([total.read_value() for total in self._sums], rate, step)
            for total in self._sums:
                total.assign(tf.zeros(total.shape, total.dtype))
            return finite

        return self.strategy.run(run)

    def _weights(self) -> list[tf.Tensor]:
        """Weights of a replica. Compiled functions take them as arguments, so that none captures the weights of another."""
        return [variable.read_value() for variable in self.network.weights.values()]

    def _one_gradient(
        self, weights: list[tf.Tensor], pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        """One network's share of the step's gradient, dense; its loss, accuracy and gradient norm."""
        count = self.preset.architectures
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = self.masked(self._normalise(pixels), weights, choice)
            loss = tf.reduce_mean(cross_entropy(labels, logits, self.preset.label_smoothing))
            total = loss / count
        dense = self.masked.decayed(tape.gradient(total, weights), weights, choice, self.preset.l2 / count)
        return dense, loss, share_right(labels, logits), gradient_norm(dense)

    def _one_right(self, weights: list[tf.Tensor], pixels: tf.Tensor, labels: tf.Tensor, choice: MaskedChoice) -> tf.Tensor:
        return share_right(labels, self.masked(self._normalise(pixels), weights, choice))


def _replicas_own(shape: tf.TensorShape) -> tf.Variable:
    """A variable of zeros in which every replica has a value of its own."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
