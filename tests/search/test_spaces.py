"""Search spaces: published sizes, members, encodings, variation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.architecture import Architecture, Conv, InvertedBottleneck
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError, UnknownNameError
from mhmodels.network import lower
from mhmodels.registry import get_architecture, resolve
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.catalogue import get_space, space_makers
from mhmodels.search.space.catalogue.multi_hardware import multi_hardware
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.tabular import TabularSpace
from mhmodels.search.space.template import ArchitectureSpace

NAMES = list(space_makers())
BUILDING = [name for name in NAMES if name != "nas_bench_201"]


def building(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


def operations(architecture: Architecture) -> list[Any]:
    return list(lower(architecture).ops)


# Sizes as products of what the definitions say: stages of one block and three that can be skipped.
PRODUCTS = {
    "multi_hardware": (24 * 48**3) ** 5 * 900,
    "proxylessnas": 18 * (6 * 12**3) ** 5,
    "proxylessnas_enlarged": 18 * (6 * 12**3) ** 5 * 4**3 * 6 * 7**5,
    "mobilenet_v3_like": (36 * 72**3) ** 5 * 2 * 6 * 4**2 * 6 * 7**5,
    "nas_bench_201": 5**6,
}
DISTINCT = {
    "multi_hardware": (24 * (1 + 24 + 24**2 + 24**3)) ** 5 * 900,
    "ofa_mobilenet_v3": (9**2 * (1 + 9 + 81)) ** 5 * 25,
    "ofa_proxylessnas": (9**2 * (1 + 9 + 81)) ** 5 * 9 * 25,
    "fbnet": 9**7 * (1 + 8 + 8**2 + 8**3) ** 5,
    "mobilenet_v2_space": (9 * (1 + 9 + 81 + 729)) ** 5 * 9 * 3**6,
    "nas_bench_201": 15_625,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_combinations_of_choices(name: str) -> None:
    assert get_space(name).sizes.product == PRODUCTS[name]


@pytest.mark.parametrize("name", DISTINCT)
def test_different_networks(name: str) -> None:
    assert get_space(name).sizes.distinct == DISTINCT[name]


def test_position_sensitive_size_of_the_paper_s_space() -> None:
    assert get_space("multi_hardware").sizes.positional == (24 * 25**3) ** 5 * 900


@pytest.mark.parametrize(
    ("space", "declared", "effective"),
    [
        (lambda: building("proxylessnas"), 144, 144),
        (lambda: building("proxylessnas_enlarged"), 5_983, None),
        (lambda: building("mobilenet_v3_like"), 29_068, 10_096),
        (lambda: multi_hardware(stem_kernels=(3, 5), name="both_stems"), 9_299, 3_449),
    ],
)
def test_length_of_tunas_feature_vectors(space: Any, declared: int, effective: int | None) -> None:
    """TuNAS' published cost models have 144, 5,983 and 29,068 weights."""
    found = space().coupled_features()
    assert found[0] == declared
    assert effective in (None, found[1])


@pytest.mark.parametrize("name", ["multi_avg", "multi_max"])
def test_the_published_networks_are_members(name: str) -> None:
    space = building("multi_hardware")
    published = get_architecture(name)
    rebuilt = space.build(space.encode(published))
    assert rebuilt.architecture_id == published.architecture_id
    assert space.madds(space.encode(published))[0] == complexity(published).madds


@pytest.mark.parametrize("name", ["multi_avg.tunas", "multi_max.tunas"])
def test_the_networks_of_the_paper_s_code_are_members_in_its_style(name: str) -> None:
    space = multi_hardware(style="tunas", name="multi_hardware_tunas")
    published = get_architecture(name)
    assert operations(space.build(space.encode(published))) == operations(published)
    assert not building("multi_hardware").contains(published)


@pytest.mark.parametrize(
    ("space", "model"),
    [
        ("proxylessnas", "proxylessnas_mobile"),
        ("mobilenet_v2_space", "mobilenet_v2"),
        ("mobilenet_v2_space", "mobilenet_v2@1.25"),
    ],
)
def test_a_space_contains_what_it_is_around(space: str, model: str) -> None:
    if model.endswith("1.25"):
        # The widths are the space's, the head of 1600 is not.
        assert not get_space(space).contains(resolve(model))
        return
    member = resolve(model)
    found = building(space)
    assert operations(found.build(found.encode(member))) == operations(member)


@pytest.mark.parametrize(
    ("model", "because"),
    [
        ("mobilenet_v3_large", "conv kernel=3 stride=2 activation=hard_swish"),
        ("multi_max@0.75", "at width 32"),
        ("mobilenet_v1", "activation=relu6"),
    ],
)
def test_a_stranger_is_told_where_it_departs(model: str, because: str) -> None:
    with pytest.raises(SpaceError, match=because):
        building("multi_hardware").encode(resolve(model))


def test_another_input_size_is_no_member() -> None:
    with pytest.raises(SpaceError, match=r"input size is \(192, 192\), expected one of \(224,\)"):
        building("multi_hardware").encode(get_architecture("multi_max").at(input_size=192))


# Counting the work of its 58,000 blocks takes seconds.
LARGE = "multi_hardware_unrestricted"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == LARGE else n for n in BUILDING])
def test_samples_are_architectures_and_come_back(name: str) -> None:
    space = building(name)
    rows = space.draw(12, np.random.default_rng(3))
    architectures = space.build_all(rows)
    assert [complexity(one).madds for one in architectures] == space.madds(rows).tolist()
    for row, one in zip(rows, architectures, strict=True):
        assert operations(space.build(space.encode(one))) == operations(one)
        assert Architecture.from_json(one.to_json()).architecture_id == one.architecture_id
        assert (space.parse(one.name) == row).all()


@pytest.mark.parametrize("name", ["multi_hardware", "mobilenet_v3_like", "ofa_mobilenet_v3", "proxylessnas_enlarged"])
def test_encodings_are_recovered_exactly(name: str) -> None:
    space = building(name)
    rows = space.draw(20, np.random.default_rng(5), depth="uniform")
    assert np.array([space.encode(one) for one in space.build_all(rows)]).tolist() == rows.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_one_hot_round_trip(name: str) -> None:
    space = get_space(name)
    rows = space.draw(30, np.random.default_rng(0))
    vectors = space.one_hot(rows)
    assert (vectors.sum(axis=1) == len(space.decisions)).all()
    assert (space.from_one_hot(vectors) == rows).all()


@pytest.mark.parametrize("name", NAMES)
def test_variation_stays_inside(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(1)
    a, b = space.draw(50, rng), space.draw(50, rng)
    for children in (space.mutate(a, rng), space.mutate(a, rng, 0.5), space.crossover(a, b, rng)):
        assert (space.canonical(space.check(children)) == children).all()
    child = space.crossover(a[:1], a[:1], rng)
    assert (child == a[:1]).all()


def test_mutation_changes_a_cell_in_one_place_by_default_and_everywhere_at_rate_one() -> None:
    space, rng = get_space("nas_bench_201"), np.random.default_rng(0)
    rows = space.draw(4000, rng)
    changed = (space.mutate(rows, rng) != rows).sum(axis=1)
    assert changed.min() == 1
    assert changed.mean() == pytest.approx(1.33, abs=0.05)  # 1 on average, or one where it would be none
    assert (space.mutate(rows, rng, 1.0) != rows).all()


def test_neighbours_of_a_cell() -> None:
    space = get_space("nas_bench_201")
    own = np.array([0, 1, 2, 3, 4, 0])
    around = space.neighbours(own)
    assert len(around) == 6 * 4
    assert ((around != own).sum(axis=1) == 1).all()


def test_iteration_gives_every_network_once() -> None:
    optional = ("a", "b", SKIP)
    space = SearchSpace("toy", [OneOf("first", ("a", "b")), OneOf("x", optional), OneOf("y", optional)], [(1, 2)])
    rows = [tuple(row.tolist()) for row in space]
    everything = {
        tuple(space.canonical(np.array([row], np.int16))[0].tolist()) for row in itertools.product(range(2), *[range(3)] * 2)
    }
    assert len(rows) == len(set(rows)) == space.sizes.distinct == 2 * (1 + 2 + 4)
    assert set(rows) == everything


@settings(max_examples=40)
@given(st.lists(st.integers(0, 24), min_size=3, max_size=3), st.permutations(range(3)))
def test_skips_do_not_count_where_they_stand(blocks: list[int], order: list[int]) -> None:
    """Moving skips past blocks, and only that, leaves the network what it is."""
    space = building("multi_hardware")
    row = space.encode(get_architecture("multi_max"))
    group = list(space.groups[2])
    one, other = row.copy(), row.copy()
    one[group] = blocks
    kept = [block for block in blocks if block != 24]
    places = sorted(order[: len(kept)])
    other[group] = 24
    for place, block in zip(places, kept, strict=True):
        other[group[place]] = block
    assert (space.canonical(one[None]) == space.canonical(other[None])).all()
    assert operations(space.build(one)) == operations(space.build(other))


def test_schema_is_of_the_decisions() -> None:
    assert get_space("multi_hardware").schema == multi_hardware().schema
    assert get_space("multi_hardware").schema != multi_hardware(bases=(32, 32, 32, 96, 128, 160)).schema
    schemas = [get_space(name).schema for name in NAMES]
    assert len(set(schemas)) == len(schemas)


@pytest.mark.parametrize(
    ("bases", "options"),
    [
        ((16, 24, 40, 80, 112, 160), [1, 2, 3, 5, 5, 6]),
        ((32, 32, 32, 96, 128, 160), [2, 2, 2, 5, 6, 6]),
        ((16, 16, 32, 64, 128, 256), [1, 1, 2, 4, 6, 7]),
    ],
)
def test_readings_of_the_base_widths_contain_both_networks(bases: tuple[int, ...], options: list[int]) -> None:
    space = multi_hardware(bases=bases, name="another_reading")
    widths = [len(group.width.choices) for group in space.template.groups[:6]]
    assert widths == options
    assert all(space.contains(get_architecture(name)) for name in ("multi_avg", "multi_max"))


def test_a_restricted_space_keeps_its_schema_and_refuses_what_was_removed() -> None:
    space = building("multi_hardware")
    allowed = [list(choices) for choices in space.allowed]
    for column, decision in enumerate(space.decisions):
        if decision.tag == "operation":
            allowed[column] = [i for i in allowed[column] if decision.choices[i] is SKIP or decision.choices[i].kernel == 3]
    small = space.restricted(allowed)
    assert small.schema == space.schema
    assert small.sizes.distinct == (12 * (1 + 12 + 144 + 1728)) ** 5 * 900
    assert small.contains(small.draw(1, np.random.default_rng(0))[0])
    assert not small.contains(get_architecture("multi_max"))
    with pytest.raises(SpaceError, match="stage3_block1"):
        small.check(space.encode(get_architecture("multi_max")))


def test_depth_can_only_be_cut_from_the_end() -> None:
    space = building("multi_hardware")
    for cut, good in ((2, True), (0, False)):
        allowed = [list(choices) for choices in space.allowed]
        column = space.groups[0][cut]
        allowed[column] = [space.decisions[column].choices.index(SKIP)]
        if good:
            assert space.restricted(allowed).sizes.distinct == DISTINCT["multi_hardware"] // (1 + 24 + 24**2 + 24**3) * (
                1 + 24 + 24**2
            )
        else:
            with pytest.raises(SpaceError, match="lose depth from the last one on"):
                space.restricted(allowed)


def test_networks_are_the_same_where_the_first_blocks_are_forced() -> None:
    """Depth two at least: its third and fourth block may be skipped, and the third alone is the fourth alone."""
    space = building("multi_hardware")
    allowed = [list(choices) for choices in space.allowed]
    group = space.groups[0]
    skip = space.decisions[group[0]].choices.index(SKIP)
    for column in group[:1]:
        allowed[column] = [i for i in allowed[column] if i != skip]
    small = space.restricted(allowed)
    row = small.draw(1, np.random.default_rng(0))[0]
    first, second = row.copy(), row.copy()
    first[list(group)] = [0, 1, *[skip] * (len(group) - 2)]
    second[list(group)] = [0, *[skip] * (len(group) - 2), 1]
    np.testing.assert_array_equal(small.canonical(second[None]), small.canonical(first[None]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([[0] * 24], r"is 25 whole numbers, one a decision; found 24"),
        ([[99, *[0] * 24]], "'stage2_block1' is 99"),
        ([[-1, *[0] * 24]], "'stage2_block1' is -1"),
        ([[0.5] * 25], "found float64"),
    ],
)
def test_wrong_encodings_are_refused(row: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        get_space("multi_hardware").check(row)


@pytest.mark.parametrize("text", ["a:b", "", "0:1", ":".join(["99999999999"] * 25), "other:0:1"])
def test_wrong_labels_are_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="multi_hardware"):
        get_space("multi_hardware").parse(text)


def test_unknown_space() -> None:
    with pytest.raises(UnknownNameError, match="did you mean proxylessnas"):
        get_space("proxylesnas")


def test_tabular_space_looks_up_and_does_not_build() -> None:
    space = get_space("nas_bench_201")
    assert isinstance(space, TabularSpace)
    rows = np.array(list(space))
    values = rows @ [1, 10, 100, 1000, 10_000, 100_000]
    order = np.random.default_rng(0).permutation(len(rows))
    table = space.attach(rows[order], value=values[order])
    picked = space.draw(200, np.random.default_rng(1))
    assert (table.evaluate(picked, "value") == picked @ [1, 10, 100, 1000, 10_000, 100_000]).all()
    with pytest.raises(SpaceError, match="no architecture to export or measure"):
        space.build(rows[0])
    with pytest.raises(SpaceError, match="is there twice"):
        space.attach(rows[[0, 0]], value=[1, 2])
    with pytest.raises(SpaceError, match="not in the table"):
        space.attach(rows[:10], value=values[:10]).evaluate(rows[20:21], "value")


def grouped_network() -> Architecture:
    """A member of FBNet's space that has grouped convolutions in every stage."""
    space = building("fbnet")
    return space.build(np.tile([1, 5], 11))


def test_grouped_bottlenecks_cost_half_their_pointwise_work() -> None:
    space = building("fbnet")
    grouped, plain = grouped_network(), space.build(np.tile([0, 4], 11))
    ops = {op.name: op for op in operations(grouped)}
    assert {op.groups for name, op in ops.items() if name.endswith(("_expand", "_project"))} == {2}
    pointwise = sum(op.in_channels * op.channels for op in operations(plain) if op.name.endswith(("_expand", "_project")))
    assert complexity(plain).params - complexity(grouped).params == pointwise // 2
    with pytest.raises(ArchitectureError, match="field 'groups' is 3, expected a divisor of the 32 channels read"):
        lower(odd_groups())


def odd_groups() -> Architecture:
    block = InvertedBottleneck(filters=32, expansion=2, groups=3)
    return Architecture(name="odd", stem=(Conv(filters=32, stride=2),), stages=((block,),))


@pytest.mark.tensorflow
def test_grouped_bottlenecks_build_and_export(tmp_path: Path) -> None:
    from mhmodels.builder import create_model
    from mhmodels.export.writing.latency import latency_file
    from mhmodels.tflite.file import read_tflite

    network = grouped_network()
    assert create_model(network).count_params() == complexity(network).params_total
    content = read_tflite(latency_file(network, "int8", tmp_path))
    kernels = [content.tensors[operator.inputs[1]].shape for operator in content.operators if operator.kind == "CONV_2D"]
    assert kernels[1] == (16, 1, 1, 8)  # TFLite tells groups by kernels that read a part of the channels
