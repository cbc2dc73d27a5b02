"""What can go wrong in a training run."""

from __future__ import annotations

from mhmodels.errors import MhmodelsError


class TrainingError(MhmodelsError, RuntimeError):
    """A run that cannot start or go on: a diverged loss, a folder that holds another run, a missing TF_CONFIG."""


class DataError(MhmodelsError, ValueError):
    """Training or test data that cannot be used: empty, damaged, or of other classes than the network."""


class RecipeError(MhmodelsError, ValueError):
    """Settings of a recipe that cannot be."""


class CheckpointError(MhmodelsError, RuntimeError):
    """A checkpoint that cannot be written or read; the last good one is named."""
