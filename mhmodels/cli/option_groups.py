"""The decorator that makes one object of a group of options, so that a command takes few arguments, each of a type."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., object])


def option_group(name: str, kind: type[Any], *options: Callable[[F], F]) -> Callable[[F], F]:
    """Adds options whose values reach the command as one object.

    Args:
        name: Parameter of the command that receives the object.
        kind: Dataclass with a field for each option, named as the option's value.
        options: Results of `click.option`, in the order of the help.
    """
    names = [field.name for field in fields(kind)]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def grouped(**values: object) -> object:
            group = kind(**{field: values.pop(field) for field in names})
            return command(**values, **{name: group})

        decorated: Any = grouped
        for option in reversed(options):
            decorated = option(decorated)
        result: F = decorated
        return result

    return decorate
