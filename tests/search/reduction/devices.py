"""Additive devices on the space of Once-for-All, whose unfriendly blocks and layers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mhmodels.search import get_space, profile
from mhmodels.search.profiling.block_profile import BlockProfile

SPACE: Any = get_space("ofa_mobilenet_v3")
GAINS = (0.1, 0.4, 0.5, 0.8, 0.5)
"""Accuracy of an optional layer in % top-1, by unit: most in unit 4, least in unit 1, as in section 4 of arXiv 2109.12426."""
_ACCURACY = {
    (3, 3): 77.43, (3, 5): 77.43, (3, 7): 77.42, (4, 3): 77.44, (4, 5): 77.48, (4, 7): 77.49, (6, 3): 77.51, (6, 5): 77.54,
    (6, 7): 77.58,
}  # fmt: skip
_PHONE = {
    (3, 3): 41.14, (3, 5): 41.41, (3, 7): 41.81, (4, 3): 41.46, (4, 5): 41.82, (4, 7): 42.31, (6, 3): 42.12, (6, 5): 42.66,
    (6, 7): 43.41,
}  # fmt: skip
"""Block means of table 2, which are % top-1, and ms on a Note10."""


def npu(expansion: int, kernel: int) -> float:
    """ms of a block of an NPU: 7x7 kernels cost four times."""
    return 0.1 * expansion * (1 + 0.02 * (kernel - 3)) * (4 if kernel == 7 else 1)


def launch_bound(_: int, __: int) -> float:
    """ms of any block of a device that takes as long for each."""
    return 0.4


def phone(expansion: int, kernel: int) -> float:
    """ms of a block of the paper's phone, against the smallest."""
    return 0.6 + _PHONE[expansion, kernel] - _PHONE[3, 3]


def accuracy(expansion: int, kernel: int) -> float:
    """% top-1 of a block, against the mean of all."""
    return _ACCURACY[expansion, kernel] - float(np.mean(list(_ACCURACY.values())))


def total(block: Callable[[int, int], float], base: float, layers: Sequence[float], rows: Any) -> Any:
    """(n,), additive values of networks: of every block, and of every optional layer by unit."""
    table = np.zeros((20, 10))
    for column in range(20):
        for choice, one in enumerate(SPACE.decisions[column].choices[:9]):
            table[column, choice] = block(int(one.expansion), one.kernel) + (layers[column // 4] if column % 4 >= 2 else 0)
    return base + table[np.arange(20), rows[:, :20]].sum(axis=1)


def networks(n: int, seed: int) -> Any:
    """(n, 21), networks with uniform depths."""
    return SPACE.draw(n, np.random.default_rng(seed), depth="uniform")


def latencies(block: Callable[[int, int], float], rows: Any, seed: int = 1) -> Any:
    """(n,), ms with 1 % noise."""
    return total(block, 5, (0, 0, 0, 0, 0), rows) * (1 + 0.01 * np.random.default_rng(seed).normal(size=len(rows)))


def accuracies(rows: Any, seed: int = 2) -> Any:
    """(n,), % top-1 with the noise of training."""
    return total(accuracy, 77, GAINS, rows) + 0.15 * np.random.default_rng(seed).normal(size=len(rows))


def profiles(devices: Mapping[str, Callable[[int, int], float]], n: int = 300) -> tuple[dict[str, BlockProfile], BlockProfile]:
    """Profiles of latency by device, and of accuracy, all of the same networks."""
    rows = networks(n, 0)
    found = {
        name: profile(SPACE, rows, latencies(device, rows), confidence=0.95, differences=True) for name, device in devices.items()
    }
    return found, profile(SPACE, rows, accuracies(rows), confidence=0.95, differences=True)
