"""Prints what each correction after training wins back: accuracy of integer files on labelled pictures, in two folds.

    python examples/quantisation_accuracy.py MODEL WEIGHTS FOLDER [--pictures N] [--formats int8,uint8] [--rows NAME,...]

FOLDER holds the pictures and a file `labels.txt` with lines `FILE CLASS`, or one folder of pictures for each class, whose
sorted names are the classes 0, 1, 2, …. One half of the pictures in the order of their names calibrates (N of them, 64 by
default) and the other half is measured; then the halves are exchanged, and both results are pooled. Intervals are 95 %
bootstrap intervals of paired differences. The files are run with LiteRT.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.outputs import SCORES, WriterOptions, compared_ops
from mhmodels.export.opening.model_request import ModelRequest
from mhmodels.export.opening.open_model import open_model
from mhmodels.export.quantisation.post_training import Corrections, ObservedPictures, quantise_on_pictures
from mhmodels.export.verification.file_graph import compared_tensors, dequantise, encode_input
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.export.writing.writer import write_quantised
from mhmodels.preprocessing.pictures import load_pictures
from mhmodels.system.quiet import load_tensorflow
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import read_tflite

RESAMPLES = 10_000
WRITER = WriterOptions(softmax=False)


class Row(NamedTuple):
    """A row of the table: a calibration method and corrections."""

    method: str
    corrections: Corrections


ROWS = {
    "nothing": Row("min-max", Corrections()),
    "equalised": Row("min-max", Corrections(equalise=True)),
    "bias": Row("min-max", Corrections(bias=True)),
    "equalised+bias": Row("min-max", Corrections(equalise=True, bias=True)),
    "bias+rounding": Row("min-max", Corrections(bias=True, rounding="compensated")),
    "all": Row("min-max", Corrections(equalise=True, bias=True, rounding="compensated")),
    "auto": Row("auto", Corrections()),
}


class Labelled(NamedTuple):
    """Normalised pictures, float32 (n, height, width, channels), and their classes (n,)."""

    images: Float32Array
    classes: NDArray[np.int64]


def labelled(folder: Path, size: tuple[int, int], preprocessing: Any) -> Labelled:
    """Reads the pictures of a folder and their classes."""
    listing = folder / "labels.txt"
    if listing.is_file():
        lines = [line.split() for line in listing.read_text().splitlines() if line.strip()]
        classes = {name: int(number) for name, number in lines}
        images, report = load_pictures(folder, size, preprocessing, limit=None)
        if len(images) != len(classes) or report.skipped:
            raise SystemExit(f"{folder}: {len(images)} readable pictures, and labels of {len(classes)}")
        return Labelled(images, np.array([classes[name] for name in report.read]))
    parts, numbers = [], []
    for number, part in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        parts.append(load_pictures(part, size, preprocessing, limit=None)[0])
        numbers += [number] * len(parts[-1])
    order = np.random.default_rng(0).permutation(len(numbers))
    return Labelled(np.concatenate(parts)[order], np.array(numbers)[order])


def file_scores(content: bytes, images: Float32Array) -> Float32Array:
    """Runs a file on pictures."""
    with temporary_folder("accuracy") as folder:
        path = folder / "file.tflite"
        path.write_bytes(content)
        file = read_tflite(path)
        tensor = compared_tensors(file)[SCORES]
        (values,) = run_file(path, encode_input(file, images), [tensor.position], kernels="xnnpack", timeout_s=3600)
    return dequantise(values, tensor).reshape(len(images), -1)


def interval(values: NDArray[Any]) -> str:
    """Returns a mean and its 95 % bootstrap interval over pictures, in percent."""
    generator = np.random.default_rng(0)
    draws = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def measure(name: str, fmt: Any, graph: Graph, data: Labelled, expected: Float32Array, pictures: int) -> None:
    """Prints one row of the table."""
    row, half = ROWS[name], len(data.images) // 2
    first, second = np.arange(half), np.arange(half, len(data.images))
    given = compared_ops(graph, WRITER).values()
    found, spent = np.empty_like(expected), 0.0
    for calibrating, measured in ((first, second), (second, first)):
        chosen = calibrating[np.arange(min(pictures, half)) * len(calibrating) // min(pictures, half)]
        started = time.process_time()
        made = quantise_on_pictures(
            ObservedPictures(graph, data.images[chosen]), row.method, fmt, corrections=row.corrections, outputs=tuple(given)
        )
        spent += (time.process_time() - started) / 2
        content = write_quantised(made.quantised, options=WRITER)
        found[measured] = file_scores(content, data.images[measured])
        if row.method == "auto":
            print(f"<!-- {fmt}: equalised {bool(made.equalisation)}, bias {made.bias}, {made.rounding}; {made.method} -->")
    best, float_best = found.argmax(1), expected.argmax(1)
    right, float_right = best == data.classes, float_best == data.classes
    loss = right.astype(float) - float_right
    error = np.abs(found - expected).mean() / expected.std()
    print(
        f"| {fmt} | {name} | {interval(best == float_best)} | {100 * right.mean():.1f} | {interval(loss)} | {error:.3f} | "
        f"{spent:.0f} |",
        flush=True,
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Accuracy of integer files by correction, on labelled pictures.")
    parser.add_argument("model", help="Network of the zoo, for example efficientnet_lite0.")
    parser.add_argument("weights", help="Weights file.")
    parser.add_argument("folder", type=Path, help="Folder of labelled pictures.")
    parser.add_argument("--pictures", type=int, default=64, help="Number of calibration pictures of a half.")
    parser.add_argument("--formats", default="int8,uint8", help="Formats, separated by commas.")
    parser.add_argument("--rows", default=",".join(ROWS), help="Rows of the table, separated by commas.")
    given = parser.parse_args()
    load_tensorflow()
    source = open_model(ModelRequest(model=given.model, weights=given.weights))
    data = labelled(given.folder, source.architecture.input_size, source.architecture.preprocessing)
    expected = source.expected(data.images, WRITER)[SCORES]
    accuracy = 100 * (expected.argmax(1) == data.classes).mean()
    print(f"{len(data.images)} pictures, float32 top-1 {accuracy:.1f} %\n")
    print("| format | corrections | same top-1 as float (%) | top-1 (%) | difference from float | error | CPU (s) |")
    print("|---|---|---|---|---|---|---|")
    for fmt in given.formats.split(","):
        for name in given.rows.split(","):
            measure(name, fmt, source.known, data, expected, given.pictures)


if __name__ == "__main__":
    main()
