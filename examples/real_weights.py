"""Exports a network with real ImageNet weights by each calibration method, and runs the files on labelled photographs.

    python examples/real_weights.py [--methods min-max,auto] [--pictures FOLDER]

The weights are those of `weights="imagenet"` of efficientnet_lite0. The pictures are the 20 ImageNet photographs that the package
foolbox 3.3.4 carries (MIT), whose file names end in the class. Both come from the Python package index; nothing of them is
installed or executed. `--pictures` takes another folder of pictures with such names. The bundled photographs calibrate.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mhmodels.export import ExportOptions, ModelRequest, export_model
from mhmodels.export.verification.file_graph import file_logits
from mhmodels.preprocessing import load_pictures
from mhmodels.registry import get_architecture
from mhmodels.system.quiet import load_tensorflow
from mhmodels.system.temporary import temporary_folder
from mhmodels.weights.downloading.download import Digest
from mhmodels.weights.downloading.wheel import download_wheel

MODEL = "efficientnet_lite0"
METHODS = ("min-max", "moving-average", "percentile-99.99", "percentile-99.9", "auto")
WHEEL, HASH = "foolbox==3.3.4", Digest("sha256", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")
PHOTOGRAPHS = "foolbox/data/imagenet_"


@contextmanager
def photographs() -> Iterator[Path]:
    """Downloads the wheel and unpacks its photographs into a folder, which is removed afterwards."""
    with temporary_folder("photographs") as folder:
        wheel = download_wheel(WHEEL, folder, HASH, "give --pictures FOLDER")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(PHOTOGRAPHS):
                    (folder / Path(name).name).write_bytes(archive.read(name))
        yield folder


def table(folder: Path, methods: list[str]) -> None:
    """Prints a row for each method and format."""
    network = get_architecture(MODEL)
    images, report = load_pictures(folder, network.input_size, network.preprocessing, limit=None)
    classes = np.array([int(Path(name).stem.rpartition("_")[2]) for name in report.read])
    request = ModelRequest(model=MODEL, weights="imagenet")
    expected = None
    print("| format | calibration | top-1 (%) | same top-1 as float32 (%) |\n|---|---|---|---|")
    with temporary_folder("files") as out:
        for method in methods:
            formats = ("int8", "uint8") if expected is not None else ("float32", "int8", "uint8")
            options = ExportOptions(directory=out, formats=formats, calibration_method=method, overwrite=True)
            for exported in export_model(request, options):
                found = file_logits(exported.path, images).argmax(1)
                expected = found if expected is None else expected
                precision = exported.manifest.precision
                shown = "" if precision == "float32" else method
                right, same = 100 * (found == classes).mean(), 100 * (found == expected).mean()
                print(f"| {precision} | {shown} | {right:.1f} | {same:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=",".join(METHODS), help="Calibration methods, separated by commas.")
    parser.add_argument("--pictures", type=Path, help="Folder of pictures whose names end in _CLASS. Default: those of foolbox.")
    arguments = parser.parse_args()
    load_tensorflow()
    if arguments.pictures is not None:
        table(arguments.pictures, arguments.methods.split(","))
        return
    with photographs() as folder:
        table(folder, arguments.methods.split(","))


if __name__ == "__main__":
    main()
