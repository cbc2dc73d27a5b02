"""`mhmodels verify`: a file, its manifest, and a model or another file, on pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from export.graph import ExportError, Floats
from export.manifest import Manifest, manifest_path, read_manifest
from export.verify import FileReport, Parity, ParityError, compare_logits, file_logits, runtimes_differ
from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.preprocessing import load_pictures, sample_pictures
from mhmodels.tflite_file import TFLiteFile, read_tflite

PICTURES = 26
FLOAT_TOLERANCE = 1e-3
QUANTISED_CORRELATION = 0.95


def verify_file(
    path: Path, against: str | None, images: Path | None, weights: Path | None, tolerance: float | None
) -> FileReport:
    """Checks a file; see `FileReport`.

    Args:
        path: the TFLite file.
        against: a zoo name, an architecture file, or another TFLite file; None to check the file alone.
        images: folder of pictures; None for the bundled photographs.
        weights: of the model in `against`; None for the seeded random weights that `mhmodels export` uses.
        tolerance: largest difference at the logits as a share of their spread. Default: 1e-3 between float networks;
            where one is quantised, a correlation of at least 0.95 instead.

    Raises:
        ParityError: the file contradicts its manifest, is not finite, or departs further than allowed.
        FileFormatError: a file is damaged or of another kind.
    """
    file = read_tflite(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = read_manifest(manifest_path(path)) if manifest_path(path).is_file() else None
    state = _check_manifest(path, file, digest, manifest)
    pictures = _pictures(file, path, manifest, images)
    difference, unit = runtimes_differ(path, pictures)
    parity = None if against is None else _compare(path, file, against, pictures, weights, manifest, tolerance)
    return FileReport(
        file=str(path),
        sha256=digest,
        precision=file.format(),
        operators=_operators(file),
        pictures=len(pictures),
        manifest=state,
        runtimes_differ=difference,
        runtimes_unit=unit,
        against=parity,
    )


def _operators(file: TFLiteFile) -> dict[str, int]:
    return dict(sorted(Counter(operator.kind for operator in file.operators).items()))


def _check_manifest(path: Path, file: TFLiteFile, digest: str, manifest: Manifest | None) -> str:
    if manifest is None:
        return "absent"
    claims = {
        "sha256": (manifest.sha256, digest),
        "precision": (manifest.precision, file.format()),
        "operators": (manifest.operators, _operators(file)),
        "architecture_id": (manifest.architecture_id, manifest.network().architecture_id),
    }
    for field, (claimed, found) in claims.items():
        if claimed != found:
            raise ParityError(
                f"{path}: the manifest's field '{field}' is {claimed!r}, the file has {found!r}: they do not belong together"
            )
    return "agrees"


def _pictures(file: TFLiteFile, path: Path, manifest: Manifest | None, folder: Path | None) -> Floats:
    """Pictures in the file's own size, preprocessed as its manifest says."""
    shape = file.tensors[file.inputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise ExportError(f"{path}: input is {shape}, expected one colour picture (1, height, width, 3)")
    preprocessing = Preprocessing() if manifest is None else manifest.network().preprocessing
    size = (shape[1], shape[2])
    return sample_pictures(PICTURES, size, preprocessing) if folder is None else load_pictures(folder, size, preprocessing)[0]


def _compare(
    path: Path,
    file: TFLiteFile,
    against: str,
    images: Floats,
    weights: Path | None,
    manifest: Manifest | None,
    tolerance: float | None,
) -> Parity:
    found = file_logits(path, images)
    if against.endswith(".tflite"):
        other = read_tflite(against)
        expected, exact = file_logits(against, images), other.format() == "float32"
    else:
        expected, exact = _model_logits(_architecture(against, file, found.shape[1], manifest), weights, images), True
    parity = compare_logits(found, expected, against)
    if tolerance is None and not (exact and file.format() == "float32"):
        if not parity.correlation >= QUANTISED_CORRELATION:
            raise ParityError(
                f"{path}: logits correlate with {against} by {parity.correlation:.4f}, expected at least {QUANTISED_CORRELATION}"
            )
        return parity
    allowed = FLOAT_TOLERANCE if tolerance is None else tolerance
    if not parity.max_error <= allowed:
        raise ParityError(
            f"{path}: logits depart from {against} by up to {parity.max_error:.2g} of their spread, expected at most {allowed:g}"
        )
    return parity


def _architecture(model: str, file: TFLiteFile, classes: int, manifest: Manifest | None) -> Architecture:
    from mhmodels.registry import resolve

    shape = file.tensors[file.inputs[0]].shape
    width = None if manifest is None or "@" in model else manifest.network().width_multiplier
    return resolve(model).at(input_size=(shape[1], shape[2]), classes=classes, width_multiplier=width)


def _model_logits(architecture: Architecture, weights: Path | None, images: Floats) -> Floats:
    from export.pipeline import read_pictures
    from export.source import load_source

    return load_source(architecture, weights, read_pictures(None, architecture).images).logits(images)
