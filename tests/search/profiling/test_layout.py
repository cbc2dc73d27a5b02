"""Units, layers and blocks of spaces, and the distribution that effects are relative to."""

from __future__ import annotations

import numpy as np
import pytest

from mhmodels.search import get_space
from mhmodels.search.profiling.layout import as_profiled, block_words, layout_of
from mhmodels.search.profiling.reference import Cell, ReferenceNetworks


def everything(name: str) -> ReferenceNetworks:
    space = get_space(name)
    return ReferenceNetworks(space, layout_of(space), [each.tolist() for each in space.allowed])


@pytest.mark.parametrize(
    ("name", "units", "layers", "blocks", "others", "by_depth"),
    [
        ("fbnet", 1, 22, 10, 0, False),
        ("ofa_mobilenet_v3", 5, 20, 9, 1, True),
        ("ofa_proxylessnas", 6, 21, 9, 1, True),
        ("ofa_resnet50", 4, 18, 3, 8, True),
        ("multi_hardware", 5, 20, 24, 5, True),
        ("nas_bench_macro", 3, 8, 4, 0, False),
        ("nas_bench_201", 6, 6, 5, 0, False),
    ],
)
def test_units_layers_and_blocks(name: str, units: int, layers: int, blocks: int, others: int, by_depth: bool) -> None:
    layout = layout_of(get_space(name))
    assert {one.unit for one in layout.layers} == set(range(1, units + 1))
    assert len({(one.unit, one.layer) for one in layout.layers}) == layers
    assert len(block_words(layout)) == blocks
    assert (len(layout.others), layout.by_depth) == (others, by_depth)


def test_fbnet_has_layers_1_to_22_in_unit_1() -> None:
    layers = layout_of(get_space("fbnet")).layers
    assert [(one.unit, one.layer, one.column) for one in layers] == [(1, place + 1, place) for place in range(22)]


def test_positions_of_skipped_layers_stay_where_skipping_is_a_candidate() -> None:
    space = get_space("fbnet")
    row = np.full((1, 22), 3, np.int16)
    row[0, 2] = 8
    view = as_profiled(space, layout_of(space))
    assert (view.canonical(row) == row).all()
    assert (space.canonical(row) != row).any()
    assert view.schema == space.schema
    by_depth = get_space("multi_hardware")
    assert as_profiled(by_depth, layout_of(by_depth)) is by_depth


@pytest.mark.parametrize("name", ["ofa_mobilenet_v3", "multi_hardware", "ofa_resnet50"])
def test_a_probed_layer_is_active_in_every_network(name: str) -> None:
    """The published code compares a layer's index from 0 with the depth, so that probed third and fourth layers can be absent."""
    space, reference = get_space(name), everything(name)
    for layer in reference.layout.layers:
        choice = reference.blocks(layer)[-1]
        rows = reference.draw(40, np.random.default_rng(layer.column), Cell(layer.column, choice))
        assert (space.canonical(rows) == rows).all()
        assert (rows[:, layer.column] == choice).all()
        before = [one for one in reference.layout.layers if one.unit == layer.unit and one.layer <= layer.layer]
        assert all((rows[:, one.column] != one.skip).all() for one in before if one.skip is not None)


@pytest.mark.parametrize("name", ["ofa_mobilenet_v3", "fbnet", "nas_bench_201", "ofa_resnet50"])
def test_expected_networks_are_the_mean_of_drawn_ones(name: str) -> None:
    space, reference = get_space(name), everything(name)
    cells = [None, *(Cell(column, int(space.allowed[column][-1])) for column in (0, 3, len(space.decisions) - 1))]
    for cell in cells:
        drawn = space.one_hot(reference.draw(20_000, np.random.default_rng(1), cell)).mean(axis=0)
        assert np.abs(drawn - reference.expected(cell)).max() < 0.015


def test_what_a_layer_adds_is_the_difference_of_two_depths() -> None:
    space, reference = get_space("ofa_mobilenet_v3"), everything("ofa_mobilenet_v3")
    layer = next(one for one in reference.layout.layers if (one.unit, one.layer) == (2, 4))
    drawn = [
        space.one_hot(reference.draw_depth(20_000, np.random.default_rng(1), layer, more)).mean(axis=0) for more in (True, False)
    ]
    assert np.abs(drawn[0] - drawn[1] - reference.added(layer)).max() < 0.015
    assert reference.added(layer).sum() == pytest.approx(0)
