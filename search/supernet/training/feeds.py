"""Batches of pictures of a search by weight sharing: to train on, to judge sampled networks by, to judge finalists by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import tensorflow as tf

from mhmodels.search.supernet.request import WeightSharingRequest, classes_of, side_of
from mhmodels.training.data.feed import Feed, Pipeline
from mhmodels.training.errors import DataError

PictureBatch: TypeAlias = tuple[tf.Tensor, tf.Tensor]
"""Pixels uint8 (n, height, width, channels) and labels int32 (n,); a distributed batch holds one such pair a replica."""


class SearchFeeds:
    """The pictures of a search, of which every batch is a function of its step."""

    def __init__(self, request: WeightSharingRequest) -> None:
        """Opens both parts of the data.

        Args:
            request: Request of the search.

        Raises:
            DataError: A part of the data has fewer pictures than one batch.
        """
        self.request, self.preset = request, request.preset
        preset, data, classes = request.preset, request.data, classes_of(request)
        side = preset.input_size or side_of(request.space)
        preprocessing = preset.preprocessing or request.space.template.preprocessing
        size, seed, bad = (side, side), request.seed, preset.max_bad_share
        self.train = Feed(
            data.train, augmentation=preset.augmentation, classes=classes, size=size, preprocessing=preprocessing, seed=seed,
            max_bad_share=bad,
        )  # fmt: skip
        self.judge = Feed(data.validation, classes=classes, size=size, preprocessing=preprocessing, seed=seed, max_bad_share=bad)
        # Before anything is built.
        self._check_size(self.train, self._train_pipeline, "batch_size")
        self._check_size(self.judge, self._judge_pipeline, "validation_batch")

    @property
    def _train_pipeline(self) -> Pipeline:
        return Pipeline(self.preset.batch_size * self.preset.architectures, self.preset.batch_size)

    @property
    def _judge_pipeline(self) -> Pipeline:
        judged = 1 if self.preset.scored else self.preset.architectures
        return Pipeline(self.preset.validation_batch * judged, self.preset.validation_batch)

    @property
    def validation_batches(self) -> int:
        """Number of whole batches in the validation pictures."""
        return len(self.request.data.validation) // self.preset.validation_batch

    @property
    def finalist_pictures(self) -> int:
        """Number of pictures that the end of the search judges: all validation pictures for every finalist."""
        return max(1, self.preset.finalists) * self.validation_batches * self.preset.validation_batch

    def training(self, step: int) -> Iterator[PictureBatch]:
        """Distributed batches to train on.

        Args:
            step: Steps done before; the first batch is that of this step.
        """
        return self._distributed(self.train, self._train_pipeline, step, self.preset.steps)

    def judging(self, updates: int) -> Iterator[PictureBatch]:
        """Batches to judge sampled networks by.

        Args:
            updates: Updates of the controller done before; the first batch is that of this update.

        Returns:
            One batch for all networks of an update if the preset scores fresh samples; every worker reads all of it. Otherwise
            distributed batches, one for each network.
        """
        if self.preset.scored:
            return iter(self.judge.training(self._judge_pipeline, start=updates, stop=self.preset.updates))
        return self._distributed(self.judge, self._judge_pipeline, updates, self.preset.updates)

    def validation(self) -> Iterator[PictureBatch]:
        """All validation pictures in whole batches, in this process."""
        pipeline = self._judge_pipeline._replace(batch_size=self.preset.validation_batch)
        return iter(self.judge.training(pipeline, start=0, stop=self.validation_batches))

    def unreadable(self) -> Iterator[str]:
        """Remarks on pictures that could not be read, for which others stood in; too many of them end a search before."""
        for feed in (self.train, self.judge):
            source, bad = feed.source, feed.skipped
            if bad:
                named = "; ".join(map(str, bad[:10]))
                yield f"{source.name}: {len(bad)} of {len(source)} pictures could not be read, others stood in: {named}"

    def _distributed(self, feed: Feed, pipeline: Pipeline, start: int, stop: int) -> Iterator[PictureBatch]:
        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            own = pipeline._replace(worker=context.input_pipeline_id, workers=context.num_input_pipelines)
            return feed.training(own, start=start, stop=stop)

        return iter(self.request.strategy.distribute_datasets_from_function(batches))

    def _check_size(self, feed: Feed, pipeline: Pipeline, field: str) -> None:
        pictures = len(feed.source)
        if pictures >= pipeline.batch_size:
            return
        parts = pipeline.batch_size // pipeline.replica_batch
        times = f" times 'architectures' {parts}" if parts > 1 else ""
        raise DataError(
            f"{feed.source.name}: {pictures} pictures are fewer than one batch of {pipeline.batch_size}, which is '{field}' "
            f"{pipeline.replica_batch}{times} in preset '{self.preset.name}'; give more pictures, or a preset file with smaller "
            "numbers (argument 'preset')"
        )
