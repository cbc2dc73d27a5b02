"""What deployments ask for: feature maps, raw pixels, other channels, labels, metadata; and what does not go together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import msgspec
import numpy as np
import pytest
from PIL import Image

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.file_export import Exported
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.graph.rewrite import normalise_in_graph
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.reading.pictures import read_pictures
from mhmodels.export.verification.file_graph import file_logits, file_outputs
from mhmodels.export.writing.attach import attach_buffer
from mhmodels.export.writing.latency import latency_bytes
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.export.writing.metadata.writer import MetadataWriter
from mhmodels.export.writing.writer import write_float
from mhmodels.preprocessing.pictures import sample_pictures, sample_pixels
from mhmodels.tflite.file import read_tflite
from tests.conftest import Command
from tests.export.conftest import FORMATS
from tests.export.writer_helpers import MINI, RESOLVERS, TINY, pixels, random_weights, run

pytestmark = pytest.mark.tensorflow

IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
COLOURFUL = msgspec.structs.replace(MINI, preprocessing=IMAGENET)


def export(architecture: Architecture, folder: Path, *formats: str, **options) -> dict[str, Exported]:  # type: ignore[no-untyped-def]
    wanted = ExportOptions(directory=folder, formats=formats, **options)  # type: ignore[arg-type]
    return {one.manifest.precision: one for one in export_model(architecture, wanted)}


def test_feature_maps_are_keras_feature_maps(tmp_path: Path) -> None:
    """One build serves as reference: the exporter compares with its own Keras model, this with `create_model(features=True)`."""
    from mhmodels.builder import create_model
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model

    files = export(MINI, tmp_path, "float32", "int8", writer=WriterOptions(features=True))
    assert {one.path.name for one in files.values()} == {f"tiny_w1_65x48_{fmt}-feat.tflite" for fmt in ("float32", "int8")}
    assert [output.name for output in files["int8"].manifest.outputs] == ["stride4", "stride8"]
    assert files["int8"].manifest.parity.top1_agreement is None
    assert [output.name for output in files["int8"].manifest.parity.outputs] == ["stride4", "stride8"]
    pictures = sample_pictures(64, MINI.input_size, MINI.preprocessing)
    whole = open_model(ModelRequest(model=MINI), pictures).model
    maps = create_model(MINI, features=True)
    for layer in maps.layers:
        layer.set_weights(whole.get_layer(layer.name).get_weights())
    expected = [np.asarray(value) for value in maps(pictures[:4])]
    for fmt, tolerance in (("float32", 1e-4), ("int8", 0.2)):
        found = file_outputs(files[fmt].path, pictures[:4])
        for name, value in zip(found, expected, strict=True):
            difference = np.sqrt(np.mean((found[name] - value) ** 2)) / value.std()
            assert found[name].shape == value.shape
            assert difference < tolerance, (fmt, name)


@pytest.mark.slow
def test_raw_pixels_go_in_where_the_file_normalises(tmp_path: Path) -> None:
    formats = ("float32", "int8", "uint8")
    plain = export(COLOURFUL, tmp_path / "plain", *formats)
    inside = export(COLOURFUL, tmp_path / "inside", *formats, normalise_in_model=True)
    raw = sample_pixels(13, MINI.input_size, IMAGENET).astype(np.float32)
    normalised = sample_pictures(13, MINI.input_size, IMAGENET)
    for fmt, one in inside.items():
        manifest, entry = one.manifest, read_tflite(one.path).tensors[0]
        assert (manifest.normalise_in_model, manifest.input.takes_pixels) == (True, True)
        assert manifest.input.mean == (0.0, 0.0, 0.0)
        if fmt != "float32":
            assert (entry.dtype, list(entry.scale), list(entry.zero_point)) == ("uint8", [1.0], [0])
            assert not plain[fmt].manifest.input.takes_pixels
        found, expected = file_logits(one.path, raw), file_logits(plain[fmt].path, normalised)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > {"float32": 0.999999}.get(fmt, 0.97), fmt
        depthwise = (files[fmt].manifest.operators["DEPTHWISE_CONV_2D"] for files in (inside, plain))
        assert next(depthwise) == next(depthwise) + 1


def test_padding_is_the_mean_and_not_black() -> None:
    """A picture of exactly the mean is zero everywhere, edges included: its logits are those of a zero input."""
    graph = random_weights(msgspec.structs.replace(TINY, preprocessing=Preprocessing(mean=(120.0,) * 3, std=(60.0,) * 3)))
    options = WriterOptions(softmax=False)
    zero = run(write_float(graph, options=options), np.zeros((1, 65, 48, 3), np.float32))["scores"]
    mean = run(write_float(normalise_in_graph(graph), options=options), np.full((1, 65, 48, 3), 120.0, np.float32))["scores"]
    assert np.abs(zero).max() > 0.1
    np.testing.assert_allclose(mean, zero, atol=1e-4 * np.abs(zero).max())


def test_float_ends_of_an_int8_file(tmp_path: Path) -> None:
    one = export(MINI, tmp_path, "int8", io="float32", writer=WriterOptions(softmax=False, pooling="avgpool"))["int8"]
    assert one.path.name == "tiny_w1_65x48_int8-avgpool-nosm.tflite"
    assert (one.manifest.input.dtype, one.manifest.outputs[0].dtype) == ("float32", "float32")
    assert one.manifest.parity.mean_error_lsb is not None
    assert "SOFTMAX" not in one.manifest.operators


def test_one_channel_is_calibrated_with_arrays(tmp_path: Path) -> None:
    grey = MINI.at(input_channels=1)
    with pytest.raises(ExportError, match=r"1 channels.*argument 'calibration=FOLDER' with \.npy arrays of shape \(65, 48, 1\)"):
        export(grey, tmp_path / "out", "int8")
    folder = tmp_path / "arrays"
    folder.mkdir()
    for i, picture in enumerate(sample_pixels(8, grey.input_size)):
        np.save(folder / f"{i}.npy", picture[..., :1])
    files = export(grey, tmp_path / "out", "float32", "int8", calibration=folder)
    assert files["int8"].manifest.input.shape == (1, 65, 48, 1)
    assert files["int8"].manifest.input.mean == (128.0,)
    assert files["int8"].manifest.calibration.pictures == 8  # type: ignore[union-attr]
    np.save(folder / "9.npy", np.zeros((65, 48, 3), np.uint8))
    with pytest.raises(ExportError, match=r"9\.npy: uint8 of shape \(65, 48, 3\)"):
        export(grey, tmp_path / "wrong", "int8", calibration=folder)


def test_arrays_are_spread_over_a_folder_and_other_files_are_named(tmp_path: Path) -> None:
    grey = MINI.at(input_channels=1)
    for i in range(9):
        np.save(tmp_path / f"{i}.npy", np.full((65, 48, 1), i, np.float32))
    assert read_pictures(tmp_path, grey, limit=3).images[:, 0, 0, 0].tolist() == [0, 3, 6]
    with (tmp_path / "0.npy").open("wb") as stream:
        np.savez(stream, np.zeros((65, 48, 1), np.float32))
    with pytest.raises(ExportError, match=r"0\.npy: an archive of arrays"):
        read_pictures(tmp_path, grey)
    (tmp_path / "0.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'(\n")
    with pytest.raises(ExportError, match=r"0\.npy: cannot be read as an array"):
        read_pictures(tmp_path, grey)


def test_names_that_are_no_utf8_go_into_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"photos\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system takes names in UTF-8 only")
    Image.fromarray(sample_pixels(1, (64, 64))[0]).save(folder / "right.png")
    (folder / os.fsdecode(b"broken\xfe.jpg")).write_bytes(b"no picture")
    calibration = read_pictures(folder, TINY).calibration
    written = json.loads(msgspec.json.encode(calibration))
    assert written["source"].endswith("photos\ufffd")
    assert written["skipped"][0].startswith("broken\ufffd.jpg: ")


def test_consistency_of_other_channels_takes_the_folder_for_both(tmp_path: Path, command: Command) -> None:
    from mhmodels.export.consistency.subject import consistency_subject

    grey = MINI.at(input_channels=1)
    Path("grey.json").write_bytes(grey.to_json())
    done = command("consistency", "grey.json", "--format", "int8")
    assert done.returncode == 1
    assert "give --images FOLDER with .npy arrays of shape (65, 48, 1)" in done.stderr
    for i, picture in enumerate(sample_pixels(4, grey.input_size)):
        np.save(tmp_path / f"{i}.npy", picture[..., :1])
    subject = consistency_subject(grey, tmp_path)
    assert subject.calibration == subject.pictures
    assert subject.calibration.calibration.source == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "tensorflow", "--no-softmax", "--pooling", "avgpool"), "--pooling avgpool, --no-softmax: only the direct"),
        (("--engine", "tensorflow", "--features"), "--features: only the direct"),
        (("--engine", "tensorflow", "--normalise-in-model"), "--normalise-in-model: only the direct"),
        (("--features", "--no-softmax"), "give one of them"),
        (("--granularity", "tensor"), "--granularity is of int8 files"),
        (("--labels", "ten.txt", "--features"), "--labels with --features: feature maps have no classes"),
        (("--labels", "nine.txt"), "9 labels from output 0 on, the network has 10 outputs; if output 0 is a background class"),
        (("--labels", "gap.txt"), "line 2 is empty"),
        (("--labels", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_built(
    arguments: tuple[str, ...], message: str, command: Command, tiny: str
) -> None:
    Path("nine.txt").write_text("\n".join(f"class {i}" for i in range(9)))
    Path("ten.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    Path("gap.txt").write_text("one\n\nthree\n")
    done = command("export", tiny, *arguments, "-o", "out")
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(Path("out").glob("*"))


def test_the_ends_of_int8_files_asked_for_without_one_are_remarked(command: Command, tiny: str) -> None:
    done = command("export", tiny, "--format", "float32", "--io", "int8", "-o", "out")
    assert done.returncode == 0
    assert "--io int8 is for int8 files, of which there are none" in done.stderr


def test_label_offset_without_labels_is_wrong_usage(command: Command, tiny: str) -> None:
    done = command("export", tiny, "--label-offset", "1", "-o", "out")
    assert done.returncode == 2


DISPLAY = """
import ctypes, json, sys
import libusb_package
ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
sys.modules["tensorflow"] = None  # which takes seconds to import and serves remote files only
from tensorflow_lite_support.metadata.python import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
files = {name: shown.get_associated_file_buffer(name).decode() for name in shown.get_packed_associated_file_list()}
print(json.dumps([json.loads(shown.get_metadata_json()), files]))
"""


@pytest.mark.skipif(MetadataWriter.unavailable() is not None, reason="tflite-support is not installed")
def test_metadata_is_read_back_and_changes_nothing_else(command: Command, tiny: str) -> None:
    names = [f"class {i}" for i in range(9)]
    Path("labels.txt").write_text("\n".join(names))
    labels = ("--labels", "labels.txt", "--label-offset", "1")
    with_metadata = command("export", tiny, "--format", "uint8", *labels, "-o", "with", "--json")
    assert with_metadata.returncode == 0, with_metadata.stderr
    assert command("export", tiny, "--format", "uint8", *labels, "--no-metadata", "-o", "without").returncode == 0
    path = Path("with", "tiny_w1_65x48_uint8.tflite")
    shown = subprocess.run([sys.executable, "-c", DISPLAY, str(path)], capture_output=True, text=True, check=True)
    document, files = json.loads(shown.stdout.splitlines()[-1])
    assert files == {"labels.txt": "\n".join(["background", *names]) + "\n"}
    picture = document["subgraph_metadata"][0]["input_tensor_metadata"][0]
    assert picture["process_units"][0]["options"] == {"mean": [128.0] * 3, "std": [128.0] * 3}
    assert document["author"] == "mhmodels"
    assert document["version"]
    assert "65" in document["description"]
    manifest = load_manifest("with/tiny_w1_65x48_uint8.manifest.json")
    assert (manifest.metadata, manifest.labels.offset, manifest.labels.names) == (True, 1, tuple(names))
    plain = Path("without", path.name).read_bytes()
    for kernels in RESOLVERS:
        image = pixels(TINY)
        assert np.array_equal(run(path.read_bytes(), image, kernels)["scores"], run(plain, image, kernels)["scores"])


def aligned(content: bytes) -> bool:
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    return all(b._tab.Vector(b._tab.Offset(4)) % 16 == 0 for b in buffers if not b.DataIsNone())


@pytest.mark.parametrize("extra", [0, 1, 7, 15, 1000])
def test_attached_buffers_move_no_weight_off_its_boundary(extra: int) -> None:
    content = latency_bytes(TINY, "int8")
    described = attach_buffer(content + bytes(extra % 16), "NOTE", bytes(range(256))[: extra % 256])
    model = schema.ModelT.InitFromPackedBuf(described, 0)
    assert aligned(described)
    assert [entry.name for entry in model.metadata] == [b"min_runtime_version", b"NOTE"]
    assert model.description == b"mhmodels"
    image = pixels(TINY)
    assert np.array_equal(run(described, image)["scores"], run(content, image)["scores"])
    twice = schema.ModelT.InitFromPackedBuf(attach_buffer(described, "MORE", b"x"), 0)
    assert [entry.name for entry in twice.metadata] == [b"min_runtime_version", b"NOTE", b"MORE"]


def test_no_metadata_without_tflite_support(monkeypatch: pytest.MonkeyPatch, command: Command, tiny: str) -> None:
    monkeypatch.setattr(MetadataWriter, "unavailable", staticmethod(lambda: "tflite-support is not installed (test)"))
    Path("labels.txt").write_text("\n".join("abcdefghij"))
    done = command("export", tiny, "--labels", "labels.txt", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "no metadata, because tflite-support is not installed" in done.stderr
    assert load_manifest("out/tiny_w1_65x48_float32.manifest.json").labels.names == tuple("abcdefghij")
    asked = command("export", tiny, "--metadata", "-o", "asked")
    assert asked.returncode == 1
    assert "--metadata: tflite-support is not installed" in asked.stderr


VELA = shutil.which("vela", path=os.fspath(Path(sys.executable).parent)) or shutil.which("vela")


@pytest.mark.slow
@pytest.mark.skipif(VELA is None, reason="ethos-u-vela is not installed")
@pytest.mark.skipif(MetadataWriter.unavailable() is not None, reason="tflite-support is not installed")
@pytest.mark.parametrize("normalise", [False, True])
def test_vela_takes_files_with_metadata(tmp_path: Path, normalise: bool) -> None:
    one = export(TINY, tmp_path, "int8", metadata=True, normalise_in_model=normalise)["int8"]
    arguments = [str(VELA), "--accelerator-config", "ethos-u55-128", "--output-dir", str(tmp_path), str(one.path)]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "CPU operators = 0 " in said


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["direct", "tensorflow"])
def test_metadata_on_files_of_both_engines(tmp_path: Path, engine: str) -> None:
    files = export(MINI, tmp_path, *FORMATS, metadata=True, engine=engine)
    assert all(aligned(one.path.read_bytes()) for one in files.values() if engine == "direct")
    assert all(one.manifest.metadata for one in files.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ("float32", "dynamic")}, "argument 'formats': 'dynamic', expected float32, float16, int8, uint8"),
        ({"formats": ()}, "argument 'formats': empty, expected some of float32"),
        ({"engine": "onnx"}, "argument 'engine': 'onnx', expected direct, tensorflow"),
        ({"io": "int16"}, "argument 'io': 'int16', expected"),
        ({"granularity": "row"}, "argument 'granularity': 'row', expected channel, tensor"),
    ],
)
def test_words_that_are_none_are_refused_from_python(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(MINI, ExportOptions(directory=tmp_path / "out", **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_folder_of_enough_pictures_chooses_its_method(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    own, bundled = ExportOptions(directory=tmp_path, calibration=folder), ExportOptions(directory=tmp_path)
    assert [own.method_for(count) for count in (31, 32)] == ["min-max", "auto"]
    assert bundled.method_for(64) == "min-max"
    stated = ExportOptions(directory=tmp_path, calibration=folder, calibration_method="percentile-99.9")
    assert stated.method_for(64) == "percentile-99.9"
    for i, picture in enumerate(sample_pixels(32, (70, 70))):
        Image.fromarray(picture).save(folder / f"{i}.png")
    for one in export_model(MINI, ExportOptions(directory=tmp_path / "out", formats=("uint8",), calibration=folder)):
        assert one.manifest.calibration is not None
        assert "chosen by the mean error at the scores of 8 held-out pictures" in one.manifest.calibration.method
