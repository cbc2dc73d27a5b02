"""The manifest beside each exported file: what it is, what it was made from, how it was checked."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Literal

import msgspec

from export.verify import Parity
from mhmodels.architecture import Architecture, decode_json, read_bytes

FORMAT = "mhmodels.manifest/1"
TOOLS = ("mhmodels", "tensorflow", "keras", "ai-edge-litert", "numpy", "flatbuffers")


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the input tensor takes: integer = real / scale + zero_point, real = (pixel - mean) / std.

    Attributes:
        takes_pixels: raw uint8 pixels are exactly the input (or, for int8, pixels minus 128).
    """

    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    takes_pixels: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_fraction: float
    interpolation: str


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The pictures that ranges were taken from.

    Attributes:
        source: the folder, or `bundled photographs`.
        method: how ranges follow from what was seen.
        skipped: picture files that could not be read.
    """

    source: str
    pictures: int
    method: str = "min-max"
    skipped: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that is known of one exported file."""

    file: str
    sha256: str
    file_bytes: int
    precision: Literal["float32", "float16", "int8", "uint8"]
    engine: str
    granularity: str | None
    pooling: str
    softmax: bool
    architecture: dict[str, Any]
    architecture_id: str
    weights: str
    input: InputSpec
    calibration: Calibration | None
    params: int
    params_total: int
    madds: int
    operators: dict[str, int]
    parity: Parity
    tools: dict[str, str]

    def to_json(self) -> bytes:
        """The manifest file's content."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=2) + b"\n"

    def network(self) -> Architecture:
        """The embedded architecture.

        Raises:
            FileFormatError: it is not one.
        """
        return Architecture.from_json(
            msgspec.json.encode(self.architecture), source=f"{self.file}: manifest, field 'architecture'"
        )


def manifest_path(file: Path) -> Path:
    """Where the manifest of a file stands."""
    return file.with_name(file.name.removesuffix(".tflite") + ".manifest.json")


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads a manifest.

    Raises:
        FileFormatError: unreadable, or not a manifest; the message names the field.
    """
    return decode_json(read_bytes(path), Manifest, FORMAT, str(path))


def tool_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a file depends on."""
    versions = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
