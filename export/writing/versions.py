"""Versions of operators: the oldest that describes an operator, because old runtimes reject versions that they do not know.

Source: TensorFlow's tools/versioning/op_version.cc (which version an operator needs) and runtime_version.cc (which
TensorFlow release brought it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OLDEST_RUNTIME: dict[tuple[str, int], str] = {
    ("ADD", 1): "1.5.0",
    ("ADD", 2): "1.14.0",
    ("AVERAGE_POOL_2D", 1): "1.5.0",
    ("AVERAGE_POOL_2D", 2): "1.14.0",
    ("CONV_2D", 1): "1.5.0",
    ("CONV_2D", 3): "1.14.0",
    ("CONV_2D", 6): "2.9.0",
    ("DEPTHWISE_CONV_2D", 1): "1.5.0",
    ("DEPTHWISE_CONV_2D", 2): "1.12.0",
    ("DEPTHWISE_CONV_2D", 3): "1.14.0",
    ("DEQUANTIZE", 1): "1.13.1",
    ("DEQUANTIZE", 2): "1.14.0",
    ("DEQUANTIZE", 3): "1.15.0",
    ("HARD_SWISH", 1): "1.15.0",
    ("LOGISTIC", 1): "1.14.0",
    ("LOGISTIC", 2): "1.14.0",
    ("MAX_POOL_2D", 1): "1.5.0",
    ("MAX_POOL_2D", 2): "1.14.0",
    ("MEAN", 1): "1.6.0",
    ("MEAN", 2): "1.14.0",
    ("MUL", 1): "1.5.0",
    ("MUL", 2): "1.14.0",
    ("MUL", 3): "1.15.0",
    ("PAD", 1): "1.5.0",
    ("PAD", 2): "1.14.0",
    ("QUANTIZE", 1): "1.14.0",
    ("RESHAPE", 1): "1.5.0",
    ("SOFTMAX", 1): "1.5.0",
    ("SOFTMAX", 2): "1.14.0",
}
"""TensorFlow release that first ran an operator's version."""


def version(code: str, dtype: str, *, groups: int = 1, dilation: int = 1, rescale: float = 0.0) -> int:
    """Returns the oldest version of an operator that has what is asked for.

    Args:
        code: `BuiltinOperator` name.
        dtype: Type of the first input.
        groups, dilation: Groups and dilation of a convolution.
        rescale: For a quantised multiplication, product of the input scales over the output scale.
    """
    if code == "CONV_2D" and groups > 1:
        return 6
    if code == "MUL" and rescale >= 1.0:
        return 3
    if code == "DEQUANTIZE":
        return {"uint8": 1, "int8": 2, "float16": 3}[dtype]
    if code in ("QUANTIZE", "RESHAPE", "HARD_SWISH"):
        return 1
    if dtype == "int8":
        return 3 if code in ("CONV_2D", "DEPTHWISE_CONV_2D") else 2
    return 2 if code == "DEPTHWISE_CONV_2D" and dilation > 1 else 1


def file_versions(operators: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns one version for each operator of a file, the highest that any use of it needs, as the converter does."""
    versions: dict[str, int] = {}
    for code, number in operators:
        versions[code] = max(number, versions.get(code, 1))
    return versions


def oldest_runtime(versions: Mapping[str, int]) -> str:
    """Returns the oldest TensorFlow release that runs operators of these versions."""
    releases = [OLDEST_RUNTIME[operator] for operator in versions.items()]
    return max(releases, key=lambda release: tuple(map(int, release.split("."))))
