"""Golden figures: published parameter and MAdds counts, and those of upstream's own unit tests, at several widths."""

from __future__ import annotations

import pytest

from mhmodels import complexity, get_architecture
from mhmodels.complexity import layer_complexity, network_complexity
from mhmodels.network import lower
from mhmodels.published import published

# (model, width, kernels, kernels and biases, trainable, total, MAdds) at 224x224 and 1000 classes; None: not published.
SIZES: tuple[tuple[str, float, int, int | None, int, int, int], ...] = (
    ("mobilenet_v1", 0.5, 1_319_648, 1_320_648, 1_331_592, 1_342_536, 149_497_088),
    ("mobilenet_v1", 0.75, 2_568_144, 2_569_144, 2_585_560, 2_601_976, 325_400_448),
    ("mobilenet_v1", 1.0, 4_209_088, 4_210_088, 4_231_976, 4_253_864, 568_740_352),
    ("mobilenet_v1", 1.25, 6_242_480, 6_243_480, 6_270_840, 6_298_200, 879_516_800),
    ("mobilenet_v2", 0.5, 1_949_136, 1_950_136, 1_968_680, 1_987_224, 97_131_840),
    ("mobilenet_v2", 0.75, 2_608_784, 2_609_784, 2_636_424, 2_663_064, 209_069_792),
    ("mobilenet_v2", 1.0, 3_469_760, 3_470_760, 3_504_872, 3_538_984, 300_774_272),
    ("mobilenet_v2", 1.25, 5_006_528, 5_007_528, 5_050_376, 5_093_224, 486_590_240),
    ("mobilenet_v2", 1.4, 6_059_840, 6_060_840, 6_108_776, 6_156_712, 582_195_824),
    ("mobilenet_v3_large", 0.75, 3_968_208, 3_974_440, 3_993_528, 4_012_616, 154_560_624),
    ("mobilenet_v3_large", 1.0, 5_451_272, 5_458_632, 5_483_032, 5_507_432, 216_589_760),
    ("mobilenet_v3_large", 1.25, 8_216_248, 8_225_288, 8_256_296, 8_287_304, 355_925_920),
    ("mobilenet_v3_large_minimalistic", 0.75, 3_028_944, 3_031_224, 3_050_312, 3_069_400, 148_802_544),
    ("mobilenet_v3_large_minimalistic", 1.0, 3_897_608, 3_899_888, 3_924_288, 3_948_688, 209_136_704),
    ("mobilenet_v3_large_minimalistic", 1.25, 5_724_856, 5_727_456, 5_758_464, 5_789_472, 346_117_024),
    ("mobilenet_v3_small", 0.75, 2_027_880, None, 2_041_872, 2_051_552, 43_399_344),
    ("mobilenet_v3_small", 1.0, 2_525_832, 2_530_744, 2_542_856, 2_554_968, 56_510_400),
    ("mobilenet_v3_small", 1.25, 3_624_696, None, 3_645_960, 3_661_320, 91_241_184),
    ("mobilenet_v3_small_minimalistic", 1.0, 2_030_600, None, 2_044_736, 2_056_848, 52_288_448),
    ("proxylessnas_mobile", 0.75, 2_985_560, 2_986_560, 3_013_536, 3_040_512, 207_722_096),
    ("proxylessnas_mobile", 1.0, 4_045_016, 4_046_016, 4_080_512, 4_115_008, 320_427_584),
    ("proxylessnas_mobile", 1.25, 5_853_608, 5_854_608, 5_897_920, 5_941_232, 495_431_408),
    ("mnasnet_b1", 0.75, 3_139_400, 3_140_400, 3_170_208, 3_200_016, 215_493_104),
    ("mnasnet_b1", 1.0, 4_344_392, 4_345_392, 4_383_312, 4_421_232, 314_415_872),
    ("mnasnet_b1", 1.25, 6_365_816, 6_366_816, 6_414_560, 6_462_304, 498_126_800),
    ("mobilenet_edgetpu", 0.75, 2_957_032, 2_958_032, 2_988_160, 3_018_288, 624_486_304),
    ("mobilenet_edgetpu", 1.0, 4_051_552, 4_052_552, 4_091_432, 4_130_312, 990_669_184),
    ("mobilenet_edgetpu", 1.25, 5_978_968, 5_979_968, 6_028_896, 6_077_824, 1_638_370_912),
    ("multi_avg", 0.5, 2_522_480, 2_523_480, 2_543_032, 2_562_584, 117_316_448),
    ("multi_avg", 0.75, 3_573_608, 3_574_608, 3_602_656, 3_630_704, 249_996_560),
    ("multi_avg", 1.0, 4_911_328, 4_912_328, 4_948_872, 4_985_416, 432_451_264),
    ("multi_avg", 1.25, 7_239_640, 7_240_640, 7_286_320, 7_332_000, 665_384_560),
    ("multi_avg", 1.5, 10_008_144, 10_009_144, 10_063_960, 10_118_776, 948_246_048),
    ("multi_max", 0.5, 2_386_128, 2_387_128, 2_404_728, 2_422_328, 95_448_336),
    ("multi_max", 0.75, 3_275_576, 3_276_576, 3_301_696, 3_326_816, 202_367_384),
    ("multi_max", 1.0, 4_389_280, 4_390_280, 4_422_920, 4_455_560, 349_176_352),
    ("multi_max", 1.25, 6_431_240, 6_432_240, 6_473_040, 6_513_840, 536_579_240),
    ("multi_max", 1.5, 8_851_056, 8_852_056, 8_901_016, 8_949_976, 764_025_648),
)


@pytest.mark.parametrize(
    ("name", "width", "kernels", "with_biases", "trainable", "total", "madds"), SIZES, ids=[f"{row[0]}@{row[1]}" for row in SIZES]
)
def test_sizes_at_widths(
    name: str, width: float, kernels: int, with_biases: int | None, trainable: int, total: int, madds: int
) -> None:
    network = lower(get_architecture(name).at(width_multiplier=width))
    layers = [layer_complexity(op) for op in network.ops]
    biases = sum(layer.biases for layer in layers)
    counts = network_complexity(network)
    assert counts.params == kernels
    assert counts.madds == madds
    assert counts.params_total == total
    assert kernels + biases + sum(layer.batch_norm for layer in layers) // 2 == trainable
    if with_biases is not None:
        assert kernels + biases == with_biases


@pytest.mark.parametrize(
    ("name", "width", "total", "madds_m"),
    [
        ("multi_avg_seg", 0.75, 2_676_272, 227.3),
        ("multi_avg_seg", 1.0, 3_520_840, 392.8),
        ("multi_avg_seg", 1.25, 5_056_480, 603.8),
        ("multi_max_seg", 0.75, 2_497_544, 185.7),
        ("multi_max_seg", 1.0, 3_210_088, 320.2),
        ("multi_max_seg", 1.25, 4_577_480, 491.5),
    ],
)
def test_segmentation_variants(name: str, width: float, total: int, madds_m: float) -> None:
    counts = complexity(get_architecture(name).at(width_multiplier=width))
    assert counts.params_total == total
    assert round(counts.madds / 1e6, 1) == madds_m


# Model Garden's own unit test counts every variable of the backbone: its convolution after pooling is one of them, the
# classifier is not.
BACKBONES = {
    "mobilenet_v1": (3_228_864, 1_832_976),
    "mobilenet_v2": (2_257_984, 1_382_064),
    "mobilenet_v3_large": (4_226_432, 2_731_616),
    "mobilenet_v3_small": (1_529_968, 1_026_552),
    "mobilenet_edgetpu": (2_849_312, 1_737_288),
    "multi_avg": (3_704_416, 2_349_704),
    "multi_max": (3_174_560, 2_045_816),
    "multi_avg_seg": (2_239_840, 1_395_272),
    "multi_max_seg": (1_929_088, 1_216_544),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_as_model_garden_counts_them(name: str) -> None:
    def backbone(width: float) -> int:
        network = lower(get_architecture(name).at(width_multiplier=width))
        layers = [layer_complexity(op) for op in network.ops if op.name != "logits"]
        return sum(layer.params + layer.biases + layer.batch_norm for layer in layers)

    assert (backbone(1.0), backbone(0.75)) == BACKBONES[name]


@pytest.mark.parametrize(
    ("name", "width", "total"),
    [
        ("multi_avg.tunas", 1.0, 4_982_857),
        ("multi_max.tunas", 1.0, 4_453_001),
    ],
)
def test_head_with_bias_and_1001_classes(name: str, width: float, total: int) -> None:
    """An older Model Garden test: bias and no batch normalisation after pooling, as TuNAS still has it."""
    assert complexity(get_architecture(name).at(width_multiplier=width, classes=1001)).params_total == total


@pytest.mark.parametrize(
    ("name", "width", "kernels_and_biases", "madds"),
    [
        ("multi_avg.tunas", 0.5, 1_607_848, 156_572_768),
        ("multi_avg.tunas", 0.75, 3_172_072, 293_629_728),
        ("multi_avg.tunas", 1.25, 7_413_032, 676_098_432),
        ("multi_max.tunas", 0.5, 1_495_560, 127_724_704),
        ("multi_max.tunas", 0.75, 2_798_920, 227_839_584),
        ("multi_max.tunas", 1.25, 6_421_224, 534_355_936),
    ],
)
def test_tunas_width_rule(name: str, width: float, kernels_and_biases: int, madds: int) -> None:
    network = lower(get_architecture(name).at(width_multiplier=width))
    layers = [layer_complexity(op) for op in network.ops]
    assert sum(layer.params + layer.biases for layer in layers) == kernels_and_biases
    assert network_complexity(network).madds == madds


@pytest.mark.parametrize(
    ("name", "kernels_and_biases", "madds_m"),
    [
        ("multi_avg@0.75 all scaled", 3_024_208, 249.4),
        ("multi_avg@0.75 head fixed", 3_916_368, 252.0),
        ("multi_avg@1.25 head fixed", 6_171_840, 661.6),
        ("multi_max@1.25 head fixed", 5_373_040, 533.2),
    ],
)
def test_other_rules_for_the_head(name: str, kernels_and_biases: int, madds_m: float) -> None:
    import msgspec

    model, _, rule = name.partition(" ")
    base, _, width = model.partition("@")
    architecture = get_architecture(base).at(width_multiplier=float(width))
    scaling = "always" if rule == "all scaled" else "never"
    features, hidden = (
        tuple(msgspec.structs.replace(conv, scaling=scaling) for conv in convs)
        for convs in (architecture.head.features, architecture.head.hidden)
    )
    head = msgspec.structs.replace(architecture.head, features=features, hidden=hidden)
    network = lower(msgspec.structs.replace(architecture, head=head))
    layers = [layer_complexity(op) for op in network.ops]
    assert sum(layer.params + layer.biases for layer in layers) == kernels_and_biases
    assert round(network_complexity(network).madds / 1e6, 1) == madds_m


def test_table_1_of_the_paper() -> None:
    """Seven of eight rows to the printed digit (kernels, 1001 classes, `madds_paper`); MobileNetV1@1.25 is not reproducible."""
    reproduced, off = set(), set()
    for row in published().rows:
        if row.table != 1 or row.params_m is None or row.madds_m is None:
            continue
        for model in row.models:
            name, _, width = model.partition("@")
            counts = complexity(get_architecture(name).at(width_multiplier=float(width or 1), classes=1001))
            printed = (round(counts.params / 1e6, 2), round(counts.madds_paper / 1e6))
            (reproduced if printed == (row.params_m, row.madds_m) else off).add(model)
    assert off == {"mobilenet_v1@1.25"}
    assert len(reproduced) == 9  # the two networks of the paper in both definitions


@pytest.mark.parametrize(
    ("name", "size", "trainable_m", "madds_m"),
    [
        ("mobilenet_v4_conv_small", 224, 3.774, 186.0),
        ("mobilenet_v4_conv_medium", 224, 9.716, 827.6),
        ("mobilenet_v4_conv_medium", 256, 9.716, 1080),
        ("mobilenet_v4_conv_large", 384, 32.591, 6376),
    ],
)
def test_mobilenet_v4(name: str, size: int, trainable_m: float, madds_m: float) -> None:
    network = lower(get_architecture(name).at(input_size=size))
    layers = [layer_complexity(op) for op in network.ops]
    assert round(sum(layer.params + layer.biases + layer.batch_norm // 2 for layer in layers) / 1e6, 3) == trainable_m
    madds = network_complexity(network).madds / 1e6
    assert (round(madds, 1) if madds_m < 1000 else round(madds)) == madds_m


@pytest.mark.parametrize(("width", "params_m"), [(0.35, 1.7), (0.5, 2.1), (0.75, 2.9), (1.0, 3.9), (1.4, 6.1)])
def test_mnasnet_a1_at_published_widths(width: float, params_m: float) -> None:
    network = lower(get_architecture("mnasnet_a1").at(width_multiplier=width))
    layers = [layer_complexity(op) for op in network.ops]
    assert round(sum(layer.params + layer.biases + layer.batch_norm // 2 for layer in layers) / 1e6, 1) == params_m
    if width == 1.0:
        assert round(network_complexity(network).madds / 1e6) == 312


def test_efficientnet_lite0() -> None:
    """4,652,008 trainable parameters (keras-hub's converted preset), 385.3 M multiply-accumulates (timm)."""
    network = lower(get_architecture("efficientnet_lite0"))
    layers = [layer_complexity(op) for op in network.ops]
    assert sum(layer.params + layer.biases + layer.batch_norm // 2 for layer in layers) == 4_652_008
    assert round(network_complexity(network).madds / 1e6) == 385


def test_unknown_size_has_parameters_but_no_madds() -> None:
    network = lower(get_architecture("multi_max"), size=(None, None))
    with pytest.raises(ValueError, match="known input size"):
        network_complexity(network)
