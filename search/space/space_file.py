"""Files of reduced spaces: a space of the catalogue, and the choices that are left of its decisions.

    {"format": "mhmodels.space/1", "space": "nas_bench_macro", "schema": "…", "allowed": {"layer1": ["skip", "…"]},
     "provenance": {…}}

Decisions that `allowed` does not name keep all their choices. Choices stand in words, as `mhmodels search space` shows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from mhmodels.errors import FileFormatError, UnknownNameError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import decode_json
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.search_space import SearchSpace

SPACE_FORMAT = "mhmodels.space/1"


class SpaceFile(Checked, frozen=True, kw_only=True):
    """A reduced space as its file has it.

    Attributes:
        space: Name of the whole space.
        schema: Schema of the whole space.
        allowed: By decision, the choices that are left, in words; decisions that are not named keep all.
        provenance: How the space was reduced.
    """

    space: str
    schema: str
    allowed: dict[str, tuple[str, ...]]
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)


def space_file(space: SearchSpace, provenance: Mapping[str, object]) -> bytes:
    """The content of the file of a space that was restricted.

    Args:
        space: The space.
        provenance: How it was reduced, plain values.
    """
    allowed = {
        decision.name: tuple(describe(decision.choices[i]) for i in left)
        for decision, left in zip(space.decisions, space.allowed, strict=True)
        if len(left) < len(decision.choices)
    }
    content = SpaceFile(space=space.name, schema=space.schema, allowed=allowed, provenance=dict(provenance))
    document = {"format": SPACE_FORMAT, **msgspec.to_builtins(content)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_space_file(data: bytes, source: str) -> SearchSpace:
    """Makes the space of a file.

    Args:
        data: Content of the file.
        source: Name of the file, for messages.

    Raises:
        FileFormatError: The file is of another format, or names a space, decision or choice that does not exist.
        SpaceError: The file is of another version of its space, or leaves too few choices.
    """
    file = decode_json(data, SpaceFile, SPACE_FORMAT, source)
    try:
        whole = get_space(file.space)
    except UnknownNameError as error:
        raise FileFormatError(f"{source}: field 'space': {error}") from error
    if file.schema != whole.schema:
        raise SpaceError(
            f"{source}: field 'schema' is '{file.schema[:40]}', but space '{file.space}' has {whole.schema}: the file is of "
            "another version of the space, and its choices may mean something else; reduce the space again"
        )
    names = [decision.name for decision in whole.decisions]
    unknown = next((name for name in file.allowed if name not in names), None)
    if unknown is not None:
        raise FileFormatError(f"{source}: field 'allowed' has decision '{unknown[:60]}', expected some of {', '.join(names)}")
    words = {decision.name: [describe(choice) for choice in decision.choices] for decision in whole.decisions}
    left = [_choices(words[name], file.allowed.get(name), f"{source}: field 'allowed.{name}'") for name in names]
    try:
        return whole.restricted(left, [restriction_name(file.space, left)])
    except SpaceError as error:
        raise SpaceError(f"{source}: {error}") from error


def restriction_name(space: str, allowed: list[list[int]]) -> str:
    """Identifies the choices that are left, wherever their file is: logs of searches compare it.

    Args:
        space: Name of the whole space.
        allowed: By decision, the indices of the choices that are left.
    """
    digest = hashlib.sha256(msgspec.json.encode(allowed)).hexdigest()[:12]
    return f"{space} reduced to {sum(map(len, allowed))} choices ({digest})"


def _choices(words: list[str], wanted: tuple[str, ...] | None, field: str) -> list[int]:
    if wanted is None:
        return list(range(len(words)))
    wrong = next((word for word in wanted if word not in words), None)
    if wrong is not None or not wanted:
        found = "empty" if wrong is None else f"'{wrong[:80]}'"
        raise FileFormatError(f"{field} is {found}, expected some of: {'; '.join(words)}")
    return [words.index(word) for word in wanted]
