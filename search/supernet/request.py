"""What a search by weight sharing needs and what it finds: the request, its checks, the settings kept with it, the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.presets import Preset
from mhmodels.search.supernet.training.data import SearchData, identity
from mhmodels.training.run.checkpoint import RunProgress
from mhmodels.version import __version__

if TYPE_CHECKING:
    import tensorflow as tf

PHASE, FINALIST, ARGMAX = "supernet", "finalist", "argmax"
"""Phases in the log: networks judged during training; finalists, and the argmax, judged on all validation pictures."""


class WeightSharingRequest(NamedTuple):
    """A search by weight sharing, with everything that it needs opened and checked.

    Attributes:
        space: Space of architectures whose networks share weights.
        objective: Latencies and reward of the same space. It prices networks at their full width and input size.
        data: Pictures to train on and pictures to judge networks by.
        preset: Training of the shared weights and of the controller.
        folder: Folder of the checkpoints and of TensorBoard's files; each search has its own.
        log: Open log of this search; None in workers that are not the chief, and for a search without a log.
        seed: Random seed of the initial weights, the order of the pictures and the sampled networks.
        classes: Number of classes of the classifier; None for the number in the data.
        strategy: `tf.distribute` strategy from `mhmodels.training.strategies.make_strategy`.
        recompute: Whether the backward pass computes activations again, which takes less memory and more time.
        checkpoint_seconds: Seconds between two checkpoints.
        resume: Whether a search that the folder holds is continued; otherwise it is an error.
        static_shapes: Whether to train the masked form of the network, which XLA compiles, to the same numbers. TPUs always
            train this form.
    """

    space: ArchitectureSpace
    objective: Objective
    data: SearchData
    preset: Preset
    folder: Path
    strategy: tf.distribute.Strategy
    log: SearchLog | None = None
    seed: int = 0
    classes: int | None = None
    recompute: bool = False
    checkpoint_seconds: float = 300.0
    resume: bool = False
    static_shapes: bool = False


class WeightSharingResult(NamedTuple):
    """The network that a search by weight sharing found.

    Attributes:
        encoding: (decisions,), canonical: the name of the result.
        judged: (decisions,): the same network with its blocks at the positions whose weights were trained and judged.
        accuracy: Accuracy of `judged` with shared weights on all validation pictures, a fraction from 0 to 1.
        latencies: (hardware,), latencies in ms by the cost models.
        f: Aggregated normalised latency, without unit.
        reward: Reward of accuracy and f.
        argmax: (decisions,): the controller's most probable choices, not canonical.
        logits: Logits of the controller after its last update.
        progress: Steps done and seconds spent.
        chief: Whether this process writes the files of the search.
    """

    encoding: Encodings
    judged: Encodings
    accuracy: float
    latencies: NDArray[np.float64]
    f: float
    reward: float
    argmax: Encodings
    logits: NDArray[np.float64]
    progress: RunProgress
    chief: bool


def check_space(space: SearchSpace) -> ArchitectureSpace:
    """Refuses a space whose networks cannot share weights, before anything else is done.

    Args:
        space: Space of the search.

    Returns:
        The same space.

    Raises:
        SearchError: The space is tabular, or it decides on the input size.
    """
    if not isinstance(space, ArchitectureSpace):
        raise SearchError(f"space '{space.name}' is tabular: a super-network needs a space of architectures")
    sides = _sides(space)
    if len(sides) > 1:
        raise SearchError(
            f"space '{space.name}' decides on the input size ({len(sides)} of {min(sides)} to {max(sides)} pixels): shared "
            "weights are trained at one size and would judge all sizes alike; take a space of one size (`mhmodels search "
            "space`), or other accuracies (argument 'evaluator')"
        )
    return space


def side_of(space: ArchitectureSpace) -> int:
    """Side of the square input, in pixels, of all networks of a space that `check_space` accepts."""
    (side,) = _sides(space)
    return side


def _sides(space: ArchitectureSpace) -> list[int]:
    """Input sizes in pixels that the space allows; a restriction may have left one of several."""
    hole = space.template.input_size
    column = next((i for i, decision in enumerate(space.decisions) if decision.name == hole.name), None)
    return list(hole.choices) if column is None else [hole.choices[i] for i in space.allowed[column]]


def classes_of(request: WeightSharingRequest) -> int:
    """Number of classes of the classifier: as requested, else as in the data, else as in the networks of the space."""
    return request.classes or request.data.train.classes or request.space.template.classes


def settings(request: WeightSharingRequest) -> dict[str, Any]:
    """Everything that decides what a search finds, as plain values: the header of its log and the provenance of its result."""
    data = request.data
    return {
        **request.objective.settings(),
        "accuracies": f"super-network trained on {identity(data.train)}, judged by {identity(data.validation)}",
        "classes": classes_of(request),
        "method": {"method": PHASE, **msgspec.to_builtins(request.preset)},
        "seed": request.seed,
        "replicas": request.strategy.num_replicas_in_sync,
        "recompute": request.recompute,
        "mhmodels": __version__,
    }
