"""The space of NAS-Bench-201 (ICLR 2020, arXiv 2001.00326): cells with six edges and five operations; a tabular space."""

from __future__ import annotations

import functools

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.space.tabular import TabularSpace

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NOTE = "Tabular: cells are looked up, not built."
_WORK = (0, 0, 1, 9, 0)
"""Multiply-accumulates of each operation, relative to a 1x1 convolution."""


def nas_bench_201() -> TabularSpace:
    """15 625 cells. Edges and operations have the order of the benchmark and of `nasbench201_latency.npz`."""
    return TabularSpace("nas_bench_201", [OneOf(edge, OPERATIONS) for edge in EDGES], note=NOTE, structure=cell_structure)


def cell_structure(encodings: Encodings) -> tuple[Floats, Floats]:
    """What a runtime executes of each cell: operations without a path from input to output may be left out.

    Args:
        encodings: (n, 6), operation of each edge.

    Returns:
        Totals (n, 6): longest path in operations and in convolutions, MACs relative to a 1x1 convolution and log(1 + MACs),
        whether no path is left, number of edges on a path. By class (n, 10): edges of each operation but `none`, edges of each
        on a path, longest path in edges, additions.
    """
    values = np.array([_cell(tuple(row)) for row in encodings.tolist()]).reshape(len(encodings), 16)
    return values[:, :6], values[:, 6:]


@functools.cache
def _cell(operations: tuple[int, ...]) -> tuple[float, ...]:
    ends = [(int(edge[-1]), int(edge[0])) for edge in EDGES]
    present = [(start, end, operation) for (start, end), operation in zip(ends, operations, strict=True) if operation]
    reached, reaching = {0}, {3}
    for start, end, _ in present:
        reached |= {end} if start in reached else set()
    for start, end, _ in reversed(present):
        reaching |= {start} if end in reaching else set()
    active = [(start, end, operation) for start, end, operation in present if start in reached and end in reaching]
    macs = float(sum(_WORK[operation] for *_, operation in active))
    totals = (
        _longest(active, (0, 0, 1, 1, 1)), _longest(active, (0, 0, 1, 1, 0)), macs, float(np.log1p(macs)), float(not active),
        len(active),
    )  # fmt: skip
    kinds = range(1, len(OPERATIONS))
    additions = sum(max(0, sum(end == node for _, end, _ in active) - 1) for node in (1, 2, 3))
    return (
        *totals,
        *(operations.count(kind) for kind in kinds),
        *(sum(operation == kind for *_, operation in active) for kind in kinds),
        _longest(active, (0, 1, 1, 1, 1)),
        additions,
    )


def _longest(active: list[tuple[int, int, int]], lengths: tuple[int, ...]) -> int:
    """Longest path from input to output, where an operation has a length; 0 without a path."""
    longest = {0: 0}
    for start, end, operation in active:
        if start in longest:
            longest[end] = max(longest.get(end, 0), longest[start] + lengths[operation])
    return longest.get(3, 0)


SPACES = {"nas_bench_201": nas_bench_201}
