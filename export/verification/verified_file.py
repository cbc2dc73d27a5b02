"""A TFLite file that is being verified: its content, its manifest, and pictures as its network takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.tolerances import PARITY_PICTURES
from mhmodels.export.verification.facts import contradictions
from mhmodels.export.writing.manifest import Manifest, load_manifest, manifest_path
from mhmodels.hardware.plausible import check_not_compiled
from mhmodels.system.files import read_bytes
from mhmodels.tflite.file import MAX_BYTES, TFLiteFile, parse_tflite

if TYPE_CHECKING:
    from mhmodels.export.reading.pictures import Frame

LARGEST_INPUT = 1 << 26
"""Largest number of values of all pictures together: the input of a hostile file must not fill the memory."""


class ManifestedFile(msgspec.Struct, frozen=True):
    """A file, its content, and its manifest if it has one, which belongs to it.

    Attributes:
        path: Path of the file.
        data: Its bytes.
        parsed: Its main graph.
        manifest: None where no manifest lies beside the file.
    """

    path: Path
    data: bytes
    parsed: TFLiteFile
    manifest: Manifest | None

    def rule(self) -> Preprocessing | None:
        """Returns the way from a picture to the input, if the manifest states it."""
        return None if self.manifest is None else self.manifest.input.preprocessing()


class VerifiedFile(msgspec.Struct, frozen=True):
    """A file that is being verified, and pictures as its network takes them.

    Attributes:
        path: Path of the file.
        file: Its main graph.
        manifest: None where no manifest lies beside the file.
        frame: What pictures must be like for the file.
        images: float32 (n, height, width, channels), normalised.
    """

    path: Path
    file: TFLiteFile
    manifest: Manifest | None
    frame: Frame
    images: Float32Array

    @property
    def equalisation(self) -> Mapping[str, str]:
        """Equalisation factors that the manifest states; empty where there are none."""
        calibration = None if self.manifest is None else self.manifest.calibration
        return {} if calibration is None else calibration.equalisation


def read_with_manifest(path: Path) -> ManifestedFile:
    """Reads a file and the manifest beside it.

    Raises:
        FileFormatError: One of them is damaged or of another kind, or the file is compiled for other hardware.
        ParityError: They do not belong together; the message names the field that differs.
    """
    data, beside = read_bytes(path, MAX_BYTES), manifest_path(path)
    file = parse_tflite(data, source=str(path))
    check_not_compiled(file, str(path))
    manifest = load_manifest(beside) if os.path.lexists(beside) else None
    if manifest is not None:
        _check_manifest(path, contradictions(manifest, file, data))
    return ManifestedFile(path, data, file, manifest)


def _check_manifest(path: Path, differing: Mapping[str, tuple[object, object]]) -> None:
    for field, (claimed, found) in differing.items():
        raise ParityError(
            f"{path}: the manifest's field '{field}' is {str(claimed)[:200]}, the file has {str(found)[:200]}: "
            f"they do not belong together{_also(differing, field)}"
        )


def _also(differing: Mapping[str, object], first: str) -> str:
    others = [field for field in differing if field != first]
    return f" ({', '.join(others)} differ too)" if others else ""


def most_pictures(*files: ManifestedFile | None) -> int:
    """Returns the largest number of pictures whose values all of the files take together.

    Raises:
        ExportError: A file does not take one picture, or a picture of it has too many values.
    """
    return LARGEST_INPUT // max(_values(file) for file in files if file is not None)


def _values(file: ManifestedFile) -> int:
    """Returns the number of values of one picture as a file takes it."""
    shape = file.parsed.tensors[file.parsed.inputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ExportError(f"{file.path}: input is {shape}, expected one picture (1, height, width, channels)")
    one = shape[1] * shape[2] * shape[3]
    if one > LARGEST_INPUT:
        raise ExportError(f"{file.path}: input is {shape}, {one} values a picture, expected at most {LARGEST_INPUT}")
    return one


def with_pictures(file: ManifestedFile, folder: Path | None, most: int, elsewhere: Preprocessing | None) -> VerifiedFile:
    """Returns a file with at most so many pictures of its own size, preprocessed as its manifest states.

    Without a manifest they are preprocessed as `elsewhere`, or else by the default.
    """
    from mhmodels.export.reading.pictures import LARGEST_FOLDER, Frame, fit_preprocessing, photographs, read_pictures

    _, height, width, channels = file.parsed.tensors[file.parsed.inputs[0]].shape
    rule = file.rule() or elsewhere or Preprocessing()
    frame = fit_preprocessing(Frame(input_size=(height, width), input_channels=channels, preprocessing=rule))
    if folder is None:
        images = photographs(min(PARITY_PICTURES, most), frame)
    else:
        images = read_pictures(folder, frame, min(LARGEST_FOLDER, most)).images
    return VerifiedFile(file.path, file.parsed, file.manifest, frame, images)
