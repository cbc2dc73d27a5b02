"""Structs that hold the limits of their annotations however they are made: msgspec checks JSON only, not Python calls."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from mhmodels.errors import ArchitectureError


class Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A struct whose fields are checked against their annotations when it is made.

    Subclasses that define `__post_init__` call `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        for name, holds, expected in _checks(type(self)):
            value = getattr(self, name)
            if not holds(value):
                subject = _shown_name(type(self))
                raise ArchitectureError(f"{subject}: field '{name}' is {_short(value)}, expected {expected}")


class _Check(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str


@functools.cache
def _checks(kind: type[Checked]) -> tuple[tuple[str, Callable[[Any], bool], str], ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return tuple((field.name, *_check(field.type)) for field in info.fields)


def _check(kind: inspect.Type) -> _Check:
    match kind:
        case inspect.BoolType():
            return _Check(lambda value: value is True or value is False, "True or False")
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.StrType():
            return _Check(lambda value: isinstance(value, str), "text")
        case inspect.NoneType():
            return _Check(lambda value: value is None, "None")
        case inspect.LiteralType():
            allowed = kind.values
            return _Check(lambda value: value in allowed, f"one of {', '.join(map(str, allowed))}")
        case inspect.StructType():
            cls = kind.cls
            return _Check(lambda value: isinstance(value, cls), f"a {_shown_name(cls)}")
        case inspect.VarTupleType():
            item = _check(kind.item_type)
            return _Check(
                lambda value: isinstance(value, tuple) and all(map(item.holds, value)), f"a tuple, each {item.expected}"
            )
        case inspect.TupleType():
            items = [_check(one) for one in kind.item_types]
            return _Check(lambda value: _holds_each(value, items), f"a tuple of {len(items)}: {items[0].expected}")
        case inspect.UnionType(includes_none=True):
            inner = _check(inspect.UnionType(tuple(one for one in kind.types if not isinstance(one, inspect.NoneType))))
            return _Check(lambda value: value is None or inner.holds(value), f"{inner.expected}, or None")
        case inspect.UnionType(types=(only,)):
            return _check(only)
        case inspect.UnionType():
            options = [_check(one) for one in kind.types]
            return _Check(lambda value: any(one.holds(value) for one in options), " or ".join(one.expected for one in options))
    raise TypeError(f"fields of type {kind} are not checked")


def _holds_each(value: Any, items: list[_Check]) -> bool:
    return isinstance(value, tuple) and len(value) == len(items) and all(map(lambda one, x: one.holds(x), items, value))


def _number(kind: inspect.IntType | inspect.FloatType) -> _Check:
    """A check of a number within bounds. Open bounds become the nearest closed ones, so that one comparison does."""
    whole = isinstance(kind, inspect.IntType)
    low = kind.ge if kind.gt is None else math.nextafter(kind.gt, math.inf) if not whole else kind.gt + 1
    high = kind.le if kind.lt is None else math.nextafter(kind.lt, -math.inf) if not whole else kind.lt - 1
    least = low if low is not None else -sys.float_info.max
    most = high if high is not None else sys.float_info.max
    if whole:
        return _Check(lambda value: type(value) is int and least <= value <= most, _words("a whole number", kind))
    return _Check(lambda value: type(value) in (float, int) and least <= value <= most, _words("a finite number", kind))


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
