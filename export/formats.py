"""The formats that files are exported in: those of TFLite files and those of ONNX files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from mhmodels.tflite.format import FORMATS, FileFormat

OnnxFormat: TypeAlias = Literal["onnx-float32", "onnx-int8", "onnx-uint8"]
"""A format of ONNX files."""

ExportFormat: TypeAlias = Literal["float32", "float16", "int8", "uint8", "onnx-float32", "onnx-int8", "onnx-uint8"]
"""A format of TFLite files (`mhmodels.tflite.format.FileFormat`) or of ONNX files."""

ONNX_FORMATS: tuple[OnnxFormat, ...] = ("onnx-float32", "onnx-int8", "onnx-uint8")
EXPORT_FORMATS: tuple[ExportFormat, ...] = (*FORMATS, *ONNX_FORMATS)
INTEGER_FORMATS: tuple[FileFormat, ...] = ("int8", "uint8")

_NUMBERS: dict[ExportFormat, FileFormat] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "onnx-float32": "float32",
    "onnx-int8": "int8",
    "onnx-uint8": "uint8",
}


def number_format(fmt: ExportFormat) -> FileFormat:
    """Returns the number format of a file of an export format.

    Example:
        >>> number_format("onnx-int8")
        'int8'
    """
    return _NUMBERS[fmt]


def is_onnx(fmt: ExportFormat) -> bool:
    """Returns whether files of a format are ONNX files."""
    return fmt in ONNX_FORMATS


def number_formats(formats: Iterable[ExportFormat]) -> set[FileFormat]:
    """Returns the number formats of some export formats."""
    return {number_format(fmt) for fmt in formats}


def file_suffix(fmt: ExportFormat) -> str:
    """Returns the ending of the names of files of a format, `.tflite` or `.onnx`."""
    return ".onnx" if is_onnx(fmt) else ".tflite"
