"""Errors of `mhmodels.export`."""

from mhmodels.errors import MhmodelsError, WrongUsageError


class ExportError(MhmodelsError, RuntimeError):
    """A network, its weights or the options cannot be exported as requested; the message names the layer or the field."""


class NoEffectError(ExportError, WrongUsageError):
    """An argument that has no effect on the model that was given, such as weights for a `.keras` file, which has its own."""


class ParityError(ExportError):
    """The outputs of a file do not agree with those of the network or file that it is compared with."""
