"""The manifest beside each exported file: what it is, what it was made from, how it was checked."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import msgspec

from mhmodels.architecture import Architecture, Interpolation, Preprocessing, decode_json, read_bytes
from mhmodels.export.verification.parity import Parity
from mhmodels.export.writing.labels import NO_LABELS, OutputLabels
from mhmodels.formats.checked import Checked
from mhmodels.tflite.format import FileFormat

FORMAT = "mhmodels.manifest/1"
TOOLS = ("mhmodels", "tensorflow", "keras", "ai-edge-litert", "numpy", "flatbuffers", "tflite-support")
LARGEST = 64 << 20


class TensorSpec(Checked, frozen=True, kw_only=True):
    """How a tensor's integers stand for real numbers: real = scale * (integer - zero_point)."""

    scale: float
    zero_point: int


class InputSpec(Checked, frozen=True, kw_only=True):
    """What the input tensor takes: integer = real / scale + zero_point, real = (pixel - mean) / std.

    Attributes:
        takes_pixels: raw uint8 pixels are exactly the input (or, for int8, pixels minus 128; for float32 their values).
        mean, std: null where nobody stated what a user's model was trained on.
    """

    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    takes_pixels: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    crop_fraction: float
    interpolation: Interpolation

    def preprocessing(self) -> Preprocessing | None:
        """The rule from a picture to the input; None where it is unknown.

        Raises:
            ArchitectureError: it is none.
        """
        if self.mean is None or self.std is None:
            return None
        return Preprocessing(mean=self.mean, std=self.std, crop_fraction=self.crop_fraction, interpolation=self.interpolation)


class OutputSpec(Checked, frozen=True, kw_only=True):
    """An output tensor: real = scale * (integer - zero_point)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


class Calibration(Checked, frozen=True, kw_only=True):
    """The pictures that ranges were taken from.

    Attributes:
        source: the folder, `bundled photographs`, or `quantisation-aware training`.
        method: how ranges follow from what was seen.
        skipped: picture files that could not be read.
    """

    source: str
    pictures: int
    method: str = "min-max"
    skipped: tuple[str, ...] = ()


class Manifest(Checked, frozen=True, kw_only=True):
    """Everything that is known of one exported file.

    Attributes:
        architecture: the network as an architecture file has it; null for a network with a head of the user's own.
        backbone: what such a network was built on, as far as it was recognised.
        normalise_in_model: whether the file takes raw pixels and normalises them itself.
        quantisation: of every computed tensor of an integer file, by its name in the file.
        params, params_total, madds: null where the network could only be read by the TensorFlow engine.
    """

    file: str
    sha256: str
    file_bytes: int
    precision: FileFormat
    engine: str
    granularity: str | None
    pooling: str
    softmax: bool
    features: bool = False
    normalise_in_model: bool = False
    architecture: dict[str, Any] | None
    architecture_id: str | None
    backbone: str | None = None
    weights: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    quantisation: dict[str, TensorSpec]
    calibration: Calibration | None
    labels: OutputLabels = NO_LABELS
    metadata: bool = False
    params: int | None
    params_total: int | None
    madds: int | None
    operators: dict[str, int]
    parity: Parity
    tools: dict[str, str]

    def to_json(self) -> bytes:
        """The manifest file's content."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=2) + b"\n"

    def network(self) -> Architecture | None:
        """The embedded architecture, if there is one.

        Raises:
            FileFormatError: it is not one.
        """
        if self.architecture is None:
            return None
        return Architecture.from_json(
            msgspec.json.encode(self.architecture), source=f"{self.file}: manifest, field 'architecture'"
        )


def manifest_path(file: Path) -> Path:
    """Where the manifest of a file stands."""
    return file.with_name(file.name.removesuffix(".tflite") + ".manifest.json")


def load_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads the manifest of an exported file.

    Args:
        path: of the manifest, or of the TFLite file that it lies beside.

    Raises:
        FileFormatError: the file cannot be read, or is not a manifest; the message names the field.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model, load_manifest
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=Path(tempfile.mkdtemp())))
        >>> load_manifest(exported.path).input.shape
        (1, 64, 64, 3)
    """
    file = Path(path)
    file = manifest_path(file) if file.suffix == ".tflite" else file
    return decode_json(read_bytes(file, LARGEST), Manifest, FORMAT, str(file))


def tool_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a file depends on."""
    versions = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
