"""Reading our JSON file formats: every failure names the file, the field, what was found and what was expected."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from mhmodels.errors import FileFormatError, UnknownNameError
from mhmodels.system.files import read_bytes as read_bytes

T = TypeVar("T")


def decode_json(data: bytes | str, kind: type[T], file_format: str, source: str, beside: Collection[str] = ()) -> T:
    """Decodes one of our JSON file formats.

    Args:
        data: the file's content.
        kind: the struct to decode to.
        file_format: the value that its `format` field must have.
        source: the file's name, for messages.
        beside: fields that may stand there too and belong to somebody else.

    Raises:
        FileFormatError: with source, path of the field, what was found and expected.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{source}: not a JSON file ({error})") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != file_format:
        raise FileFormatError(f"{source}: field 'format' is {found!r}, expected {file_format!r}")
    try:
        for field in ("format", *beside):
            document.pop(field, None)
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise FileFormatError(f"{source}: {_with_found(str(error), document)}") from error


def plain_text(text: str) -> str:
    """Text as JSON takes it: what stands in a file name for a byte that is not UTF-8 becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def control_character(text: str, allowed: str = "") -> str | None:
    """The first character of a text that is a control character or ends a line or a paragraph; None if there is none.

    Args:
        text: such as a class name.
        allowed: characters that do not count.
    """
    if text.isprintable():
        return None
    return next((mark for mark in text if unicodedata.category(mark) in ("Cc", "Zl", "Zp") and mark not in allowed), None)


def named_or_file(word: str | os.PathLike[str], kind: str, named: Mapping[str, T], read: Callable[[bytes, str], T]) -> T:
    """What an option means that takes a name of ours or the path of a file of the user's.

    Args:
        word: as given; a name goes before a file.
        kind: what it should be, for messages.
        named: what we have.
        read: makes one of a file's content and its name.

    Raises:
        UnknownNameError: neither a name nor a .json file.
        FileFormatError: the file cannot be read, or `read` refuses it.
    """
    name = os.fspath(word)
    if name in named:
        return named[name]
    if not name.endswith(".json") and not Path(name).is_file():
        raise UnknownNameError(kind, name, named, f"(or give the path of a {kind} .json file)")
    return read(read_bytes(name, limit=1 << 20), name)


def _with_found(message: str, document: object) -> str:
    """Adds to msgspec's message (`… at `$.stages[1][0].kernel``) what stands there, and in which type of block."""
    _, _, path = message.partition("at `$.")
    node: object = document
    block = ""
    for step in path.rstrip("`").replace("[", ".").replace("]", "").split("."):
        try:
            if not isinstance(node, (list, dict)):
                break
            node = node[int(step)] if isinstance(node, list) else node[step]
        except (KeyError, IndexError, ValueError):
            break
        if isinstance(node, dict) and isinstance(node.get("type"), str):
            block = node["type"]
    found = "" if isinstance(node, (dict, list)) else f", found {str(node)[:80]!r}"
    return f"{message}{found}{f' (block type {block})' if block else ''}"
