"""Errors of training and evaluation."""

from __future__ import annotations

from mhmodels.errors import MhmodelsError


class TrainingError(MhmodelsError, RuntimeError):
    """A run cannot start or continue: the loss diverged, the folder holds another run, or TF_CONFIG is missing."""


class DataError(MhmodelsError, ValueError):
    """Training or test data cannot be used: they are empty or damaged, or have other classes than the network."""


class RecipeError(MhmodelsError, ValueError):
    """A field of a recipe is outside its limits."""


class CheckpointError(MhmodelsError, RuntimeError):
    """A checkpoint cannot be written or read; the message names the last good one."""
