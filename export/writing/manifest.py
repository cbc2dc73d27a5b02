"""The manifest beside each exported file, which states what the file is, what it was made from and how it was checked."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import msgspec

from mhmodels.architecture import Architecture, Interpolation, Preprocessing, decode_json, read_bytes
from mhmodels.export.formats import ExportFormat, is_onnx
from mhmodels.export.reading.pictures import Calibration
from mhmodels.export.writing.aot import AotRecord
from mhmodels.export.writing.labels import NO_LABELS, OutputLabels
from mhmodels.formats.checked import Checked

FORMAT = "mhmodels.manifest/1"
TOOLS = ("mhmodels", "tensorflow", "keras", "numpy")
TFLITE_TOOLS = ("ai-edge-litert", "flatbuffers", "tflite-support")
ONNX_TOOLS = ("onnx", "onnxruntime")
LARGEST = 64 << 20


class TensorSpec(Checked, frozen=True, kw_only=True):
    """How the integers of a tensor stand for real numbers: real = scale * (integer - zero_point)."""

    scale: float
    zero_point: int


class InputSpec(Checked, frozen=True, kw_only=True):
    """The input tensor: integer = real / scale + zero_point, real = (pixel - mean) / std.

    Attributes:
        takes_pixels: Raw uint8 pixels are exactly the input (or, for int8, pixels minus 128; for float32 their values).
        mean, std: Null where nobody stated what a user's model was trained on.
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
        """Returns the way from a picture to the input; None where it is unknown.

        Raises:
            ArchitectureError: It is none.
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


class OutputParity(msgspec.Struct, frozen=True, kw_only=True):
    """Difference of one output of a file from its reference, over all pictures.

    Attributes:
        name: Name of the output; `scores` are compared before the softmax.
        correlation: Pearson correlation.
        mean_error, max_error: Mean and maximum absolute difference, as a share of the reference's standard deviation.
        mean_error_lsb: Mean absolute difference in quantisation steps; null for float outputs.
    """

    name: str
    correlation: float
    mean_error: float
    max_error: float
    mean_error_lsb: float | None = None


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of a file with its reference over a set of pictures. Figures are those of the worst output.

    Attributes:
        reference: Description of what the file was compared with.
        pictures: Number of pictures.
        correlation: Pearson correlation over all values of all pictures.
        mean_error, max_error: Mean and maximum absolute difference, as a share of the reference's standard deviation.
        top1_agreement: Share of pictures with the same largest logit; null for feature maps, several outputs and a single score.
        top5_agreement: Share of the five largest logits that both have in common; null where `top1_agreement` is null, and for
            fewer than six classes.
        confident_pictures: Number of pictures where the reference's best class leads the second by a probability of at least
            0.3; null where `top1_agreement` is null.
        confident_top1_agreement: Share of these pictures with the same largest logit; null also where there are none.
        mean_error_lsb: Mean absolute difference in quantisation steps; null for float files.
        float_correlation, float_top1_agreement, float_confident_pictures, float_confident_top1_agreement: The same figures
            against the float network; null for float files.
        worst_layer, worst_layer_lsb: Layer with the largest difference from its reference for the same inputs, and this
            difference in quantisation steps; null for float files.
        outputs: Figures of each output.
    """

    reference: str
    pictures: int
    correlation: float
    mean_error: float
    max_error: float
    top1_agreement: float | None = None
    top5_agreement: float | None = None
    mean_error_lsb: float | None = None
    float_correlation: float | None = None
    float_top1_agreement: float | None = None
    confident_pictures: int | None = None
    confident_top1_agreement: float | None = None
    float_confident_pictures: int | None = None
    float_confident_top1_agreement: float | None = None
    worst_layer: str | None = None
    worst_layer_lsb: float | None = None
    outputs: tuple[OutputParity, ...] = ()


class Manifest(Checked, frozen=True, kw_only=True):
    """The manifest of one exported file.

    Attributes:
        file: Name of the file.
        sha256: Hash of the file, as hexadecimal digits.
        file_bytes: Size of the file in bytes.
        precision: Format of the file.
        engine: Program that wrote the file: `direct` or `tensorflow`.
        granularity: Granularity of the weight scales; null for float files.
        pooling, softmax, features: As in `WriterOptions`.
        normalise_in_model: Whether the file takes raw pixels and normalises them itself.
        architecture: The network as in an architecture file; null for a network with a head of the user's own.
        architecture_id: Hash of the architecture; null for a network with a head of the user's own.
        backbone: NAME@WIDTH of the zoo network that a user's model was built on; null if it was not recognised.
        weights: Origin of the weights.
        input: The input tensor and its preprocessing.
        outputs: The output tensors.
        quantisation: Quantisation parameters of every computed tensor of an integer file, by the name of the tensor.
        calibration: Pictures and method of the calibration; null for float files.
        labels: Class names of the outputs.
        metadata: Whether the file contains the metadata of tflite-support.
        params, params_total, madds: Number of kernel elements, of all parameters, and of multiply-accumulates; null for a
            network that only the TensorFlow engine can read.
        operators: Number of operators of each kind.
        parity: Result of the comparison with the network.
        aot: Compilations of the file for the NPUs of SoCs, with the names of the compiled files.
        tools: Versions of the programs that the file depends on.

    Example:
        >>> import tempfile
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=Path(tempfile.mkdtemp())))
        >>> exported.manifest.precision, exported.manifest.input.shape
        ('float32', (1, 64, 64, 3))
    """

    file: str
    sha256: str
    file_bytes: int
    precision: ExportFormat
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
    aot: tuple[AotRecord, ...] = ()
    tools: dict[str, str]

    def to_json(self) -> bytes:
        """Returns the content of the manifest file."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=2) + b"\n"

    def network(self) -> Architecture | None:
        """Returns the embedded architecture, if there is one.

        Raises:
            FileFormatError: It is not one.
        """
        if self.architecture is None:
            return None
        return Architecture.from_json(
            msgspec.json.encode(self.architecture), source=f"{self.file}: manifest, field 'architecture'"
        )


def manifest_path(file: Path) -> Path:
    """Returns the path of the manifest of a file."""
    return file.with_name(file.name.removesuffix(".tflite").removesuffix(".onnx") + ".manifest.json")


def load_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads the manifest of an exported file.

    Args:
        path: Path of the manifest, or of the TFLite or ONNX file beside it.

    Raises:
        FileFormatError: The file cannot be read, or is not a manifest; the message names the field.

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
    file = manifest_path(file) if file.suffix in (".tflite", ".onnx") else file
    return decode_json(read_bytes(file, LARGEST), Manifest, FORMAT, str(file))


def tool_versions(fmt: ExportFormat) -> dict[str, str]:
    """Returns the versions of Python and of the libraries that a file of a format depends on."""
    versions = {"python": platform.python_version()}
    for name in (*TOOLS, *(ONNX_TOOLS if is_onnx(fmt) else TFLITE_TOOLS)):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
