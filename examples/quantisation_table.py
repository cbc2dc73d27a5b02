"""Prints the table of docs/quantisation.md: accuracy of float, post-training and quantisation-aware files on cluttered digits.

    python examples/quantisation_table.py [FOLDER]

The program trains with the commands that it prints, exports, and runs every .tflite file on the 1,800 test canvases. It uses
finished run folders in FOLDER (default build/quantisation) instead of training again. It takes about an hour on one core.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.export.opening.model_request import ModelRequest
from mhmodels.export.opening.open_model import open_model
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_source
from mhmodels.export.reading.pictures import Calibration, InputPictures, read_pictures
from mhmodels.export.verification.file_graph import file_logits
from mhmodels.preprocessing.pictures import preprocess
from mhmodels.registry import resolve
from mhmodels.system.quiet import load_tensorflow
from mhmodels.training.data.digits64 import CLASSES, SIDE, epoch_canvas, test_set
from mhmodels.training.named_recipes import DIGITS, DIGITS_FINETUNE
from mhmodels.weights.files import read_info

CANVASES = 256


class Case(NamedTuple):
    """A network and the integer formats in which it is compared.

    Attributes:
        model: Zoo name with width.
        weights: Registered name, or path inside the folder of runs.
        training: Options of the float training; empty for weights in the package.
        formats: Integer formats.
    """

    model: str
    weights: str
    training: tuple[str, ...]
    formats: tuple[str, ...]


CASES = (
    Case("multi_max@0.25", "digits64", (), ("int8", "uint8")),
    Case("mobilenet_v1@0.25", "mobilenet_v1/model.weights.h5", ("--epochs", "16"), ("uint8",)),
)


def train(folder: Path, model: str, *options: str) -> Path:
    """Runs `mhmodels train`, unless the run is finished, and returns the path of its weights."""
    weights = folder / "model.weights.h5"
    command = ["train", model, "--data", "digits64", "--input-size", str(SIDE), *options, "-o", str(folder)]
    print(f"\n$ mhmodels {' '.join(command)}", flush=True)
    if not weights.is_file():
        subprocess.run([sys.executable, "-m", "mhmodels", *command], check=True)
    return weights


def network(model: str) -> Architecture:
    return msgspec.structs.replace(resolve(model).at(input_size=SIDE, classes=CLASSES), preprocessing=DIGITS.preprocessing)


def files(source: ExportSource, folder: Path, what: str, formats: tuple[str, ...], pictures: InputPictures, method: str) -> None:
    """Exports all formats, runs the files on the test canvases, and prints one row per format."""
    test: Any = test_set()
    settings: Any = {"formats": formats, "calibration_method": method, "metadata": False, "overwrite": True}
    options = ExportOptions(directory=folder / what, **settings)
    for one in export_source(source, pictures, options):
        images = preprocess(test.pixels, source.architecture.preprocessing)
        right = int((file_logits(one.path, images).argmax(1) == test.labels).sum())
        size = one.manifest.file_bytes / 1000
        name, fmt = one.manifest.file.split("_w")[0], one.manifest.precision
        print(f"| `{name}@0.25` | {fmt} | {what} | {right / len(images):.2%} ({right}) | {size:.0f} |", flush=True)


def rows(case: Case, folder: Path) -> None:
    """Prints the rows of one network."""
    weights = folder / case.weights if case.training else Path(case.weights)
    if case.training:
        train(weights.parent, case.model, *case.training)
    finetune = ("--recipe", DIGITS_FINETUNE.name, "--weights", str(weights))
    tuned = {"float": train(folder / f"{case.model}_float", case.model, *finetune)}
    for fmt in case.formats:
        tuned[fmt] = train(folder / f"{case.model}_{fmt}", case.model, *finetune, "--quantize-aware", fmt)
    architecture = network(case.model)
    canvases = preprocess(
        np.stack([epoch_canvas(0, i).pixels for i in np.linspace(0, 8621, CANVASES).astype(int)]), architecture.preprocessing
    )
    digits = InputPictures(canvases, Calibration(source="training canvases", pictures=CANVASES))
    photographs = read_pictures(None, architecture)
    source = open_model(ModelRequest(model=architecture, weights=weights), canvases)
    print()
    files(source, folder, "float", ("float32",), digits, "min-max")
    files(
        open_model(ModelRequest(model=architecture, weights=tuned["float"]), canvases),
        folder,
        "float, fine-tuned as long",
        ("float32",),
        digits,
        "min-max",
    )
    for pictures, what in ((digits, "training canvases"), (photographs, "bundled photographs")):
        for method in ("min-max", "auto"):
            files(source, folder, f"post-training, {what}, {method}", case.formats, pictures, method)
    for fmt in case.formats:
        info = read_info(tuned[fmt])
        assert info is not None
        assert info.learned is not None, f"{tuned[fmt]} carries no ranges"
        files(
            open_model(ModelRequest(model=architecture, weights=tuned[fmt]), canvases),
            folder,
            "quantisation-aware",
            (fmt,),
            digits,
            "min-max",
        )


def main() -> None:
    """Prints the table."""
    load_tensorflow()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/quantisation")
    for case in CASES:
        rows(case, folder)


if __name__ == "__main__":
    main()
