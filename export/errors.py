"""Errors of this package."""

from mhmodels.errors import MhmodelsError


class ExportError(MhmodelsError, RuntimeError):
    """A network, its weights or the options that cannot become a file; the message names the layer or the field."""


class ParityError(ExportError):
    """A file whose outputs do not agree with those of the network or file that it is compared with."""
