"""What can be read off a file alone: the part of a manifest that `mhmodels verify` recomputes."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from export.manifest import Manifest, OutputSpec, TensorSpec
from mhmodels.complexity import complexity
from mhmodels.tflite_file import Tensor, TFLiteFile
from mhmodels.tflite_format import compute_format


def operator_counts(file: TFLiteFile) -> dict[str, int]:
    """Operators by kind, sorted."""
    return dict(sorted(Counter(operator.kind for operator in file.operators).items()))


def output_specs(file: TFLiteFile) -> tuple[OutputSpec, ...]:
    """The file's outputs."""
    specs = []
    for position in file.outputs:
        tensor = file.tensors[position]
        scale, zero_point = _parameters(tensor)
        specs.append(OutputSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, scale=scale, zero_point=zero_point))
    return tuple(specs)


def input_facts(file: TFLiteFile) -> dict[str, Any]:
    """Type, shape and quantisation of the first input, as fields of `InputSpec`."""
    entry = file.tensors[file.inputs[0]]
    scale, zero_point = _parameters(entry)
    return {"dtype": entry.dtype, "shape": entry.shape, "scale": scale, "zero_point": zero_point}


def quantisation_specs(file: TFLiteFile) -> dict[str, TensorSpec]:
    """Scale and zero point of every computed tensor that has them."""
    return {
        tensor.name: TensorSpec(scale=float(tensor.scale[0]), zero_point=int(tensor.zero_point[0]))
        for tensor in file.tensors
        if tensor.data is None and len(tensor.scale) == 1
    }


def contradictions(manifest: Manifest, file: TFLiteFile, data: bytes) -> dict[str, tuple[Any, Any]]:
    """Fields of a manifest that are not what the file has: (claimed, found) by field; empty if they belong together.

    Raises:
        FileFormatError: the embedded architecture is none.
    """
    network = manifest.network()
    counts = None if network is None else complexity(network)
    claimed_input = {field: getattr(manifest.input, field) for field in ("dtype", "shape", "scale", "zero_point")}
    claims: dict[str, tuple[Any, Any]] = {
        "sha256": (manifest.sha256, hashlib.sha256(data).hexdigest()),
        "file_bytes": (manifest.file_bytes, len(data)),
        "precision": (manifest.precision, compute_format(file)),
        "operators": (manifest.operators, operator_counts(file)),
        "input": (claimed_input, input_facts(file)),
        "outputs": (manifest.outputs, output_specs(file)),
        "quantisation": (manifest.quantisation, quantisation_specs(file)),
    }
    if network is not None and counts is not None:
        claims["architecture_id"] = (manifest.architecture_id, network.architecture_id)
        claims["params"] = (manifest.params, counts.params)
        claims["params_total"] = (manifest.params_total, counts.params_total)
        claims["madds"] = (manifest.madds, counts.madds)
    return {field: pair for field, pair in claims.items() if pair[0] != pair[1]}


def _parameters(tensor: Tensor) -> tuple[float | None, int | None]:
    if not len(tensor.scale):
        return None, None
    return float(tensor.scale[0]), int(tensor.zero_point[0])
