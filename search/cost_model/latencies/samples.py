"""Files of sampled networks: JSON lines that others can measure, and that `read_latencies` reads once latencies are added."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES, provenance_of
from mhmodels.search.cost_model.latencies.rows import encoding_of, file_rows
from mhmodels.search.space.sampling import Sample
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace


def write_samples(sample: Sample, space: SearchSpace, path: Path) -> None:
    """Writes a line for each network; the file appears complete or not at all.

    A line has the encoding. For an architecture space it also has the architecture, its id and MAdds, so that other programs can
    build and measure the network.

    Args:
        sample: The networks.
        space: Their space.
        path: `FILE.jsonl`.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.search import get_space, read_samples, sample, write_samples
        >>> space = get_space("multi_hardware")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "samples.jsonl")
        ...     write_samples(sample(space, 3), space, path)
        ...     len(read_samples(path, space).encodings)
        3
    """
    from mhmodels.system.files import replaced

    madds = space.madds(sample.encodings) if isinstance(space, ArchitectureSpace) else None
    with replaced(path) as beside, beside.open("wb") as file:
        for i, row in enumerate(sample.encodings):
            line: dict[str, object] = {
                "space": space.name,
                "schema": space.schema,
                "encoding": row.tolist(),
                "distribution": sample.distributions[i],
            }
            if isinstance(space, ArchitectureSpace) and madds is not None:
                architecture = space.build(row)
                line |= {"architecture_id": architecture.architecture_id, "madds": int(madds[i])}
                line["architecture"] = msgspec.Raw(msgspec.json.format(architecture.to_json(), indent=-1))
            file.write(msgspec.json.encode(line) + b"\n")


def read_samples(path: str | os.PathLike[str], space: SearchSpace) -> Sample:
    """Reads the networks of a file of samples or latencies; latencies are ignored.

    Args:
        path: JSON lines, or a table (`.csv`, `.tsv`).
        space: Space that the networks belong to.

    Raises:
        FileFormatError: The file cannot be read, or has no networks.
        SpaceError: A network is not a member of the space.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.search import get_space, read_samples
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "samples.csv")
        ...     _ = path.write_text("architecture,ms\\nmulti_max,12.5\\n")
        ...     read_samples(path, get_space("multi_hardware")).encodings.shape
        (1, 25)
    """
    path = Path(path)
    provenance_of(path, space)
    rows = file_rows(read_bytes(path, limit=MAX_BYTES), path)
    encodings = [encoding_of(row, space, f"{path}: line {number}") for number, row in rows]
    if not encodings:
        raise FileFormatError(f"{path}: no networks, expected one a line")
    return Sample(np.array(encodings), tuple(str(row.get("distribution") or "") for _, row in rows))
