"""Delegates by their ids: the built-in table together with a user's own delegates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mhmodels.android_bench.delegates.delegate import ACCELERATOR, FORMATS, Delegate, DelegateChoice
from mhmodels.android_bench.delegates.table import TABLE
from mhmodels.android_bench.errors import DelegateError
from mhmodels.errors import FileFormatError, UnknownNameError
from mhmodels.system.files import read_bytes

MOST_BYTES = 1 << 20


class Delegates:
    """Delegates by id: the built-in table and a user's own.

    Args:
        own: The user's delegates; they replace built-in ones of the same id.

    Example:
        >>> from mhmodels.android_bench import Delegates
        >>> choice = Delegates().get("nnapi:google-edgetpu")
        >>> choice.format, choice.flags("/folder")["nnapi_accelerator_name"]
        ('int8', 'google-edgetpu')
    """

    def __init__(self, own: Iterable[Delegate] = ()) -> None:
        self._known = {delegate.id: delegate for delegate in (*TABLE, *own)}

    def __iter__(self) -> Iterator[Delegate]:
        return iter(self._known.values())

    def libraries(self) -> set[str]:
        """Paths on a device at which any delegate looks for its libraries."""
        return {path for delegate in self for path in delegate.libraries}

    def find(self, text: str) -> DelegateChoice | None:
        """The delegate that `ID`, `ID:ACCELERATOR` or either with `-FORMAT` stands for; None if there is none."""
        fmt = next((name for name in FORMATS if text.endswith(f"-{name}")), "")
        base, colon, accelerator = (text[: -len(fmt) - 1] if fmt else text).partition(":")
        delegate = self._known.get(base)
        if delegate is None or (colon and not (delegate.accelerator_flag and ACCELERATOR.fullmatch(accelerator))):
            return None
        if fmt and fmt not in delegate.formats:
            return None
        return DelegateChoice(delegate, accelerator, fmt or delegate.formats[0])

    def get(self, text: str) -> DelegateChoice:
        """The delegate that `ID`, `ID:ACCELERATOR` or either with `-FORMAT` stands for.

        Raises:
            UnknownNameError: There is no such delegate; the message offers the nearest ids.
            DelegateError: The delegate takes no accelerator.
        """
        choice = self.find(text)
        if choice is None:
            base = text.partition(":")[0]
            known = self._known.get(base)
            if known is not None and not known.accelerator_flag:
                raise DelegateError(f"delegate '{text}': {base} takes no accelerator, expected '{base}'")
            raise UnknownNameError(
                "delegate", text, self._known, "(nnapi takes an accelerator as nnapi:NAME, all take a format as ID-int8)"
            )
        return choice

    def for_format(self, text: str, fmt: str) -> DelegateChoice:
        """The delegate of an id with files of a format.

        Raises:
            UnknownNameError: There is no such delegate.
            DelegateError: The delegate does not take this format.
        """
        choice = self.get(text)
        if choice.format == fmt or any(text.endswith(f"-{name}") for name in FORMATS):
            return choice
        if fmt not in choice.delegate.formats:
            raise DelegateError(f"delegate '{text}' takes {', '.join(choice.delegate.formats)} files, found {fmt}")
        return choice._replace(format=fmt)


def load_delegates(path: str | os.PathLike[str]) -> tuple[Delegate, ...]:
    """Reads a user's delegates: `{"delegates": [{"id": …, "title": …, "formats": […], "proof": {…}}]}`.

    Args:
        path: The file; `.toml` is read as TOML, anything else as JSON.

    Raises:
        DelegateError: The file cannot be read, or an entry is wrong; the message names file and field.

    Example:
        >>> from mhmodels.android_bench import load_delegates
        >>> import tempfile
        >>> from pathlib import Path
        >>> entry = '{"id": "mine", "title": "Mine", "formats": ["int8"], "proof": {"names": ["EXTERNAL"]}}'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "mine.json"
        ...     _ = path.write_text('{"delegates": [' + entry + "]}")
        ...     [delegate.id for delegate in load_delegates(path)]
        ['mine']
    """
    file = Path(path)
    decode = msgspec.toml.decode if file.suffix == ".toml" else msgspec.json.decode
    try:
        delegates = tuple(decode(read_bytes(file, MOST_BYTES), type=_DelegatesFile).delegates)
    except FileFormatError as error:
        raise DelegateError(str(error)) from error
    except (msgspec.DecodeError, DelegateError, UnicodeDecodeError, RecursionError) as error:
        raise DelegateError(f"{file}: not a delegate file: {error}") from error
    ids = [delegate.id for delegate in delegates]
    twice = next((name for place, name in enumerate(ids) if name in ids[:place]), None)
    if twice is not None:
        raise DelegateError(f"{file}: delegate '{twice}' stands there twice, expected each id once")
    return delegates


class _DelegatesFile(msgspec.Struct, forbid_unknown_fields=True):
    delegates: list[Delegate]
