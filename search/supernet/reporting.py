"""What a search by weight sharing reports after every step: a status for the observer, and curves for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from mhmodels.search.methods.controller import Controller, ControllerStatistics
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.supernet.request import WeightSharingRequest
from mhmodels.search.supernet.watching import SearchStatus, WeightSharingObserver


class SearchReporter:
    """Tells the observer and TensorBoard how a search goes."""

    def __init__(self, request: WeightSharingRequest, observer: WeightSharingObserver) -> None:
        """Reports to an observer alone until `open_summaries`."""
        self.request, self.observer = request, observer
        self.judged: Evaluations | None = None
        self.statistics: ControllerStatistics | None = None
        self.summaries: tf.summary.SummaryWriter | None = None

    def open_summaries(self) -> None:
        """Begins to write TensorBoard's files; for the process that writes files."""
        with self._optional():
            self.summaries = tf.summary.create_file_writer(os.fsencode(self.request.folder / "tensorboard"))

    def updated(self, judged: Evaluations, statistics: ControllerStatistics) -> None:
        """Takes note of an update of the controller.

        Args:
            judged: Networks by which it learned.
            statistics: What the update did.
        """
        self.judged, self.statistics = judged, statistics

    def stepped(
        self, controller: Controller, step: int, loss: float, accuracy: float, seconds: float, left_s: float | None
    ) -> None:
        """Reports a training step.

        Args:
            controller: The policy after the step.
            step: Steps done.
            loss: Mean cross-entropy of the step, in nats.
            accuracy: Accuracy on the pictures of the step, a fraction.
            seconds: Seconds spent so far.
            left_s: Estimated seconds to the end; None if there is no estimate yet.
        """
        judged, names = self.judged, self.request.objective.reward.hardware
        means = None if judged is None else [float(values.mean()) for values in (judged.rewards, judged.accuracy, judged.f)]
        status = SearchStatus(
            step=step,
            steps=self.request.preset.steps,
            updates=controller.step,
            all_updates=self.request.preset.updates,
            loss=loss,
            training_accuracy=accuracy,
            reward=means[0] if means else None,
            accuracy=means[1] if means else None,
            f=means[2] if means else None,
            latency_ms={} if judged is None else dict(zip(names, judged.latencies.mean(axis=0).tolist(), strict=True)),
            binding={} if judged is None else {name: judged.binding.count(name) for name in names},
            baseline=self.statistics.baseline if self.statistics else None,
            entropy=controller.entropy,
            seconds=seconds,
            remaining_s=left_s,
        )
        self.observer.stepped(status)
        self._summarise(status, controller)

    def flush(self) -> None:
        """Writes what TensorBoard's writer still holds in memory."""
        if self.summaries is not None:
            with self._optional():
                self.summaries.flush()

    def _summarise(self, status: SearchStatus, controller: Controller) -> None:
        if self.summaries is None:
            return
        values: Mapping[str, float | None] = {
            "loss/train": status.loss,
            "accuracy/train": status.training_accuracy,
            "accuracy/validation": status.accuracy,
            "reward": status.reward,
            "f": status.f,
            "entropy": status.entropy,
            "probability of the likeliest choice": float(np.mean([p.max() for p in controller.probabilities()])),
            **{f"latency_ms/{name}": value for name, value in status.latency_ms.items()},
        }
        with self._optional(), self.summaries.as_default():
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=status.step)

    @contextmanager
    def _optional(self) -> Iterator[None]:
        """Gives TensorBoard up where its files cannot be written; the search goes on without them."""
        try:
            yield
        except tf.errors.OpError as error:
            self.summaries = None
            reason = error.message.rpartition("}} ")[2].partition(" [Op:")[0]  # without the names of kernel and device
            self.observer.note(
                f"{self.request.folder}: TensorBoard's files cannot be written ({reason}); the search goes on without them"
            )
