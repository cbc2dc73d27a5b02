"""The search by weight sharing: train a sampled network's part of the weights, judge networks, teach the controller.

A search that was interrupted, even by kill -9, ends as if it had not been interrupted: a checkpoint holds the weights, the
optimizer and the controller with its random generator, every batch is a function of its step, and rows that the log holds
behind the checkpoint are written again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.errors import InterruptedJobError
from mhmodels.search.methods.controller import Controller
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.supernet.checkpoints import SearchCheckpoints
from mhmodels.search.supernet.finalists import finalists
from mhmodels.search.supernet.network.plan import NetworkPath, SuperNetworkPlan
from mhmodels.search.supernet.network.sliced import SuperNetwork
from mhmodels.search.supernet.record import check_not_lost, check_there, claim
from mhmodels.search.supernet.reporting import SearchReporter
from mhmodels.search.supernet.request import (
    ARGMAX,
    FINALIST,
    PHASE,
    WeightSharingRequest,
    WeightSharingResult,
    check_space,
    classes_of,
)
from mhmodels.search.supernet.training.curriculum import Curriculum
from mhmodels.search.supernet.training.feeds import PictureBatch, SearchFeeds
from mhmodels.search.supernet.training.masked import MaskedTrainer
from mhmodels.search.supernet.training.replicas import StepReport, Trainer
from mhmodels.search.supernet.training.sharing import share
from mhmodels.search.supernet.watching import SilentObserver, TimeEstimate, WeightSharingObserver
from mhmodels.training.divergence import first_bad, first_not_finite
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import RunProgress
from mhmodels.training.run.interrupts import stop_requests
from mhmodels.training.strategies import is_chief


def search_supernet(request: WeightSharingRequest, observer: WeightSharingObserver | None = None) -> WeightSharingResult:
    """Searches by weight sharing, from where the folder of the search stands to the last step of the preset.

    Args:
        request: Search with everything opened.
        observer: Receives progress and remarks; None for a search that says nothing.

    Returns:
        The found network.

    Raises:
        SearchError: Networks of the space cannot share weights; the folder holds a search with other settings, or any search
            although `resume` is False, or a search whose checkpoints are lost; the number of architectures is no multiple of the
            number of replicas; a loss, a gradient or a weight became infinite or NaN (the last good checkpoint stays).
        DataError: The data do not fit, are fewer than a batch, or too many pictures are unreadable.
        CheckpointError: A checkpoint cannot be written or read.
        StoreError: The log cannot be written or read.
        InterruptedJobError: The user pressed Ctrl-C; the first time, a checkpoint is written at the end of the step.
    """
    try:
        search = WeightSharingSearch(request, observer or SilentObserver())
        search.restore()
        return search.to_end()
    except InterruptedJobError:
        raise
    except KeyboardInterrupt as error:
        raise InterruptedJobError(_kept(request)) from error


def _kept(request: WeightSharingRequest) -> str:
    """What an interrupted search leaves, for people."""
    resume = f"`mhmodels search resume {request.log.path}`" if request.log is not None else f"a search in {request.folder}"
    return checkpoint.kept(request.folder / "checkpoints", request.preset.steps, resume)


class WeightSharingSearch:
    """A search by weight sharing under way: weights, controller, and what was judged so far."""

    def __init__(self, request: WeightSharingRequest, observer: WeightSharingObserver, *, finished: bool = False) -> None:
        """Builds everything, and claims folder and log.

        Args:
            request: Search with everything opened.
            observer: Receives progress and remarks.
            finished: Whether the search is finished and only judges networks: nothing is claimed and no file is changed.

        Raises:
            SearchError: As `search_supernet`.
            DataError: As `search_supernet`.
        """
        check_space(request.space)
        self.request, self.observer, self.preset = request, observer, request.preset
        self.chief = is_chief(request.strategy)
        preset = request.preset
        for count, what in ((preset.architectures, "architectures"), (preset.scored or preset.architectures, "scored")):
            share(request.strategy, count, what)
        self.plan = SuperNetworkPlan(request.space, preset.width_multiplier, classes_of(request))
        self.feeds = SearchFeeds(request)
        if finished:
            check_there(request)
        else:
            claim(request, write=self.chief)
        keras.utils.set_random_seed(request.seed)
        self.trainer = self._trainer()
        self.controller = Controller(request.space, preset.controller_settings(), request.seed)
        self.progress = RunProgress()
        self.checkpoints = SearchCheckpoints(request, self.trainer, self.controller)
        self.curriculum = Curriculum(request.objective, preset, request.seed)
        self.reporter = SearchReporter(request, observer)

    def _trainer(self) -> Trainer:
        request, plan = self.request, self.plan
        static = request.static_shapes or isinstance(request.strategy, tf.distribute.TPUStrategy)
        preprocessing = self.preset.preprocessing or request.space.template.preprocessing
        return (MaskedTrainer if static else Trainer)(
            lambda: SuperNetwork(plan, recompute=request.recompute), self.preset, preprocessing, request.strategy
        )

    def load(self) -> bool:
        """Takes over the newest checkpoint and changes no file.

        Returns:
            Whether there is a checkpoint.
        """
        progress = self.checkpoints.load()
        if progress is not None:
            self.progress = progress
        return progress is not None

    def restore(self) -> None:
        """Takes over the newest checkpoint, if there is one, and deletes the rows of the log behind it."""
        if self.load():
            self.observer.note(f"resuming at step {self.progress.step} of {self.preset.steps}")
        else:
            check_not_lost(self.request)
        self.trainer.agree_on(self.progress.step)
        if self.request.log is not None:
            self._truncate(self.request.log)

    def _truncate(self, log: SearchLog) -> None:
        step = self.progress.step
        kept = self.preset.updates_at(step) * (self.preset.scored or self.preset.architectures)
        behind = log.count() - kept
        log.truncate(kept)
        if behind > 0:
            self.observer.note(f"{log.path}: {behind} evaluations behind step {step} are made again")

    def to_end(self) -> WeightSharingResult:
        """Runs the steps that are left, and judges the finalists.

        Raises:
            InterruptedJobError: The user asked for an end; a checkpoint was written.
        """
        progress, preset = self.progress, self.preset
        if self.chief:
            self.reporter.open_summaries()
        train, judge = self.feeds.training(progress.step), self.feeds.judging(preset.updates_at(progress.step))
        estimate, last, saved = TimeEstimate(preset, self.feeds.finalist_pictures), time.monotonic(), time.monotonic()
        with stop_requests(self.observer.note) as stop:
            while progress.step < preset.steps:
                trained = self._step(train, judge, estimate, last)
                now = time.monotonic()
                progress.seconds, last = progress.seconds + now - last, now
                self._report(float(trained.loss.mean()), float(trained.accuracy.mean()), estimate.left(progress.step))
                if stop.made or now - saved >= self.request.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if stop.made:
                    raise InterruptedJobError(_kept(self.request))
        self._save()
        result = self._result()
        for remark in self.feeds.unreadable():
            self.observer.note(remark)
        return result

    def _step(
        self, train: Iterator[PictureBatch], judge: Iterator[PictureBatch], estimate: TimeEstimate, begun: float
    ) -> StepReport:
        """Trains the networks of a step, and updates the controller where an update follows the step."""
        progress, preset, traces = self.progress, self.preset, self.trainer.traces
        rows, replaced = self.curriculum.sample(self.controller, progress.step)
        paths = self._paths(rows, replaced)
        trained = self.trainer.train(progress.step, paths, train)
        progress.step += 1
        self._check(rows, trained)
        estimate.trained(time.monotonic() - begun, compiled=self.trainer.traces > traces)
        if preset.updates_at(progress.step) > preset.updates_at(progress.step - 1):
            begun, traces = time.monotonic(), self.trainer.traces
            self._update(rows, replaced, paths, judge)
            estimate.judged(time.monotonic() - begun, compiled=self.trainer.traces > traces)
        return trained

    def _update(
        self, rows: Encodings, replaced: NDArray[np.bool_], paths: list[NetworkPath], batches: Iterator[PictureBatch]
    ) -> None:
        """Judges networks and updates the controller."""
        fresh = self.preset.scored
        if fresh:
            rows, replaced = self.controller.sample(fresh), np.zeros((fresh, rows.shape[1]), bool)
            paths = self._paths(rows, replaced)
        accuracy = self.trainer.judge(paths, batches, one_batch=bool(fresh))
        self.feeds.judge.check()
        judged = self._rewarded(rows, accuracy)
        statistics = self.controller.update(rows, judged.rewards, replaced)
        self.reporter.updated(judged, statistics)
        if self.request.log is not None:  # rows as they were judged: the canonical form may read the weights of other positions
            self.request.log.add(PHASE, judged, self.controller.log_values(statistics))

    def _paths(self, rows: Encodings, replaced: NDArray[np.bool_]) -> list[NetworkPath]:
        decisions = self.request.space.decisions
        operations = np.array([decision.tag == "operation" for decision in decisions], bool)
        mixed = replaced & operations if self.preset.mixed_operations else np.zeros_like(replaced)
        return [self.plan.path(row, np.flatnonzero(which).tolist()) for row, which in zip(rows, mixed, strict=True)]

    def _rewarded(self, rows: Encodings, accuracy: NDArray[np.float64], phase: str = PHASE) -> Evaluations:
        reward, latencies = self.request.objective.reward, self.request.objective.latencies(rows)
        f = reward.f(latencies)
        binding = tuple(reward.hardware[i] for i in reward.binding(latencies))
        return Evaluations((phase,) * len(rows), rows, accuracy, latencies, f, reward.of_norm(accuracy, f), binding)

    def _check(self, rows: Encodings, trained: StepReport) -> None:
        """Ends a search whose loss, gradients or weights are no longer finite, in the step in which they became so."""
        self.feeds.train.check()
        label = self.request.space.label
        for what, values in (("loss", trained.loss), ("gradient norm", trained.gradient_norm)):
            bad = first_bad(values)
            if bad is not None:
                raise self.checkpoints.diverged(self.progress, f"the {what} of {label(rows[bad])} became {values[bad]}")
        if not trained.finite:
            steepest = label(rows[int(trained.gradient_norm.argmax())])
            name = first_not_finite(self.trainer.values()) or "a weight"
            raise self.checkpoints.diverged(
                self.progress, f"variable '{name}' is no longer finite after the update by {steepest}"
            )

    def _save(self) -> None:
        if self.chief:
            self.checkpoints.save(self.progress)

    def _report(self, loss: float, accuracy: float, left_s: float | None) -> None:
        self.reporter.stepped(self.controller, self.progress.step, loss, accuracy, self.progress.seconds, left_s)

    def _result(self) -> WeightSharingResult:
        """The result: the policy's argmax, or the finalist of the highest reward on all validation pictures."""
        several, argmax = self.preset.finalists, self.controller.argmax()
        rows = finalists(self.controller, self.request.objective, several) if several else argmax[None]
        phase = FINALIST if several else ARGMAX
        judged = self._rewarded(rows, self.validated(rows), phase)
        best = int(judged.rewards.argmax())
        if self.request.log is not None:
            self.request.log.add(phase, judged, {})
        self.reporter.flush()
        return WeightSharingResult(
            encoding=self.request.space.canonical(rows[best : best + 1])[0],
            judged=rows[best],
            accuracy=float(judged.accuracy[best]),
            latencies=judged.latencies[best],
            f=float(judged.f[best]),
            reward=float(judged.rewards[best]),
            argmax=argmax,
            logits=self.controller.logits,
            progress=self.progress,
            chief=self.chief,
        )

    def validated(self, rows: Encodings) -> NDArray[np.float64]:
        """Judges networks on all validation pictures, in whole batches.

        Args:
            rows: Networks as they are encoded, (n, decisions).

        Returns:
            Accuracies (n,), fractions from 0 to 1.
        """
        found = np.zeros(len(rows))
        for index, row in enumerate(rows):
            path = self.plan.path(row)
            found[index] = np.mean([self.trainer.accuracy(path, *batch) for batch in self.feeds.validation()])
            self.feeds.judge.check()
            self.observer.finalist_judged(index + 1, len(rows))
        return found
