"""Parameters and multiply-accumulates (MAdds) of a network, counted from its operations without TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.errors import ArchitectureError
from mhmodels.network import IMAGE, Network, Op, lower

MAX_PARAMS = (2 << 30) // 4
MAX_MAP = (1 << 30) // 4


class LayerComplexity(NamedTuple):
    """Parameters and work of one operation.

    Attributes:
        name: Name of the operation.
        params: Elements of the convolution kernel.
        biases: Elements of the bias vector.
        batch_norm: Elements of batch normalisation: gamma, beta, moving mean and variance.
        madds: Multiply-accumulates at batch 1.
    """

    name: str
    params: int
    biases: int
    batch_norm: int
    madds: int


class Complexity(NamedTuple):
    """Size and work of a network at batch 1.

    Attributes:
        params: Elements of the convolution kernels, the classifier's included: the count in the paper's Table 1.
        params_total: Elements of all variables, as Keras' `count_params()`.
        madds: Multiply-accumulates of the convolutions.
        madds_paper: `madds` plus half of the elements that residual additions and poolings read. Table 1's profiler counted them
            so: 7 of its 8 rows are reproduced to the printed digit.
    """

    params: int
    params_total: int
    madds: int
    madds_paper: float


def layer_complexity(op: Op) -> LayerComplexity:
    """Parameters and MAdds of one operation; an operation without weights counts none.

    Raises:
        ValueError: The operation's size is unknown.
    """
    if op.kind != "conv" and op.kind != "depthwise":
        return LayerComplexity(op.name, 0, 0, 0, 0)
    params = op.kernel * op.kernel * op.in_channels // op.groups * op.channels
    return LayerComplexity(op.name, params, op.channels * op.bias, 4 * op.channels * op.batch_norm, params * _area(op))


def network_complexity(network: Network) -> Complexity:
    """Counts a lowered network; see `Complexity` for what is counted.

    Raises:
        ValueError: The network's input size is unknown.
    """
    params = extra = madds = halves = 0
    areas = {IMAGE: 0}
    for op in network.ops:
        area = areas[op.name] = _area(op)
        kind = op.kind
        # The same counts as `layer_complexity`, in one loop: a search counts thousands of networks a second.
        if kind == "conv" or kind == "depthwise":
            kernel = op.kernel * op.kernel * op.in_channels // op.groups * op.channels
            params += kernel
            madds += kernel * area
            extra += op.channels * (op.bias + 4 * op.batch_norm)
        elif kind == "add" or kind == "pool" or kind == "max_pool" or kind == "average_pool":
            halves += areas[op.inputs[0]] * op.channels
    return Complexity(params, params + extra, madds, madds + halves / 2)


def check_size(network: Network) -> Network:
    """Returns a network that can be built; called before anything is allocated for it.

    Raises:
        ArchitectureError: It has more parameters than a file of 2 GiB holds, or a feature map larger than 1 GiB in float32.
    """
    params = largest = 0
    for op in network.ops:
        if op.kind in ("conv", "depthwise"):
            params += op.kernel * op.kernel * op.in_channels // op.groups * op.channels
        height, width = op.size
        largest = max(largest, op.channels * (height or 1) * (width or 1))
    subject = f"'{network.architecture.name}' at width {network.architecture.width_multiplier:g}"
    if params > MAX_PARAMS:
        raise ArchitectureError(f"{subject} has {params:,} parameters, expected at most {MAX_PARAMS:,}")
    if largest > MAX_MAP:
        raise ArchitectureError(f"{subject} has a feature map of {largest:,} elements, expected at most {MAX_MAP:,}")
    return network


def complexity(architecture: Architecture) -> Complexity:
    """Counts parameters and multiply-accumulates of an architecture at its own width, input size and number of classes.

    Args:
        architecture: The network.

    Returns:
        A `Complexity`: params, params_total, madds and madds_paper.

    Raises:
        ArchitectureError: The network cannot be lowered, for example because its input is too small for its strides.

    Example:
        >>> from mhmodels import complexity, get_architecture
        >>> size = complexity(get_architecture("multi_max"))
        >>> size.params, size.madds
        (4389280, 349176352)
    """
    return network_complexity(lower(architecture))


def _area(op: Op) -> int:
    height, width = op.size
    if height is None or width is None:
        raise ValueError(f"{op.name}: MAdds need a known input size")
    return height * width
