"""The exceptions of the project: one tree, so that the command line can print any of them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MhmodelsError(Exception):
    """Base of every error that a user can cause and mend. Its text is complete: what, where, found, expected, remedy."""


class FieldError(MhmodelsError, ValueError):
    """A field of a struct whose value is outside its limits; the message names the field, the value and what is expected."""


class ArchitectureError(MhmodelsError, ValueError):
    """An architecture that cannot be: a wrong field, a width of zero, an input too small."""


class UnknownNameError(MhmodelsError, LookupError):
    """A name that no table holds; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_listed(known)}"
        super().__init__(f"unknown {kind} '{name}': {hint}{' ' + remedy if remedy else ''}")


def _listed(names: list[str], most: int = 40) -> str:
    return (", ".join(names[:most]) or "none") + (f" and {len(names) - most} more" if len(names) > most else "")


class FileFormatError(MhmodelsError, ValueError):
    """A file that is not what it should be: truncated, another format, a wrong field."""


class WeightsError(MhmodelsError, ValueError):
    """Weights that cannot be had or do not fit: a corrupt or foreign file, another network, a hash that differs."""


class PaddingWarning(UserWarning):
    """Weights give other scores here than where they come from, because their network was padded otherwise."""


class MeasurementError(MhmodelsError, RuntimeError):
    """A latency that could not be obtained."""


class StoreError(MhmodelsError, RuntimeError):
    """The measurement store cannot be opened, is of another version, or is not a store at all."""


class InterruptedJobError(KeyboardInterrupt):
    """A job that the user interrupted (Ctrl-C). Its text says what was kept and how to go on."""
