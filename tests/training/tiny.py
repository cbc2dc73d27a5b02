"""A network and pictures that train in seconds: which colour is it?"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mhmodels.architecture import Architecture, Conv, InvertedBottleneck, Preprocessing
from mhmodels.preprocessing.decoding import PictureError
from mhmodels.training.data.sources import Data
from mhmodels.training.recipes import SGD, LearningRate, Recipe

CLASSES = 3
SIDE = 32


def architecture(classes: int = CLASSES) -> Architecture:
    return Architecture(
        name="tiny",
        stem=(Conv(filters=8, kernel=3, stride=2),),
        stages=((InvertedBottleneck(filters=16, stride=2, expansion=2.0),),),
        input_size=(SIDE, SIDE),
        classes=classes,
    )


class Colours:
    """Noise in which one channel is brighter; the label says which. Pictures in `bad` cannot be read."""

    def __init__(self, count: int = 48, classes: int = CLASSES, bad: Collection[int] = (), name: str = "colours") -> None:
        self.name = name
        self.classes: int | None = classes
        self.label_set = "colours"
        self.labels = tuple(f"colour {i}" for i in range(classes))
        self.count, self.bad = count, bad
        self.reads: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.count

    def label(self, index: int) -> int:
        return index % len(self.labels)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        self.reads.append((epoch, index))
        if index in self.bad:
            raise PictureError("cannot be decoded: broken")
        pixels = np.random.default_rng([index]).integers(0, 160, (40, 36, 3))
        pixels[..., self.label(index) % 3] += 90
        return Image.fromarray(pixels.astype(np.uint8)), self.label(index)

    def where(self, index: int) -> str:
        return f"{self.name}/{index}.png"

    def fingerprint(self) -> str:
        return f"{self.count} pictures, {self.labels}"


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "name": "test", "epochs": 2, "batch_size": 8, "optimizer": SGD(), "learning_rate": LearningRate(peak=0.05),
        "dropout": 0.2, "batch_norm_momentum": 0.8, "preprocessing": Preprocessing(crop_fraction=1.0), **changes,
    }  # fmt: skip
    return Recipe(**fields)


def data(**changes: Any) -> Data:
    return Data(Colours(**changes), Colours(count=21, name="colours test"))


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    """A folder of class folders with so many pictures each, all of the class's colour."""
    source = Colours(classes=max(3, len(counts)))
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            source.read(label + number * len(source.labels), 0)[0].save(root / name / f"{number:02d}.png")
    return root
