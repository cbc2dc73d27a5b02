"""Checkpoints of a search by weight sharing: weights, optimizer and controller, from which the search continues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller
from mhmodels.search.supernet.record import mark_saved
from mhmodels.search.supernet.request import WeightSharingRequest
from mhmodels.search.supernet.training.replicas import Trainer
from mhmodels.training.divergence import first_not_finite
from mhmodels.training.run import checkpoint
from mhmodels.training.run.checkpoint import RunProgress

_GENERATOR_BYTES = 512


class SearchCheckpoints:
    """Writes and reads the checkpoints in the folder of a search."""

    def __init__(self, request: WeightSharingRequest, trainer: Trainer, controller: Controller) -> None:
        """Reads and writes nothing yet.

        Args:
            request: Search with its folder and log.
            trainer: Weights and optimizer.
            controller: Controller with its random generator.
        """
        self.request, self.trainer, self.controller = request, trainer, controller
        self.folder = request.folder / "checkpoints"

    def load(self) -> RunProgress | None:
        """Takes over the newest checkpoint, and changes no file.

        Returns:
            Steps done and seconds spent; None if there is no checkpoint.

        Raises:
            CheckpointError: The checkpoint cannot be read, or is of other weights.
        """
        found = checkpoint.latest(self.folder)
        if found is None:
            return None
        variables, state = self.trainer.variables(), self._controller_state()
        expected = [(name, tuple(value.shape)) for name, value in (variables | state).items()]
        progress, arrays = checkpoint.load(found, expected)
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.controller.restore({name.removeprefix("controller/"): arrays[name] for name in state})
        return progress

    def save(self, progress: RunProgress) -> None:
        """Writes a checkpoint, after everything in the log is on the disk.

        Args:
            progress: Steps done and seconds spent.

        Raises:
            SearchError: A variable is infinite or NaN.
            CheckpointError: The checkpoint cannot be written.
            StoreError: The log cannot be written.
        """
        arrays = self.trainer.values()
        spoilt = first_not_finite(arrays)  # an optimizer's slot: weights were checked in their step
        if spoilt is not None:
            raise self.diverged(progress, f"variable '{spoilt}' is no longer finite")
        if self.request.log is not None:  # a power cut must not leave a log that is behind its checkpoint
            self.request.log.sync()
        checkpoint.save(self.folder, progress, arrays | self._controller_state())
        mark_saved(self.request)

    def diverged(self, progress: RunProgress, what: str) -> SearchError:
        """The error of a search with numbers that are no longer finite, which names the last good checkpoint.

        Args:
            progress: Steps done.
            what: What became infinite or NaN.
        """
        return SearchError(
            f"step {progress.step} of {self.request.preset.steps}: {what}; {checkpoint.last_good(self.folder)}. A lower learning "
            "rate or a longer warm-up in the preset, or another seed, may help, in a new search"
        )

    def _controller_state(self) -> dict[str, NDArray[np.generic]]:
        """The state of the controller in arrays whose shapes never change, by name."""
        state = self.controller.state()
        padded = np.full(_GENERATOR_BYTES, ord(" "), np.uint8)
        padded[: len(state["generator"])] = state["generator"]
        return {f"controller/{name}": value for name, value in {**state, "generator": padded}.items()}
