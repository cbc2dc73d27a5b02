"""Corrections after training lower the error that rounding leaves, and are recorded, refused or ignored where they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.opening.model_request import ModelRequest
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.quantisation.post_training import Corrections, ObservedPictures, quantise_on_pictures
from mhmodels.export.verification.verify import verify
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.preprocessing.pictures import sample_pictures
from tests.conftest import Command
from tests.export.test_equalisation import NETWORKS, outputs, plain
from tests.export.writer_helpers import MINI, TINY, random_weights

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def pictures() -> Any:
    return sample_pictures(24, (32, 40), plain().preprocessing)


def simulated(graph: Graph, images: Any, fmt: Any, corrections: Corrections, judged: Any) -> Any:
    """Logits of the fake-quantised network on other pictures than those that calibrated."""
    from mhmodels.export.quantisation.fake_quant import simulate

    made = quantise_on_pictures(ObservedPictures(graph, images), None, fmt, corrections=corrections)
    return simulate(made.quantised, judged, ("logits",))["logits"]


@pytest.mark.parametrize("fmt", ["uint8", "int8"])
def test_bias_correction_removes_the_mean_shift(pictures: Any, fmt: Any) -> None:
    graph = random_weights(plain())
    expected = outputs(graph, pictures)["logits"]
    before, after = (
        np.abs((simulated(graph, pictures, fmt, Corrections(bias=bias), pictures) - expected).mean(0)).mean()
        for bias in (False, True)
    )
    assert after < 0.3 * before


@pytest.mark.parametrize("name", NETWORKS)
def test_compensated_rounding_lowers_the_error_on_other_pictures(name: str) -> None:
    architecture = NETWORKS[name]
    graph = random_weights(architecture)
    images = sample_pictures(24, architecture.input_size, architecture.preprocessing)
    calibrating, judged = images[::2], images[1::2]
    expected = outputs(graph, judged)["logits"]
    nearest, both = (
        np.abs(simulated(graph, calibrating, "uint8", corrections, judged) - expected).mean()
        for corrections in (Corrections(), Corrections(bias=True, rounding="compensated"))
    )
    assert both < nearest


def test_rounding_stays_on_the_grid_and_keeps_scales(pictures: Any) -> None:
    graph = random_weights(plain())
    plainly = quantise_on_pictures(ObservedPictures(graph, pictures), None, "uint8").quantised
    made = quantise_on_pictures(
        ObservedPictures(graph, pictures), None, "uint8", corrections=Corrections(rounding="compensated")
    ).quantised
    for name, kernel in made.kernels.items():
        assert kernel.quantisation == plainly.kernels[name].quantisation
        assert kernel.weights.dtype == plainly.kernels[name].weights.dtype
        assert kernel.weights.min() >= 1
        assert kernel.weights.max() <= 255
    assert any((made.kernels[name].weights != plainly.kernels[name].weights).any() for name in made.kernels)


@pytest.mark.slow
def test_auto_keeps_what_lowers_the_error(pictures: Any) -> None:
    from mhmodels.export.quantisation.calibration import hold_out

    graph = random_weights(plain())
    _, judge = hold_out(graph, pictures)
    left = quantise_on_pictures(
        ObservedPictures(graph, pictures), "auto", "uint8", corrections=Corrections(False, False, "nearest")
    )
    chosen = quantise_on_pictures(ObservedPictures(graph, pictures), "auto", "uint8", corrections=Corrections())
    assert judge.error(chosen.quantised) <= judge.error(left.quantised)
    assert (left.bias, left.rounding, left.equalisation) == (False, "nearest", {})
    assert "biases corrected and compensated rounding" in chosen.method
    forced = quantise_on_pictures(
        ObservedPictures(graph, pictures), "auto", "uint8", corrections=Corrections(True, True, "nearest")
    )
    assert forced.bias
    assert forced.equalisation


ALL = {"equalise": True, "bias_correction": True, "rounding": "compensated"}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["direct", "tensorflow"])
def test_a_corrected_file_is_exported_recorded_and_verified(tmp_path: Path, engine: Any) -> None:
    options: Any = {"engine": engine, **ALL}
    files = export_model(TINY, ExportOptions(directory=tmp_path, formats=("int8", "uint8", "float32"), **options))
    for one in files[:2]:
        calibration = load_manifest(one.path).calibration
        assert calibration is not None
        assert calibration.bias_correction
        assert calibration.rounding == "compensated"
        assert calibration.equalisation
        assert one.manifest.parity.worst_layer_lsb is not None
        report = verify(one.path, TINY)
        assert report.layers is not None
        assert report.layers.layers
        assert report.layers.first_departing is None
    against = verify(files[0].path, files[2].path)
    assert against.layers is not None
    assert "equalised" in against.layers.reason or against.layers.layers == ()


@pytest.mark.slow
def test_pixels_are_normalised_in_a_corrected_file(tmp_path: Path) -> None:
    options: Any = {"normalise_in_model": True, "formats": ("uint8",), **ALL}
    (one,) = export_model(TINY, ExportOptions(directory=tmp_path, **options))
    report = verify(one.path, TINY)
    assert report.layers is not None
    assert report.layers.first_departing is None


@pytest.mark.slow
def test_feature_maps_keep_their_scale(tmp_path: Path) -> None:
    from mhmodels.export.graph.outputs import WriterOptions

    options: Any = {"formats": ("int8",), "writer": WriterOptions(features=True), **ALL}
    (one,) = export_model(TINY, ExportOptions(directory=tmp_path, **options))
    assert one.manifest.parity.float_correlation is not None
    assert one.manifest.parity.float_correlation > 0.98


def test_a_model_of_the_users_own_is_corrected(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="valid", activation="relu")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(12, 1, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))
    options: Any = {"formats": ("uint8",), **ALL}
    (one,) = export_model(ModelRequest(model=model), ExportOptions(directory=tmp_path, **options))
    assert one.manifest.calibration is not None
    assert one.manifest.calibration.equalisation
    report = verify(one.path, model)
    assert report.layers is not None
    assert report.layers.first_departing is None


@pytest.mark.slow
@pytest.mark.parametrize("factors", [{"stem_conv": "1 2"}, {"nothing": "1"}, {"stem_conv": "x"}])
def test_factors_that_a_manifest_states_wrongly_stop_the_comparison_of_layers(tmp_path: Path, factors: Any) -> None:
    (one,) = export_model(MINI, ExportOptions(directory=tmp_path, formats=("int8",)))
    path = one.path.with_name(one.path.name.replace(".tflite", ".manifest.json"))
    manifest = json.loads(path.read_text())
    manifest["calibration"]["equalisation"] = factors
    path.write_text(json.dumps(manifest))
    report = verify(one.path, MINI)
    assert report.layers is not None
    assert report.layers.reason.startswith("manifest, ")


def test_corrections_of_float_files_are_refused(tmp_path: Path) -> None:
    options: Any = {"equalise": True}
    with pytest.raises(ExportError, match="argument 'equalise': corrects integer files"):
        ExportOptions(directory=tmp_path, **options).check()


@pytest.mark.slow
def test_trained_ranges_are_not_corrected(tmp_path: Path) -> None:
    import keras

    from mhmodels import create_model
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.aware_model import save_aware

    keras.utils.set_random_seed(0)
    aware = quantize_aware(create_model("mobilenet_v1@0.25", input_shape=(32, 32, 3), classes=4), fmt="int8")
    images = sample_pictures(8, (32, 32))
    aware(images, training=True)
    save_aware(aware, tmp_path / "aware.weights.h5")
    request = ModelRequest(model="mobilenet_v1@0.25", input_size=(32, 32), classes=4, weights=str(tmp_path / "aware.weights.h5"))
    with pytest.raises(ExportError, match="argument 'bias_correction': quantisation-aware training"):
        export_model(request, ExportOptions(directory=tmp_path, formats=("int8",), bias_correction=True))
    (one,) = export_model(request, ExportOptions(directory=tmp_path, formats=("int8",), calibration_method="auto"))
    assert one.manifest.calibration is not None
    assert one.manifest.calibration.method == "learned"


def test_the_command_says_what_was_corrected(command: Command, tiny: str) -> None:
    done = command(
        "export", tiny, "--format", "uint8", "-o", "out", "--equalise", "--bias-correction", "--rounding", "compensated"
    )
    assert done.returncode == 0, done.stderr
    assert "weights equalised across layers, biases corrected, rounding compensated" in done.stdout
    bad = command("export", tiny, "-o", "out", "--rounding", "compensated")
    assert bad.returncode == 1
    assert "--rounding" in bad.stderr
