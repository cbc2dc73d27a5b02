"""Checkpoints: all variables of a run in one file that is whole or absent.

A checkpoint is a NumPy `.npz` archive whose members carry checksums, so that a truncated or damaged file is detected when it is
read. The two newest ones are kept, so that the last good one outlives a failure while the next is written.
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
    """Result of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Number of steps done at its end.
        loss: Mean loss on the training pictures in nats.
        accuracy: Accuracy on the training pictures, as augmented, 0 to 1.
        learning_rate: Learning rate of its last step.
        seconds: Seconds of the epoch.
        test_loss: Loss on the test data; None where the epoch was not evaluated.
        test_accuracy: Top-1 accuracy on the test data, 0 to 1, or None.
        test_top5: Top-5 accuracy on the test data, 0 to 1, or None.
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


class EvaluatedEpoch(Checked, frozen=True, kw_only=True):
    """Evaluation of the weights at the end of an epoch.

    Attributes:
        epoch: Number of the epoch; 0 before the first step.
        accuracy: Top-1 accuracy on the test data, 0 to 1; with distillation the agreement with the float network.
        loss: Mean loss on the test data in nats.
    """

    epoch: int
    accuracy: float
    loss: float

    def better_than(self, other: EvaluatedEpoch) -> bool:
        """Returns whether the loss is lower. The accuracy on a few dozen held-out pictures is too coarse to compare epochs."""
        return self.loss < other.loss


class RunProgress(msgspec.Struct, kw_only=True):
    """State of a run besides its variables, as an exact continuation needs it.

    Attributes:
        step: Number of steps done since the start.
        loss_sum: Summed loss of the current epoch.
        correct: Number of pictures of the current epoch classified correctly.
        pictures: Number of pictures of the current epoch.
        seconds: Seconds spent, without interruptions.
        epoch_seconds: Seconds spent on the current epoch.
        history: Results of the finished epochs.
        start: Evaluation before the first step, in a run with early stopping.
        best: Best evaluation so far, in a run with early stopping.
    """

    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    pictures: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    history: list[EpochResult] = msgspec.field(default_factory=list)
    start: EvaluatedEpoch | None = None
    best: EvaluatedEpoch | None = None


def save(folder: Path, progress: RunProgress, variables: Mapping[str, ArrayLike]) -> Path:
    """Writes a checkpoint and removes all but the two newest.

    Args:
        folder: Folder of the run's checkpoints.
        progress: State of the run.
        variables: Arrays by unique name.

    Returns:
        Path of the checkpoint.

    Raises:
        CheckpointError: It cannot be written, for example because the disk is full; older ones stay.
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
        raise CheckpointError(
            f"{path}: checkpoint cannot be written ({error.strerror or error}); {remains} (argument 'resume')"
        ) from error
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*.npz") if _NAME.fullmatch(path.name))


def latest(folder: Path) -> Path | None:
    """Returns the newest checkpoint, if there is one."""
    found = checkpoints(folder)
    return found[-1] if found else None


def last_good(folder: Path) -> str:
    """Returns a phrase for messages that names the checkpoint which outlives a failure."""
    good = latest(folder)
    return f"the last good checkpoint is {good}" if good else "no checkpoint was written before"


def kept(folder: Path, steps: int, resume: str) -> str:
    """Returns a sentence about what an interrupted job keeps, and how it continues.

    Args:
        folder: Folder of the job's checkpoints.
        steps: Number of steps of the whole job.
        resume: Command that continues the job.
    """
    good = latest(folder)
    if good is None:
        return f"no checkpoint was written yet, so no training is kept: {resume} begins again at the first step"
    step = int(good.stem.removeprefix("step_"))
    return f"the checkpoint of step {step} of {steps} is kept ({good}): {resume} continues from it"


def load(
    path: str | os.PathLike[str], expected: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[RunProgress, dict[str, NDArray[np.generic]]]:
    """Reads a checkpoint.

    Args:
        path: Path of the checkpoint.
        expected: Name and shape of every variable of the run.

    Returns:
        The state of the run, and the arrays by name.

    Raises:
        CheckpointError: The file is damaged, or of another network or optimizer.
    """
    # A large network's checkpoint is larger than archives of users may be; its own variables say how large.
    largest = max(LARGEST, sum(_LARGEST_ITEM * math.prod(shape) + _HEADER for _, shape in expected) + _MOST_STATE)
    try:
        arrays = load_arrays(path, largest=largest)
        progress = msgspec.json.decode(arrays.pop(_STATE).tobytes(), type=RunProgress)
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
