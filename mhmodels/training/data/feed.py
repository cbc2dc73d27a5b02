"""From a source to batches: tf.data pipelines whose every picture is a function of (seed, epoch, index).

Training position p (counted over the whole run) is picture `order(epoch)[p mod epoch]`, cut by a generator seeded with
(seed, epoch, index). A resumed run starts its pipeline at its position; nothing is read twice and nothing is replayed.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.errors import MhmodelsError
from mhmodels.preprocessing.decoding import PictureError, SkippedPicture
from mhmodels.preprocessing.pictures import fit_picture
from mhmodels.training.data.augment import random_crop
from mhmodels.training.data.sources import Source
from mhmodels.training.errors import DataError
from mhmodels.training.recipes import Augmentation

SUBSTITUTES = 50
"""How many pictures in a row may be unreadable before that alone fails a run."""


Example: TypeAlias = tuple[NDArray[np.generic] | np.generic, ...]


class Pipeline(NamedTuple):
    """Which part of each batch a process feeds, and how many pictures one replica takes at once."""

    batch_size: int
    replica_batch: int
    worker: int = 0
    workers: int = 1

    @property
    def share(self) -> int:
        """Pictures of a batch that this process reads."""
        return self.batch_size // self.workers


class Feed:
    """Reads pictures of one source for one run, and remembers which could not be read.

    An unreadable picture is replaced in training by the next one in the epoch's order, so that batches keep their size;
    in evaluation it counts for nothing (weight 0).

    Args:
        source: The pictures.
        classes: Number of classes of the network; a label beyond them fails the run.
        size: (height, width) of the input in pixels.
        preprocessing: Crop and interpolation where there is no augmentation.
        augmentation: None feeds the central crop.
        seed: Random seed of order and augmentation.
        max_bad_share: Largest share of the source's pictures that may be unreadable.
    """

    def __init__(
        self,
        source: Source,
        *,
        classes: int,
        size: tuple[int, int],
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        max_bad_share: float = 0.01,
    ) -> None:
        if source.classes is not None and source.classes != classes:
            raise DataError(
                f"{source.name}: has {source.classes} classes, the network {classes}; set classes to {source.classes}, "
                "or give data of the network's classes (argument 'classes')",
            )
        self.source = source
        self._classes = classes
        self._size = size
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._seed = seed
        self._most_bad = int(max_bad_share * len(source))
        self._bad: dict[int, str] = {}
        self._failure: MhmodelsError | None = None
        self._lock = threading.Lock()
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    @property
    def skipped(self) -> tuple[SkippedPicture, ...]:
        """The unreadable pictures so far, in the source's order, with reasons."""
        with self._lock:
            bad = sorted(self._bad.items())
        return tuple(SkippedPicture(self.source.where(index), reason) for index, reason in bad)

    def check(self) -> None:
        """Raises what reading ahead has met.

        Raises:
            DataError: More unreadable pictures than allowed, or a label outside the network's classes.
        """
        if self._failure is not None:
            raise self._failure
        if len(self._bad) > self._most_bad:
            named = "; ".join(map(str, self.skipped[:5]))
            raise DataError(
                f"{self.source.name}: {len(self._bad)} of {len(self.source)} pictures cannot be read, expected at most "
                f"{self._most_bad} (max_bad_share of the recipe): {named}"
            )

    def training(self, pipeline: Pipeline, *, start: int, stop: int) -> tf.data.Dataset:
        """Batches of one process, from step `start` up to `stop`: uint8 (n, height, width, 3), int32 (n,).

        Raises:
            DataError: The source holds less than one batch.
        """
        batches = len(self.source) // pipeline.batch_size
        if not batches:
            raise DataError(
                f"{self.source.name}: {len(self.source)} pictures are fewer than one batch of {pipeline.batch_size}; "
                "set a smaller batch size (argument 'batch_size')",
            )

        def example(position: NDArray[np.int64]) -> Example:
            step, place = divmod(int(position), pipeline.share)
            epoch, batch = divmod(step, batches)
            return self._guarded(
                self._train_example, epoch, batch * pipeline.batch_size + pipeline.worker * pipeline.share + place
            )

        dataset = tf.data.Dataset.range(start * pipeline.share, stop * pipeline.share)
        return self._batches(dataset, example, (tf.uint8, tf.int32), pipeline)

    def evaluation(self, pipeline: Pipeline) -> tf.data.Dataset:
        """All pictures once, in order: uint8 (n, height, width, 3), int32 (n,), float32 weights (n,).

        The last batch is filled up with pictures of weight 0.
        """
        steps = -(-len(self.source) // pipeline.batch_size)

        def example(position: NDArray[np.int64]) -> Example:
            step, place = divmod(int(position), pipeline.share)
            return self._guarded(self._test_example, step * pipeline.batch_size + pipeline.worker * pipeline.share + place)

        dataset = tf.data.Dataset.range(steps * pipeline.share)
        return self._batches(dataset, example, (tf.uint8, tf.int32, tf.float32), pipeline)

    def _batches(
        self,
        positions: tf.data.Dataset,
        example: Callable[[NDArray[np.int64]], Example],
        types: tuple[tf.DType, ...],
        pipeline: Pipeline,
    ) -> tf.data.Dataset:
        def read(position: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Stateless, as promised above: TensorFlow then reads in parallel even where determinism is demanded.
            pixels, *others = tf.numpy_function(example, [position], types, stateful=False)
            return tf.ensure_shape(pixels, (*self._size, 3)), *(tf.ensure_shape(other, ()) for other in others)

        dataset = positions.map(read, num_parallel_calls=os.cpu_count(), deterministic=True)
        return dataset.batch(pipeline.replica_batch, drop_remainder=True).prefetch(4)

    def _guarded(self, make: Callable[..., Example], *arguments: int) -> Example:
        """An exception in a pipeline's thread would lose its type: kept here, raised by `check`."""
        try:
            return make(*arguments)
        except MhmodelsError as error:
            self._failure = error
            blank = np.zeros((*self._size, 3), np.uint8), np.int32(0)
            return blank if make == self._train_example else (*blank, np.float32(0))

    def _train_example(self, epoch: int, place: int) -> tuple[NDArray[np.uint8], np.int32]:
        order = self._order(epoch)
        tried = min(SUBSTITUTES, len(order))
        for substitute in range(tried):
            index = int(order[(place + substitute) % len(order)])
            read = self._read(index, epoch)
            if read is not None:
                return read
        raise DataError(f"{self.source.name}: {tried} pictures in a row cannot be read, {self.source.where(index)} last")

    def _test_example(self, index: int) -> tuple[NDArray[np.uint8], np.int32, np.float32]:
        read = self._read(index, 0) if index < len(self.source) else None
        if read is None:
            return np.zeros((*self._size, 3), np.uint8), np.int32(0), np.float32(0)
        return *read, np.float32(1)

    def _read(self, index: int, epoch: int) -> tuple[NDArray[np.uint8], np.int32] | None:
        try:
            image, label = self.source.read(index, epoch)
            if not 0 <= label < self._classes:
                raise DataError(
                    f"{self.source.where(index)}: label is {label} with the label offset, expected 0 to {self._classes - 1}; "
                    "set another label offset or number of classes (argument 'label_offset')",
                )
            if self._augmentation is None:
                return fit_picture(image, self._size, self._preprocessing), np.int32(label)
            rng = np.random.default_rng([self._seed, epoch, index])
            return random_crop(image, self._size, self._augmentation, rng), np.int32(label)
        except (PictureError, OSError) as error:
            with self._lock:
                self._bad[index] = str(error)
            return None
        except MhmodelsError:
            raise
        except Exception as error:  # whatever it is: without the picture's name nobody could look for it
            what = f"{type(error).__name__}: {error}"
            raise DataError(f"{self.source.where(index)}: cannot be made an input of the network ({what})") from error

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(len(self.source))
