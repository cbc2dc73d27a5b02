"""Two checkpoints that TF Model Garden itself wrote: same input, same logits, same feature maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.errors import WeightsError
from mhmodels.weights import Stated, import_weights, read_weights

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "model_garden"
CHECKPOINTS = {"MobileNetMultiAVG_0.25": "multi_avg", "MobileNetV2_0.25": "mobilenet_v2"}
TOLERANCE = 1e-4


@pytest.fixture(params=["MobileNetMultiAVG_0.25", pytest.param("MobileNetV2_0.25", marks=pytest.mark.slow)])
def garden(request: pytest.FixtureRequest) -> tuple[Path, str, dict[str, Any], dict[str, Any]]:
    folder = DATA / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder.name}: ../shared/data/model_garden is not here; it holds checkpoints of TF Model Garden")
    meta = json.loads((folder / "meta.json").read_text())
    with np.load(folder / "io.npz") as arrays:
        return folder, CHECKPOINTS[request.param], meta, dict(arrays)


def spread(actual: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value."""
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())


def test_same_logits_and_feature_maps_as_the_trainer(garden: Any, tmp_path: Path) -> None:
    import keras

    from mhmodels import create_model

    folder, name, meta, io = garden
    path = tmp_path / "x.weights.h5"
    done = import_weights(folder / "ckpt", name, path)
    assert (done.architecture.width_multiplier, done.architecture.classes) == (meta["filter_size_scale"], meta["num_classes"])
    assert not done.unused
    shape = io["x"].shape[1:]
    arguments = {"width_multiplier": done.architecture.width_multiplier, "input_shape": shape, "weights": str(path)}
    model = create_model(name, classes=meta["num_classes"], classifier_activation=None, **arguments)
    assert model.count_params() == meta["params_total"]
    assert spread(model(io["x"], training=False), io["logits"]) < TOLERANCE

    for layer in model.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    model.load_weights(path)  # Keras itself reads the file
    assert spread(model(io["x"], training=False), io["logits"]) < TOLERANCE

    endpoints = [endpoint.layer for endpoint in _endpoints(done.architecture)]
    maps = keras.Model(model.input, [model.get_layer(_output(model, layer)).output for layer in endpoints])(io["x"])
    assert [spread(found, io[f"endpoint_{level}"]) < TOLERANCE for level, found in enumerate(maps, 2)] == [True] * 4

    features = create_model(name, include_top=False, classes=7, **arguments)
    expected = keras.Model(model.input, model.get_layer("pool").input)(io["x"])
    np.testing.assert_array_equal(np.asarray(features(io["x"])), np.asarray(expected))


def _endpoints(architecture: Any) -> Any:
    from mhmodels.network import lower

    return lower(architecture).endpoints


def _output(model: Any, op: str) -> str:
    """The last Keras layer of an operation."""
    names = {layer.name for layer in model.layers}
    return next(name for name in (f"{op}_act", f"{op}_bn", op) if name in names)


def test_wrong_family_width_and_classes_are_told_before_anything_is_loaded(garden: Any, tmp_path: Path) -> None:
    folder, name, meta, _ = garden
    path = tmp_path / "x.weights.h5"
    with pytest.raises(WeightsError, match=rf"not multi_max.*it fits {name}@0\.25"):
        import_weights(folder / "ckpt", "multi_max", path)
    with pytest.raises(WeightsError, match=r"at width 0\.25, expected 0\.5 as given"):
        import_weights(folder / "ckpt", name, path, width_multiplier=0.5)
    with pytest.raises(WeightsError, match=r"at width 0\.25, expected 0\.75 as given"):
        import_weights(folder / "ckpt", f"{name}@0.75", path)
    with pytest.raises(WeightsError, match=rf"{meta['num_classes']} classes, expected 1000 as given"):
        import_weights(folder / "ckpt", name, path, classes=1000)
    assert not path.exists()


def test_the_hash_does_not_depend_on_the_path_or_the_order_of_import(garden: Any, tmp_path: Path) -> None:
    folder, name, _, _ = garden
    first = import_weights(folder / "ckpt.index", name, tmp_path / "a.weights.h5").info
    second = import_weights(folder, name, tmp_path / "b" / "c.weights.h5", stated=Stated(description="elsewhere")).info
    assert first.sha256 == second.sha256
    info, arrays = read_weights(tmp_path / "b" / "c.weights.h5")
    assert (info.source, info.sha256, len(arrays)) == ("elsewhere", first.sha256, len(read_weights(tmp_path / "a.weights.h5")[1]))
