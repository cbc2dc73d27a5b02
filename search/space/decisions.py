"""Decisions of a search space, and their choices in words."""

from __future__ import annotations

import functools
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

Tag: TypeAlias = Literal["operation", "width", "resolution"]
SKIP: None = None
"""The choice to leave a block out."""


ChoiceT_co = TypeVar("ChoiceT_co", covariant=True)
"""Type of a decision's choices: block or `SKIP`, width or size in pixels, name of an operation."""


class OneOf(msgspec.Struct, Generic[ChoiceT_co], frozen=True, cache_hash=True):
    """A decision: one of several choices.

    Attributes:
        name: Name of the decision, unique in its space.
        choices: Block templates (`SKIP` for none), widths in channels, input sizes in pixels, or operation names.
        tag: Kind of the decision: `operation`, `width`, …. The warm-ups of TuNAS treat operations and widths differently.

    Example:
        >>> from mhmodels.search import OneOf, SearchSpace
        >>> space = SearchSpace("mine", [OneOf("kernel", (3, 5, 7)), OneOf("width", (16, 32), "width")])
        >>> space.sizes.distinct
        6
    """

    name: str
    choices: tuple[ChoiceT_co, ...]
    tag: Tag = "operation"


@functools.lru_cache(maxsize=1 << 16, typed=True)
def describe(choice: object) -> str:
    """A choice in words, for example `inverted_bottleneck kernel=5 expansion=3`.

    The text does not change when a block type gets a new field, since schemas of spaces are hashes of it.
    """
    if choice is SKIP:
        return "skip"
    if not isinstance(choice, msgspec.Struct):
        return str(choice)
    fields = [
        f"{field.name}={describe(value) if isinstance(value, msgspec.Struct) else _number(value)}"
        for field in _fields(type(choice))
        if field.name not in ("filters", "endpoint")
        and ((value := getattr(choice, field.name)) != field.default or field.name == "kernel")
    ]
    name = choice.__struct_config__.tag
    return " ".join([str(name) if name else "(" + ", ".join(fields) + ")", *(fields if name else ())])


_fields = functools.cache(msgspec.structs.fields)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
