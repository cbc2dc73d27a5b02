"""State dicts of timm, torchvision and EfficientNet-PyTorch: the same logits as there, and no import into another network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mhmodels.errors import WeightsError
from mhmodels.families.rows import Counterpart
from mhmodels.registry import resolve, zoo
from mhmodels.weights import Stated, import_weights, locate, read_info, read_weights
from mhmodels.weights.importing import open_source
from mhmodels.weights.matching import targets
from mhmodels.weights.sources.pytorch.layout import tensor_name, tensor_shape
from mhmodels.weights.sources.pytorch.state_dict import read_state_dict
from tests.weights.helpers import random_arrays
from tests.weights.torch_files import REFERENCES, Tensors, drawn, needs_references, reference, stand_ins, write_legacy, write_zip

ENTRIES = {f"{each.package}-{each.name}": (name, each) for name, entry in zoo().items() for each in entry.counterparts}
SMALL = "mobilenet_v3_small.timm"


def timm_names(model: str) -> Tensors:
    """A state dict with timm's names for a network with inverted bottlenecks, from this package's random arrays."""
    architecture = resolve(model).at(classes=5)
    arrays = random_arrays(architecture)
    tensors: Tensors = {}
    blocks = [(s, b) for s, stage in enumerate(architecture.stages) for b in range(len(stage))]
    prefixes = {f"stage{s + 2}_block{b + 1}": f"blocks.{s}.{b}." for s, b in blocks}
    for target in targets(architecture):
        prefix, _, part = target.name.removesuffix("_bn").rpartition("_")
        module = _module(prefixes.get(prefix), part, target.kind, architecture, prefix, len(architecture.stages))
        for role in target.shapes:
            array = arrays[target.name, role]
            dense = target.name == "logits" and role == "kernel"
            shape = tensor_shape(target.kind, role, array.shape, dense=dense)
            order = {"conv": (3, 2, 0, 1), "depthwise": (2, 3, 0, 1)}.get(target.kind, ())
            moved = array.transpose(order) if array.ndim == 4 else array
            tensors[f"{module}.{tensor_name(target.kind, role)}"] = np.ascontiguousarray(moved).reshape(shape)
    return tensors


def _module(block: str | None, part: str, kind: str, architecture: Any, prefix: str, stages: int) -> str:
    norm = kind == "batch_norm"
    if block is None:
        names = {"stem": ("conv_stem", "bn1"), "head1": (f"blocks.{stages}.0.conv", f"blocks.{stages}.0.bn1"),
                 "hidden1": ("conv_head", ""), "": ("classifier", "")}  # fmt: skip
        return names[prefix][norm]
    expanded = any(target.name == f"{prefix}_expand" for target in targets(architecture))
    inverted = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
    separable = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    squeeze = {"reduce": ("se.conv_reduce", ""), "gate": ("se.conv_expand", "")}
    return block + {**(inverted if expanded else separable), **squeeze}[part][norm]


@pytest.fixture(scope="module")
def small() -> Tensors:
    """A state dict of MobileNetV3-Small with timm's names and five classes."""
    return timm_names(SMALL)


def written(folder: Path, tensors: Tensors, name: str = "model.safetensors") -> Path:
    """A safetensors file."""
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / name)
    return folder / name


def logits(path: str, precision: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """The logits of a network with the weights of a file, all of it computed in this precision."""
    import keras

    from mhmodels import create_model

    info, arrays = read_weights(path)
    try:
        keras.config.set_floatx(precision)
        keras.config.set_dtype_policy(precision)
        model = create_model(info.network().at(input_size=pixels.shape[1:3]), classifier_activation=None, dropout=0.0)
        for (layer, role), array in arrays.items():
            variable = next(each for each in model.get_layer(layer).variables if each.path.rpartition("/")[2] == role)
            variable.assign(array.astype(precision))
        return np.asarray(model(pixels.astype(precision), training=False), np.float64)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


FIRST = ("timm-mobilenetv3_small_100", "torchvision-mnasnet0_5")


@needs_references
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in REFERENCES])
def test_same_logits_as_the_package(name: str, tmp_path: Path) -> None:
    data, (model, counterpart) = reference(name), ENTRIES[name]
    size, expected = data["input_size"], np.array(data["logits"])
    path = written(tmp_path, drawn(name))
    done = import_weights(path, model, tmp_path / "x.weights.h5")
    assert (done.architecture.width_multiplier, done.unused) == (counterpart.width_multiplier, ())
    assert done.architecture.batch_norm_epsilon == pytest.approx(data["bn_eps"][0] if data["bn_eps"] else 1e-5)
    pixels = np.random.default_rng(1).normal(size=(2, 3, size, size)).transpose(0, 2, 3, 1)
    for precision, bound in (("float32", 1e-4), ("float64", 1e-7)):
        error = np.abs(logits(done.path, precision, pixels) - expected).max() / expected.std()
        assert error <= bound, (precision, error)


@needs_references
@pytest.mark.parametrize("name", REFERENCES)
def test_counterparts_have_the_packages_parameter_count(name: str) -> None:
    from mhmodels.complexity import layer_complexity
    from mhmodels.network import lower

    data, (model, counterpart) = reference(name), ENTRIES[name]
    layers = map(layer_complexity, lower(resolve(model).at(width_multiplier=counterpart.width_multiplier)).ops)
    assert sum(layer.params + layer.biases + layer.batch_norm // 2 for layer in layers) == data["params"]


PARAMETERS = {
    "timm-efficientnet_lite0": 4_652_008, "timm-mnasnet_050": 2_218_512, "timm-mnasnet_075": 3_170_208,
    "timm-mnasnet_100": 4_383_312, "timm-mnasnet_140": 7_115_728, "timm-mnasnet_small": 2_030_264,
    "timm-mobilenet_edgetpu_100": 4_091_432, "timm-mobilenetv1_100": 4_231_976, "timm-mobilenetv1_100h": 5_282_600,
    "timm-mobilenetv1_125": 6_270_840, "timm-mobilenetv2_035": 1_677_128, "timm-mobilenetv2_050": 1_968_680,
    "timm-mobilenetv2_075": 2_636_424, "timm-mobilenetv2_100": 3_504_872, "timm-mobilenetv2_110d": 4_516_520,
    "timm-mobilenetv2_120d": 5_831_144, "timm-mobilenetv2_140": 6_108_776, "timm-mobilenetv3_large_075": 3_993_528,
    "timm-mobilenetv3_large_100": 5_483_032, "timm-mobilenetv3_large_150d": 14_622_320,
    "timm-mobilenetv3_small_050": 1_593_224, "timm-mobilenetv3_small_075": 2_041_872, "timm-mobilenetv3_small_100": 2_542_856,
    "timm-mobilenetv4_conv_large": 32_590_864, "timm-mobilenetv4_conv_medium": 9_715_512,
    "timm-mobilenetv4_conv_small": 3_774_024, "timm-mobilenetv4_conv_small_035": 1_905_384,
    "timm-mobilenetv4_conv_small_050": 2_238_952, "timm-semnasnet_050": 2_082_006, "timm-semnasnet_075": 2_912_278,
    "timm-semnasnet_100": 3_887_038, "timm-semnasnet_140": 6_105_992, "timm-tf_efficientnet_lite0": 4_652_008,
    "timm-tf_efficientnet_lite1": 5_416_680, "timm-tf_efficientnet_lite2": 6_092_072, "timm-tf_efficientnet_lite3": 8_197_096,
    "timm-tf_efficientnet_lite4": 13_006_568, "timm-tf_mobilenetv3_large_075": 3_993_528,
    "timm-tf_mobilenetv3_large_100": 5_483_032, "timm-tf_mobilenetv3_large_minimal_100": 3_924_288,
    "timm-tf_mobilenetv3_small_075": 2_041_872, "timm-tf_mobilenetv3_small_100": 2_542_856,
    "timm-tf_mobilenetv3_small_minimal_100": 2_044_736, "torchvision-mnasnet0_5": 2_218_512,
    "torchvision-mnasnet0_75": 3_170_208, "torchvision-mnasnet1_0": 4_383_312, "torchvision-mnasnet1_3": 6_282_256,
    "torchvision-mobilenet_v2": 3_504_872, "torchvision-mobilenet_v3_large": 5_483_032,
    "torchvision-mobilenet_v3_small": 2_542_856,
}  # fmt: skip
"""Parameters of the packages' networks, as timm 1.0.31 and torchvision 0.29 build them."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameter_counts(name: str) -> None:
    from mhmodels.complexity import layer_complexity
    from mhmodels.network import lower

    model, counterpart = ENTRIES[name]
    layers = map(layer_complexity, lower(resolve(model).at(width_multiplier=counterpart.width_multiplier)).ops)
    assert sum(layer.params + layer.biases + layer.batch_norm // 2 for layer in layers) == PARAMETERS[name]


@pytest.mark.slow
def test_every_form_of_file_gives_the_same_weights(small: Tensors, tmp_path: Path) -> None:
    counters = {
        f"{name.removesuffix('.running_var')}.num_batches_tracked": np.array(7) for name in small if "running_var" in name
    }
    expected = import_weights(written(tmp_path, small | counters), SMALL, tmp_path / "x.weights.h5")
    assert (expected.info.holds, expected.architecture.classes, expected.unused) == ("the whole network", 5, ())
    assert expected.training_state == len(counters)
    contents: dict[str, Any] = {
        "plain": stand_ins(small | counters),
        "parameters": stand_ins(small, parameters=True),
        "nested": {"epoch": 3, "state_dict": stand_ins(small), "arch": "x", "metric": 0.5, "done": True},
        "parallel": {"model": stand_ins({f"module._orig_mod.{name}": array for name, array in small.items()})},
        "averages alone": {"state_dict_ema": stand_ins(small)},
    }
    for name, content in contents.items():
        for write in (write_zip, write_legacy):
            path = write(tmp_path / f"{name}.pth", content)
            done = import_weights(path, SMALL, tmp_path / "y.weights.h5")
            assert (done.info.sha256, done.unused) == (expected.info.sha256, ()), (name, write)


def test_moving_averages_are_taken_on_request(small: Tensors, tmp_path: Path) -> None:
    moved = {name: array + np.float32(0.25) for name, array in small.items()}
    content = {"state_dict": stand_ins(small), "state_dict_ema": stand_ins(moved, first=1000)}
    path = write_zip(tmp_path / "x.pth", content)
    plain = import_weights(path, SMALL, tmp_path / "x.weights.h5")
    averages = import_weights(path, SMALL, tmp_path / "y.weights.h5", averages=True)
    assert (plain.averages, averages.averages) == (False, True)
    _, one = read_weights(plain.path)
    _, other = read_weights(averages.path)
    assert all(np.array_equal(other[key], one[key] + np.float32(0.25)) for key in one)


def test_the_order_of_the_file_does_not_matter(small: Tensors, tmp_path: Path) -> None:
    names = list(small)
    np.random.default_rng(0).shuffle(names)
    one = import_weights(write_zip(tmp_path / "a.pth", stand_ins(small)), SMALL, tmp_path / "x.weights.h5")
    other = import_weights(
        write_zip(tmp_path / "b.pth", stand_ins({n: small[n] for n in names})), SMALL, tmp_path / "y.weights.h5"
    )
    assert one.info.sha256 == other.info.sha256


def test_half_precision_is_converted_and_told(small: Tensors, tmp_path: Path) -> None:
    import ml_dtypes

    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        halved = {name: array.astype(dtype) for name, array in small.items()}
        done = import_weights(written(tmp_path, halved), SMALL, tmp_path / "x.weights.h5")
        assert f"{len(small)} tensors were converted from {np.dtype(dtype).name} to float32" in done.notes
        _, arrays = read_weights(done.path)
        kernel = halved["conv_stem.weight"].astype(np.float32).transpose(2, 3, 1, 0)
        assert np.array_equal(arrays["stem_conv", "kernel"], kernel)


CONFIG = {
    "architecture": "mobilenetv3_small_100",
    "num_classes": 5,
    "license": "apache-2.0",
    "pretrained_cfg": {
        "input_size": [3, 160, 192],
        "mean": [0.5, 0.25, 0.0],
        "std": [0.5, 0.5, 1.0],
        "crop_pct": 0.95,
        "interpolation": "bilinear",
        "crop_mode": "center",
        "num_classes": 5,
    },
}


def test_preprocessing_comes_from_timms_configuration(small: Tensors, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    path = written(tmp_path, small)
    done = import_weights(path, SMALL, tmp_path / "x.weights.h5")
    rule = done.info.preprocessing
    assert (rule.mean, rule.std) == ((127.5, 63.75, 0.0), (127.5, 127.5, 255.0))
    assert (rule.crop_fraction, rule.interpolation, done.architecture.input_size) == (0.95, "bilinear", (160, 192))
    assert (done.info.licence, done.notes) == ("apache-2.0", ())
    flat = {"architecture": "mobilenetv3_small_100", "num_classes": 5, **CONFIG["pretrained_cfg"]}  # type: ignore[dict-item]
    (tmp_path / "config.json").write_text(json.dumps(flat))
    assert import_weights(path, SMALL, tmp_path / "x.weights.h5").info.preprocessing == rule
    stated = import_weights(path, SMALL, tmp_path / "x.weights.h5", stated=Stated(preprocessing="symmetric"))
    assert stated.info.preprocessing.mean == (127.5,) * 3
    (tmp_path / "config.json").unlink()
    own = import_weights(path, SMALL, tmp_path / "x.weights.h5").info.preprocessing
    assert own == resolve(SMALL).preprocessing


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": 6}, r"config\.json: field 'num_classes' is 6, but the weights have 5 classes"),
        ({"num_classes": "five"}, r"'num_classes' is 'five', expected a whole number"),
        ({"pretrained_cfg": {"mean": [0.5], "std": "x"}}, r"config\.json: field 'std' is 'x', expected a list of numbers"),
        (
            {"pretrained_cfg": {"mean": [0.5], "std": [0.5], "interpolation": "lanczos"}},
            r"'interpolation' is 'lanczos', expected",
        ),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5], "crop_pct": 1.5}}, r"'crop_pct' is '1.5', expected a number above 0"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5], "crop_mode": "squash"}}, r"'crop_mode' is 'squash', expected 'center'"),
        ({"pretrained_cfg": {"input_size": [3, 7, 7]}}, r"'input_size' is '\[3, 7, 7\]', expected a height and width"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.0]}}, r"config\.json: "),
        (
            {"architecture": "tf_mobilenetv3_small_100"},
            r"whose network pads as TensorFlow's SAME.*name mobilenet_v3_small as",
        ),
    ],
)
def test_configurations_that_do_not_fit(change: dict[str, Any], said: str, small: Tensors, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(WeightsError, match=said):
        import_weights(written(tmp_path, small), SMALL, tmp_path / "x.weights.h5")


def test_a_configuration_of_another_program_is_left_alone(small: Tensors, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert import_weights(written(tmp_path, small), SMALL, tmp_path / "x.weights.h5").info.preprocessing.mean[0] == 123.675
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: not a JSON file"):
        import_weights(written(tmp_path, small), SMALL, tmp_path / "x.weights.h5")


def test_networks_that_pad_otherwise_are_told_apart(small: Tensors, tmp_path: Path) -> None:
    output = tmp_path / "x.weights.h5"
    unnamed = import_weights(written(tmp_path, small), "mobilenet_v3_small", output)
    assert "if these weights are of mobilenetv3_small_050" in unnamed.notes[0]
    tensorflow = written(tmp_path, small, "tf_mobilenetv3_small_100-37f49e2b.safetensors")
    assert import_weights(tensorflow, "mobilenet_v3_small", output).notes == ()
    with pytest.raises(WeightsError, match=r"of 'tf_mobilenetv3_small_100' .* pads as TensorFlow's SAME with epsilon 0\.001"):
        import_weights(tensorflow, SMALL, output)
    own = written(tmp_path, small, "mobilenetv3_small_100.lamb_in1k.safetensors")
    with pytest.raises(WeightsError, match=r"pads symmetrically with epsilon 1e-05; .* name mobilenet_v3_small\.timm as"):
        import_weights(own, "mobilenet_v3_small", output)
    v2 = written(tmp_path, timm_names_v2(), "v2.safetensors")
    with pytest.raises(WeightsError, match=r"name mobilenet_v2\.timm as the model"):
        import_weights(v2, "mobilenet_v2", output)


def timm_names_v2() -> Tensors:
    """A state dict of MobileNetV2 at a quarter of its width, with timm's names."""
    tensors = timm_names("mobilenet_v2@0.25")
    return {
        name.replace("blocks.7.0.conv.", "conv_head.").replace("blocks.7.0.bn1.", "bn2."): value
        for name, value in tensors.items()
    }


def test_a_package_s_name_of_a_network_is_translated(small: Tensors, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'mobilenetv3_small_050' is timm's name of mobilenet_v3_small\.timm@0\.5; name that"):
        import_weights(written(tmp_path, small), "mobilenetv3_small_050", tmp_path / "x.weights.h5")


def test_another_width_or_network_is_named(small: Tensors, tmp_path: Path) -> None:
    path, output = written(tmp_path, small), tmp_path / "x.weights.h5"
    with pytest.raises(WeightsError, match=r"holds mobilenet_v3_small\.timm at width 1, expected 0\.5 as given"):
        import_weights(path, f"{SMALL}@0.5", output)
    said = (
        r"model\.safetensors: not mobilenet_v3_large\.timm: tensor 'blocks\.0\.0\.se\.conv_reduce\.weight' is \[8, 16, 1, 1\], "
        r"expected \[16, 16, 1, 1\] .*; it fits mobilenet_v3_small\.timm@1, mobilenet_v3_small@1: name mobilenet_v3_small\.timm@1"
    )
    with pytest.raises(WeightsError, match=said):
        import_weights(path, "mobilenet_v3_large.timm", output)


def _without(*names: str) -> Any:
    return lambda tensors: {name: array for name, array in tensors.items() if name not in names}


def _with(name: str, array: NDArray[Any]) -> Any:
    return lambda tensors: tensors | {name: array.astype(np.float32)}


BROKEN = {
    "a missing kernel": (_without("blocks.1.0.conv_dw.weight"), r"'blocks\.1\.0\.conv_dw\.weight' is missing"),
    "a missing variance": (_without("blocks.1.0.bn2.running_var"), r"tensor 'blocks\.1\.0\.bn2\.running_var' is missing"),
    "a missing normalisation": (
        _without(*(f"blocks.1.0.bn2.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var"))),
        r"'blocks\.1\.0\.bn2\.weight' is missing, which belongs to 'blocks\.1\.0\.conv_dw'",
    ),
    "a missing stem": (_without("conv_stem.weight"), r"no known package|'conv_stem\.weight' is missing"),
    "a missing bias": (_without("classifier.bias"), r"tensor 'classifier\.bias' is missing"),
    "a missing squeeze bias": (_without("blocks.0.0.se.conv_reduce.bias"), r"'blocks\.0\.0\.se\.conv_reduce\.bias' is missing"),
    "a missing squeeze": (
        _without("blocks.0.0.se.conv_reduce.weight", "blocks.0.0.se.conv_reduce.bias"),
        r"'blocks\.0\.0\.se\.conv_expand\.weight' is \[16, 8, 1, 1\], expected \[8, 16, 1, 1\]|se\.conv_expand",
    ),
    "a surplus layer": (_with("attention.query.weight", np.zeros((3, 3))), r"no network here has \(attention\.query\)"),
    "a surplus leaf": (_with("conv_stem.scale", np.zeros(3)), r"no network here has \(conv_stem\)"),
    "another shape": (
        _with("blocks.1.0.conv_pwl.weight", np.zeros((25, 72, 1, 1))),
        r"tensor 'blocks\.1\.0\.conv_pwl\.weight' is \[25, 72, 1, 1\], expected \[24, 72, 1, 1\] \(stage3_block1_project of",
    ),
    "another kernel": (
        _with("blocks.1.0.conv_dw.weight", np.zeros((72, 1, 5, 5))),
        r"tensor 'blocks\.1\.0\.conv_dw\.weight' is \[72, 1, 5, 5\], expected \[72, 1, 3, 3\]",
    ),
    "another dimension": (
        _with("blocks.1.0.conv_dw.weight", np.zeros((72, 1, 3))),
        r"no network here has \(blocks\.1\.0\.conv_dw\)",
    ),
    "other names": (
        lambda tensors: {f"net.{name}": array for name, array in tensors.items()},
        r"names of no known package \(net\.",
    ),
    "nothing": (lambda _: {}, r"names of no known package \(none at all\)"),
    "whole numbers": (
        lambda tensors: tensors | {"conv_stem.weight": np.zeros((16, 3, 3, 3), np.int32)},
        r"tensor 'conv_stem\.weight' is of type int32, expected one of float16",
    ),
    "not a number": (
        _with("blocks.1.0.bn2.bias", np.full(72, np.nan)),
        r"'blocks\.1\.0\.bn2\.bias' .*has NaN or infinite values, expected finite weights",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_tensors_that_do_not_fit_are_named(what: str, small: Tensors, tmp_path: Path) -> None:
    change, said = BROKEN[what]
    path = written(tmp_path, change(small))
    with pytest.raises(WeightsError, match=said) as told:
        import_weights(path, SMALL, tmp_path / "x.weights.h5")
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "x.weights.h5").exists()


def test_a_stem_of_one_channel(tmp_path: Path) -> None:
    tensors = timm_names(SMALL)
    tensors["conv_stem.weight"] = tensors["conv_stem.weight"][:, :1]
    done = import_weights(written(tmp_path, tensors), SMALL, tmp_path / "x.weights.h5")
    assert done.architecture.input_channels == 1


def test_a_backbone_without_its_classifier(small: Tensors, tmp_path: Path) -> None:
    tensors = {name: array for name, array in small.items() if not name.startswith("classifier")}
    done = import_weights(written(tmp_path, tensors), SMALL, tmp_path / "x.weights.h5")
    assert done.info.holds == "the network without its classifier"


def test_state_dicts_are_no_weights_files(small: Tensors, tmp_path: Path) -> None:
    path = written(tmp_path, small)
    with pytest.raises(WeightsError, match=r"a state dict of PyTorch; import it first: mhmodels weights import"):
        locate(path, resolve(SMALL))
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    assert read_state_dict(str(link)).origin == "timm"
    with open_source(link) as source:
        assert source.origin == "timm"
    done = import_weights(link, SMALL, tmp_path / "x.weights.h5")
    info = read_info(done.path)
    assert info is not None
    assert info.source == "safetensors file with timm's names link.safetensors"


def test_every_counterpart_exists() -> None:
    assert all(isinstance(each, Counterpart) and zoo()[name] for name, each in ENTRIES.values())


def test_the_registry_knows_the_weights_of_packages_by_the_begin_of_their_hash() -> None:
    from mhmodels.weights.downloading.registered import entries, find

    foreign = [entry for entry in entries() if entry.sha256_prefix]
    assert len(foreign) > 20
    for entry in foreign:
        assert entry.url is not None
        assert entry.url.endswith(f"-{entry.sha256_prefix}.pth")
        network = resolve(entry.model)
        assert find("imagenet", network) == entry
    assert find("imagenet", resolve("mobilenet_v2.timm")).description.startswith("timm's")
    assert find("imagenet", resolve("mobilenet_v2.torchvision")).description.startswith("torchvision's")


def test_registered_state_dicts_are_downloaded_checked_and_imported(
    small: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    import msgspec

    from mhmodels.weights.downloading import registered

    path = write_zip(tmp_path / "x.pth", stand_ins(timm_names_1000()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = next(each for each in registered.entries() if each.model == SMALL)

    def download(url: str, target: Path, expected: Any) -> Path:
        assert expected.is_of(path)
        return path

    monkeypatch.setattr(registered, "download", download)
    fetched = registered.fetch(msgspec.structs.replace(entry, sha256_prefix=digest[:8]))
    info = read_info(fetched)
    assert info is not None
    assert (info.labels.name, info.licence) == ("imagenet-1k", "Apache-2.0")
    assert f"{info.network().name}" == SMALL
    monkeypatch.undo()
    assert not registered.Digest("sha256", "0" * 8).is_of(path)


def timm_names_1000() -> Tensors:
    """A state dict of MobileNetV3-Small with 1000 classes."""
    tensors = timm_names(SMALL)
    tensors["classifier.weight"] = np.zeros((1000, 1024), np.float32)
    tensors["classifier.bias"] = np.zeros(1000, np.float32)
    return tensors
