"""A space, pictures and a search that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Conv, Padding, Preprocessing
from mhmodels.families.rows import fused, ib
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.space.catalogue.parts import group, head, stage
from mhmodels.search.space.piece_table import Template
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.network.plan import SuperNetworkPlan
from mhmodels.search.supernet.presets import PolicySettings, Preset
from mhmodels.search.supernet.training.data import SearchData
from mhmodels.training.recipes import LearningRate, RMSProp
from tests.training.tiny import CLASSES, SIDE, Colours

PREPROCESSING = Preprocessing(crop_fraction=1.0)


def space(name: str = "tiny", padding: Padding = "same") -> ArchitectureSpace:
    """Two stages of one to three blocks, inverted bottlenecks or fused ones, of two widths each."""

    def blocks(stride: int) -> tuple[Any, ...]:
        return tuple(make(kernel, stride, 1, expansion) for make in (ib, fused) for expansion in (1, 2) for kernel in (3, 5))

    groups = (
        group("stem", "stem", 8, [(Conv(filters=1, kernel=3, stride=2),)]),
        stage("stage2", (8, 16), blocks(2), blocks(1), 2),
        stage("stage3", (16, 24), blocks(2), blocks(1), 1),
        head("head", "features", 32),
    )
    return ArchitectureSpace(name, Template(groups, padding=padding))


def small() -> ArchitectureSpace:
    """One stage of one or two blocks, of two widths: what XLA compiles in seconds."""

    def blocks(stride: int) -> tuple[Any, ...]:
        return (ib(3, stride, 1, 1), ib(3, stride, 1, 2), fused(3, stride, 1, 2))

    groups = (
        group("stem", "stem", 8, [(Conv(filters=1, kernel=3, stride=2),)]),
        stage("stage2", (8, 16), blocks(2), blocks(1), 1),
        head("head", "features", 16),
    )
    return ArchitectureSpace("small", Template(groups))


def super_network(plan: SuperNetworkPlan, **options: Any) -> Any:
    """Shared weights of which none is neutral."""
    import keras

    from mhmodels.search.supernet.network.sliced import SuperNetwork

    keras.utils.set_random_seed(7)
    network = SuperNetwork(plan, **options)
    rng = np.random.default_rng(0)
    for name, variable in network.weights.items():
        if name.endswith(("gamma", "beta", "bias")):
            variable.assign(variable.numpy() + 0.1 * rng.normal(size=variable.shape))
    return network


class Madds:
    """MAdds for latencies, so that every hardware agrees."""

    identity = "MAdds"

    def __init__(self, own: ArchitectureSpace) -> None:
        self.space = own

    def predict(self, encodings: Encodings) -> NDArray[np.float64]:
        return self.space.madds(encodings) / 1e6


def objective(own: ArchitectureSpace) -> Objective:
    middle = float(np.median(own.madds(own.draw(200, np.random.default_rng(0))))) / 1e6
    return Objective(own, {"host": Madds(own), "phone": Madds(own)}, Reward(references={"host": middle, "phone": middle}))


def preset(**changes: Any) -> Preset:
    fields: dict[str, Any] = {
        "name": "test", "steps": 12, "batch_size": 8, "validation_batch": 16, "optimizer": RMSProp(epsilon=1e-3),
        "learning_rate": LearningRate(peak=0.005, warmup=0.1), "input_size": SIDE, "l2": 4e-5, "label_smoothing": 0.1,
        "preprocessing": PREPROCESSING, "policy": PolicySettings(learning_rate=0.05, delay=0.25), **changes,
    }  # fmt: skip
    return Preset(**fields)


def data(count: int = 96) -> SearchData:
    return SearchData(Colours(count=count), Colours(count=64, name="validation"))


def request(folder: Path, **changes: Any) -> Any:
    from mhmodels.search.supernet.request import WeightSharingRequest
    from mhmodels.training.strategies import make_strategy

    own = changes.get("space") or space()
    fields: dict[str, Any] = {
        "space": own, "objective": objective(own), "data": data(), "preset": preset(), "folder": folder, "classes": CLASSES,
        **changes,
    }  # fmt: skip
    fields.setdefault("strategy", make_strategy("none"))
    return WeightSharingRequest(**fields)
