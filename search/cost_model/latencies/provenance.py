"""The provenance of a table of latencies: the JSON file that `search collect` writes beside its CSV file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.hardware.measurement import Environment
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.search_space import SearchSpace

MAX_BYTES = 2 << 30
"""Largest size of a table or provenance, in bytes."""
_OWN_FIELDS = {"environments", "baselines", "schema"}


class _Marked(msgspec.Struct, frozen=True):
    """A JSON file that declares itself the provenance of a table."""

    format: Literal["mhmodels.latencies/1"]


class Provenance(_Marked, frozen=True):
    """The fields of a provenance that matter when its table is read.

    Attributes:
        environments: Environment by hardware id.
        space: Name of the space.
        schema: Schema of the space's encodings.
        baselines: Zoo networks measured beside the table's networks, by hardware id.
    """

    environments: dict[str, Environment | None]
    space: str
    schema: str
    baselines: dict[str, tuple[Baseline, ...]] = {}


def is_provenance(path: Path) -> bool:
    """Whether a file is a provenance that `search collect` wrote."""
    if not path.is_file():
        return False
    try:
        msgspec.json.decode(read_bytes(path, limit=MAX_BYTES), type=_Marked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def provenance_of(path: Path, space: SearchSpace) -> Provenance | None:
    """Reads the provenance beside a table.

    Args:
        path: The table (`FILE.csv`).
        space: Space that its encodings should belong to.

    Returns:
        The provenance; None if there is no `FILE.json`, or if that is a JSON file of something else.

    Raises:
        FileFormatError: The provenance is damaged.
        SpaceError: The provenance is of another space or version, whose encodings mean other networks.
    """
    beside = path.with_suffix(".json")
    if path.suffix.lower() != ".csv" or not os.path.lexists(beside):
        return None
    content = read_bytes(beside, limit=MAX_BYTES)
    try:
        document = msgspec.json.decode(content)
        if not _is_of_tables(document):
            return None  # another file that only has the same name, for example a cost model
        found = msgspec.json.decode(content, type=Provenance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(
            f"{beside}: damaged, expected the provenance of {path.name} that `search collect` writes ({error}); restore it, "
            "or move it away (then environment, baselines and space of the table are unknown)"
        ) from error
    if found.schema != space.schema:
        raise SpaceError(
            f"{path}: {beside.name} beside it says that its encodings are of space '{found.space}' with schema {found.schema}, "
            f"but space '{space.name}' has {space.schema}: another space or version"
        )
    return found


def with_provenance(origin: LatencyOrigin, found: Provenance | None) -> LatencyOrigin:
    """Adds environment and baselines from a provenance to an origin whose environment is unknown."""
    if found is None or origin.environment is not None:
        return origin
    name = origin.hardware
    return origin._replace(environment=found.environments.get(name), baselines=found.baselines.get(name, ()))


def _is_of_tables(document: object) -> bool:
    """Whether a JSON document is a provenance of any version, or a damaged one."""
    if not isinstance(document, dict):
        return False
    stated = document.get("format")
    return stated.startswith("mhmodels.latencies/") if isinstance(stated, str) else len(_OWN_FIELDS & set(document)) > 1
