"""From blocks to operations: sizes, residuals, feature endpoints, and output stride by dilation as Model Garden does it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given

from mhmodels import Architecture, endpoints, get_architecture, list_models
from mhmodels.architecture import Conv, FusedInvertedBottleneck, InvertedBottleneck, Separable, UniversalInvertedBottleneck
from mhmodels.errors import ArchitectureError
from mhmodels.network import IMAGE, Network, lower, select_endpoints
from tests.zoo_strategies import ARCHITECTURES


@given(ARCHITECTURES)
def test_operations_fit_together(architecture: Architecture) -> None:
    network = lower(architecture)
    channels = {IMAGE: architecture.input_channels}
    sizes = {IMAGE: architecture.input_size}
    for op in network.ops:
        assert op.name not in channels
        assert channels[op.inputs[0]] == op.in_channels
        if op.kind in ("conv", "depthwise"):
            height, width = sizes[op.inputs[0]]
            assert op.size == (math.ceil(height / op.stride), math.ceil(width / op.stride))
            assert op.in_channels % op.groups == 0
            assert op.channels % op.groups == 0
        if op.kind == "add":
            assert len({(channels[name], sizes[name]) for name in op.inputs}) == 1
        channels[op.name], sizes[op.name] = op.channels, op.size
    assert network.ops[-1].channels == architecture.classes
    for endpoint in network.endpoints:
        height, width = architecture.input_size
        assert sizes[endpoint.layer] == (math.ceil(height / endpoint.stride), math.ceil(width / endpoint.stride))
        assert channels[endpoint.layer] == endpoint.channels


@given(ARCHITECTURES)
def test_unknown_sizes_change_nothing_else(architecture: Architecture) -> None:
    known, unknown = lower(architecture), lower(architecture, size=(None, None))
    assert [op._replace(size=(1, 1)) for op in known.ops] == [op._replace(size=(1, 1)) for op in unknown.ops]
    assert known.endpoints == unknown.endpoints


def _dilations(network: Network) -> dict[str, tuple[int, int]]:
    """(stride, dilation) of the first depthwise convolution of each block."""
    found: dict[str, tuple[int, int]] = {}
    for op in network.ops:
        if op.kind == "depthwise":
            found.setdefault("_".join(op.name.split("_")[:2]), (op.stride, op.dilation))
    return found


@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride_of_inverted_bottlenecks(output_stride: int) -> None:
    """Model Garden: the block that loses its stride dilates at once; the next such block still with the rate before it."""
    found = _dilations(lower(get_architecture("multi_avg"), output_stride=output_stride))
    expected = {
        8: {
            "stage3_block4": (1, 1),
            "stage4_block1": (1, 2),
            "stage5_block2": (1, 2),
            "stage6_block1": (1, 2),
            "stage6_block2": (1, 4),
        },
        16: {
            "stage3_block1": (2, 1),
            "stage4_block1": (2, 1),
            "stage5_block2": (1, 1),
            "stage6_block1": (1, 2),
            "stage6_block2": (1, 2),
        },
    }[output_stride]
    assert {name: found[name] for name in expected} == expected


def test_output_stride_of_separable_blocks() -> None:
    """Model Garden: a separable block that loses its stride keeps the rate before it; those after it dilate."""
    found = _dilations(lower(get_architecture("mobilenet_v1"), output_stride=8))
    assert [found[name] for name in ("stage4_block1", "stage5_block1", "stage5_block2", "stage6_block1", "stage6_block2")] == [
        (2, 1), (1, 1), (1, 2), (1, 2), (1, 4),
    ]  # fmt: skip


def test_output_stride_dilates_both_depthwise_convolutions_of_universal_blocks() -> None:
    network = lower(get_architecture("mobilenet_v4_conv_small"), output_stride=16)
    rates = {op.name: (op.stride, op.dilation) for op in network.ops if op.kind == "depthwise"}
    assert rates["stage4_block1_depthwise"] == (2, 1)
    assert rates["stage4_block6_start"] == (1, 1)
    assert rates["stage5_block1_start"] == rates["stage5_block1_depthwise"] == (1, 2)
    assert rates["stage5_block2_start"] == rates["stage5_block6_depthwise"] == (1, 2)


def test_output_stride_takes_a_fused_blocks_stride_without_dilating_it() -> None:
    blocks = (
        Conv(filters=8, kernel=3, stride=2),
        InvertedBottleneck(filters=8, expansion=2, stride=4),
        FusedInvertedBottleneck(filters=16, expansion=2, stride=2),
        InvertedBottleneck(filters=16, expansion=2),
    )
    network = lower(Architecture(name="x", stem=blocks[:1], stages=(blocks[1:],)), output_stride=8, top=False)
    ops = {op.name: (op.stride, op.dilation, op.size) for op in network.ops}
    assert ops["stage2_block2_fused"] == (1, 1, (28, 28))
    assert ops["stage2_block3_depthwise"] == (1, 2, (28, 28))


@pytest.mark.parametrize(
    "block",
    [
        InvertedBottleneck(filters=32, expansion=2, stride=2),
        FusedInvertedBottleneck(filters=32, expansion=2, stride=2),
        UniversalInvertedBottleneck(filters=32, expansion=2, stride=2, start_kernel=3),
        UniversalInvertedBottleneck(filters=32, expansion=2, stride=2, middle_kernel=5),
        Separable(filters=32, stride=2, residual=True),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_block_that_loses_its_stride_gets_its_residual(block: InvertedBottleneck) -> None:
    """Model Garden decides by the stride that a block runs with, not by the one it declares."""
    stem = (Conv(filters=32, kernel=3, stride=4), Conv(filters=32, kernel=3, stride=2))
    architecture = Architecture(name="x", stem=stem, stages=((block,),))
    assert "add" not in [op.kind for op in lower(architecture, top=False).ops]
    assert lower(architecture, output_stride=8, top=False).ops[-1].kind == "add"


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_no_map_is_smaller_than_output_stride_allows(name: str, output_stride: int) -> None:
    plain, dilated = lower(get_architecture(name)), lower(get_architecture(name), size=(256, 256), output_stride=output_stride)
    smallest = min(op.size[0] or 0 for op in dilated.ops[: [op.name for op in dilated.ops].index("pool")] if op.size != (1, 1))
    assert smallest == 256 // output_stride
    assert [endpoint.stride for endpoint in dilated.endpoints] == [min(e.stride, output_stride) for e in plain.endpoints]
    weights = [(op.kind, op.kernel, op.in_channels, op.channels) for op in plain.ops if op.kind in ("conv", "depthwise")]
    assert weights == [
        (op.kind, op.kernel, op.in_channels, op.channels) for op in dilated.ops if op.kind in ("conv", "depthwise")
    ]


def test_output_stride_that_cannot_be() -> None:
    with pytest.raises(ArchitectureError, match="output_stride is 12, expected 8, 16, 32 or None"):
        lower(get_architecture("multi_max"), output_stride=12)
    strided = Architecture(name="x", stem=tuple(Conv(filters=8, kernel=3, stride=2) for _ in range(4)), stages=())
    with pytest.raises(ArchitectureError, match="stem4: a plain convolution of stride 2 cannot be dilated"):
        lower(strided, output_stride=8)
    assert lower(strided, output_stride=16).ops[3].size == (14, 14)


@pytest.mark.parametrize("stride", [3, 4])
def test_a_stride_may_reach_the_output_stride_but_not_pass_it(stride: int) -> None:
    stages = ((InvertedBottleneck(filters=8, expansion=2, stride=stride),),)
    architecture = Architecture(name="x", stem=(Conv(filters=8, kernel=3, stride=4),), stages=stages)
    with pytest.raises(ArchitectureError, match=rf"stage2_block1: field 'stride' is {stride} .* past output_stride 8"):
        lower(architecture, output_stride=8)
    assert lower(architecture, output_stride=16, top=False).ops[-1].size == (-(-56 // stride),) * 2


def test_widths_that_grow_without_end() -> None:
    growing = Conv(filters=64, expansion=64.0)
    architecture = Architecture(name="x", stem=(Conv(filters=8),), stages=((growing,) * 300,), width_multiplier=0.5)
    with pytest.raises(ArchitectureError, match=r"stage2_block\d: conv: 'conv' writes \d+ channels, expected at most 4194304"):
        lower(architecture)


def test_endpoints_before_building() -> None:
    found = endpoints("multi_max", width_multiplier=0.75)
    assert [(e.stride, e.channels, e.layer) for e in found] == [
        (4, 24, "stage2_block1_project"),
        (8, 48, "stage3_block3_add"),
        (16, 96, "stage5_block2_add"),
        (32, 120, "stage6_block4_add"),
    ]
    assert endpoints("multi_max@0.75") == found
    assert endpoints("multi_max@0.75", out_strides=(32, 8)) == (found[3], found[1])


@pytest.mark.parametrize("name", [name for name in list_models() if "_seg" not in name])
def test_every_network_has_maps_at_the_strides_of_a_pyramid(name: str) -> None:
    found = endpoints(name, out_strides=(4, 8, 16, 32))
    assert found == endpoints(name)
    assert [e.level for e in found] == [2, 3, 4, 5]
    assert [e.stride for e in found] == [4, 8, 16, 32]


@pytest.mark.parametrize(("name", "last_ib"), [("multi_avg_seg", 96), ("multi_max_seg", 96)])
def test_levels_of_the_segmentation_variants(name: str, last_ib: int) -> None:
    """Model Garden's keys: 5 is the last block and 6 the 448 wide head; with an output stride the head takes its level."""
    assert [(e.level, e.stride, e.channels) for e in endpoints(name)][-2:] == [(5, 32, last_ib), (6, 32, 448)]
    for output_stride, level in ((8, 3), (16, 4), (32, 5)):
        last = endpoints(name, output_stride=output_stride)[-1]
        assert (last.level, last.stride, last.channels) == (level, output_stride, 448)
    assert [e.channels for e in endpoints(name, out_strides=(32,))] == [448]


def test_output_stride_merges_levels() -> None:
    found = endpoints("multi_avg", output_stride=8)
    assert [(e.level, e.stride, e.channels, e.layer) for e in found] == [
        (2, 4, 32, "stage2_block2_add"),
        (3, 8, 192, "stage6_block4_add"),
    ]


@pytest.mark.parametrize("strides", [(2,), (4, 64), (), (8, 8)])
def test_out_strides_that_do_not_exist(strides: tuple[int, ...]) -> None:
    with pytest.raises(ArchitectureError, match="expected different strides out of 4, 8, 16, 32"):
        endpoints("mobilenet_v2", out_strides=strides)


def test_a_network_without_endpoints() -> None:
    network = lower(Architecture(name="bare", stem=(Conv(filters=8),), stages=()))
    with pytest.raises(ArchitectureError, match="'bare' has no endpoints"):
        select_endpoints(network)
    with pytest.raises(ArchitectureError, match="out of none"):
        select_endpoints(network, (4,))


def test_errors_of_a_block_name_its_place() -> None:
    architecture = Architecture(name="x", stem=(Conv(filters=12),), stages=((Conv(filters=10, groups=5),),))
    with pytest.raises(ArchitectureError, match="stage2_block1: conv: field 'groups' is 5"):
        lower(architecture)
