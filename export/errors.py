"""Errors of this package."""

from mhmodels.errors import MhmodelsError, WrongUsageError


class ExportError(MhmodelsError, RuntimeError):
    """A network, its weights or the options that cannot become a file; the message names the layer or the field."""


class NoEffectError(ExportError, WrongUsageError):
    """An argument that has no effect on the model that was given, such as weights for a `.keras` file, which has its own."""


class ParityError(ExportError):
    """A file whose outputs do not agree with those of the network or file that it is compared with."""
