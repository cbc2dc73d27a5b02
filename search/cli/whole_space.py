"""The space of commands that learn from measurements: a reduced space stands for its whole space there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.cli.common import note

if TYPE_CHECKING:
    from mhmodels.search.space.search_space import SearchSpace


def whole_space(word: str) -> SearchSpace:
    """The whole space of a name or file. A note tells where it is larger than what was named.

    Few networks that were measured for the whole space are members of a reduced one, and a cost model or profile of the whole
    space holds for its parts.

    Args:
        word: Name or file of a space.

    Raises:
        MhmodelsError: There is no such space.
    """
    from mhmodels.search.space.loading import load_space

    given = load_space(word)
    if given.restrictions:
        note(f"{word}: the networks of the whole space '{given.name}' count")
    return given.unrestricted()
