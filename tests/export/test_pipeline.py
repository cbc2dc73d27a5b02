"""From a name to verified files, through the command line; and what happens when something is wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_model
from mhmodels.export.targets import file_name, target_paths
from mhmodels.export.verification.file_graph import encode_input, file_logits
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.preprocessing.pictures import sample_pictures, sample_pixels
from mhmodels.registry import resolve
from mhmodels.tflite.file import read_tflite
from mhmodels.tflite.format import compute_format
from tests.conftest import Command
from tests.export.conftest import FORMATS
from tests.export.writer_helpers import MINI, TINY

pytestmark = pytest.mark.tensorflow

STEM = "tiny_w1_65x48"
PLUMBING = {"SHAPE", "PACK", "STRIDED_SLICE", "DEQUANTIZE", "TRANSPOSE", "PAD"}


def manifest_of(path: Path):  # type: ignore[no-untyped-def]
    return load_manifest(path.with_name(path.name.replace(".tflite", ".manifest.json")))


@pytest.mark.parametrize("fmt", ["float32", "int8", "uint8"])
def test_the_file_is_what_its_manifest_says(exported: Path, fmt: str) -> None:
    path = exported / f"{STEM}_{fmt}.tflite"
    manifest = manifest_of(path)
    assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.network() == TINY
    assert manifest.precision == compute_format(read_tflite(path)) == fmt
    assert not PLUMBING & set(manifest.operators)
    assert ("QUANTIZE" in manifest.operators) == (fmt == "int8")
    assert "untrained" in manifest.weights
    assert manifest.parity.correlation > 0.99
    assert [(output.name, output.shape) for output in manifest.outputs] == [("scores", (1, 10))]
    if fmt == "float32":
        assert not manifest.quantisation
        return
    assert manifest.calibration is not None
    assert manifest.calibration.source == "bundled photographs"
    assert (manifest.input.dtype, manifest.input.takes_pixels) == ("uint8", True)
    assert manifest.parity.worst_layer_lsb is not None
    assert manifest.parity.worst_layer_lsb <= 1.0
    scale = manifest.quantisation["logits"].scale
    assert scale > 0
    assert manifest.granularity == {"int8": "channel", "uint8": "tensor"}[fmt]


def test_formats_agree_on_pictures(exported: Path) -> None:
    pictures = sample_pictures(20, TINY.input_size, TINY.preprocessing)
    logits = {fmt: file_logits(exported / f"{STEM}_{fmt}.tflite", pictures) for fmt in FORMATS}
    for fmt, least in (("float16", 0.9999), ("int8", 0.98), ("uint8", 0.97)):
        assert np.corrcoef(logits["float32"].ravel(), logits[fmt].ravel())[0, 1] > least, fmt


def test_wrong_weights_fail_verification_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer check must see one wrong kernel that end to end figures could hide."""
    import mhmodels.export.file_export as file_export

    honest = file_export.write_quantised

    def tampered(quantised, **options):  # type: ignore[no-untyped-def]
        kernels = dict(quantised.kernels)
        kernel = kernels["stage4_block2_depthwise"]
        kernels["stage4_block2_depthwise"] = kernel._replace(bias=kernel.bias + 20_000)
        return honest(quantised._replace(kernels=kernels), **options)

    monkeypatch.setattr(file_export, "write_quantised", tampered)
    with pytest.raises(ParityError, match="stage4_block2_depthwise"):
        list(export_model(TINY, ExportOptions(directory=tmp_path, formats=("int8",))))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        list(export_model(MINI, ExportOptions(directory=tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_for_temporary_files_is_not_taken_for_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for the runtime are written there while the file is verified."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mhmodels.export.verification.runtimes.litert.np.savez", full)
    with pytest.raises(ExportError, match=r"cannot be verified, because a file in the folder for temporary files, .*TMPDIR"):
        export_model(MINI, ExportOptions(directory=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_without_overwrite(tmp_path: Path, command: Command, tiny: str) -> None:
    existing = tmp_path / "out" / f"{STEM}_float32.tflite"
    existing.parent.mkdir()
    existing.write_text("precious")
    done = command("export", tiny, "-o", "out")
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    assert existing.read_text() == "precious"


def test_an_existing_manifest_is_kept_without_overwrite(tmp_path: Path) -> None:
    existing = tmp_path / f"{STEM}_float32.manifest.json"
    existing.write_text("precious")
    with pytest.raises(ExportError, match=r"float32\.manifest\.json: exists already; give argument 'overwrite'"):
        target_paths(TINY, ExportOptions(directory=tmp_path), set())
    assert list(target_paths(TINY, ExportOptions(directory=tmp_path, overwrite=True), set())) == ["float32"]


def test_calibration_folder_with_a_corrupt_picture(tmp_path: Path, command: Command, tiny: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = (sample_pictures(6, (80, 80)) * 127.5 + 127.5).astype(np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    done = command("export", tiny, "--format", "int8", "--calibration", str(folder), "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert set(file) >= {"path", "format", "sha256", "bytes", "parity"}
    manifest = manifest_of(Path(tmp_path, file["path"]))
    assert manifest.calibration is not None
    assert manifest.calibration.pictures == 6
    assert "broken.jpg" in manifest.calibration.skipped[0]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_pictures_is_one_message(folder: str, tmp_path: Path, command: Command, tiny: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture here")
    done = command("export", tiny, "--format", "int8", "--calibration", folder, "-o", "out")
    assert done.returncode == 1
    assert folder in done.stderr
    assert not list(Path("out").glob("*"))


def test_brackets_in_names_are_no_markup(command: Command) -> None:
    Path("odd.json").write_bytes(msgspec.structs.replace(MINI, name="tiny [/b]").to_json())
    folder = Path("[/photos]")
    folder.mkdir(parents=True)
    for i, picture in enumerate(sample_pixels(4, (80, 80))):
        Image.fromarray(picture).save(folder / f"{i}.png")
    done = command("export", "odd.json", "--calibration", str(folder), "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "pictures of [/photos]" in done.stdout
    missing = command("verify", "[/x].tflite")
    assert missing.returncode == 1
    assert "[/x].tflite: cannot be read" in missing.stderr


def test_encoded_pictures_are_within_half_a_step(exported: Path) -> None:
    file = read_tflite(exported / f"{STEM}_uint8.tflite")
    entry = file.tensors[file.inputs[0]]
    pictures = sample_pictures(3, TINY.input_size, TINY.preprocessing)
    back = (encode_input(file, pictures).astype(np.float32) - entry.zero_point[0]) * entry.scale[0]
    assert np.abs(back - pictures).max() <= 0.51 * entry.scale[0]


def test_file_names_carry_every_choice() -> None:
    architecture = resolve("multi_max.tunas@1.25").at(input_size=(192, 256))
    options = ExportOptions(directory=Path(), granularity="tensor", writer=WriterOptions(pooling="avgpool", softmax=False))
    assert file_name(architecture, "int8", options) == "multi_max.tunas_w1.25_192x256_int8-avgpool-pt-nosm.tflite"
    assert file_name(resolve("multi_avg"), "float32", ExportOptions(directory=Path())) == "multi_avg_w1_224_float32.tflite"


@pytest.mark.parametrize("fmt", [pytest.param("float32", marks=pytest.mark.slow), "uint8"])
def test_the_tensorflow_engine_passes_the_same_check(fmt: str, tmp_path: Path) -> None:
    _by_tensorflow(MINI, fmt, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ["float32", "int8", "uint8"])
def test_the_tensorflow_engine_passes_the_same_check_with_every_operation(fmt: str, tmp_path: Path) -> None:
    _by_tensorflow(TINY, fmt, tmp_path)


def _by_tensorflow(architecture: Architecture, fmt: str, folder: Path) -> None:
    options = ExportOptions(directory=folder, formats=(fmt,), engine="tensorflow")  # type: ignore[arg-type]
    (one,) = export_model(architecture, options)
    assert one.manifest.engine == "tensorflow"
    assert not PLUMBING & set(one.manifest.operators)


def test_a_batch_goes_on_after_a_failure(command: Command, tiny: str) -> None:
    other = msgspec.structs.replace(MINI, name="other")
    Path("other.json").write_bytes(other.to_json())
    Path("out").mkdir()
    Path("out", f"{STEM}_float32.tflite").write_text("precious")
    done = command("export", tiny, "other.json", "-o", "out", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [Path(file["path"]).name for file in said["files"]] == ["other_w1_65x48_float32.tflite"]
    assert said["failed"][0]["model"] == tiny
    assert "--overwrite" in done.stderr


def test_two_networks_of_one_name_do_not_overwrite_each_other(command: Command, tiny: str) -> None:
    Path("twin.json").write_bytes(MINI.at(classes=7).to_json())
    done = command("export", tiny, "twin.json", "-o", "out", "--overwrite")
    assert done.returncode == 1
    assert "two of the networks" in done.stderr
    assert manifest_of(Path("out", f"{STEM}_float32.tflite")).network() == MINI


def test_weights_that_do_not_fit_or_are_not_finite_are_one_message(command: Command, tiny: str) -> None:
    import keras

    from mhmodels.builder import create_model

    keras.utils.set_random_seed(0)
    model = create_model(MINI)
    model.save_weights("nan.weights.h5")
    kernel = model.get_layer("head1_conv").kernel
    values = np.array(kernel)
    values[0, 0, 0, 0] = np.nan
    kernel.assign(values)
    model.save_weights("nan.weights.h5")
    create_model(MINI.at(classes=3)).save_weights("three.weights.h5")
    for weights, message in (("nan.weights.h5", "NaN"), ("three.weights.h5", "classes"), ("missing.weights.h5", "no such file")):
        done = command("export", tiny, "--weights", weights, "-o", "out")
        assert done.returncode == 1
        assert message in done.stderr, weights
    assert not Path("out").exists() or not list(Path("out").iterdir())


# One of each kind of block; that all networks are written as the converter does is in test_writer_converter.py.
FAMILIES = ("mobilenet_edgetpu", "mobilenet_v3_small", "mobilenet_v4_conv_small", "multi_max_seg")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_in_every_format(name: str, tmp_path: Path) -> None:
    import keras

    options = ExportOptions(directory=tmp_path, formats=FORMATS)
    for one in export_model(resolve(name).at(input_size=64), options):
        p = one.manifest.parity
        least = {"float32": 0.999999, "float16": 0.999, "int8": 0.9, "uint8": 0.85}[one.manifest.precision]
        assert (p.correlation if p.float_correlation is None else p.float_correlation) > least, one.manifest.precision
    keras.utils.clear_session()  # the graphs of all networks would fill gigabytes
