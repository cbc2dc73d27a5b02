"""The exceptions of the project, in one tree, so that the command line can print any of them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MhmodelsError(Exception):
    """Base of every error that a user can cause and correct. Its text says what was found, what is expected and what to do.

    A text names what to change as `argument 'NAME'`, a Python name. The command line puts its option in that place.
    """


class WrongUsageError(MhmodelsError):
    """Arguments that cannot be used like this, whatever files and devices hold: the command line ends with exit code 2."""


class FieldError(MhmodelsError, ValueError):
    """A field of a struct whose value is outside its limits; the message names the field, the value and what is expected."""


class ArchitectureError(MhmodelsError, ValueError):
    """A field of an architecture is outside its limits, or the network cannot be built."""


class UnknownNameError(MhmodelsError, LookupError):
    """A name is unknown; the message suggests the nearest known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        known = sorted(known)
        by_lower = {each.lower(): each for each in known}
        near = [by_lower[each] for each in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_listed(known)}"
        super().__init__(f"unknown {kind} '{name}': {hint}{' ' + remedy if remedy else ''}")


def _listed(names: list[str], most: int = 40) -> str:
    return (", ".join(names[:most]) or "none") + (f" and {len(names) - most} more" if len(names) > most else "")


class FileFormatError(MhmodelsError, ValueError):
    """A file cannot be read, is truncated, of another format, or has a wrong field."""


class WeightsError(MhmodelsError, ValueError):
    """Weights cannot be obtained or do not fit: a corrupt file, another network, another hash."""


class PaddingWarning(UserWarning):
    """Weights give other scores here than at their origin, because their network was padded differently."""


class MeasurementError(MhmodelsError, RuntimeError):
    """A latency could not be obtained."""


class StoreError(MhmodelsError, RuntimeError):
    """A database cannot be opened: it is locked, damaged, of another kind or of a newer version."""


class InterruptedJobError(KeyboardInterrupt):
    """The user interrupted a job with Ctrl-C. The text says what was kept and how to continue."""
