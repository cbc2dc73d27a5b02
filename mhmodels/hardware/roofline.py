"""The roofline model of MobileNetV4 as hardware without a device (arXiv 2404.10518, section 3 and table 16), kind `simulated`.

Every operation takes max(MACs / peak, bytes / bandwidth), where the bytes are all that it reads and writes, weights included.
The ridge point is peak over bandwidth in MACs/byte. It decides which networks are fast relative to others; the peak only
scales. `roofline-RIDGE` has any ridge point, `roofline-RIDGE-PEAK` also any peak in GMACs/s.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.complexity import layer_complexity
from mhmodels.hardware.capabilities import SQUEEZE_EXCITE, Capabilities, get_profile
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.plausible import element_bytes
from mhmodels.hardware.protocol import Hardware, Job, row_identity
from mhmodels.network import IMAGE, Op, lower
from mhmodels.tflite.file import Operator, Tensor, TFLiteFile, read_tflite
from mhmodels.tflite.schema import KERNEL_READ_PER_OUTPUT, WEIGHTED_OPERATORS, macs_per_output

DEFAULT_PEAK = 100.0
"""GMACs a second where an id names none: a round number, since only ratios of simulated latencies mean anything."""

_SOURCE = "arXiv 2404.10518, table 16"
# Ridge points as fitted there; peaks so that MobileNetV1 1.0 costs what table 6 there prints (6.1, 4.6, 3.2, 0.8 ms).
_FITTED = {
    "pixel6-cpu": (31.2, 6.1),
    "s23-cpu": (39.7, 4.6),
    "pixel4-dsp": (347.3, 3.2),
    "pixel8-edgetpu": (433.8, 0.8),
}
_REFERENCE = "mobilenet_v1"
_UNKNOWN_WORK = (
    "CUSTOM:", "UNKNOWN_", "STABLEHLO_", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL", "SVDF", "RNN", "LSTM", "BIDIRECTIONAL_",
    "UNIDIRECTIONAL_", "IF", "WHILE", "CALL",
)  # fmt: skip
"""How names of operators begin whose multiplications are not counted here."""


class Work(NamedTuple):
    """What one operation does at batch 1: multiply-accumulates, and bytes read and written."""

    macs: float
    bytes: float


class Roofline(NamedTuple):
    """The parameters of a roofline: peak in MACs/s, and bandwidth in bytes/s."""

    peak: float
    bandwidth: float

    def milliseconds(self, work: Iterable[Work]) -> float:
        """Latency in ms: the sum over operations of the larger of computing and moving time."""
        return 1e3 * sum(max(one.macs / self.peak, one.bytes / self.bandwidth) for one in work)


def operation_work(op: Op, read: int, element_bytes: int = 1) -> list[Work]:
    """What an operation does. An h-swish is an operation of its own behind its convolution, as in a TFLite file.

    Args:
        op: Operation with a known size.
        read: Number of elements of the feature maps that it reads.
        element_bytes: Bytes of an activation and of a weight; a bias has 4.
    """
    layer = layer_complexity(op)
    height, width = op.size
    written = (height or 1) * (width or 1) * op.channels
    convolution = op.kind in ("conv", "depthwise")
    stored = layer.params * element_bytes + 4 * op.channels * convolution
    moved = 0 if op.kind == "reshape" else (read + written) * element_bytes + stored
    work = [Work(layer.madds, moved)]
    if op.activation == "hard_swish":
        work.append(Work(0, 2 * written * element_bytes))
    return work


def architecture_work(architecture: Architecture, element_bytes: int = 1) -> list[Work]:
    """What each operation of a network does, the softmax included."""
    elements = {IMAGE: architecture.input_size[0] * architecture.input_size[1] * architecture.input_channels}
    work = []
    for op in lower(architecture).ops:
        height, width = op.size
        work += operation_work(op, sum(elements[source] for source in op.inputs), element_bytes)
        elements[op.name] = (height or 1) * (width or 1) * op.channels
    return work


def file_work(content: TFLiteFile) -> list[Work]:
    """What each operator of a file does, with the element sizes of the file. The file must pass `check_plausible`."""
    return [operator_work(content, o) for o in content.operators if o.kind not in ("RESHAPE", "QUANTIZE", "DEQUANTIZE")]


def operator_work(content: TFLiteFile, operator: Operator) -> Work:
    """What one operator of a file does. The file must pass `check_plausible`."""
    # Shapes and axes are arguments, not data.
    touched = [i for i in (*operator.inputs, *operator.outputs) if i >= 0 and not _is_argument(content, operator.kind, i)]
    moved = sum(_elements(content.tensors[i]) * element_bytes(content.tensors[i]) for i in touched)
    macs = 0.0
    if operator.kind in KERNEL_READ_PER_OUTPUT:
        kernel = content.tensors[operator.inputs[WEIGHTED_OPERATORS[operator.kind].kernel]]
        macs = float(macs_per_output(operator.kind, kernel.shape)) * _elements(content.tensors[operator.outputs[0]])
    return Work(macs, moved)


def _elements(tensor: Tensor) -> int:
    return max(1, math.prod(tensor.shape))


def simulate(architecture: Architecture, hardware: Hardware) -> float:
    """Latency in ms of a network as an int8 file on a roofline, without writing the file.

    Example:
        >>> from mhmodels.hardware import simulate
        >>> from mhmodels import get_architecture
        >>> from mhmodels.hardware import get_hardware
        >>> round(simulate(get_architecture("multi_max"), get_hardware("roofline-pixel4-dsp").hardware), 2)
        3.51
    """
    return _roofline(hardware).milliseconds(architecture_work(architecture))


class RooflineRunner:
    """Computes latencies of files on rooflines."""

    exclusive = False

    def hardware(self) -> Sequence[Hardware]:
        """The devices that MobileNetV4 fitted, and the Pixel 4's Edge TPU with its declared limits."""
        return _named()

    def find(self, hardware_id: str) -> Hardware | None:
        """A named roofline, or any `roofline-RIDGE[-PEAK]`."""
        named = next((hardware for hardware in _named() if hardware.id == hardware_id), None)
        if named is not None:
            return named
        match = re.fullmatch(r"roofline-(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", hardware_id)
        if match is None:
            return None
        ridge, peak = float(match[1]), float(match[2] or DEFAULT_PEAK)
        if not 0 < ridge <= 1e6 or not 0 < peak <= 1e6:
            return None
        return _entry(hardware_id, ridge, peak, f"Roofline with ridge point {ridge:g} MACs/byte and peak {peak:g} GMACs/s")

    def unavailable(self, hardware: Hardware) -> str:
        """Always available."""
        return ""

    def environment(self, hardware: Hardware) -> Environment:
        """The two parameters."""
        return Environment(device=hardware.id, runtime="roofline 1", configuration=hardware.configuration)

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Adds the operators of a file up; a declared profile refuses what its hardware does not run."""
        content = read_tflite(job.path)
        profile = hardware.configuration.get("profile")
        reason = _uncounted(content) or (_refusal(content, get_profile(profile)) if profile else "")
        return Measurement(
            **row_identity(job, hardware, self.environment(hardware)),
            median_ms=None if reason else _roofline(hardware).milliseconds(file_work(content)),
            runs=0 if reason else 1,
            reason=reason,
        )


def _is_argument(content: TFLiteFile, kind: str, tensor: int) -> bool:
    return kind in ("MEAN", "PAD", "TRANSPOSE") and content.tensors[tensor].dtype == "int32"


def _uncounted(content: TFLiteFile) -> str:
    """Why a file's work cannot be counted: operators of unknown arithmetic, which would cost nothing."""
    found = dict.fromkeys(o.kind for o in content.operators if o.kind.startswith(_UNKNOWN_WORK))
    return f"a roofline cannot tell how much work these operators are: {', '.join(found)}" if found else ""


def _refusal(content: TFLiteFile, limits: Capabilities) -> str:
    """Why a declared profile does not run a file as a whole, from its operators."""
    if not limits.required:
        return ""
    signs = {
        "HARD_SWISH": "hard_swish",
        "MUL": SQUEEZE_EXCITE,
        "LOGISTIC": SQUEEZE_EXCITE,
        "MAX_POOL_2D": "max_pool",
        "AVERAGE_POOL_2D": "average_pool",
    }
    found = [signs[o.kind] for o in content.operators if o.kind in signs and signs[o.kind] in limits.without]
    return f"{limits.id} does not run {', '.join(dict.fromkeys(found))} ({len(found)} operators)" if found else ""


def _roofline(hardware: Hardware) -> Roofline:
    peak = float(hardware.configuration["peak_gmacs"]) * 1e9
    return Roofline(peak, peak / float(hardware.configuration["ridge"]))


def _entry(name: str, ridge: float, peak: float, description: str, profile: str | None = None) -> Hardware:
    return Hardware(
        id=name,
        format="int8",
        kind="simulated",
        description=description,
        strict=False,
        configuration={"ridge": ridge, "peak_gmacs": peak, **({"profile": profile} if profile else {})},
    )


def _scaled(name: str, ridge: float, reference_ms: float, description: str, profile: str | None = None) -> Hardware:
    """A roofline on which MobileNetV1 1.0 costs so much."""
    from mhmodels.registry import get_architecture

    unit = Roofline(1e9, 1e9 / ridge).milliseconds(architecture_work(get_architecture(_REFERENCE)))
    return _entry(f"roofline-{name}", ridge, round(unit / reference_ms, 3), description, profile)


@functools.cache
def _named() -> tuple[Hardware, ...]:
    found = [
        _scaled(name, ridge, milliseconds, f"Roofline of {name}, ridge point {ridge:g} MACs/byte ({_SOURCE})")
        for name, (ridge, milliseconds) in _FITTED.items()
    ]
    ridge = _FITTED["pixel8-edgetpu"][0]
    text = f"Roofline with the Pixel 8 Edge TPU's ridge point {ridge:g} and the limits of pixel4-edgetpu-2020"
    # 2.38 ms: the paper's C_i of this hardware, derived from its tables 1 and 2.
    found.append(_scaled("pixel4-edgetpu", ridge, 2.38, text, "pixel4-edgetpu-2020"))
    return tuple(found)


RUNNER = RooflineRunner()
