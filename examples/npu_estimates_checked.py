"""Qualcomm's latency estimates beside published measurements of the same SoC.

Qualcomm AI Hub publishes latencies of image classifiers on real devices. This script writes the same networks as ONNX files with
random weights, asks the estimator for each, and prints rank correlation and the line measured = offset + slope x estimate:

    mhmodels hardware install qualcomm
    python examples/npu_estimates_checked.py qai_hub_latency_classifiers.csv

The CSV needs the columns model, precision (float, w8a8), device, runtime, latency_ms, compute_unit; it is made from
`qai_hub_models/models/*/perf.yaml` of github.com/quic/ai-hub-models. Networks follow torchvision's definitions. w8a8 files are
made by ONNX Runtime's quantisation, float files run in float16. Minutes.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rich.console import Console
from rich.table import Table
from scipy import stats

from mhmodels import resolve
from mhmodels.export.writing.latency import latency_file
from mhmodels.hardware import measure

DEVICES = {"Dragonwing IQ-9075 EVK": "hexagon-qcs9100", "SA8775P ADP": "hexagon-sa8255", "SA8295P ADP": "hexagon-sa8540"}
"""By device of AI Hub the hardware with an NPU of the same generation: 73, 73 and 68."""

PRECISIONS = {"float": "-fp16", "w8a8": ""}


class Sketch:
    """Writes convolutional networks as ONNX files, channels first, with random weights and batch norm folded."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = {"image": 3}
        self.random = np.random.default_rng(0)

    def add(self, kind: str, inputs: Sequence[str], channels: int, **attributes: Any) -> str:
        """Adds an operator and returns its output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        self.channels[output] = channels
        return output

    def constant(self, shape: Sequence[int], scale: float) -> str:
        """Adds random numbers and returns their name."""
        name = f"c{len(self.constants)}"
        data = (self.random.standard_normal(shape) * scale).astype(np.float32)
        self.constants.append(numpy_helper.from_array(data, name))
        return name

    def conv(
        self, x: str, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1, pad: int | None = None, act: str = "Relu"
    ) -> str:
        """Adds a convolution, and an activation behind it."""
        width = self.channels[x] // groups
        weights = self.constant((filters, width, kernel, kernel), (2 / (width * kernel * kernel)) ** 0.5)
        side = kernel // 2 if pad is None else pad
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [side] * 4, "group": groups}
        y = self.add("Conv", (x, weights, self.constant((filters,), 0.0)), filters, **shape)
        return self.add(act, (y,), filters) if act else y

    def pool(self, x: str, stride: int = 2, pad: int = 1, ceil: int = 0) -> str:
        """Adds max pooling of 3 x 3."""
        shape = {"kernel_shape": [3] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "ceil_mode": ceil}
        return self.add("MaxPool", (x,), self.channels[x], **shape)

    def squeeze_excite(self, x: str, squeezed: int) -> str:
        """Adds a squeeze-excite block."""
        gate = self.conv(self.add("GlobalAveragePool", (x,), self.channels[x]), squeezed)
        return self.add("Mul", (x, self.conv(gate, self.channels[x], act="Sigmoid")), self.channels[x])

    def residual(self, x: str, widths: Sequence[tuple[int, int, int]], stride: int, squeezed: int = 0) -> str:
        """Adds a residual block of convolutions (filters, kernel, groups); the first kernel above 1 has the stride."""
        y, strided = x, False
        for place, (filters, kernel, groups) in enumerate(widths):
            step = stride if not strided and kernel > 1 else 1
            strided = strided or kernel > 1
            y = self.conv(y, filters, kernel, step, groups, act="Relu" if place < len(widths) - 1 else "")
            if squeezed and kernel > 1:
                y = self.squeeze_excite(y, squeezed)
        filters = widths[-1][0]
        if stride > 1 or self.channels[x] != filters:
            x = self.conv(x, filters, 1, stride, act="")
        return self.add("Relu", (self.add("Add", (x, y), filters),), filters)

    def classifier(self, x: str, classes: int = 1000) -> str:
        """Adds pooling and a dense layer."""
        flat = self.add("Flatten", (self.add("GlobalAveragePool", (x,), self.channels[x]),), self.channels[x])
        weights = self.constant((self.channels[x], classes), 0.01)
        return self.add("Gemm", (flat, weights, self.constant((classes,), 0.0)), classes)

    def save(self, x: str, path: Path) -> int:
        """Writes the file and returns the number of parameters."""
        entry = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 224, 224))
        self.nodes[-1].output[0] = "scores"
        result = helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, self.channels[x]))
        model = helper.make_model(
            helper.make_graph(self.nodes, path.stem, [entry], [result], self.constants),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return sum(int(np.prod(tensor.dims)) for tensor in self.constants)


def resnet(depths: Sequence[int], groups: int = 1, width_per_group: int = 64, basic: bool = False) -> Callable[[Sketch], str]:
    """ResNet, ResNeXt and Wide-ResNet (torchvision/models/resnet.py)."""

    def build(s: Sketch) -> str:
        x = s.pool(s.conv("image", 64, 7, 2))
        for stage, depth in enumerate(depths):
            planes = 64 << stage
            inner = planes * width_per_group // 64 * groups
            deep = [(inner, 1, 1), (inner, 3, groups), (4 * planes, 1, 1)]
            widths = [(planes, 3, 1), (planes, 3, 1)] if basic else deep
            for block in range(depth):
                x = s.residual(x, widths, 2 if stage and not block else 1)
        return s.classifier(x)

    return build


def regnet(widths: Sequence[int], depths: Sequence[int], group_width: int, excite: bool) -> Callable[[Sketch], str]:
    """RegNetX and RegNetY (torchvision/models/regnet.py)."""

    def build(s: Sketch) -> str:
        x = s.conv("image", 32, 3, 2)
        for width, depth in zip(widths, depths, strict=True):
            for block in range(depth):
                squeezed = round(0.25 * s.channels[x]) if excite else 0
                layers = [(width, 1, 1), (width, 3, width // group_width), (width, 1, 1)]
                x = s.residual(x, layers, 1 if block else 2, squeezed)
        return s.classifier(x)

    return build


def squeezenet(s: Sketch) -> str:
    """SqueezeNet 1.1 (torchvision/models/squeezenet.py)."""
    x = s.pool(s.conv("image", 64, 3, 2, pad=0), pad=0, ceil=1)
    for place, (squeeze, expand) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    ):
        if place in (2, 4):
            x = s.pool(x, pad=0, ceil=1)
        x = s.conv(x, squeeze)
        x = s.add("Concat", (s.conv(x, expand), s.conv(x, expand, 3)), 2 * expand, axis=1)
    x = s.conv(x, 1000)
    return s.add("Flatten", (s.add("GlobalAveragePool", (x,), 1000),), 1000)


INCEPTIONS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None, (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)  # fmt: skip


def googlenet(s: Sketch) -> str:
    """GoogLeNet (torchvision/models/googlenet.py, whose 5x5 branch has kernels of 3)."""
    x = s.pool(s.conv("image", 64, 7, 2), pad=0, ceil=1)
    x = s.pool(s.conv(s.conv(x, 64), 192, 3), pad=0, ceil=1)
    for row in INCEPTIONS:
        if row is None:
            x = s.pool(x, pad=0, ceil=1)
            continue
        one, reduce3, three, reduce5, five, pooled = row
        branches = (
            s.conv(x, one),
            s.conv(s.conv(x, reduce3), three, 3),
            s.conv(s.conv(x, reduce5), five, 3),
            s.conv(s.pool(x, 1), pooled),
        )
        x = s.add("Concat", branches, one + three + five + pooled, axis=1)
    return s.classifier(x)


SKETCHES: dict[str, tuple[Callable[[Sketch], str], float]] = {
    "resnet18": (resnet((2, 2, 2, 2), basic=True), 11.7),
    "resnet50": (resnet((3, 4, 6, 3)), 25.5),
    "resnet101": (resnet((3, 4, 23, 3)), 44.5),
    "wideresnet50": (resnet((3, 4, 6, 3), width_per_group=128), 68.9),
    "resnext50": (resnet((3, 4, 6, 3), 32, 4), 25.0),
    "resnext101": (resnet((3, 4, 23, 3), 32, 8), 88.7),
    "regnet": (regnet((96, 192, 432, 1008), (2, 6, 15, 2), 48, excite=False), 15.3),
    "regnet_y_800mf": (regnet((64, 144, 320, 784), (1, 3, 8, 2), 16, excite=True), 6.4),
    "squeezenet1_1": (squeezenet, 1.24),
    "googlenet": (googlenet, 6.62),
}
"""Networks that are no zoo models, with the parameters (M) that AI Hub and torchvision print for them."""

ZOO = {
    "mobilenet_v2": "mobilenet_v2.torchvision",
    "mobilenet_v3_large": "mobilenet_v3_large.torchvision",
    "mobilenet_v3_small": "mobilenet_v3_small.torchvision",
    "mnasnet05": "mnasnet_b1.torchvision@0.5",
}


class Noise(CalibrationDataReader):  # type: ignore[misc]
    """One picture of noise, to quantise networks of random weights."""

    def __init__(self) -> None:
        self.pictures: Iterator[dict[str, Any]] = iter(
            [{"image": np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)}]
        )

    def get_next(self) -> dict[str, Any] | None:
        """Returns the next input, None after the last."""
        return next(self.pictures, None)


def files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yields model, precision and file."""
    for model, name in ZOO.items():
        for precision, fmt in (("float", "onnx-float32"), ("w8a8", "onnx-int8")):
            yield model, precision, latency_file(resolve(name), fmt, folder)  # type: ignore[arg-type]
    for model, (build, expected) in SKETCHES.items():
        sketch = Sketch()
        path = folder / f"{model}.onnx"
        params = sketch.save(build(sketch), path) / 1e6
        if abs(params - expected) > 0.02 * expected:
            raise SystemExit(f"{model}: {params:.2f} M parameters, expected {expected} M")
        yield model, "float", path
        quantised = folder / f"{model}_w8a8.onnx"
        quantize_static(
            path, quantised, Noise(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )  # fmt: skip
        yield model, "w8a8", quantised


def published(path: str) -> dict[tuple[str, str, str], float]:
    """Returns the smallest published latency over runtimes in ms, by model, precision and device, of networks on the NPU."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with Path(path).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["compute_unit"] == "NPU":
                found[row["model"], row["precision"], row["device"]].append(float(row["latency_ms"]))
    return {key: min(values) for key, values in found.items()}


def main() -> None:
    """Prints both tables."""
    truth = published(sys.argv[1])
    pairs: dict[tuple[str, str], list[tuple[str, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for model, precision, path in files(Path(folder)):
            for device, hardware in DEVICES.items():
                measured = truth.get((model, precision, device))
                if measured is not None:
                    row = measure(path, hardware + PRECISIONS[precision])
                    if row.median_ms is None:
                        print(f"{model} {precision} {hardware}: {row.reason}")
                    else:
                        pairs[device, precision].append((model, measured, row.median_ms))
    rows, lines = (
        Table("model", "precision", *(f"{device.split()[-2]}: measured / estimate" for device in DEVICES)),
        Table("device", "precision", "networks", "Spearman", "Kendall", "offset ms", "slope", "typical error"),
    )
    for precision in PRECISIONS:
        for model in dict.fromkeys((*ZOO, *SKETCHES)):
            found = [next((pair for pair in pairs[device, precision] if pair[0] == model), None) for device in DEVICES]
            if any(found):
                rows.add_row(model, precision, *("" if pair is None else f"{pair[1]:.3f} / {pair[2]:.3f}" for pair in found))
    for (device, precision), found_pairs in pairs.items():
        measured_ms, estimates = (np.array([pair[place] for pair in found_pairs]) for place in (1, 2))
        slope, offset, *_ = stats.theilslopes(measured_ms, estimates)
        error = np.median(np.abs(offset + slope * estimates - measured_ms) / measured_ms)
        ranks = stats.spearmanr(measured_ms, estimates)[0], stats.kendalltau(measured_ms, estimates)[0]
        lines.add_row(
            device,
            precision,
            str(len(found_pairs)),
            *(f"{rank:.3f}" for rank in ranks),
            f"{offset:.2f}",
            f"{slope:.2f}",
            f"{error:.0%}",
        )
    console = Console(width=110)
    console.print(rows)
    console.print(lines)


if __name__ == "__main__":
    main()
