"""The space of NAS-Bench-201 (ICLR 2020, arXiv 2001.00326): cells with six edges and five operations; a tabular space."""

from __future__ import annotations

from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.tabular import TabularSpace

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NOTE = "Tabular: cells are looked up, not built."


def nas_bench_201() -> TabularSpace:
    """15 625 cells. Edges and operations have the order of the benchmark and of `nasbench201_latency.npz`."""
    return TabularSpace("nas_bench_201", [OneOf(edge, OPERATIONS) for edge in EDGES], note=NOTE)


SPACES = {"nas_bench_201": nas_bench_201}
