"""`mhmodels verify` and `mhmodels consistency`: what they see, and what they must not overlook."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhmodels.errors import FileFormatError
from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import fold
from mhmodels.export.opening.model_request import ModelRequest
from mhmodels.export.opening.open_model import open_model
from mhmodels.export.opening.random_weights import few_pictures
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.verification.verified_file import read_with_manifest
from mhmodels.export.verification.verify import verify
from mhmodels.export.writing.manifest import manifest_path
from mhmodels.export.writing.writer import write_float
from mhmodels.preprocessing.pictures import sample_pictures, sample_pixels
from tests.conftest import Command, Run
from tests.export.writer_helpers import MINI, TINY

pytestmark = pytest.mark.tensorflow

STEM = "tiny_w1_65x48"


def test_a_file_against_its_model_layer_by_layer(exported: Path, command: Command) -> None:
    path = exported / f"{STEM}_int8.tflite"
    done = command("verify", str(path), "--against", str(exported / "tiny.json"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["manifest"], report["precision"]) == ("agrees", "int8")
    assert report["against"]["top1_agreement"] > 0.5
    assert report["against"]["top5_agreement"] > 0.5
    assert report["against"]["outputs"][0]["mean_error_lsb"] > 0
    assert report["layers"]["first_departing"] is None
    assert report["layers"]["layers"][0]["layer"] == "stem_conv"
    assert 0 < max(layer["error"] for layer in report["layers"]["layers"]) < 0.25
    assert 0 <= max(report["saturation"].values()) < 0.1  # hard-swish has a floor at its smallest value


@pytest.mark.slow
def test_the_first_layer_that_departs_is_named(tmp_path: Path) -> None:
    """A file with one wrong kernel in the middle: everything after it is wrong too, and it is the one that is named."""
    source = open_model(ModelRequest(model=MINI), sample_pictures(64, MINI.input_size, MINI.preprocessing))
    graph = fold(source.model, MINI)
    kernels = dict(graph.kernels)
    kernels["stage2_block1_depthwise"] = np.flip(kernels["stage2_block1_depthwise"], 0).copy()
    (tmp_path / "wrong.tflite").write_bytes(write_float(graph._replace(kernels=kernels)))
    (tmp_path / "right.tflite").write_bytes(write_float(graph))
    (tmp_path / "tiny.json").write_bytes(MINI.to_json())
    for against in ("tiny.json", "right.tflite"):
        with pytest.raises(ParityError, match="the first layer that departs is 'stage2_block1_depthwise'"):
            verify(tmp_path / "wrong.tflite", str(tmp_path / against))


@pytest.mark.slow
def test_random_weights_are_the_same_whatever_calibrates(tmp_path: Path) -> None:
    """So that a file that was calibrated with a folder can be compared with its model again."""
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(sample_pixels(6, (80, 80))):
        Image.fromarray(255 - picture).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "tiny.json").write_bytes(MINI.to_json())
    (one,) = export_model(MINI, ExportOptions(directory=tmp_path, calibration=tmp_path / "photos"))
    assert "batch statistics from 64 pictures" in one.manifest.weights
    report = verify(one.path, str(tmp_path / "tiny.json"))
    assert report.against is not None
    assert report.against.max_error < 1e-3


def test_statistics_of_large_pictures_take_fewer_of_them() -> None:
    counts = [len(few_pictures(np.broadcast_to(np.float32(0), (300, side, side, 3)))) for side in (32, 224, 448, 2048)]
    assert counts == [64, 64, 16, 8]


@pytest.mark.slow
def test_two_files_each_get_pictures_by_their_own_manifest(tmp_path: Path) -> None:
    (one,) = export_model(MINI, ExportOptions(directory=tmp_path / "inside", normalise_in_model=True))
    (two,) = export_model(MINI, ExportOptions(directory=tmp_path / "outside"))
    for ours, other in ((one, two), (two, one)):
        report = verify(ours.path, str(other.path))
        assert report.against is not None
        assert report.against.max_error < 1e-3


def test_a_file_of_any_size_and_name(tmp_path: Path) -> None:
    import keras

    from mhmodels.export.writing.converter import convert_float

    layers = [keras.Input((28, 28, 1)), keras.layers.Conv2D(4, 3, strides=2, padding="same")]
    model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)])
    (tmp_path / "odd\x07name.tflite").write_bytes(convert_float(model))
    report = verify(tmp_path / "odd\x07name.tflite")
    assert (report.precision, report.pictures) == ("float32", 26)


def converted(path: Path, model: Any, **settings: Any) -> Path:
    """A file of TensorFlow's converter as tutorials make one: with a dynamic batch."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    function = tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)
    # Frozen first: by way of a SavedModel, as `from_keras_model` goes, the same conversion takes five times as long.
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [convert_variables_to_constants_v2(function.get_concrete_function())]
    )
    for name, value in settings.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path


@pytest.mark.slow
def test_files_of_the_converter_are_compared_and_judged_by_their_format(tmp_path: Path) -> None:
    """A dynamic batch brings SHAPE, STRIDED_SLICE and PACK; dynamic range has float activations and int8 weights."""
    import tensorflow as tf

    source = open_model(ModelRequest(model=TINY), sample_pictures(64, TINY.input_size, TINY.preprocessing))
    source.model.save(tmp_path / "tiny.keras")
    plain = converted(tmp_path / "plain.tflite", source.model)
    default = [tf.lite.Optimize.DEFAULT]
    files = {
        "dynamic": {"optimizations": default},
        "half": {"optimizations": default, "target_spec": tf.lite.TargetSpec(supported_types=[tf.float16])},
    }
    made = {name: converted(tmp_path / f"{name}.tflite", source.model, **settings) for name, settings in files.items()}
    itself = verify(plain, str(plain))
    assert itself.operators["SHAPE"] >= 1
    assert itself.against is not None
    assert itself.layers is not None
    assert (itself.against.max_error, itself.layers.first_departing, itself.layers.reason) == (0.0, None, "")
    assert len(itself.layers.layers) > 20
    for name, precision in (("dynamic", "float32 x int8"), ("half", "float16")):
        for against in ("tiny.keras", "plain.tflite"):
            report = verify(made[name], str(tmp_path / against))
            assert precision in report.precision
            assert report.against is not None
            assert report.against.correlation > 0.95
    with pytest.raises(ParityError, match="expected at most 0"):
        verify(made["half"], str(plain), tolerance=0.0)


def test_limits_follow_the_formats() -> None:
    from mhmodels.export.tolerances import tolerance_of

    exact, half = tolerance_of("float32", "float32"), tolerance_of("float16", "float32")
    assert (exact, half, tolerance_of("float16 + float32")) == (1e-3, 0.1, 0.1)
    for fmt in ("int8", "uint8", "float32 x int8", "float32 + float32 x int8", "int16 x int8"):
        assert tolerance_of(fmt, "float32") is None
        assert tolerance_of("float32", fmt) is None


def test_outputs_correspond_by_name_or_else_by_place() -> None:
    from mhmodels.export.verification.parity import compare_outputs

    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    named = compare_outputs({"b": two, "a": one}, {"a": one, "b": two}, "model")
    placed = compare_outputs({"Identity": one, "Identity_1": two[:, None, None]}, {"a": one, "b": two}, "model")
    assert named.max_error == placed.max_error == 0.0
    assert compare_outputs({"x": two, "y": one}, {"a": one, "b": two}, "model").max_error > 0.1
    with pytest.raises(ParityError, match="the file gives x, the model gives a, b"):
        compare_outputs({"x": one}, {"a": one, "b": two}, "model")
    single = compare_outputs({"s": one[:, :1]}, {"s": one[:, :1]}, "model")
    assert single.top1_agreement is None  # of one score there is no best


def test_a_folder_of_pictures_does_not_fill_the_memory(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, picture in enumerate(sample_pixels(5, (80, 80))):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    monkeypatch.setattr("mhmodels.export.verification.verified_file.LARGEST_INPUT", 3 * 65 * 48 * 3)
    assert verify(exported / f"{STEM}_float32.tflite", images=tmp_path).pictures == 3


def test_a_gate_that_hardly_varies_departs_only_by_more_than_a_step() -> None:
    """A tensor of two neighbouring integers is all rounding: a share of its own spread would blame it."""
    from mhmodels.export.verification.layers import LIMITS, _floor, _report

    step = np.array([0.01], np.float32)
    flat = np.full((1, 4), 0.5, np.float32)
    for off, departs in ((0.005, None), (0.011, "gate")):
        report = _report("test", LIMITS["int8"], iter([("gate", flat + np.float32(off), flat, _floor(step))]))
        assert report.first_departing == departs


def test_saturation_is_counted_where_values_are_cut(tmp_path: Path) -> None:
    from mhmodels.export.graph.operations import random_graph
    from mhmodels.export.quantisation.scheme import quantise
    from mhmodels.export.writing.latency import latency_ranges
    from mhmodels.export.writing.writer import write_quantised

    graph = random_graph(TINY)
    ranges = {**latency_ranges(graph), "stage2_block1_project": (0.0, 0.05)}
    (tmp_path / "cut.tflite").write_bytes(write_quantised(quantise(graph, ranges, "uint8")))
    report = verify(tmp_path / "cut.tflite")
    assert next(iter(report.saturation)) == "stage2_block1_project"
    assert report.saturation["stage2_block1_project"] > 0.2


@pytest.mark.slow
def test_files_are_compared_operator_by_operator(exported: Path, command: Command) -> None:
    ours, other = str(exported / f"{STEM}_int8.tflite"), str(exported / f"{STEM}_float32.tflite")
    done = command("verify", ours, "--against", other)
    assert done.returncode == 0, done.stderr
    assert "same top-1" in done.stdout
    assert "not compared" in done.stdout  # hard-sigmoid gates are two operators in a float file and one in an int8 file
    twins = command("verify", ours, "--against", str(exported / f"{STEM}_uint8.tflite"), "--json")
    assert twins.returncode == 0, twins.stderr
    assert len(json.loads(twins.stdout)["layers"]["layers"]) > 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "0" * 64),
        ("file_bytes", 1),
        ("precision", "uint8"),
        ("operators", {"CONV_2D": 1}),
        ("params", 1),
        ("madds", 1),
        ("architecture_id", "0" * 16),
        ("quantisation", {}),
        ("outputs", []),
    ],
)
def test_a_manifest_is_recomputed_field_by_field(exported: Path, tmp_path: Path, field: str, value: Any) -> None:
    for name in (f"{STEM}_int8.tflite", f"{STEM}_int8.manifest.json"):
        shutil.copy(exported / name, tmp_path)
    manifest = tmp_path / f"{STEM}_int8.manifest.json"
    document = json.loads(manifest.read_text())
    document[field] = value
    manifest.write_text(json.dumps(document))
    with pytest.raises(ParityError, match=f"field '{field}'"):
        verify(tmp_path / f"{STEM}_int8.tflite")


@pytest.mark.slow
def test_another_files_manifest_and_another_model_are_told(exported: Path, tmp_path: Path, command: Command) -> None:
    float_file, int8_file = (exported / f"{STEM}_{fmt}.tflite" for fmt in ("float32", "int8"))
    swapped = tmp_path / int8_file.name
    shutil.copy(float_file, swapped)
    shutil.copy(int8_file.with_name(f"{STEM}_int8.manifest.json"), tmp_path)
    bad = command("verify", str(swapped))
    assert bad.returncode == 1
    assert "'sha256'" in bad.stderr
    assert "differ too" in bad.stderr

    document = int8_file.with_name(f"{STEM}_int8.manifest.json").read_text().replace("random, seed 0", "mine.weights.h5")
    (tmp_path / "mine.tflite").write_bytes(int8_file.read_bytes())
    (tmp_path / "mine.manifest.json").write_text(document)
    (tmp_path / "wide.json").write_bytes(MINI.at(width_multiplier=1.5, name="wide").to_json())
    forgotten = command("verify", "mine.tflite", "--against", "wide.json")
    assert forgotten.returncode == 1
    assert "made from 'mine.weights.h5" in forgotten.stderr
    assert "without --weights the model has random ones" in forgotten.stderr

    (tmp_path / "other.json").write_bytes(MINI.at(width_multiplier=0.5, name="other").to_json())
    other = command("verify", str(float_file), "--against", "other.json")
    assert other.returncode == 1
    assert "expected at most" in other.stderr


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_verify_of_a_truncated_file_is_one_message(exported: Path, tmp_path: Path, command: Command, keep: float) -> None:
    data = (exported / f"{STEM}_int8.tflite").read_bytes()
    size = int(len(data) * keep) if isinstance(keep, float) else keep
    (tmp_path / "cut.tflite").write_bytes(data[:size])
    done = command("verify", "cut.tflite")
    assert done.returncode == 1
    assert "cut.tflite" in done.stderr


def test_verify_runs_without_tensorflow_as_a_user_runs_it(exported: Path, mhmodels: Run) -> None:
    done = mhmodels("verify", str(exported / f"{STEM}_uint8.tflite"))
    assert done.returncode == 0, done.stderr
    assert "manifest     agrees" in done.stdout
    assert "saturation" in done.stdout


@pytest.mark.slow
def test_consistency_of_all_formats(exported: Path, command: Command) -> None:
    model = str(exported / "tiny.json")
    photos = "[/photos]"  # rich would take this for markup
    Path(photos).mkdir(parents=True)
    for i, picture in enumerate(sample_pixels(13, TINY.input_size)):
        Image.fromarray(picture).save(f"{photos}/{i}.png")
    done = command("consistency", model, "--images", photos, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    names = [runner["name"] for runner in report["runners"]]
    assert len(names) == 13
    assert names[0] == "float32 keras"
    assert {"int8 xnnpack", "uint8 reference"} <= set(names)
    assert np.allclose(np.array(report["agreement"]), np.array(report["agreement"]).T)
    drift = {runner["name"]: runner["mean_drift"] for runner in report["runners"]}
    assert drift["float32 builtin"] < 1e-5 < drift["float16 builtin"] < drift["uint8 builtin"] == pytest.approx(0.03, abs=0.03)
    assert report["not_run"]
    assert report["consistent"]
    strict = command("consistency", model, "--images", photos, "--tolerance", "0.0001", "--format", "uint8")
    assert strict.returncode == 1
    assert "logits of a runner drift" in strict.stderr
    assert "threshold" in strict.stdout
    assert "of the surer half" in strict.stdout
    assert f"({photos})" in strict.stdout


ALTERED_INPUTS: dict[str, tuple[Any, str]] = {
    "mean": ([0.0, 0.0, 0.0], r"field 'input\.mean"),
    "std": ([127.5, 127.5, 100.0], r"field 'input\.(mean and input\.)?std'"),
    "crop_fraction": (0.5, r"field 'input\.crop_fraction' is 0\.5, the file has 0\.875"),
    "interpolation": ("bicubic", r"field 'input\.interpolation' is bicubic, the file has bilinear"),
    "takes_pixels": (None, r"field 'input\.takes_pixels'"),
    "shape": ([1, 48, 65, 3], r"field 'input'"),
    "dtype": ("int16", r"field 'input'"),
    "scale": (0.5, r"field 'input'"),
    "zero_point": (7, r"field 'input'"),
}


@pytest.mark.parametrize("field", ALTERED_INPUTS)
@pytest.mark.parametrize("fmt", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("own_head", [False, True])
def test_a_manifest_with_an_altered_input_is_refused(
    fmt: str, field: str, own_head: bool, exported: Path, tmp_path: Path
) -> None:
    original = exported / f"tiny_w1_65x48_{fmt}.tflite"
    path = tmp_path / original.name
    path.write_bytes(original.read_bytes())
    document = json.loads(manifest_path(original).read_text())
    if own_head:  # of such a network the manifest does not have the architecture
        document |= {"architecture": None, "architecture_id": None, "params": None, "params_total": None, "madds": None}
    manifest_path(path).write_text(json.dumps(document))
    assert read_with_manifest(path).manifest is not None
    value, message = ALTERED_INPUTS[field]
    document["input"][field] = not document["input"][field] if field == "takes_pixels" else value
    manifest_path(path).write_text(json.dumps(document))
    if own_head and field in ("crop_fraction", "interpolation"):
        return  # which nothing in a file depends on
    if own_head and fmt == "float32" and field in ("mean", "std"):
        return
    with pytest.raises(ParityError, match=message):
        read_with_manifest(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mean", [1e300] * 3), ("std", [1e-60] * 3), ("std", [0.0] * 3), ("mean", [1.0]), ("interpolation", "nearest")],
)
def test_a_manifest_whose_input_is_none_is_refused(field: str, value: Any, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny_w1_65x48_int8.tflite"
    path.write_bytes((exported / path.name).read_bytes())
    document = json.loads(manifest_path(exported / path.name).read_text())
    document["input"][field] = value
    manifest_path(path).write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"input"):
        read_with_manifest(path)
