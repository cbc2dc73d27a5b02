"""What the writer's tests share: a small network with every kind of operation, and a plain view of a TFLite file."""

from __future__ import annotations

from typing import Any, NamedTuple

import ai_edge_litert.schema_py_generated as schema
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mhmodels.architecture import (
    Architecture,
    Bottleneck,
    Conv,
    FusedInvertedBottleneck,
    Head,
    InvertedBottleneck,
    MaxPool,
    Preprocessing,
    Separable,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.export.graph.operations import Graph, random_graph

TINY = Architecture(
    name="tiny",
    stem=(Conv(filters=8, kernel=3, stride=2, activation="hard_swish"),),
    stages=(
        (
            Separable(filters=16, activation="relu6", pointwise_activation="relu6"),
            FusedInvertedBottleneck(filters=16, stride=2, expansion=2, endpoint=True),
        ),
        (Conv(filters=16, groups=4, kernel=3),),
        (
            InvertedBottleneck(
                filters=24,
                expansion=3,
                kernel=5,
                stride=2,
                activation="hard_swish",
                squeeze_excite=SqueezeExcite(gate="sigmoid"),
                endpoint=True,
            ),
            InvertedBottleneck(filters=24, expansion=2, squeeze_excite=SqueezeExcite()),
            InvertedBottleneck(filters=24, expansion=2, squeeze_excite=SqueezeExcite()),
            UniversalInvertedBottleneck(filters=24, expansion=2, start_kernel=3, middle_kernel=5),
        ),
        (
            MaxPool(stride=1),
            Bottleneck(filters=32, expansion=0.5),
            Bottleneck(filters=32, expansion=0.5),
            Bottleneck(filters=40, expansion=0.5, stride=2, activation="relu6", shortcut="average_pool"),
        ),
    ),
    head=Head(features=(Conv(filters=48),), hidden=(Conv(filters=64, activation="hard_swish", batch_norm=False, bias=True),)),
    input_size=(65, 48),
    classes=10,
    preprocessing=Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3),
)

MINI = Architecture(
    name="tiny",
    stem=(Conv(filters=8, kernel=3, stride=2, activation="hard_swish"),),
    stages=(
        (InvertedBottleneck(filters=16, expansion=2, stride=2, endpoint=True),),
        (InvertedBottleneck(filters=16, expansion=2, stride=2, activation="relu6", endpoint=True),),
    ),
    head=Head(features=(Conv(filters=32),)),
    input_size=TINY.input_size,
    classes=TINY.classes,
    preprocessing=TINY.preprocessing,
)
"""Of TINY's name, sizes and classes, in a sixth of its time: for tests of what happens around a network."""

BOTTLENECKS = Architecture(
    name="bottlenecks",
    stem=(
        Conv(filters=8, kernel=3, stride=2),
        Conv(filters=8, kernel=3, residual=True),
        Conv(filters=16, kernel=3),
        MaxPool(),
    ),
    stages=(
        # Both 1x1 convolutions on the way to the first addition read 16 channels and write 32.
        (Bottleneck(filters=32, expansion=0.5, endpoint=True), Bottleneck(filters=32, expansion=0.25)),
        (Bottleneck(filters=48, expansion=0.25, stride=2, shortcut="average_pool"), Bottleneck(filters=48, expansion=0.35)),
        (Bottleneck(filters=64, expansion=0.2, stride=2, kernel=5, activation="relu6"),),
    ),
    input_size=(64, 68),
    classes=10,
    preprocessing=Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3),
)
"""ResNet-50-D in small, with every kind of shortcut and more convolutions than have one digit."""


class Tensor(NamedTuple):
    name: str
    type: int
    shape: tuple[int, ...]
    data: bytes | None
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dimension: int


class Operator(NamedTuple):
    code: str
    version: int
    options: dict[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def random_weights(architecture: Architecture, seed: int = 5) -> Graph:
    """A graph whose kernels and biases are no round numbers."""
    rng, graph = np.random.default_rng(seed), random_graph(architecture)
    return graph._replace(
        kernels={name: (k + rng.normal(0, 0.2 * k.std(), k.shape)).astype(np.float32) for name, k in graph.kernels.items()},
        biases={name: rng.normal(0, 0.3, b.shape).astype(np.float32) for name, b in graph.biases.items()},
        kernel_steps={},
    )


def operators(content: bytes) -> list[Operator]:
    """The operators of a file in execution order."""
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]

    def tensor(index: int) -> Tensor:
        t, q = graph.tensors[index], graph.tensors[index].quantization
        data = model.buffers[t.buffer].data
        shape = () if t.shape is None else tuple(map(int, t.shape))
        if q is None or q.scale is None:
            return Tensor(t.name.decode(), t.type, shape, None if data is None else data.tobytes(), (), (), 0)
        return Tensor(
            t.name.decode(),
            t.type,
            shape,
            None if data is None else data.tobytes(),
            tuple(map(float, q.scale)),
            tuple(map(int, q.zeroPoint)),
            q.quantizedDimension,
        )

    result = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
        inputs, outputs = tuple(map(tensor, operator.inputs)), tuple(map(tensor, operator.outputs))
        result.append(Operator(codes[code.builtinCode], code.version, options, inputs, outputs))
    return result


def runtime_version(content: bytes) -> str:
    """The file's `min_runtime_version`."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    entry = next(m for m in model.metadata if m.name == b"min_runtime_version")
    return model.buffers[entry.buffer].data.tobytes().rstrip(b"\0").decode()


RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "optimised": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def run(content: bytes, image: NDArray[Any], kernels: str = "xnnpack") -> dict[str, NDArray[Any]]:
    """Runs a file once; outputs by their names in the signature, `scores` where it has none (converted functions)."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=RESOLVERS[kernels])
    if interpreter.get_signature_list():
        runner = interpreter.get_signature_runner("serving_default")
        return {name: np.array(value) for name, value in runner(image=image).items()}
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return {"scores": interpreter.get_tensor(interpreter.get_output_details()[0]["index"])}


def pixels(architecture: Architecture, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of noise, batch 1."""
    shape = (1, *architecture.input_size, architecture.input_channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
