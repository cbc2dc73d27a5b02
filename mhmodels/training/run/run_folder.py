"""The folder of a run: its settings, checkpoints and results.

run.json           the settings; a resumed run must have the same
run.lock           lock of the process that trains
checkpoints/       the two newest
tensorboard/       loss, accuracy and learning rate by step
metrics.json       result and history of a finished run
model.weights.h5   weights of a finished run
curve.png          learning curve of a finished run
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from mhmodels.architecture import decode_json, read_bytes
from mhmodels.formats.checked import Checked
from mhmodels.system.files import write_atomically
from mhmodels.system.locks import LockFileError, LockHeldError, file_lock
from mhmodels.training.errors import TrainingError
from mhmodels.training.recipes import Distillation, Recipe
from mhmodels.training.run.checkpoint import EpochResult, EvaluatedEpoch

RUN_FORMAT: Literal["mhmodels.run/1"] = "mhmodels.run/1"
METRICS_FORMAT: Literal["mhmodels.metrics/1"] = "mhmodels.metrics/1"


class Setup(Checked, frozen=True, kw_only=True):
    """Settings that decide the weights of a run, bit for bit on one machine.

    Attributes:
        model: Name of the network, for people.
        architecture_id: Identity of the network at its width, input size and number of classes.
        recipe: The recipe.
        train: Name and fingerprint of the training data.
        test: Name and fingerprint of the test data, or None.
        seed: Random seed.
        strategy: Name of the distribution strategy.
        replicas: Number of parts that a batch is split into.
        precision: `float32`, `float16` or `bfloat16`.
        weights: Hash of the weights to begin with; None for random ones.
        transform: Name of the transform of the model before training (quantisation-aware training), or None.
        distillation: Settings of training without labels; None trains with labels.
    """

    model: str
    architecture_id: str
    recipe: Recipe
    train: str
    test: str | None = None
    seed: int = 0
    strategy: str = "none"
    replicas: int = 1
    precision: str = "float32"
    weights: str | None = None
    transform: str | None = None
    distillation: Distillation | None = None


class Metrics(Checked, frozen=True, kw_only=True):
    """Result of a training run, as `metrics.json` in its folder holds it.

    With distillation, accuracies are the agreement with the float network: the share of pictures of equal best class.

    Attributes:
        setup: Settings that decide the resulting weights.
        steps: Number of optimizer steps.
        seconds: Seconds of training and evaluation, without interruptions.
        images_per_second: Number of pictures trained on, divided by the seconds.
        loss: Mean loss of the last epoch in nats.
        accuracy: Accuracy on the training pictures of the last epoch, as augmented, 0 to 1.
        test_loss: Mean loss on the test data in nats; None without test data.
        test_accuracy: Top-1 accuracy on the test data, 0 to 1; None without test data.
        test_top5: Top-5 accuracy on the test data, 0 to 1; None without test data.
        history: Result of each epoch.
        skipped: Unreadable pictures as `file (reason)`; a resumed run counts them from its last start.
        weights_file: Name of the weights file in the folder.
        versions: Versions of the libraries.
        start: Evaluation before the first step; None without early stopping.
        kept: Evaluation of the weights in the file; None without early stopping, where they are those of the last epoch.

    Example:
        >>> from mhmodels.training import load_metrics
        >>> load_metrics(Path("run/metrics.json")).test_accuracy  # doctest: +SKIP
        0.97
    """

    setup: Setup
    steps: int
    seconds: float
    images_per_second: float
    loss: float
    accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    test_top5: float | None
    history: tuple[EpochResult, ...]
    skipped: tuple[str, ...]
    weights_file: str
    versions: dict[str, str]
    start: EvaluatedEpoch | None = None
    kept: EvaluatedEpoch | None = None


class RunFolder:
    """Paths and records of one run.

    Args:
        path: The folder; it is created when the run begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self._held = ExitStack()
        self.recipe = path / "recipe.json"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.metrics = path / "metrics.json"
        self.weights = path / "model.weights.h5"
        self.transformed_weights = path / "transformed.weights.h5"
        self.curve = path / "curve.png"

    def begin(self, setup: Setup, *, resume: bool, write: bool = True) -> None:
        """Takes the folder for a run, or checks that it holds this very run.

        Args:
            setup: Settings of the run to start or continue.
            resume: Whether an existing run is continued; where there is none, one is started.
            write: Whether this process writes the files; False for workers other than the chief.

        Raises:
            TrainingError: The folder holds a run and `resume` is not set, or a run with other settings, or something else under a
                name that a run writes; or another process trains in it.
        """
        if self.record.exists() and (resume or write):
            if not resume:
                raise TrainingError(f"{self.path}: holds a run already; resume it, or give another folder (argument 'resume')")
            self._check(setup)
            if write:
                self._claim()
        elif write:
            self._check_free()
            self._claim()
            if self.record.exists():
                raise TrainingError(f"{self.path}: another process began a run here meanwhile; give another folder")
            # First of all: from here on whatever lies in the folder is this run's.
            write_atomically(self.record, _encode(RUN_FORMAT, setup))
            write_atomically(self.recipe, setup.recipe.to_json())

    def close(self) -> None:
        """Releases the folder to other processes."""
        self._held.close()

    def _claim(self) -> None:
        try:
            self._held.enter_context(file_lock(self.path / "run.lock"))
        except LockHeldError as error:
            raise TrainingError(
                f"{self.path}: {error.holder} trains in this folder; wait for it, stop it, or give another folder"
            ) from error
        except LockFileError as error:
            raise TrainingError(f"{error}: a run locks its folder there; give another folder") from error

    def finish(self, metrics: Metrics) -> None:
        """Writes the result."""
        write_atomically(self.metrics, _encode(METRICS_FORMAT, metrics))

    def _check_free(self) -> None:
        """Refuses a folder in which a run would overwrite files of something else."""
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path}: is a file, expected a folder or a new name")
        written = (
            self.recipe, self.checkpoints, self.tensorboard, self.metrics, self.weights, self.transformed_weights, self.curve,
        )  # fmt: skip
        there = [path.name for path in written if path.exists() or path.is_symlink()]
        if there:
            raise TrainingError(
                f"{self.path}: holds no run ({self.record.name}), but {', '.join(there)}, which a run would write over; give "
                "another folder"
            )

    def _check(self, setup: Setup) -> None:
        found = decode_json(read_bytes(self.record), Setup, RUN_FORMAT, str(self.record))
        changed = list(differences("", msgspec.to_builtins(found), msgspec.to_builtins(setup)))
        if changed:
            raise TrainingError(
                f"{self.path}: holds a run with other settings: {'; '.join(changed)}. Resume with the settings of "
                f"{self.record}, or start a new run in another folder"
            )


def load_metrics(path: Path) -> Metrics:
    """Reads the `metrics.json` of a finished run.

    Args:
        path: Path of the file.

    Raises:
        FileFormatError: The file cannot be read, or is of another format.

    Example:
        >>> from pathlib import Path
        >>> from mhmodels.training import load_metrics
        >>> load_metrics(Path("run/metrics.json"))
        Traceback (most recent call last):
            ...
        mhmodels.errors.FileFormatError: run/metrics.json: cannot be read (No such file or directory)
    """
    return decode_json(read_bytes(path), Metrics, METRICS_FORMAT, str(path))


def _encode(file_format: str, value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode({"format": file_format, **msgspec.to_builtins(value)}), indent=2) + b"\n"


def differences(path: str, before: object, now: object) -> Iterator[str]:
    """Yields `recipe.epochs was 2, now 3` for every field of nested plain values that differs, after `path`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from differences(f"{path}.{key}" if path else key, before.get(key), now.get(key))
    elif before != now:
        yield f"{path} was {before!r}, now {now!r}"
