"""How the architectures of a step are shared between the replicas of all processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from mhmodels.search.errors import SearchError


class ReplicaShare(NamedTuple):
    """Which architectures of a step this process runs.

    Attributes:
        first: Index of the first of them.
        number: How many they are, a multiple of `replicas`.
        replicas: Number of replicas of this process.
    """

    first: int
    number: int
    replicas: int

    def turns(self) -> Iterator[list[int]]:
        """Yields for each turn the indices of the architectures that the local replicas run at the same time."""
        for turn in range(self.number // self.replicas):
            yield [self.first + turn * self.replicas + replica for replica in range(self.replicas)]


def share(strategy: tf.distribute.Strategy, count: int, what: str) -> ReplicaShare:
    """The share of this process in the architectures of a step.

    Args:
        strategy: Strategy that distributes them.
        count: Number of architectures.
        what: Field of the preset that has this number, for the message.

    Raises:
        SearchError: The number is no multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if count % replicas:
        raise SearchError(f"preset: {what} is {count}, expected a multiple of the {replicas} replicas")
    local = len(replica_devices(strategy))
    resolver = strategy.cluster_resolver
    worker = resolver.task_id if resolver is not None and resolver.task_type == "worker" else 0
    each = count * local // replicas
    return ReplicaShare(worker * each, each, local)


def replica_devices(strategy: tf.distribute.Strategy) -> tuple[str, ...]:
    """Devices of the replicas of this process; the default strategy names none and uses what TensorFlow chooses."""
    return ("",) if strategy.num_replicas_in_sync == 1 else tuple(strategy.extended.worker_devices)
