"""Spaces by what users give: a name of the catalogue, the name of a published reduction, or the file of a reduced space."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mhmodels.formats.json_files import named_or_file
from mhmodels.search.space.catalogue import get_space, space_makers
from mhmodels.search.space.published_reductions import published_reductions, published_space
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.space_file import read_space_file


def load_space(word: str) -> SearchSpace:
    """Returns the space that a name or file stands for.

    A reduced space has the name, encodings and schema of its whole space, so that cost models and tables of that apply to it.

    Args:
        word: Name of a space (`multi_hardware`), name of a published reduction (`ofa_mobilenet_v3/kirin9000-npu`), or path of a
            file that `mhmodels search reduce -o` wrote.

    Raises:
        UnknownNameError: The word is neither a name nor a file; the message offers the nearest names.
        FileFormatError: The file cannot be read or is something else.
        SpaceError: The file is of another version of its space.

    Example:
        >>> from mhmodels.search import load_space
        >>> load_space("nas_bench_201").sizes.distinct
        15625
        >>> load_space("ofa_mobilenet_v3/kirin9000-npu").sizes.distinct < load_space("ofa_mobilenet_v3").sizes.distinct
        True
    """
    named: dict[str, Callable[[], SearchSpace]] = {
        **{name: functools.partial(get_space, name) for name in space_makers()},
        **{name: functools.partial(published_space, name) for name in published_reductions()},
    }
    return named_or_file(word, "search space", named, _from_file)()


def is_space_file(word: str) -> bool:
    """Whether `load_space` reads a file for a word."""
    return word not in space_makers() and word not in published_reductions()


def _from_file(data: bytes, source: str) -> Callable[[], SearchSpace]:
    return functools.partial(read_space_file, data, source)
