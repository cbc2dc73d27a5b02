"""Files of found networks: an architecture with its provenance, or the choices of a network of a tabular space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.errors import FileFormatError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import decode_json, read_bytes
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

FOUND_FORMAT = "mhmodels.found/1"


class TabularNetwork(Checked, frozen=True, kw_only=True):
    """A network of a tabular space, which has no architecture: its choices by decision.

    Attributes:
        space: Name of the space.
        encoding: (decisions,).
        choices: Choices in words, by decision.
        provenance: Origin of the network.
    """

    space: str
    encoding: tuple[int, ...]
    choices: dict[str, str]
    provenance: dict[str, Any]


class NetworkFile(NamedTuple):
    """A network read from its file.

    Attributes:
        architecture: Architecture; None for a network of a tabular space.
        space: Tabular space; None for an architecture.
        encoding: Encoding (decisions,) in the tabular space; None for an architecture.
        provenance: Search that found the network; empty for any other architecture.
    """

    architecture: Architecture | None
    space: SearchSpace | None
    encoding: Encodings | None
    provenance: dict[str, object]

    @property
    def space_name(self) -> str:
        """Name of the tabular space; empty for an architecture."""
        return "" if self.space is None else self.space.name

    def choices(self) -> dict[str, str]:
        """Choices of a network of a tabular space in words, by decision; empty for an architecture."""
        if self.space is None or self.encoding is None:
            return {}
        rows = zip(self.space.decisions, self.encoding, strict=True)
        return {decision.name: describe(decision.choices[int(i)]) for decision, i in rows}


def network_file(space: SearchSpace, encoding: Encodings, provenance: Mapping[str, object], name: str) -> bytes:
    """The content of the file of a found network: an architecture file if the space has architectures.

    Every command that takes a MODEL takes an architecture with provenance; its `architecture_id` is that of the network alone.

    Args:
        space: Space of the search.
        encoding: Network, (decisions,).
        provenance: Origin of the network, plain values.
        name: Name of the architecture.
    """
    if isinstance(space, ArchitectureSpace):
        document = msgspec.json.decode(space.build(encoding).at(name=name).to_json())
    else:
        chosen = {d.name: describe(d.choices[int(i)]) for d, i in zip(space.decisions, encoding, strict=True)}
        document = {"format": FOUND_FORMAT, "space": space.name, "encoding": encoding.tolist(), "choices": chosen}
    document["provenance"] = {"space": space.name, "encoding": encoding.tolist(), **provenance}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_network(path: Path) -> NetworkFile:
    """Reads the file of a found network, or any architecture file.

    Args:
        path: `FILE.json`.

    Raises:
        FileFormatError: The file is neither of both.
        SpaceError: The encoding is no member of its space.
    """
    data = read_bytes(path, limit=8 << 20)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a JSON file ({error})") from error
    if isinstance(document, dict) and document.get("format") == FOUND_FORMAT:
        result = decode_json(data, TabularNetwork, FOUND_FORMAT, str(path))
        space = get_space(result.space)
        return NetworkFile(None, space, space.check(np.array(result.encoding))[0], result.provenance)
    architecture = Architecture.from_json(data, str(path))
    provenance = document.get("provenance", {})
    if not isinstance(provenance, dict):
        raise FileFormatError(f"{path}: field 'provenance' is {type(provenance).__name__}, expected an object")
    return NetworkFile(architecture, None, None, provenance)
