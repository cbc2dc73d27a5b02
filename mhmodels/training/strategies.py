"""Distribution strategies by name, and mixed precision."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import keras
import tensorflow as tf

from mhmodels.training.errors import TrainingError

StrategyName: TypeAlias = Literal["none", "mirrored", "multi_worker", "tpu"]
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]

TF_CONFIG_EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'


def make_strategy(name: StrategyName) -> tf.distribute.Strategy:
    """Makes a distribution strategy. `multi_worker` must come before any other use of TensorFlow in the process.

    Args:
        name: `none`; `mirrored` (all GPUs, or all logical devices, of this machine); `multi_worker` (one process a machine,
            described by TF_CONFIG); `tpu` (the TPU system that the environment names, which the tests do not cover).

    Raises:
        TrainingError: TF_CONFIG is missing or wrong, or there is no TPU.
    """
    return _STRATEGIES[name]()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the files of the run: the first worker, or the only one."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or (resolver.task_type == "worker" and resolver.task_id == 0)


@contextmanager
def precision_policy(precision: Precision) -> Iterator[None]:
    """Sets Keras' global dtype policy while a model is built, and restores it."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def _multi_worker() -> tf.distribute.Strategy:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise TrainingError(
                f"TF_CONFIG: task is {task}, expected type worker and index 0 to {len(workers) - 1}: every worker trains, "
                f"the first also writes; for example {TF_CONFIG_EXAMPLE}"
            )
    except (ValueError, KeyError, TypeError) as error:
        found = f"is {text[:120]!r}" if text else "is not set"
        raise TrainingError(f"TF_CONFIG {found}, expected for example {TF_CONFIG_EXAMPLE}") from error
    return tf.distribute.MultiWorkerMirroredStrategy()


def _mirrored() -> tf.distribute.Strategy:
    # Several logical CPU devices stand in for GPUs where there are none (and in our tests).
    if tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except Exception as error:  # whatever the resolver's probing meets: ValueError, NotFoundError, a failed request
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(
            f"strategy tpu: no TPU found ({first}); run on a TPU host or set TPU_NAME (argument 'strategy')"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


_STRATEGIES: dict[StrategyName, Callable[[], tf.distribute.Strategy]] = {
    "none": tf.distribute.get_strategy,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
