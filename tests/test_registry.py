"""Names to networks: the zoo, patterns and filters, NAME@WIDTH, files, builders, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

import mhmodels
from mhmodels import complexity, get_architecture, list_models, resolve
from mhmodels.errors import ArchitectureError, FileFormatError, UnknownNameError
from mhmodels.registry import is_keras_file, zoo
from mhmodels.weights.matching import same_network

REQUIRED = {
    "efficientnet_lite0", "mnasnet_a1", "mnasnet_b1", "mobilenet_edgetpu", "mobilenet_v1", "mobilenet_v2",
    "mobilenet_v3_large", "mobilenet_v3_large_minimalistic", "mobilenet_v3_small", "mobilenet_v3_small_minimalistic",
    "mobilenet_v4_conv_large", "mobilenet_v4_conv_medium", "mobilenet_v4_conv_small", "multi_avg", "multi_avg.tunas",
    "multi_avg_seg", "multi_max", "multi_max.tunas", "multi_max_seg", "proxylessnas_mobile",
}  # fmt: skip


def test_the_zoo_is_complete() -> None:
    assert set(list_models()) >= REQUIRED
    assert all(entry.architecture.name == name for name, entry in zoo().items())
    assert all(get_architecture(name).width_multiplier == 1 for name in list_models())


def test_patterns() -> None:
    assert list_models("multi_max*") == ["multi_max", "multi_max.tunas", "multi_max_seg"]
    assert list_models("MOBILENET_V4*") == list_models("mobilenet_v4*")
    assert list_models("resnet*") == []


def test_filters() -> None:
    small = list_models(max_params=3e6)
    assert small
    assert set(small) == {name for name in list_models() if complexity(get_architecture(name)).params <= 3e6}
    both = list_models("mobilenet*", max_params=4e6, max_madds=250e6)
    assert "mobilenet_v4_conv_small" in both
    assert "mobilenet_v2" not in both
    assert set(list_models("mobilenet_v4*", max_input_size=256)) == {
        f"mobilenet_v4_conv_{size}{suffix}" for size in ("small", "medium") for suffix in ("", ".timm")
    }
    assert list_models(max_madds=1) == []


@pytest.mark.parametrize("name", [name for name in list_models() if name.partition(".")[0] in set(list_models()) - {name}])
def test_variants_differ_from_their_base(name: str) -> None:
    """A variant that is the same network at every width would be a second name for nothing."""
    base, other = get_architecture(name.partition(".")[0]), get_architecture(name)
    widths = [step / 100 for step in range(25, 201)]
    assert any(not same_network(base.at(width_multiplier=width), other.at(width_multiplier=width)) for width in widths)


def test_counterparts_are_named_once() -> None:
    names = [(each.package, each.name) for entry in zoo().values() for each in entry.counterparts]
    assert len(names) == len(set(names))


def test_resolve(tmp_path: Path) -> None:
    assert resolve("mobilenet_v1@1.25").width_multiplier == 1.25
    path = tmp_path / "found.json"
    path.write_bytes(get_architecture("multi_avg").to_json())
    assert resolve(str(path)) == get_architecture("multi_avg")
    assert resolve(f"{path}@0.5").width_multiplier == 0.5
    odd = tmp_path / "run@2.json"
    odd.write_bytes(path.read_bytes())
    assert resolve(str(odd)) == get_architecture("multi_avg")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("w.h5", r"Keras' HDF5 file.*w\.h5 as its weights.*keras\.models\.load_model\('w\.h5'\)\.save\('w\.keras'\)"),
        ("some/folder/w.weights.h5", "Keras' HDF5 file"),
        ("W.H5", "Keras' HDF5 file"),
        ("w.h5@0.5", "Keras' HDF5 file"),
        ("mine.keras", "a Keras model, which `mhmodels export`"),
        ("m.tflite", "a TFLite file"),
        ("m.pth", "a PyTorch file"),
    ],
)
def test_files_of_another_kind_are_named(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match=f"no such file; by its name {said}"):
        resolve(name)
    base = Path(name.partition("@")[0])
    base.parent.mkdir(parents=True, exist_ok=True)
    base.write_bytes(b"")
    with pytest.raises(FileFormatError, match=said) as told:
        resolve(name)
    assert "no such file" not in str(told.value)
    assert "efficientnet" not in str(told.value)


def test_names_that_end_like_files() -> None:
    assert any(name.endswith(".keras") for name in list_models())
    assert not any(is_keras_file(name) for name in list_models())
    assert is_keras_file("./mobilenet_v2.keras")
    assert not is_keras_file("mobilenet_v2.keras@0.5")


def test_exporting_a_network_whose_name_ends_like_a_file(tmp_path: Path) -> None:
    from mhmodels.export.cli.export import _opener
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.options import ExportOptions

    opener = _opener(ModelRequest(model="mobilenet_v2.keras"), ExportOptions(directory=tmp_path), alone=True)
    assert opener().architecture == resolve("mobilenet_v2.keras")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("multi_maks", UnknownNameError, "did you mean multi_max"),
        ("multi_max@wide", ArchitectureError, "width multiplier is 'wide', expected a number as in 'multi_max@1.25'"),
        ("multi_max@0", ArchitectureError, "width multiplier is 0.0"),
        ("multi_max@", ArchitectureError, "width multiplier is '', expected a number as in 'multi_max@1.25'"),
        ("none.json", FileFormatError, "none.json: cannot be read"),
        ("", UnknownNameError, "unknown model ''"),
    ],
)
def test_models_that_are_not(model: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        resolve(model)
    assert message in str(caught.value)


def test_builders_come_from_the_tables() -> None:
    builders = {entry.builder: name for name, entry in zoo().items() if entry.builder}
    assert set(builders) <= set(dir(mhmodels))
    assert builders["MobileNetV3Small"] == "mobilenet_v3_small"
    for builder, name in builders.items():
        found = getattr(mhmodels, builder)
        assert found.__name__ == builder
        assert f"Builds the network `{name}`" in found.__doc__
        assert name in found.__doc__
    assert {name for name in REQUIRED if "." not in name} <= set(builders.values())
    with pytest.raises(AttributeError, match="no attribute 'ResNet50'"):
        _ = mhmodels.ResNet50


def test_provenance_is_complete() -> None:
    for name, entry in zoo().items():
        assert entry.title, name
        assert entry.source, name
        assert all(50 < published.top1 < 90 and published.source for published in entry.published), name
        assert all(weights.origin and weights.width_multipliers for weights in entry.weights), name
        assert entry.note or "." not in name, f"{name}: a variant says how it differs"
