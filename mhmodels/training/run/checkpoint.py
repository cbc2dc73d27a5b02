"""Checkpoints: every variable of a run in one file, whole or not there.

A NumPy `.npz` archive whose members carry checksums, so that a truncated or damaged file is seen when it is read; the
two newest are kept, so that the last good one outlives a failure while the next is written.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.formats.archives import LARGEST, ArchiveError, load_arrays
from mhmodels.formats.checked import Checked
from mhmodels.system.files import replaced
from mhmodels.training.errors import CheckpointError

KEEP = 2
_NAME = re.compile(r"step_(\d{8,})\.npz")
_STATE = "state"
_LARGEST_ITEM = 8
_HEADER = 1 << 10
_MOST_STATE = 64 << 20


class EpochResult(Checked, frozen=True, kw_only=True):
    """One epoch in the run's history; accuracies are shares (0 to 1), of training pictures as augmented.

    `test_…` are None where the epoch was not evaluated.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_top5: float | None = None


class Progress(msgspec.Struct, kw_only=True):
    """Where a run stands, besides its variables: what an exact continuation needs.

    Attributes:
        step: steps done since the start.
        loss_sum, correct, pictures: of the epoch under way.
        seconds: spent so far, interruptions not counted.
        epoch_seconds: of those, in the epoch under way.
        history: the epochs done.
    """

    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    pictures: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    history: list[EpochResult] = msgspec.field(default_factory=list)


def save(folder: Path, progress: Progress, variables: Mapping[str, ArrayLike]) -> Path:
    """Writes a checkpoint and removes all but the two newest.

    Args:
        folder: of the run's checkpoints.
        progress: where the run stands.
        variables: by unique name; anything that NumPy takes.

    Raises:
        CheckpointError: it could not be written, for example because the disk is full; older ones stay.
    """
    path = folder / f"step_{progress.step:08d}.npz"
    arrays = {name: np.asarray(value) for name, value in variables.items()}
    arrays[_STATE] = np.frombuffer(msgspec.json.encode(progress), np.uint8)
    try:
        # In memory first: a zip archive that a full disk interrupts complains again when it is closed.
        archive = io.BytesIO()
        np.savez(archive, **arrays)
        with replaced(path) as beside:
            beside.write_bytes(archive.getbuffer())
    except OSError as error:
        good = latest(folder)
        remains = f"the last good one stays ({good.name}): mend this and resume the run" if good else "there is none yet"
        raise CheckpointError(f"{path}: checkpoint cannot be written ({error.strerror or error}); {remains}") from error
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*.npz") if _NAME.fullmatch(path.name))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint, if there is one."""
    found = checkpoints(folder)
    return found[-1] if found else None


def last_good(folder: Path) -> str:
    """A phrase for messages: which checkpoint outlives a failure."""
    good = latest(folder)
    return f"the last good checkpoint is {good}" if good else "no checkpoint was written before"


def kept(folder: Path, steps: int, resume: str) -> str:
    """What an interrupted job of so many steps leaves, and how it goes on.

    Args:
        folder: of the job's checkpoints.
        steps: of the whole job.
        resume: the command that continues it.
    """
    good = latest(folder)
    if good is None:
        return f"no checkpoint was written yet, so no training is kept: {resume} begins again at the first step"
    step = int(good.stem.removeprefix("step_"))
    return f"the checkpoint of step {step} of {steps} is kept ({good}): {resume} continues from it"


def load(
    path: str | os.PathLike[str], expected: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[Progress, dict[str, NDArray[np.generic]]]:
    """Reads a checkpoint.

    Args:
        path: of the file.
        expected: name and shape of every variable of the run.

    Raises:
        CheckpointError: damaged, or of another network or optimizer.
    """
    # A large network's checkpoint is larger than archives of users may be; its own variables say how large.
    largest = max(LARGEST, sum(_LARGEST_ITEM * math.prod(shape) + _HEADER for _, shape in expected) + _MOST_STATE)
    try:
        arrays = load_arrays(path, largest=largest)
        progress = msgspec.json.decode(arrays.pop(_STATE).tobytes(), type=Progress)
    except (ArchiveError, OSError, KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CheckpointError(f"{path}: damaged checkpoint ({error}); remove it to resume from the one before") from error
    for name, shape in expected:
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            what = "is missing" if found is None else f"has shape {found}"
            raise CheckpointError(f"{path}: variable '{name}' {what}, expected shape {shape}: of another network or optimizer")
    if len(arrays) != len(expected):
        strange = sorted(set(arrays) - {name for name, _ in expected})
        raise CheckpointError(f"{path}: holds {len(strange)} variables that this run has not: {', '.join(strange[:5])}")
    return progress, arrays
