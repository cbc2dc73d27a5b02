"""The search by weight sharing: train a sampled network's part of the weights, judge networks, teach the controller.

A search that was interrupted, by kill -9 as well, ends as if it had not been: a checkpoint holds weights, optimizer and
controller (with its generator), every batch is a function of its step, and rows of the log behind the checkpoint are
written again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.errors import InterruptedJobError
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller, ControllerStatistics
from mhmodels.search.run.log import Evaluations, SearchLog
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.supernet.finalists import finalists
from mhmodels.search.supernet.network.plan import NetworkPath, SuperNetworkPlan
from mhmodels.search.supernet.network.sliced import SuperNetwork
from mhmodels.search.supernet.record import check_not_lost, check_there, claim, mark_saved
from mhmodels.search.supernet.request import (
    ARGMAX,
    FINALIST,
    PHASE,
    WeightSharingRequest,
    WeightSharingResult,
    check_space,
    classes_of,
    side_of,
)
from mhmodels.search.supernet.training.curriculum import Curriculum
from mhmodels.search.supernet.training.masked import MaskedTrainer
from mhmodels.search.supernet.training.replicas import StepReport, Trainer, share
from mhmodels.search.supernet.watching import SearchStatus, SilentObserver, TimeEstimate, WeightSharingObserver
from mhmodels.training.data.feed import Feed, Pipeline
from mhmodels.training.divergence import first_bad, first_not_finite
from mhmodels.training.errors import DataError
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import Progress
from mhmodels.training.run.interrupts import stop_requests
from mhmodels.training.strategies import is_chief

_GENERATOR_BYTES = 512


def search_supernet(request: WeightSharingRequest, observer: WeightSharingObserver | None = None) -> WeightSharingResult:
    """Searches from where the folder stands to the preset's last step.

    Raises:
        SearchError: a space that weights cannot be shared in; the folder holds a search with other settings, or one and
            `resume` is not set, or one whose checkpoints are lost; architectures that do not divide over the replicas; a loss,
            a gradient or a weight that became infinite or NaN (the last good checkpoint stays).
        DataError: the data do not fit or are fewer than a batch, or too many pictures are unreadable.
        CheckpointError, StoreError: a checkpoint or the log cannot be written or read.
        InterruptedJobError: the user pressed Ctrl-C; the first time a checkpoint is written at the end of the step.
    """
    try:
        run = WeightSharingSearch(request, observer or SilentObserver())
        run.restore()
        return run.to_end()
    except InterruptedJobError:
        raise
    except KeyboardInterrupt as error:
        raise InterruptedJobError(_kept(request)) from error


def _kept(request: WeightSharingRequest) -> str:
    """What an interrupted search leaves."""
    resume = f"`mhmodels search resume {request.log.path}`" if request.log is not None else f"a search in {request.folder}"
    return checkpoint.kept(request.folder / "checkpoints", request.preset.steps, resume)


class WeightSharingSearch:
    """A search under way."""

    def __init__(self, request: WeightSharingRequest, observer: WeightSharingObserver, *, finished: bool = False) -> None:
        """Builds everything and claims folder and log; of one that is `finished`, and only asked, it claims nothing."""
        check_space(request.space)
        self.request, self.observer, self.preset = request, observer, request.preset
        self.chief = is_chief(request.strategy)
        self.checkpoints = request.folder / "checkpoints"
        preset = request.preset
        for count, what in ((preset.architectures, "architectures"), (preset.scored or preset.architectures, "scored")):
            share(request.strategy, count, what)
        plan = SuperNetworkPlan(request.space, preset.width_multiplier, classes_of(request))
        self.train_feed, self.judge_feed = self._feeds(plan)
        if finished:
            check_there(request)
        else:
            claim(request, write=self.chief)
        keras.utils.set_random_seed(request.seed)
        static = request.static_shapes or isinstance(request.strategy, tf.distribute.TPUStrategy)
        self.trainer = (MaskedTrainer if static else Trainer)(
            lambda: SuperNetwork(plan, recompute=request.recompute), preset, self._preprocessing, request.strategy
        )
        self.plan = plan
        self.controller = Controller(request.space, preset.controller_settings(), request.seed)
        self.progress = Progress()
        self.curriculum = Curriculum(request.objective, preset, request.seed)
        self.judged: Evaluations | None = None
        self.statistics: ControllerStatistics | None = None
        self.summaries: Any = None

    @property
    def _preprocessing(self) -> Preprocessing:
        return self.preset.preprocessing or self.request.space.template.preprocessing

    def _feeds(self, plan: SuperNetworkPlan) -> tuple[Feed, Feed]:
        preset, data = self.preset, self.request.data
        side = preset.input_size or side_of(self.request.space)
        shared: dict[str, Any] = {
            "classes": plan.classes,
            "size": (side, side),
            "preprocessing": self._preprocessing,
            "seed": self.request.seed,
            "max_bad_share": preset.max_bad_share,
        }
        feeds = Feed(data.train, augmentation=preset.augmentation, **shared), Feed(data.validation, **shared)
        for feed, pipeline, field in zip(feeds, self._pipelines(), ("batch_size", "validation_batch"), strict=True):
            if len(feed.source) < pipeline.batch_size:  # before anything is built
                raise self._too_few(len(feed.source), feed.source.name, pipeline, field)
        return feeds

    def _too_few(self, pictures: int, source: str, pipeline: Pipeline, field: str) -> DataError:
        parts = pipeline.batch_size // pipeline.replica_batch
        times = f" times 'architectures' {parts}" if parts > 1 else ""
        return DataError(
            f"{source}: {pictures} pictures are fewer than one batch of {pipeline.batch_size}, which is '{field}' "
            f"{pipeline.replica_batch}{times} in preset '{self.preset.name}'; give more pictures, or a preset file with smaller "
            "numbers (--preset FILE.json)"
        )

    def _pipelines(self) -> tuple[Pipeline, Pipeline]:
        preset, n = self.preset, self.preset.architectures
        judged = 1 if preset.scored else n
        return (
            Pipeline(preset.batch_size * n, preset.batch_size),
            Pipeline(preset.validation_batch * judged, preset.validation_batch),
        )

    def load(self) -> bool:
        """Takes over the newest checkpoint and changes no file; gives whether there is one."""
        found = checkpoint.latest(self.checkpoints)
        if found is None:
            return False
        variables = self.trainer.variables()
        state = {f"controller/{name}": value for name, value in self._controller_state().items()}
        expected = [(name, tuple(value.shape)) for name, value in (variables | state).items()]
        self.progress, arrays = checkpoint.load(found, expected)
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.controller.restore({name: arrays[f"controller/{name}"] for name in self._controller_state()})
        return True

    def restore(self) -> None:
        """Takes up the newest checkpoint, if there is one, and forgets what was logged behind it."""
        if self.load():
            self.observer.note(f"resuming at step {self.progress.step} of {self.preset.steps}")
        else:
            check_not_lost(self.request)
        self.trainer.agree_on(self.progress.step)
        if self.request.log is not None:
            self._forget_behind(self.request.log)

    def _forget_behind(self, log: SearchLog) -> None:
        step = self.progress.step
        kept = self.preset.updates_at(step) * (self.preset.scored or self.preset.architectures)
        behind = log.count() - kept
        log.truncate(kept)
        if behind > 0:
            self.observer.note(f"{log.path}: {behind} evaluations behind step {step} are made again")

    def to_end(self) -> WeightSharingResult:
        """Searches what is left."""
        progress, preset = self.progress, self.preset
        if self.chief:
            with self._dispensable():
                self.summaries = tf.summary.create_file_writer(os.fsencode(self.request.folder / "tensorboard"))
        train = self._batches(self.train_feed, self._pipelines()[0], progress.step, preset.steps)
        judge = self._judge_batches()
        pace, last, saved = TimeEstimate(preset, self._ending_pictures), time.monotonic(), time.monotonic()
        with stop_requests(self.observer.note) as stop:
            while progress.step < preset.steps:
                traces = self.trainer.traces
                rows, replaced = self.curriculum.sample(self.controller, progress.step)
                paths = self._paths(rows, replaced)
                trained = self.trainer.train(progress.step, paths, train)
                progress.step += 1
                self._check(rows, trained)
                pace.trained(time.monotonic() - last, compiled=self.trainer.traces > traces)
                if preset.updates_at(progress.step) > preset.updates_at(progress.step - 1):
                    begun, traces = time.monotonic(), self.trainer.traces
                    self._update(rows, replaced, paths, judge)
                    pace.judged(time.monotonic() - begun, compiled=self.trainer.traces > traces)
                now = time.monotonic()
                progress.seconds, last = progress.seconds + now - last, now
                self._report(float(trained.loss.mean()), float(trained.accuracy.mean()), pace.left(progress.step))
                if stop.made or now - saved >= self.request.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if stop.made:
                    raise InterruptedJobError(_kept(self.request))
        self._save()
        outcome = self._outcome()
        self._tell_unreadable()
        return outcome

    def _update(self, rows: Encodings, replaced: NDArray[np.bool_], paths: list[NetworkPath], batches: Any) -> None:
        """Judges networks and teaches the controller."""
        fresh = self.preset.scored
        if fresh:
            rows, replaced = self.controller.sample(fresh), np.zeros((fresh, rows.shape[1]), bool)
            paths = self._paths(rows, replaced)
        accuracy = self.trainer.judge(paths, batches, one_batch=bool(fresh))
        self.judge_feed.check()
        self.judged = self._worth(rows, accuracy)
        self.statistics = self.controller.update(rows, self.judged.rewards, replaced)
        if self.request.log is not None:  # rows as they were judged: the canonical form may read other places' weights
            self.request.log.add(PHASE, self.judged, self.controller.told(self.statistics))

    def _paths(self, rows: Encodings, replaced: NDArray[np.bool_]) -> list[NetworkPath]:
        decisions = self.request.space.decisions
        operations = np.array([decision.tag == "operation" for decision in decisions], bool)
        mixed = replaced & operations if self.preset.mixed_operations else np.zeros_like(replaced)
        return [self.plan.path(row, np.flatnonzero(which).tolist()) for row, which in zip(rows, mixed, strict=True)]

    def _worth(self, rows: Encodings, accuracy: NDArray[np.float64], phase: str = PHASE) -> Evaluations:
        reward, latencies = self.request.objective.reward, self.request.objective.latencies(rows)
        f = reward.f(latencies)
        binding = tuple(reward.hardware[i] for i in reward.binding(latencies))
        return Evaluations((phase,) * len(rows), rows, accuracy, latencies, f, reward.of_norm(accuracy, f), binding)

    def _batches(self, feed: Feed, pipeline: Pipeline, start: int, stop: int) -> Any:
        return iter(
            self.request.strategy.distribute_datasets_from_function(
                lambda context: feed.training(
                    pipeline._replace(worker=context.input_pipeline_id, workers=context.num_input_pipelines),
                    start=start,
                    stop=stop,
                )
            )
        )

    def _judge_batches(self) -> Any:
        preset, done = self.preset, self.preset.updates_at(self.progress.step)
        if preset.scored:  # every worker reads all of it
            return iter(self.judge_feed.training(self._pipelines()[1], start=done, stop=preset.updates))
        return self._batches(self.judge_feed, self._pipelines()[1], done, preset.updates)

    def _check(self, rows: Encodings, trained: StepReport) -> None:
        """Ends a search whose loss, gradients or weights are no longer finite, in the step in which they became so."""
        self.train_feed.check()
        label = self.request.space.label
        for what, values in (("loss", trained.loss), ("gradient norm", trained.gradient_norm)):
            bad = first_bad(values)
            if bad is not None:
                raise self._diverged(f"the {what} of {label(rows[bad])} became {values[bad]}")
        if not trained.finite:
            steepest = label(rows[int(trained.gradient_norm.argmax())])
            name = first_not_finite(self.trainer.values()) or "a weight"
            raise self._diverged(f"variable '{name}' is no longer finite after the update by {steepest}")

    def _tell_unreadable(self) -> None:
        """Names pictures that others stood in for; too many of them have ended the search before."""
        for feed in (self.train_feed, self.judge_feed):
            source, bad = feed.source, feed.skipped
            if bad:
                named = "; ".join(map(str, bad[:10]))
                self.observer.note(
                    f"{source.name}: {len(bad)} of {len(source)} pictures could not be read, others stood in: {named}"
                )

    def _diverged(self, what: str) -> SearchError:
        good = checkpoint.last_good(self.checkpoints)
        return SearchError(
            f"step {self.progress.step} of {self.preset.steps}: {what}; {good}. A lower learning rate or a longer warm-up in "
            "the preset, or another seed, may help, in a new search"
        )

    def _controller_state(self) -> dict[str, NDArray[Any]]:
        """The controller's state with shapes that never change."""
        state = self.controller.state()
        padded = np.full(_GENERATOR_BYTES, ord(" "), np.uint8)
        padded[: len(state["generator"])] = state["generator"]
        return {**state, "generator": padded}

    def _save(self) -> None:
        if not self.chief:
            return
        arrays = self.trainer.values()
        spoilt = first_not_finite(arrays)  # an optimizer's slot: weights were checked in their step
        if spoilt is not None:
            raise self._diverged(f"variable '{spoilt}' is no longer finite")
        state = {f"controller/{name}": value for name, value in self._controller_state().items()}
        if self.request.log is not None:  # a power cut must not leave a log that is behind its checkpoint
            self.request.log.sync()
        checkpoint.save(self.checkpoints, self.progress, arrays | state)
        mark_saved(self.request)

    def _report(self, loss: float, accuracy: float, remaining_s: float | None) -> None:
        judged, progress = self.judged, self.progress
        means = None if judged is None else [float(values.mean()) for values in (judged.rewards, judged.accuracy, judged.f)]
        names = self.request.objective.reward.hardware
        status = SearchStatus(
            step=progress.step,
            steps=self.preset.steps,
            updates=self.controller.step,
            all_updates=self.preset.updates,
            loss=loss,
            training_accuracy=accuracy,
            reward=means[0] if means else None,
            accuracy=means[1] if means else None,
            f=means[2] if means else None,
            latency_ms={} if judged is None else dict(zip(names, judged.latencies.mean(axis=0).tolist(), strict=True)),
            binding={} if judged is None else {name: judged.binding.count(name) for name in names},
            baseline=self.statistics.baseline if self.statistics else None,
            entropy=self.controller.entropy,
            seconds=progress.seconds,
            remaining_s=remaining_s,
        )
        self.observer.stepped(status)
        self._summarise(status)

    def _summarise(self, status: SearchStatus) -> None:
        if self.summaries is None:
            return
        values: Mapping[str, float | None] = {
            "loss/train": status.loss,
            "accuracy/train": status.training_accuracy,
            "accuracy/validation": status.accuracy,
            "reward": status.reward,
            "f": status.f,
            "entropy": status.entropy,
            "probability of the likeliest choice": float(np.mean([p.max() for p in self.controller.probabilities()])),
            **{f"latency_ms/{name}": value for name, value in status.latency_ms.items()},
        }
        with self._dispensable(), self.summaries.as_default():
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=status.step)

    @contextmanager
    def _dispensable(self) -> Iterator[None]:
        """Gives TensorBoard up where it cannot be written: no search ends for a picture of itself."""
        try:
            yield
        except tf.errors.OpError as error:
            self.summaries = None
            reason = error.message.rpartition("}} ")[2].partition(" [Op:")[0]  # without the names of kernel and device
            self.observer.note(
                f"{self.request.folder}: TensorBoard's files cannot be written ({reason}); the search goes on without them"
            )

    def _outcome(self) -> WeightSharingResult:
        """The result: the policy's argmax, or the best of its finalists on all validation pictures."""
        several, argmax = self.preset.finalists, self.controller.argmax()
        rows = finalists(self.controller, self.request.objective, several) if several else argmax[None]
        phase = FINALIST if several else ARGMAX
        worth = self._worth(rows, self.validated(rows), phase)
        best = int(worth.rewards.argmax())
        if self.request.log is not None:
            self.request.log.add(phase, worth, {})
        if self.summaries is not None:
            with self._dispensable():
                self.summaries.flush()
        return WeightSharingResult(
            encoding=self.request.space.canonical(rows[best : best + 1])[0],
            judged=rows[best],
            accuracy=float(worth.accuracy[best]),
            latencies=worth.latencies[best],
            f=float(worth.f[best]),
            reward=float(worth.rewards[best]),
            argmax=argmax,
            logits=self.controller.logits,
            progress=self.progress,
            chief=self.chief,
        )

    @property
    def _validation_batches(self) -> int:
        return len(self.request.data.validation) // self.preset.validation_batch

    @property
    def _ending_pictures(self) -> int:
        """Pictures that the end of the search judges: all of validation, for every finalist."""
        return max(1, self.preset.finalists) * self._validation_batches * self.preset.validation_batch

    def validated(self, rows: Encodings) -> NDArray[np.float64]:
        """Shares (n,) of right answers on the validation pictures, in whole batches, of networks as they are encoded."""
        pipeline = self._pipelines()[1]._replace(batch_size=self.preset.validation_batch)
        stop = self._validation_batches
        found = np.zeros(len(rows))
        for place, row in enumerate(rows):
            path, batches = self.plan.path(row), self.judge_feed.training(pipeline, start=0, stop=stop)
            found[place] = np.mean([self.trainer.accuracy(path, *batch) for batch in batches])
            self.judge_feed.check()
            self.observer.finalist_judged(place + 1, len(rows))
        return found
