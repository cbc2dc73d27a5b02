"""What a search by weight sharing is asked for, what it ends with, and the record that guards its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.formats.json_files import read_bytes
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.presets import Preset
from mhmodels.search.supernet.training.data import SearchData, identity
from mhmodels.system.files import write_atomically
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import Progress
from mhmodels.training.run.run_folder import differences
from mhmodels.version import __version__

PHASE, FINALIST, ARGMAX = "supernet", "finalist", "argmax"
"""Phases in the log: judged on the way; at the end, on all validation pictures."""


class Request(NamedTuple):
    """A search by weight sharing.

    Attributes:
        space: that yields architectures.
        objective: of the same space; prices networks at their own width and input size.
        data: to train on and to judge by.
        preset: how.
        folder: for checkpoints and TensorBoard; one for each search.
        log: open, of this search; None for workers that are not the chief, and for none.
        seed: of first weights, pictures' order and samples.
        classes: of the classifier; None for the data's.
        strategy: from `mhmodels.training.strategies.make_strategy`.
        recompute: less memory for more time; see `SuperNetwork`.
        checkpoint_seconds: between checkpoints.
        resume: whether a search in the folder is to be continued.
        static_shapes: whether to train the masked form of the network, which XLA compiles, to the same numbers; TPUs run no
            other, so they get it in any case.
    """

    space: ArchitectureSpace
    objective: Objective
    data: SearchData
    preset: Preset
    folder: Path
    strategy: Any
    log: SearchLog | None = None
    seed: int = 0
    classes: int | None = None
    recompute: bool = False
    checkpoint_seconds: float = 300.0
    resume: bool = False
    static_shapes: bool = False


class Outcome(NamedTuple):
    """What a search ends with.

    Attributes:
        encoding: (decisions,), canonical: the name of the result.
        judged: (decisions,): the same network with its blocks at the places whose weights were trained and judged.
        accuracy: of `judged` on all validation pictures with shared weights, a share.
        latencies: (hardware,), ms, by the cost models.
        f, reward: of it.
        argmax: (decisions,): the controller's most probable choices, as they are.
        logits: of the controller.
        progress: steps and seconds.
        chief: whether this process is the one that writes files.
    """

    encoding: Encodings
    judged: Encodings
    accuracy: float
    latencies: NDArray[np.float64]
    f: float
    reward: float
    argmax: Encodings
    logits: NDArray[np.float64]
    progress: Progress
    chief: bool


def check_space(space: Space) -> None:
    """Refuses spaces in which weights cannot be shared, before anything else is done.

    Raises:
        SearchError: a tabular space, or one that decides on the input size.
    """
    if not isinstance(space, ArchitectureSpace):
        raise SearchError(f"space '{space.name}' is tabular: a super-network needs a space of architectures")
    sides = _sides(space)
    if len(sides) > 1:
        raise SearchError(
            f"space '{space.name}' decides on the input size ({len(sides)} of {min(sides)} to {max(sides)} pixels): shared "
            "weights are trained at one size and would judge all sizes alike; take a space of one size (`mhmodels search "
            "space`), or other accuracies (--evaluator)"
        )


def side_of(space: ArchitectureSpace) -> int:
    """Side of the input in pixels of all networks of a space that `check_space` lets pass."""
    (side,) = _sides(space)
    return side


def _sides(space: ArchitectureSpace) -> list[int]:
    """The sides that the space allows: a restriction may have left one of several."""
    hole = space.template.input_size
    column = next((i for i, decision in enumerate(space.decisions) if decision.name == hole.name), None)
    return list(hole.choices) if column is None else [hole.choices[i] for i in space.allowed[column]]


def classes_of(request: Request) -> int:
    """Classes of the classifier: those asked for, else the data's, else those of the space's networks."""
    return request.classes or request.data.train.classes or request.space.template.classes


def settings(request: Request) -> dict[str, Any]:
    """Everything that decides what a search finds: what its log begins with, and a result's provenance."""
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


def claim(request: Request, *, write: bool) -> None:
    """Makes sure that folder and log are of this search, or of none.

    Args:
        request: of the search that begins or goes on.
        write: whether this process writes files.

    Raises:
        SearchError: they hold a search with other settings (named), or one and `resume` is not set; the log holds one whose
            folder is gone; the folder is a file, or its record cannot be read.
    """
    record, log = _record(request), request.log
    if request.folder.exists() and not request.folder.is_dir():
        raise SearchError(f"{request.folder}: is a file, expected a folder or nothing; move it away, or give another log")
    there = checkpoint.latest(request.folder / "checkpoints") is not None or (log is not None and log.header() is not None)
    if there and not request.resume:
        raise SearchError(f"{request.folder}: holds a search already; resume it, or give another folder")
    own = settings(request)
    if record.exists():
        _compare(request, own)
    elif log is not None and log.header() is not None:
        raise SearchError(
            f"{log.path}: holds a search whose weights were in {request.folder}, which is gone or has no {record.name}: bring it "
            "back, or begin a new search with another log"
        )
    elif write:
        write_atomically(record, msgspec.json.format(msgspec.json.encode(own), indent=2) + b"\n")
    if log is not None:
        log.begin(own)


def check_there(request: Request) -> None:
    """Makes sure that a folder holds this very search, whatever number of replicas it had.

    Raises:
        SearchError: no search, or one with other settings (named), or a record that cannot be read.
    """
    if not _record(request).exists():
        raise SearchError(f"{request.folder}: no search is there, expected the folder beside its log")
    _compare(request, {name: value for name, value in settings(request).items() if name != "replicas"})


def mark_saved(request: Request) -> None:
    """Notes in the folder that a checkpoint was written; see `check_not_lost`."""
    if not _mark(request).exists():
        write_atomically(_mark(request), b"")


def check_not_lost(request: Request) -> None:
    """Refuses to begin again, and to forget all rows of the log, where checkpoints were written and none is left.

    A search that was killed before its first checkpoint has no mark and begins again.

    Raises:
        SearchError: they are gone.
    """
    if _mark(request).exists():
        raise SearchError(
            f"{request.folder / 'checkpoints'}: no checkpoint is there, but some were written: the search cannot go on without "
            "its weights. Bring them back, or begin a new search with another log"
        )


def _mark(request: Request) -> Path:
    return request.folder / "saved"


def _record(request: Request) -> Path:
    return request.folder / "settings.json"


def _compare(request: Request, own: dict[str, Any]) -> None:
    record = _record(request)
    try:
        there = msgspec.json.decode(read_bytes(record), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SearchError(
            f"{record}: cannot be read ({error}), expected the settings of the search, a JSON object: bring the file back, or "
            "begin a new search with another log"
        ) from error
    known = {name: value for name, value in there.items() if name in own}
    differing = list(differences("", known, msgspec.json.decode(msgspec.json.encode(own))))
    if differing:
        raise SearchError(
            f"{request.folder}: holds a search with other settings: {'; '.join(differing)}. Resume with the settings of "
            f"{record}, or begin a new search in another folder"
        )
