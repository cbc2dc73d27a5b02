"""Prints the table of docs/quantisation.md on distillation: files with and without it, on labelled pictures in two folds.

    python examples/distillation_table.py MODEL WEIGHTS PICTURES [FOLDER]

PICTURES is a folder with a file labels.txt, which has one line `FILE CLASS` for each picture. One half of the list calibrates
and distils, the other half is measured; then the halves change places, and the counts are added. The program trains and exports
with the commands that it prints, and uses finished runs in FOLDER (default build/distillation) instead of training again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.verification.file_graph import file_logits
from mhmodels.preprocessing.decoding import open_picture
from mhmodels.preprocessing.pictures import fit_picture, preprocess
from mhmodels.registry import resolve
from mhmodels.system.quiet import load_tensorflow
from mhmodels.training import load_metrics
from mhmodels.weights import read_info

FORMATS = ("int8", "uint8")
RESAMPLES = 10_000


class Labelled(NamedTuple):
    """Pictures and the class of each."""

    files: list[Path]
    classes: NDArray[np.int64]


def read_labels(folder: Path) -> Labelled:
    lines = [line.rsplit(maxsplit=1) for line in (folder / "labels.txt").read_text().splitlines() if line.strip()]
    return Labelled([folder / name for name, _ in lines], np.array([int(number) for _, number in lines]))


def mhmodels(*arguments: str) -> None:
    """Runs a command and shows it."""
    print(f"$ mhmodels {' '.join(arguments)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "mhmodels", *arguments], check=True, stdout=sys.stderr)


def halves(files: list[Path], folder: Path) -> tuple[Path, Path]:
    """Returns two folders with links to the first and the second half of the pictures."""
    parts = folder / "first", folder / "second"
    for part, chosen in zip(parts, (files[: len(files) // 2], files[len(files) // 2 :]), strict=True):
        part.mkdir(parents=True, exist_ok=True)
        for file in chosen:
            if not (part / file.name).is_symlink():
                (part / file.name).symlink_to(file.resolve())
    return parts


def exported(model: str, weights: str, pictures: Path, fmt: str, folder: Path) -> Path:
    """Exports a file, unless it exists, and returns its path."""
    if not any(folder.glob("*.tflite")):
        mhmodels(
            "export",
            model,
            "--weights",
            weights,
            "--calibration",
            str(pictures),
            "--calibration-method",
            "min-max",
            "--format",
            fmt,
            "-o",
            str(folder),
        )
    return next(folder.glob("*.tflite"))


def distilled(model: str, weights: str, pictures: Path, fmt: str, folder: Path) -> str:
    """Distils, unless the run is finished, and returns the path of the weights."""
    if not (folder / "metrics.json").is_file():
        train = ("train", model, "--weights", weights, "--data", str(pictures), "--quantize-aware", fmt, "--distil")
        mhmodels(*train, "-o", str(folder))
    metrics = load_metrics(folder / "metrics.json")
    print(
        f"{folder}: {metrics.steps} steps in {metrics.seconds:.0f} s, start {metrics.start}, kept {metrics.kept}", file=sys.stderr
    )
    return str(folder / metrics.weights_file)


def interval(values: NDArray[np.float64]) -> str:
    """Returns a mean in percent with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    """Prints the table."""
    load_tensorflow()
    model, weights, pictures = sys.argv[1:4]
    folder = Path(sys.argv[4] if len(sys.argv) > 4 else "build/distillation")
    labelled = read_labels(Path(pictures))
    network = resolve(model)
    info = read_info(weights)
    rule = network.preprocessing if info is None else info.preprocessing
    pixels = np.stack([fit_picture(open_picture(file), network.input_size, rule) for file in labelled.files])
    parts = halves(labelled.files, folder)
    middle = len(labelled.files) // 2
    measured = slice(middle, None), slice(0, middle)
    float_best = file_logits(exported(model, weights, parts[0], "float32", folder / "float32"), preprocess(pixels, rule)).argmax(
        1
    )
    right = float_best == labelled.classes
    print(f"| float32 | | 100 | {100 * right.mean():.1f} | |")
    for fmt in FORMATS:
        for what in ("post-training", "distilled"):
            best: Any = np.zeros(len(pixels), np.int64)
            for number, (part, others) in enumerate(zip(parts, measured, strict=True)):
                place = folder / f"{fmt}_{what}_{number}"
                ready = distilled(model, weights, part, fmt, place / "run") if what == "distilled" else weights
                file = exported(model, ready, part, fmt, place / "files")
                best[others] = file_logits(file, preprocess(pixels[others], rule)).argmax(1)
            same, correct = (best == float_best).astype(float), best == labelled.classes
            difference = correct.astype(float) - right
            print(f"| {fmt} | {what} | {interval(same)} | {100 * correct.mean():.1f} | {interval(difference)} |", flush=True)


if __name__ == "__main__":
    main()
