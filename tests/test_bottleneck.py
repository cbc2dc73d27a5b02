"""ResNet's bottlenecks and max pooling: what they compute, what they cost, whose weights are whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.architecture import Architecture, Bottleneck, Conv, MaxPool, Rounding
from mhmodels.blocks import block_steps
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError, WeightsError
from mhmodels.families.rows import bottleneck, conv
from mhmodels.hardware.capabilities import Capabilities, excesses
from mhmodels.network import Op, lower
from tests.export.writer_helpers import BOTTLENECKS


def operations(network: Architecture, **how: Any) -> dict[str, Op]:
    return {op.name: op for op in lower(network, **how).ops}


def resnet50d() -> Architecture:
    """ResNet-50-D as arXiv 1812.01187 has it, but for Once-for-All's addition around the stem's second convolution."""

    def stage(filters: int, depth: int, stride: int) -> tuple[Bottleneck, ...]:
        return tuple(
            bottleneck(3, 1 if i else stride, filters, 0.25, shortcut="average_pool", endpoint=i == depth - 1)
            for i in range(depth)
        )

    return Architecture(
        name="resnet50d",
        stem=(conv(3, 2, 32), conv(3, 1, 32, residual=True), conv(3, 1, 64), MaxPool()),
        stages=(stage(256, 3, 1), stage(512, 4, 2), stage(1024, 6, 2), stage(2048, 3, 2)),
    )


@pytest.mark.parametrize(
    ("block", "channels", "suffixes", "shortcut"),
    [
        (bottleneck(3, 1, 64, 0.25), 64, ["reduce", "middle", "expand", "add"], ""),
        (bottleneck(3, 1, 64, 0.25), 32, ["reduce", "middle", "expand", "shortcut", "add"], "shortcut"),
        (bottleneck(3, 2, 64, 0.25), 64, ["reduce", "middle", "expand", "shortcut", "add"], "shortcut"),
        (
            bottleneck(3, 2, 64, 0.25, shortcut="average_pool"),
            32,
            ["reduce", "middle", "expand", "subsample", "shortcut", "add"],
            "shortcut",
        ),
        (bottleneck(3, 1, 64, 0.25, shortcut="average_pool"), 32, ["reduce", "middle", "expand", "shortcut", "add"], "shortcut"),
    ],
)
def test_steps_and_shortcuts(block: Bottleneck, channels: int, suffixes: list[str], shortcut: str) -> None:
    steps = {step.suffix: step for step in block_steps(block, channels, Rounding(), 1.0)}
    assert list(steps) == suffixes
    assert steps["add"].inputs == (shortcut, "expand")
    assert steps["add"].activation == "relu"
    assert [(steps[s].stride, steps[s].activation) for s in suffixes[:3]] == [(1, "relu"), (block.stride, "relu"), (1, "linear")]
    if "shortcut" in steps:
        before = steps["subsample"].stride if "subsample" in steps else 1
        assert steps["shortcut"].stride * before == block.stride
        assert steps["shortcut"].activation == "linear"


@pytest.mark.parametrize(
    ("filters", "expansion", "inner"), [(256, 0.25, 64), (256, 0.35, 88), (168, 0.2, 32), (1640, 0.35, 576), (664, 0.25, 168)]
)
def test_inner_widths_are_once_for_alls(filters: int, expansion: float, inner: int) -> None:
    """`make_divisible(round(out * expand), 8)` of its `DynamicResNetBottleneckBlock`."""
    assert block_steps(bottleneck(3, 1, filters, expansion), 64, Rounding(), 1.0)[0].channels == inner


def test_a_pooling_writes_what_it_reads_at_any_width() -> None:
    for width in (0.5, 1.0):
        ops = operations(BOTTLENECKS.at(width_multiplier=width))
        assert ops["stem4_pool"].channels == ops["stem3_conv"].channels
        assert ops["stem4_pool"].size == (16, 17)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "hard_swish"}, "field 'activation' is 'hard_swish', expected one of linear, relu, relu6"),
        ({"shortcut": "none"}, "field 'shortcut' is 'none', expected one of average_pool, conv"),
        ({"expansion": 0}, "field 'expansion' is 0, expected a finite number above 0"),
    ],
)
def test_fields_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Bottleneck(**{"filters": 8, "expansion": 0.25, **fields})


def test_output_stride_dilates_the_middle_convolutions() -> None:
    ops = operations(resnet50d(), size=(224, 224), output_stride=16)
    middles = {name: op for name, op in ops.items() if name.startswith("stage5") and name.endswith("_middle")}
    assert [op.dilation for op in middles.values()] == [1, 2, 2]
    assert {op.size for name, op in ops.items() if name.startswith(("stage4", "stage5"))} == {(14, 14), (28, 28)}
    assert ops["stage5_block1_shortcut"].inputs == ("stage4_block6_add",)  # nothing to pool where nothing is strided
    pools = Architecture(name="pools", stem=(Conv(filters=8, stride=2), *[MaxPool()] * 3), stages=())
    with pytest.raises(ArchitectureError, match="stem4: a max pooling of stride 2 cannot be dilated"):
        lower(pools, output_stride=8)


def test_hardware_may_lack_poolings() -> None:
    limits = Capabilities(id="none", description="", source="", without=("max_pool", "average_pool"))
    found = {excess.where: excess.what for excess in excesses(lower(BOTTLENECKS).ops, limits)}
    assert found == {"stem4_pool": "max_pool", "stage3_block1_subsample": "average_pool"}


def test_a_file_moves_and_computes_what_its_architecture_does() -> None:
    from mhmodels.export.writing.latency import latency_bytes
    from mhmodels.hardware.roofline import architecture_work, file_work
    from mhmodels.tflite.file import parse_tflite

    file = file_work(parse_tflite(latency_bytes(BOTTLENECKS, "int8")))
    network = [work for work in architecture_work(BOTTLENECKS) if work.bytes]
    assert sorted(file) == sorted(network)


def test_counts_of_resnet50d() -> None:
    """25,576,264 trainable parameters, as timm's `resnet50d` has; moving statistics are 53,248 more."""
    counts = complexity(resnet50d())
    assert counts.params_total == 25_576_264 + 53_248
    assert counts.madds == 4_328_824_832


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(resnet50d(), marks=pytest.mark.slow),
        resnet50d().at(width_multiplier=0.25, name="narrow resnet50d"),
        BOTTLENECKS,
    ],
    ids=lambda network: network.name,
)
def test_counts_are_those_of_the_keras_model(network: Architecture) -> None:
    import keras

    from mhmodels.builder import create_model

    model = create_model(network)
    counts = complexity(network)
    assert model.count_params() == counts.params_total
    madds = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            madds += height * width * int(np.prod(layer.kernel.shape))
    assert madds == counts.madds
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert network.name != "resnet50d" or trainable == 25_576_264


@pytest.mark.tensorflow
def test_endpoints_are_behind_the_activation() -> None:
    from mhmodels.builder import create_model

    model = create_model(BOTTLENECKS, features=True)
    maps = model(np.random.default_rng(0).normal(size=(1, *BOTTLENECKS.input_size, 3)).astype(np.float32))
    assert model.output_names == ["stage2_block1_add_act"]
    assert float(np.min(maps[0])) == 0.0


@pytest.fixture(scope="module")
def model() -> Any:
    """Random weights, all different."""
    import keras

    from mhmodels.builder import create_model

    keras.utils.set_random_seed(4)
    model, rng = create_model(BOTTLENECKS), np.random.default_rng(4)
    for layer in model.layers:
        layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.mark.tensorflow
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5", "ours"])
def test_weights_of_parallel_branches_do_not_change_places(model: Any, suffix: str, tmp_path: Path) -> None:
    """Keras has the shortcut before the last 1x1 convolution, our operations behind it; both have one shape."""
    from mhmodels.builder import create_model
    from mhmodels.weights.loading import load_weights, save_weights

    order = [layer.name for layer in model.layers]
    assert order.index("stage2_block1_shortcut") < order.index("stage2_block1_expand")
    shapes = {tuple(model.get_layer(f"stage2_block1_{suffix}").kernel.shape) for suffix in ("shortcut", "expand")}
    assert len(shapes) == 1
    path = tmp_path / f"file{'.weights.h5' if suffix == 'ours' else suffix}"
    if suffix == "ours":
        save_weights(model, BOTTLENECKS, path)
    else:
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    other = create_model(BOTTLENECKS)
    load_weights(other, path)
    for layer in model.layers:
        for one, two in zip(layer.get_weights(), other.get_layer(layer.name).get_weights(), strict=True):
            assert np.array_equal(one, two.astype(one.dtype)), layer.name


@pytest.mark.tensorflow
def test_parallel_branches_without_names_are_refused(model: Any) -> None:
    from mhmodels.weights.matching import match
    from mhmodels.weights.sources.keras_file import read_model

    source = read_model(model)
    assert match(source, BOTTLENECKS).variables["stage2_block1_shortcut", "kernel"].name == "stage2_block1_shortcut/kernel"
    (part,) = source.parts
    nameless = part._replace(layers=tuple(layer._replace(name=f"layer{i}") for i, layer in enumerate(part.layers)))
    with pytest.raises(WeightsError, match="order alone does not tell 'stage2_block1_shortcut' from the branch beside it"):
        match(source._replace(parts=(nameless,)), BOTTLENECKS)
