"""What a runtime executes of a cell of NAS-Bench-201, against a slow computation of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.catalogue.nas_bench_201 import EDGES, OPERATIONS, cell_structure
from mhmodels.search.space.tabular import TabularSpace

PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""Edges of each path from input to output."""


def slow(cell: tuple[int, ...]) -> list[float]:
    """The same as `cell_structure`, from all paths."""
    paths = [[cell[edge] for edge in path] for path in PATHS if all(cell[edge] for edge in path)]
    active = sorted({edge for path in PATHS if all(cell[edge] for edge in path) for edge in path})
    macs = sum({2: 1, 3: 9}.get(cell[edge], 0) for edge in active)
    ends = [int(EDGES[edge][0]) for edge in active]
    return [
        max((sum(operation > 1 for operation in path) for path in paths), default=0),
        max((sum(operation in (2, 3) for operation in path) for path in paths), default=0),
        macs,
        float(np.log1p(macs)),
        float(not paths),
        len(active),
        *(cell.count(kind) for kind in range(1, 5)),
        *(sum(cell[edge] == kind for edge in active) for kind in range(1, 5)),
        max(map(len, paths), default=0),
        sum(max(0, ends.count(node) - 1) for node in (1, 2, 3)),
    ]


def test_the_paths_are_those_of_the_edges() -> None:
    found = {
        edges
        for length in (1, 2, 3)
        for edges in itertools.permutations(range(6), length)
        if EDGES[edges[0]].endswith("0")
        and EDGES[edges[-1]].startswith("3")
        and all(EDGES[first][0] == EDGES[second][-1] for first, second in itertools.pairwise(edges))
    }
    assert found == set(PATHS)


def test_cells_are_what_their_paths_say() -> None:
    rows = np.array(list(get_space("nas_bench_201")))[::7]
    totals, classes = cell_structure(rows)
    assert (totals.shape, classes.shape) == ((len(rows), 6), (len(rows), 10))
    np.testing.assert_allclose(np.hstack([totals, classes]), [slow(tuple(row)) for row in rows.tolist()])


@pytest.mark.parametrize(
    ("cell", "totals"),
    [
        ("none none none none none none", (0, 0, 0, 0, 1, 0)),
        ("nor_conv_3x3 none none none none none", (0, 0, 0, 0, 1, 0)),  # leads nowhere, and is not executed
        ("none none nor_conv_3x3 none none nor_conv_3x3", (0, 0, 0, 0, 1, 0)),  # comes from nowhere
        ("none none none skip_connect none none", (0, 0, 0, 0, 0, 1)),
        ("nor_conv_3x3 none nor_conv_1x1 none none avg_pool_3x3", (3, 2, 10, np.log1p(10), 0, 3)),
        ("nor_conv_3x3 nor_conv_3x3 nor_conv_3x3 nor_conv_3x3 nor_conv_3x3 nor_conv_3x3", (3, 3, 54, np.log1p(54), 0, 6)),
    ],
)
def test_cells_by_hand(cell: str, totals: tuple[float, ...]) -> None:
    row = np.array([[OPERATIONS.index(word) for word in cell.split()]], np.int16)
    assert cell_structure(row)[0][0] == pytest.approx(totals)


def test_operations_that_are_not_executed_change_no_other_feature() -> None:
    """Edge 1<-0 is left out where neither 2<-1 nor 3<-1 exists, whatever its operation."""
    rows = np.array([[operation, 2, 0, 3, 0, 1] for operation in range(5)], np.int16)
    totals, classes = cell_structure(rows)
    assert np.ptp(totals, axis=0).max() == 0
    assert np.ptp(classes[:, 4:], axis=0).max() == 0
    assert np.ptp(classes[:, :4], axis=0).max() == 1


def test_no_cells_give_no_rows_and_the_space_knows_its_structure() -> None:
    assert [part.shape for part in cell_structure(np.zeros((0, 6), np.int16))] == [(0, 6), (0, 10)]
    space = get_space("nas_bench_201")
    assert isinstance(space, TabularSpace)
    assert space.structure is cell_structure
