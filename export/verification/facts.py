"""The part of a manifest that follows from the file alone, which `mhmodels verify` computes again."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import NamedTuple

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError, FileFormatError
from mhmodels.export.quantisation.parameters import input_quantisation, takes_pixels
from mhmodels.export.reading.pictures import fit_preprocessing
from mhmodels.export.writing.manifest import Manifest, OutputSpec, TensorSpec
from mhmodels.tflite.file import Tensor, TFLiteFile
from mhmodels.tflite.format import compute_format

SCALE_TOLERANCE = 1e-4
"""Relative difference between the input's scale and what mean and std make of it: converters round it their own way."""


class FileFacts(NamedTuple):
    """What the manifest of a file states of its content.

    Attributes:
        input: Type, shape and quantisation of the first input, as fields of `InputSpec`.
        outputs: The outputs.
        quantisation: Scale and zero point of every computed tensor that has them, by the tensor's name.
        operators: Number of operators of each kind, sorted by name.
    """

    input: dict[str, object]
    outputs: tuple[OutputSpec, ...]
    quantisation: dict[str, TensorSpec]
    operators: dict[str, int]


def tflite_facts(file: TFLiteFile) -> FileFacts:
    """Returns what the manifest of a TFLite file states of its content."""
    return FileFacts(input_facts(file), output_specs(file), quantisation_specs(file), operator_counts(file))


def operator_counts(file: TFLiteFile) -> dict[str, int]:
    """Returns the number of operators of each kind, sorted by name."""
    return dict(sorted(Counter(operator.kind for operator in file.operators).items()))


def output_specs(file: TFLiteFile) -> tuple[OutputSpec, ...]:
    """Returns the outputs of a file as a manifest states them."""
    specs = []
    for position in file.outputs:
        tensor = file.tensors[position]
        scale, zero_point = _parameters(tensor)
        specs.append(OutputSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, scale=scale, zero_point=zero_point))
    return tuple(specs)


def input_facts(file: TFLiteFile) -> dict[str, object]:
    """Returns type, shape and quantisation of the first input, as fields of `InputSpec`."""
    entry = file.tensors[file.inputs[0]]
    scale, zero_point = _parameters(entry)
    return {"dtype": entry.dtype, "shape": entry.shape, "scale": scale, "zero_point": zero_point}


def quantisation_specs(file: TFLiteFile) -> dict[str, TensorSpec]:
    """Returns scale and zero point of every computed tensor that has them."""
    return {
        tensor.name: TensorSpec(scale=float(tensor.scale[0]), zero_point=int(tensor.zero_point[0]))
        for tensor in file.tensors
        if tensor.data is None and len(tensor.scale) == 1
    }


def contradictions(manifest: Manifest, file: TFLiteFile, data: bytes) -> dict[str, tuple[object, object]]:
    """Returns the fields of a manifest that contradict its file, as (claimed, found) by field; empty if there are none.

    Raises:
        FileFormatError: The embedded architecture is none.
    """
    network = manifest.network()
    counts = None if network is None else complexity(network)
    claimed_input = {field: getattr(manifest.input, field) for field in ("dtype", "shape", "scale", "zero_point")}
    claims: dict[str, tuple[object, object]] = {
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
    claims |= _rule_claims(manifest, network, file)
    return {field: pair for field, pair in claims.items() if pair[0] != pair[1]}


def _rule_claims(manifest: Manifest, network: Architecture | None, file: TFLiteFile) -> dict[str, tuple[object, object]]:
    """Returns claims on the preprocessing, which must be that of the network and fit the quantisation of the input."""
    entry = file.tensors[file.inputs[0]]
    try:
        rule = manifest.input.preprocessing()
    except ArchitectureError as error:
        raise FileFormatError(f"{manifest.file}: manifest, field 'input': {error}") from error
    whole = len(entry.scale) == 1 and entry.dtype in ("uint8", "int8")
    claims: dict[str, tuple[object, object]] = {}
    if rule is None:
        return claims
    if len(entry.shape) == 4 and len(rule.mean) != entry.shape[3]:
        claims["input.mean"] = (f"{len(rule.mean)} values", f"{entry.shape[3]} channels")
    if network is not None:
        own = fit_preprocessing(network).preprocessing
        if manifest.normalise_in_model:
            own = msgspec.structs.replace(own, mean=(0.0,) * len(own.mean), std=(1.0,) * len(own.std))
        claims |= {f"input.{field}": (getattr(rule, field), getattr(own, field)) for field in rule.__struct_fields__}
    if whole:
        expected = input_quantisation(rule, "uint8" if entry.dtype == "uint8" else "int8")
        stated, found = (float(expected.scale[0]), int(expected.zero_point)), (float(entry.scale[0]), int(entry.zero_point[0]))
        if stated[1] != found[1] or not math.isclose(stated[0], found[0], rel_tol=SCALE_TOLERANCE):
            claims["input.mean and input.std"] = (f"{rule.mean} and {rule.std}, scale and zero point {stated}", found)
    exact = manifest.normalise_in_model or (len(entry.scale) > 0 and takes_pixels(rule))
    claims["input.takes_pixels"] = (manifest.input.takes_pixels, exact)
    return claims


def _parameters(tensor: Tensor) -> tuple[float | None, int | None]:
    if not len(tensor.scale):
        return None, None
    return float(tensor.scale[0]), int(tensor.zero_point[0])
