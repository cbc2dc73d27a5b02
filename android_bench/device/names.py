"""Names that users give to their phones."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.system.files import read_bytes, write_atomically
from mhmodels.system.places import data_path

MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,40}", re.ASCII)


def names_path() -> Path:
    """File with the names of phones."""
    return data_path() / "phones.json"


def read_names() -> dict[str, str]:
    """Names of phones by serial number.

    Raises:
        MeasurementError: The file is damaged.
    """
    path = names_path()
    if not os.path.lexists(path):
        return {}
    try:
        names = msgspec.json.decode(read_bytes(path, MOST_BYTES), type=dict[str, str])
    # Bytes that are not UTF-8 raise a ValueError, and so does text that is not JSON.
    except (FileFormatError, ValueError, RecursionError) as error:
        raise MeasurementError(f"{path}: not the names of phones ({error}); remove it and name them again") from error
    wrong = next((name for name in names.values() if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise MeasurementError(f"{path}: phone name {wrong[:80]!r} must be up to 41 letters, digits and '._-'; remove it")
    return names


def set_name(serial: str, name: str) -> None:
    """Gives a phone a name for `NAME/delegate`; "" removes it.

    Raises:
        MeasurementError: The name is not valid, or another phone has it.
    """
    names = {known: value for known, value in read_names().items() if known != serial}
    if name:
        if not _NAME.fullmatch(name):
            raise MeasurementError(f"phone name {name!r} must be up to 41 letters, digits and '._-'")
        if name in names.values() or name in names:
            raise MeasurementError(f"phone name '{name}' is another phone's")
        names[serial] = name
    write_atomically(names_path(), msgspec.json.format(msgspec.json.encode(names, order="sorted"), indent=2))


def serial_of(phone: str) -> str:
    """Serial number of the phone with a name; a serial number stands for itself."""
    return next((serial for serial, name in read_names().items() if name == phone), phone)


def name_of(serial: str) -> str:
    """Name of a phone in hardware ids: the one that the user gave it, else its serial number."""
    return read_names().get(serial, serial)
