"""Reads the JSON file formats of the package. Every error names the file, the field, the found value and the expected one."""

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
    """Decodes a JSON document of one of the package's file formats.

    Args:
        data: Content of the file.
        kind: Struct to decode to.
        file_format: Required value of the field `format`.
        source: Name of the file, for messages.
        beside: Further fields that may stand in the document and are ignored.

    Raises:
        FileFormatError: The document is not JSON, of another format, or has a wrong field.
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
    """Replaces halves of surrogate pairs, which stand for bytes of a file name that are not UTF-8, by U+FFFD for JSON."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def control_character(text: str, allowed: str = "") -> str | None:
    """Returns the first character of a text that is a control character or ends a line or paragraph; None if there is none.

    Args:
        text: Text to check, such as a class name.
        allowed: Characters that do not count.
    """
    if text.isprintable():
        return None
    return next((mark for mark in text if unicodedata.category(mark) in ("Cc", "Zl", "Zp") and mark not in allowed), None)


def named_or_file(word: str | os.PathLike[str], kind: str, named: Mapping[str, T], read: Callable[[bytes, str], T]) -> T:
    """Returns what an argument stands for that takes a known name or the path of a user's file.

    Args:
        word: Name or path; a known name has precedence.
        kind: Kind of thing, for messages.
        named: Known things by name.
        read: Function that makes one from the content of a file and its name.

    Raises:
        UnknownNameError: `word` is neither a known name nor a .json file.
        FileFormatError: The file cannot be read, or `read` refuses it.
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
