"""Once-for-All's ResNet-50 space."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.complexity import complexity
from mhmodels.hardware.capabilities import Capabilities, get_profile
from mhmodels.search.cost_model.features import NAMES, structural
from mhmodels.search.errors import SpaceError
from mhmodels.search.run.drawing import boxes
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.catalogue.ofa import ofa_resnet50
from mhmodels.search.space.decisions import SKIP
from mhmodels.search.space.pieces import pieces_of
from mhmodels.search.space.restriction import restrict
from mhmodels.search.space.template import ArchitectureSpace
from tests.test_bottleneck import resnet50d


@pytest.fixture(scope="module")
def space() -> ArchitectureSpace:
    found = get_space("ofa_resnet50")
    assert isinstance(found, ArchitectureSpace)
    return found


def test_its_size_is_exact(space: ArchitectureSpace) -> None:
    """Stages of 2, 2, 4 and 2 bottlenecks of three inner widths and up to two more, three widths each."""
    stages = [3 * 3**depth * (1 + 3 + 9) for depth in (2, 2, 4, 2)]
    stem = 2 * 2 * 3  # two first widths, the residual convolution or not, three second widths
    assert space.sizes.distinct == stem * int(np.prod(stages)) * 25 == 40_981_913_282_700


def test_widths_are_once_for_alls(space: ArchitectureSpace) -> None:
    widths = {d.name: d.choices for d in space.decisions if d.tag == "width"}
    assert widths == {
        "stem_width": (24, 32),
        "stem_outer_width": (40, 48, 64),
        "stage2_width": (168, 208, 256),
        "stage3_width": (336, 408, 512),
        "stage4_width": (664, 816, 1024),
        "stage5_width": (1328, 1640, 2048),
    }


def test_resnet50d_is_a_member(space: ArchitectureSpace) -> None:
    network = resnet50d()
    encoding = space.encode(network)
    rebuilt = space.build(encoding)
    assert rebuilt.architecture_id == network.architecture_id
    assert space.madds(encoding)[0] == complexity(network).madds == 4_328_824_832
    choices = {d.name: d.choices[i] for d, i in zip(space.decisions, encoding, strict=True)}
    assert [choices[f"stage{stage}_width"] for stage in (2, 3, 4, 5)] == [256, 512, 1024, 2048]
    # One of the two optional blocks is there in the first, second and last stage, both in the third.
    assert [name for name, choice in choices.items() if choice is SKIP] == ["stage2_block4", "stage5_block4"]


def test_encodings_are_recovered_exactly(space: ArchitectureSpace) -> None:
    rows = space.draw(30, np.random.default_rng(2), depth="uniform")
    networks = space.build_all(rows)
    assert np.array_equal([space.encode(network) for network in networks], rows)
    assert {len(network.stem) for network in networks} == {3, 4}
    assert {len(network.stages[2]) for network in networks} == {4, 5, 6}


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"stem": ()}, "stem 'stem': found nothing"),
        ({"shortcut": "conv"}, "stage 'stage2'|stage 'stage3': found bottleneck"),
        ({"expansion": 0.5}, "stage 'stage2': found bottleneck"),
    ],
)
def test_a_stranger_is_told_where_it_departs(space: ArchitectureSpace, change: dict[str, Any], because: str) -> None:
    network = resnet50d()
    if "stem" not in change:
        stages = tuple(tuple(msgspec.structs.replace(block, **change) for block in stage) for stage in network.stages)
        change = {"stages": stages}
    with pytest.raises(SpaceError, match=because):
        space.encode(msgspec.structs.replace(network, **change))


def test_limits_name_what_they_rule_out(space: ArchitectureSpace) -> None:
    whole = Capabilities(id="small kernels", description="", source="", max_kernel=3, channel_multiple=8)
    assert restrict(space, [whole]).space.sizes == space.sizes
    # Multiples of 32 leave ResNet's own widths and its own ratio: depths, the stem's option and input sizes remain.
    left = restrict(space, [get_profile("hexagon-2020")])
    assert left.space.sizes.distinct == 2 * 3**4 * 25
    assert left.space.contains(resnet50d())
    assert any("inner widths that are no multiple of 32" in str(removal) for removal in left.removals)
    bare = Capabilities(id="bare", description="", source="", without=("max_pool",))
    with pytest.raises(SpaceError, match=r"nothing is left of 'stem_outer_block2' \(max_pool kernel=3\): bare rules out"):
        restrict(space, [bare])


def test_cost_models_see_poolings_apart(space: ArchitectureSpace) -> None:
    assert NAMES.index("max_pool.count") == 17 * 11  # behind all features of files that were fitted before
    total = sum(structural(piece) for piece in pieces_of(resnet50d()))
    counts = {kind: total[NAMES.index(f"{kind}.count")] for kind in ("max_pool", "average_pool", "pool", "add", "conv3", "dense")}
    assert counts == {"max_pool": 1, "average_pool": 3, "pool": 1, "add": 17, "conv3": 19, "dense": 1}
    row = space.encode(resnet50d())
    table = space.table(structural, len(NAMES))
    assert table[space.rows(row[None])[0]].sum(axis=0) == pytest.approx(total)


def test_it_can_be_drawn() -> None:
    found = boxes(resnet50d())
    assert [box.size[0] for box in found][:4] == [112, 112, 112, 56]
    assert found[4]._replace(part="") == ("", "bottleneck", "k3 e0.25", 3, 256, (56, 56), 1, True)


@pytest.mark.numeric
@pytest.mark.tensorflow
@pytest.mark.parametrize("recompute", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_super_network_s_path_is_the_network_alone(recompute: bool) -> None:
    """In inference by the batch's statistics, with the leading parts of the shared weights."""
    import keras

    from mhmodels.builder import create_model
    from mhmodels.network import lower
    from mhmodels.search.supernet.network.plan import SuperNetworkPlan
    from mhmodels.search.supernet.network.sliced import SuperNetwork

    keras.utils.set_random_seed(3)
    small = ofa_resnet50(input_sizes=(64,), name="small")
    plan = SuperNetworkPlan(small, 0.25, 10)
    network = SuperNetwork(plan, recompute=recompute)
    row = small.draw(1, np.random.default_rng(5))[0]
    path = plan.path(row)
    architecture = small.build(row).at(width_multiplier=0.25, classes=10)
    alone = create_model(architecture, classifier_activation=None, dropout=0.0)
    layers = [layer for place in path for layer in place.branches[0] if layer.reads]
    ops = [op for op in lower(architecture).ops if op.kind == "conv"]
    for op, layer in zip(ops, layers, strict=True):
        kernel, *rest = (network.weights[name].numpy()[tuple(map(slice, shape))] for name, shape in layer.reads)
        target = alone.get_layer(op.name)
        target.set_weights([kernel, *(rest if op.bias else [])])
    images = np.random.default_rng(6).normal(size=(8, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(alone(images, training=True))
    found = network(images, path, network.read(path)).numpy()
    assert np.abs(found - expected).max() < 1e-3 * expected.std()
