"""The part of a manifest that follows from an ONNX file alone."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import helper, numpy_helper

from mhmodels.export.verification.facts import FileFacts
from mhmodels.export.writing.manifest import OutputSpec, TensorSpec


def onnx_facts(content: bytes) -> FileFacts:
    """Returns what the manifest of an ONNX file states of its content.

    Args:
        content: The file, as this package writes it.
    """
    graph = onnx.load_model_from_string(content).graph
    parameters = _parameters(graph)
    entry, dtype, shape = _described(graph.input[0])
    known = parameters.get(entry)
    outputs = []
    for output in graph.output:
        name, output_dtype, output_shape = _described(output)
        spec = parameters.get(name)
        scale, zero_point = (None, None) if spec is None else (spec.scale, spec.zero_point)
        outputs.append(OutputSpec(name=name, dtype=output_dtype, shape=output_shape, scale=scale, zero_point=zero_point))
    return FileFacts(
        input={
            "dtype": dtype,
            "shape": shape,
            "scale": None if known is None else known.scale,
            "zero_point": None if known is None else known.zero_point,
        },
        outputs=tuple(outputs),
        quantisation=parameters,
        operators=dict(sorted(Counter(node.op_type for node in graph.node).items())),
    )


def _parameters(graph: onnx.GraphProto) -> dict[str, TensorSpec]:
    """Returns scale and zero point of every computed tensor of integers, and of an input of integers, by its name."""
    constants = {constant.name: constant for constant in graph.initializer}
    tensors = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            tensor = node.output[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            tensor = node.input[0]
        else:
            continue
        scale, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        tensors[tensor] = TensorSpec(scale=float(scale), zero_point=int(zero_point))
    return tensors


def _described(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int, ...]]:
    """Returns name, element type and shape of an input or output."""
    kind = value.type.tensor_type
    return value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, tuple(side.dim_value for side in kind.shape.dim)
