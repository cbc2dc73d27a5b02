"""Structs that hold the limits of their annotations however they are made.

msgspec compares values with annotations when it reads JSON, but not when Python code calls a struct. A file format whose structs
are `Checked` has one set of limits: what its JSON reader refuses, its constructor refuses too.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import msgspec
from msgspec import inspect

from mhmodels.errors import FieldError, MhmodelsError


class Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A struct whose fields are checked against their annotations when it is made.

    Subclasses that define `__post_init__` call `super().__post_init__()` first.

    Attributes:
        field_error: What a wrong value raises; a `ValueError` too, so that msgspec adds the path of the field in a file.

    Example:
        >>> from typing import Annotated
        >>> whole = Annotated[int, msgspec.Meta(ge=1)]
        >>> Crop = msgspec.defstruct("Crop", [("size", whole)], bases=(Checked,), frozen=True, kw_only=True)
        >>> Crop(size=0)
        Traceback (most recent call last):
            ...
        mhmodels.errors.FieldError: crop: field 'size' is 0, expected a whole number of at least 1
    """

    field_error: ClassVar[type[MhmodelsError]] = FieldError

    def __post_init__(self) -> None:
        for name, holds, expected in _checks(type(self)):
            value = getattr(self, name)
            if not holds(value):
                subject = _shown_name(type(self))
                raise self.field_error(f"{subject}: field '{name}' is {_short(value)}, expected {expected}")


Holds = Callable[[object], bool]


class _Check(NamedTuple):
    holds: Holds
    expected: str


@functools.cache
def _checks(kind: type[Checked]) -> tuple[tuple[str, Holds, str], ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return tuple((field.name, *_check(field.type)) for field in info.fields)


def _check(kind: inspect.Type) -> _Check:
    """How a value of a type is recognised, and how the type is called in messages."""
    match kind:
        case inspect.AnyType():
            return _Check(lambda _: True, "any value")
        case inspect.BoolType():
            return _Check(lambda value: value is True or value is False, "True or False")
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.StrType():
            return _text(kind)
        case inspect.NoneType():
            return _Check(lambda value: value is None, "None")
        case inspect.LiteralType():
            allowed = kind.values
            # 1.0 and True are equal to 1, but JSON's reader refuses them.
            return _Check(
                lambda value: any(value == one and type(value) is type(one) for one in allowed),
                f"one of {', '.join(map(str, allowed))}",
            )
        case inspect.StructType():
            cls = kind.cls
            return _Check(lambda value: isinstance(value, cls), f"a {_shown_name(cls)}")
        case inspect.UnionType():
            return _union(kind)
    return _collection(kind)


def _collection(kind: inspect.Type) -> _Check:
    match kind:
        case inspect.VarTupleType():
            item = _check(kind.item_type)
            return _Check(
                lambda value: isinstance(value, tuple) and all(map(item.holds, value)), f"a tuple, each {item.expected}"
            )
        case inspect.TupleType():
            items = [_check(one) for one in kind.item_types]
            return _Check(lambda value: _holds_each(value, items), f"a tuple of {len(items)}: {items[0].expected}")
        case inspect.ListType():
            item = _check(kind.item_type)
            return _Check(lambda value: isinstance(value, list) and all(map(item.holds, value)), f"a list, each {item.expected}")
        case inspect.DictType():
            key, item = _check(kind.key_type), _check(kind.value_type)
            return _Check(
                lambda value: isinstance(value, dict) and all(map(key.holds, value)) and all(map(item.holds, value.values())),
                f"a dict from {key.expected} to {item.expected}",
            )
    raise TypeError(f"fields of type {kind} are not checked")


def _union(kind: inspect.UnionType) -> _Check:
    options = [_check(one) for one in kind.types if not isinstance(one, inspect.NoneType)]
    expected = " or ".join(one.expected for one in options)
    if kind.includes_none:
        return _Check(lambda value: value is None or any(one.holds(value) for one in options), f"{expected}, or None")
    return _Check(lambda value: any(one.holds(value) for one in options), expected)


def _text(kind: inspect.StrType) -> _Check:
    least, most = kind.min_length or 0, kind.max_length if kind.max_length is not None else sys.maxsize
    pattern = re.compile(kind.pattern or "")
    expected = "text" if kind.pattern is None else f"text that matches {kind.pattern}"
    return _Check(
        lambda value: isinstance(value, str) and least <= len(value) <= most and pattern.search(value) is not None, expected
    )


def _holds_each(value: object, items: list[_Check]) -> bool:
    return (
        isinstance(value, tuple) and len(value) == len(items) and all(item.holds(x) for item, x in zip(items, value, strict=True))
    )


def _number(kind: inspect.IntType | inspect.FloatType) -> _Check:
    """A check of a number within bounds. Open bounds become the nearest closed ones, so that one comparison does."""
    whole = isinstance(kind, inspect.IntType)
    low = kind.ge if kind.gt is None else math.nextafter(kind.gt, math.inf) if not whole else kind.gt + 1
    high = kind.le if kind.lt is None else math.nextafter(kind.lt, -math.inf) if not whole else kind.lt - 1
    least = low if low is not None else -sys.float_info.max
    most = high if high is not None else sys.float_info.max
    if whole:
        return _Check(lambda value: type(value) is int and least <= value <= most, _words("a whole number", kind))
    return _Check(
        lambda value: isinstance(value, (float, int)) and not isinstance(value, bool) and least <= value <= most,
        _words("a finite number", kind),
    )


def _words(noun: str, kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f"{noun} from {kind.ge} to {kind.le}"
    bounds = (("of at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt))
    told = " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)
    return f"{noun} {told}".strip()


def _shown_name(kind: type[msgspec.Struct]) -> str:
    """As messages name a struct: a block by its type, any other by its class in words (`squeeze excite`)."""
    name = getattr(kind, "type_name", None) or kind.__name__
    return "".join(f" {c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
