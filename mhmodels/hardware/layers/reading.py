"""The layers of a file of either format."""

from __future__ import annotations

from pathlib import Path

from mhmodels.formats.onnx_file import is_onnx_path
from mhmodels.hardware.layers.file_layers import FileLayer, file_layers
from mhmodels.hardware.layers.onnx_layers import read_onnx_layers
from mhmodels.tflite.file import read_tflite


def read_layers(path: Path) -> tuple[FileLayer, ...]:
    """Lists the operators of a TFLite or ONNX file as layers, in the order of the file.

    Args:
        path: A file that `prepare` has checked.

    Raises:
        FileFormatError: The shape of a tensor does not follow from an ONNX file.
    """
    if not is_onnx_path(path):
        return file_layers(read_tflite(path))
    return read_onnx_layers(path).layers
