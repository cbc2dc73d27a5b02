"""From a name to verified files, through the command line; and what happens when something is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.file_graph import encode_input, file_logits
from export.graph import ExportError
from export.manifest import read_manifest
from export.parity import ParityError
from export.pipeline import Options, export_model, file_name
from export.writer import WriterOptions
from mhmodels.preprocessing import sample_pictures
from mhmodels.registry import resolve
from mhmodels.tflite_file import read_tflite
from tests.conftest import Run

pytestmark = pytest.mark.tensorflow

SMALL = ["--width-multiplier", "0.25", "--input-size", "64", "--classes", "20"]
PLUMBING = {"SHAPE", "PACK", "STRIDED_SLICE", "DEQUANTIZE", "TRANSPOSE", "PAD"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """multi_max@0.25 at 64x64 in four formats."""
    folder = tmp_path_factory.mktemp("exported")
    architecture = resolve("multi_max@0.25").at(input_size=64, classes=20)
    for _ in export_model(architecture, Options(directory=folder, formats=("float32", "float16", "int8", "uint8"))):
        pass
    return folder


@pytest.mark.parametrize("fmt", ["float32", "int8", "uint8"])
def test_the_file_is_what_its_manifest_says(exported: Path, fmt: str) -> None:
    path = exported / f"multi_max_w0.25_64_{fmt}.tflite"
    manifest = read_manifest(path.with_name(path.name.replace(".tflite", ".manifest.json")))
    assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.network() == resolve("multi_max@0.25").at(input_size=64, classes=20)
    assert manifest.precision == read_tflite(path).format() == fmt
    assert not PLUMBING & set(manifest.operators)
    assert ("QUANTIZE" in manifest.operators) == (fmt == "int8")
    assert "untrained" in manifest.weights
    assert manifest.parity.correlation > 0.99
    if fmt != "float32":
        assert manifest.calibration is not None
        assert manifest.calibration.source == "bundled photographs"
        assert manifest.input.dtype == "uint8"
        assert manifest.parity.worst_layer_lsb is not None
        assert manifest.parity.worst_layer_lsb <= 1.0


def test_formats_agree_on_pictures(exported: Path) -> None:
    pictures = sample_pictures(20, (64, 64), resolve("multi_max").preprocessing)
    logits = {
        fmt: file_logits(exported / f"multi_max_w0.25_64_{fmt}.tflite", pictures)
        for fmt in ("float32", "float16", "int8", "uint8")
    }
    for fmt, least in (("float16", 0.9999), ("int8", 0.99), ("uint8", 0.98)):
        assert np.corrcoef(logits["float32"].ravel(), logits[fmt].ravel())[0, 1] > least, fmt


def test_wrong_weights_fail_verification_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer check must see one wrong kernel that end to end figures could hide."""
    import export.pipeline as pipeline

    honest = pipeline.write_quantised

    def tampered(quantised, **options):  # type: ignore[no-untyped-def]
        kernels = dict(quantised.kernels)
        kernel = kernels["stage6_block2_depthwise"]
        kernels["stage6_block2_depthwise"] = kernel._replace(bias=kernel.bias + 20_000)
        return honest(quantised._replace(kernels=kernels), **options)

    monkeypatch.setattr(pipeline, "write_quantised", tampered)
    architecture = resolve("multi_max@0.25").at(input_size=64, classes=20)
    with pytest.raises(ParityError, match="stage6_block2_depthwise"):
        list(export_model(architecture, Options(directory=tmp_path, formats=("int8",))))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        list(export_model(resolve("multi_max@0.25").at(input_size=64, classes=20), Options(directory=tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_without_overwrite(tmp_path: Path, mhmodels: Run) -> None:
    existing = tmp_path / "out" / "multi_max_w0.25_64_float32.tflite"
    existing.parent.mkdir()
    existing.write_text("precious")
    done = mhmodels("export", "multi_max", *SMALL, "-o", "out")
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    assert existing.read_text() == "precious"


def test_calibration_folder_with_a_corrupt_picture(tmp_path: Path, mhmodels: Run) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = (sample_pictures(6, (80, 80)) * 127.5 + 127.5).astype(np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    done = mhmodels("export", "multi_max", *SMALL, "--format", "int8", "--calibration", str(folder), "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert set(file) >= {"path", "format", "sha256", "bytes", "parity"}
    manifest = read_manifest(Path(tmp_path, file["path"].replace(".tflite", ".manifest.json")))
    assert manifest.calibration is not None
    assert manifest.calibration.pictures == 6
    assert "broken.jpg" in manifest.calibration.skipped[0]


@pytest.mark.parametrize(
    ("folder", "message"), [("missing", "missing"), ("empty", "empty")], ids=["no such folder", "no readable picture"]
)
def test_a_folder_without_pictures_is_one_message(folder: str, message: str, tmp_path: Path, mhmodels: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture here")
    done = mhmodels("export", "multi_max", *SMALL, "--format", "int8", "--calibration", folder, "-o", "out")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_verify_tells_foreign_manifests_and_wrong_models(exported: Path, tmp_path: Path, mhmodels: Run) -> None:
    float_file, int8_file = (exported / f"multi_max_w0.25_64_{fmt}.tflite" for fmt in ("float32", "int8"))
    good = mhmodels("verify", str(int8_file), "--against", str(float_file), "--json")
    assert good.returncode == 0, good.stderr
    report = json.loads(good.stdout)
    assert (report["manifest"], report["precision"]) == ("agrees", "int8")
    assert report["against"]["correlation"] > 0.99

    swapped = tmp_path / int8_file.name
    shutil.copy(float_file, swapped)
    shutil.copy(int8_file.with_name(int8_file.name.replace(".tflite", ".manifest.json")), tmp_path)
    bad = mhmodels("verify", str(swapped))
    assert bad.returncode == 1
    assert "'sha256'" in bad.stderr

    other = mhmodels("verify", str(float_file), "--against", "multi_avg@0.25")
    assert other.returncode == 1
    assert "expected at most" in other.stderr


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_verify_of_a_truncated_file_is_one_message(exported: Path, tmp_path: Path, mhmodels: Run, keep: float) -> None:
    data = (exported / "multi_max_w0.25_64_int8.tflite").read_bytes()
    size = int(len(data) * keep) if isinstance(keep, float) else keep
    (tmp_path / "cut.tflite").write_bytes(data[:size])
    done = mhmodels("verify", "cut.tflite")
    assert done.returncode == 1
    assert "cut.tflite" in done.stderr
    assert "Traceback" not in done.stderr


def test_encoded_pictures_are_within_half_a_step(exported: Path) -> None:
    file = read_tflite(exported / "multi_max_w0.25_64_uint8.tflite")
    entry = file.tensors[file.inputs[0]]
    pictures = sample_pictures(3, (64, 64), resolve("multi_max").preprocessing)
    back = (encode_input(file, pictures).astype(np.float32) - entry.zero_point[0]) * entry.scale[0]
    assert np.abs(back - pictures).max() <= 0.51 * entry.scale[0]


def test_file_names_carry_every_choice() -> None:
    architecture = resolve("multi_max.tunas@1.25").at(input_size=(192, 256))
    options = Options(directory=Path(), granularity="tensor", writer=WriterOptions(pooling="avgpool", softmax=False))
    assert file_name(architecture, "int8", options) == "multi_max.tunas_w1.25_192x256_int8-avgpool-pt-nosm.tflite"
    assert file_name(resolve("multi_avg"), "float32", Options(directory=Path())) == "multi_avg_w1_224_float32.tflite"


@pytest.mark.parametrize("fmt", ["float32", "int8", "uint8"])
def test_the_tensorflow_engine_passes_the_same_check(fmt: str, tmp_path: Path) -> None:
    architecture = resolve("mobilenet_v3_large@0.35").at(input_size=64, classes=20)
    (one,) = export_model(architecture, Options(directory=tmp_path, formats=(fmt,), engine="tensorflow"))  # type: ignore[arg-type]
    assert one.manifest.engine == "tensorflow"
    assert not PLUMBING & set(one.manifest.operators)
