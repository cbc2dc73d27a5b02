"""What a search leaves: an architecture file with its provenance, a file of a tabular network, a front."""

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
from mhmodels.search.arrays import Floats
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.running import Found, front
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace

FOUND_FORMAT = "mhmodels.found/1"
FRONT_FORMAT = "mhmodels.front/1"


class TabularResult(Checked, frozen=True, kw_only=True):
    """A network of a tabular space: no architecture, but choices by decision."""

    space: str
    encoding: tuple[int, ...]
    choices: dict[str, str]
    provenance: dict[str, Any]


class Result(NamedTuple):
    """A result read from its file.

    Attributes:
        architecture: None for tabular spaces.
        space, encoding: None for architectures that no search found.
        provenance: empty for architectures that no search found.
    """

    architecture: Architecture | None
    space: Space | None
    encoding: Encodings | None
    provenance: dict[str, Any]


def result_file(space: Space, encoding: Encodings, provenance: Mapping[str, Any], name: str) -> bytes:
    """The file of a network that was found: an architecture wherever the space has them.

    Every command that takes a MODEL takes an architecture with provenance; its identity is that of the network alone.

    Args:
        space: searched.
        encoding: (decisions,).
        provenance: plain values.
        name: of the architecture.
    """
    if isinstance(space, ArchitectureSpace):
        document = msgspec.json.decode(space.build(encoding).at(name=name).to_json())
    else:
        chosen = {d.name: describe(d.choices[int(i)]) for d, i in zip(space.decisions, encoding, strict=True)}
        document = {"format": FOUND_FORMAT, "space": space.name, "encoding": encoding.tolist(), "choices": chosen}
    document["provenance"] = {"space": space.name, "encoding": encoding.tolist(), **provenance}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read_result(path: Path) -> Result:
    """Reads what `result_file` wrote, or any architecture file.

    Raises:
        FileFormatError: neither of both.
        SpaceError: an encoding that is no member of its space.
    """
    data = read_bytes(path, limit=8 << 20)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a JSON file ({error})") from error
    if isinstance(document, dict) and document.get("format") == FOUND_FORMAT:
        result = decode_json(data, TabularResult, FOUND_FORMAT, str(path))
        space = get_space(result.space)
        return Result(None, space, space.check(np.array(result.encoding))[0], result.provenance)
    architecture = Architecture.from_json(data, str(path))
    provenance = document.get("provenance", {})
    if not isinstance(provenance, dict):
        raise FileFormatError(f"{path}: field 'provenance' is {type(provenance).__name__}, expected an object")
    return Result(architecture, None, None, provenance)


def front_document(objective: Objective, found: Found, each: bool) -> dict[str, Any]:
    """All networks of a search that no other beats in accuracy and latency: on every hardware, or in their norm.

    Args:
        objective: of the search.
        found: its log is searched.
        each: whether latency on every hardware that counts is a cost of its own (one of weight 0 is shown and decides
            nothing), or f.
    """
    costs: Floats = found.log.latencies[:, objective.reward.counted] if each else found.log.f[:, None]
    hardware, encodings = list(objective.sources), objective.space.canonical(found.log.encodings)
    networks = [
        {
            "encoding": encodings[i].tolist(),
            "label": objective.space.label(encodings[i]),
            "accuracy": float(found.log.accuracy[i]),
            "latency_ms": dict(zip(hardware, found.log.latencies[i].tolist(), strict=True)),
            "f": float(found.log.f[i]),
            "reward": float(found.log.rewards[i]),
        }
        for i in front(found.log, costs)
    ]
    return {
        "format": FRONT_FORMAT,
        "space": objective.space.name,
        "schema": objective.space.schema,
        "hardware": hardware,
        "aggregate": objective.reward.aggregate,
        "of": "every hardware" if each else "f",
        "networks": networks,
    }
