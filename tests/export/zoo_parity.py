"""The direct writer beside the TensorFlow converter on networks of the zoo: what the slow tests assert and the docs print.

As a program (`python -m tests.export.zoo_parity [MODEL...]`) it prints the parity table of docs/export.md of networks at
their own widths and input sizes, calibrated on the bundled photographs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.registry import list_models, resolve
from tests.export.writer_helpers import Operator, Tensor, operators, runtime_version

FORMATS = ("float32", "int8", "uint8")
NPU = "ethos-u55-128"
CALIBRATION_PICTURES, COMPARED_PICTURES = 8, 2


class Pair(NamedTuple):
    """One network in one format: our file and the converter's, and what both give on the same pictures.

    Attributes:
        logits: ours and the converter's, before the softmax, as the files hold them; float32 or the integers.
        scores: ours and the converter's outputs.
    """

    fmt: str
    ours: bytes
    converter: bytes
    logits: tuple[Any, Any]
    scores: tuple[Any, Any]

    @property
    def same_operators(self) -> bool:
        """Operators, versions, options, shapes and types, in the same order."""
        return [described(one) for one in operators(self.ours)] == [described(one) for one in operators(self.converter)]

    @property
    def same_numbers(self) -> bool:
        """Scales, zero points, weights and biases, to the bit."""
        return numbers(self.ours) == numbers(self.converter)

    @property
    def equal(self) -> bool:
        """Logits and scores on LiteRT's reference kernels, to the bit."""
        return all(np.array_equal(*sides) for sides in (self.logits, self.scores))

    @property
    def error(self) -> tuple[float, float]:
        """Root mean square and largest difference of the logits, as shares of their standard deviation."""
        difference, spread = np.abs(self.logits[0] - self.logits[1]), float(self.logits[1].std())
        return float(np.sqrt(np.mean(np.square(difference)))) / spread, float(difference.max()) / spread


def described(operator: Operator) -> tuple[Any, ...]:
    """What must be equal of two operators of any format."""
    tensors = [(one.type, one.shape, one.data is None) for one in (*operator.inputs, *operator.outputs)]
    return operator.code, operator.version, operator.options, tensors


def numbers(content: bytes) -> list[tuple[Any, ...]]:
    """Every number of an integer file, in the order of the operators."""

    def of(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.data, tensor.scale, tensor.zero_point, tensor.dimension

    return [of(one) for operator in operators(content) for one in (*operator.inputs, *operator.outputs)]


def pairs(architecture: Architecture, formats: Sequence[str] = FORMATS) -> Iterator[Pair]:
    """Writes and converts a network with calibrated random weights, as `mhmodels export` makes them, in some of three formats."""
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.quantisation.calibration import calibrate
    from mhmodels.export.quantisation.scheme import quantise
    from mhmodels.export.reading.pictures import fit_preprocessing, photographs
    from mhmodels.export.writing.converter import convert_float, convert_quantised
    from mhmodels.export.writing.writer import write_float, write_quantised

    architecture = fit_preprocessing(architecture)
    images = photographs(CALIBRATION_PICTURES, architecture)
    source = open_model(ModelRequest(model=architecture), images)
    graph, ranges = source.known, calibrate(source.known, images)
    if "float32" in formats:
        yield _pair("float32", write_float(graph), convert_float(source.model), images[:COMPARED_PICTURES])
    for fmt in (fmt for fmt in FORMATS[1:] if fmt in formats):
        quantised = quantise(graph, ranges, fmt)  # type: ignore[arg-type]
        yield _pair(fmt, write_quantised(quantised), convert_quantised(quantised), images[:COMPARED_PICTURES])


def _pair(fmt: str, ours: bytes, converter: bytes, images: Any) -> Pair:
    sides = [_run(content, images) for content in (ours, converter)]
    return Pair(fmt, ours, converter, (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]))


def _run(content: bytes, images: Any) -> tuple[Any, Any]:
    """(logits, scores) of a file on LiteRT's reference kernels, as it holds them."""
    from mhmodels.export.verification.file_graph import compared_tensors, encode_input
    from mhmodels.export.verification.runtimes.litert import run_file
    from mhmodels.tflite.file import parse_tflite

    file = parse_tflite(content)
    (logits,) = compared_tensors(file).values()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.tflite")
        path.write_bytes(content)
        values = run_file(path, encode_input(file, images), [logits.position, file.outputs[0]], kernels="reference")
    return values[0], values[1]


def estimates(pair: Pair) -> tuple[float | None, float | None]:
    """Vela's estimate in ms of our file and of the converter's."""
    from mhmodels.hardware import measure

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("ours.tflite", "converter.tflite")]
        for path, content in zip(paths, (pair.ours, pair.converter), strict=True):
            path.write_bytes(content)
        ours, converter = (measure(path, NPU).median_ms for path in paths)
    return ours, converter


def row(name: str, found: list[Pair], vela: str = "") -> str:
    """A line of the table, in Markdown: of pairs in the order of `pairs`."""
    real, *integers = found
    same = all(one.same_operators and runtime_version(one.ours) == runtime_version(one.converter) for one in found)
    mean, largest = real.error
    cells = [f"`{name}`", f"{len(operators(real.ours))}, {'same' if same else 'DIFFERENT'}", f"{mean:.1e}, {largest:.1e}"]
    cells += ["equal" if one.same_numbers and one.equal else "DIFFERENT" for one in integers]
    return f"| {' | '.join([*cells, *([vela] if vela else [])])} |"


def main() -> None:
    """Prints the table of the named networks, or of the whole zoo."""
    from mhmodels.system.quiet import load_tensorflow

    load_tensorflow()
    print("| network | operators | float: rms, largest | int8 | uint8 | Vela, ms: ours, converter's |\n|---|---|---|---|---|---|")
    for name in sys.argv[1:] or list_models("*"):
        found = list(pairs(resolve(name)))
        ours, converter = estimates(found[1])
        vela = "×" if ours is None or converter is None else f"{ours:.3f}, {converter:.3f}"
        print(row(name, found, vela), flush=True)


if __name__ == "__main__":
    main()
