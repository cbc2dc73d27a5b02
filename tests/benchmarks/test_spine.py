"""Figures that issue 2 asks for: start-up, complexity throughput, latency of our files against the stock converter's.

Run with `make bench`; the default test run skips them. Ratios come from interleaved blocks with a bootstrap interval and
meet their bar when the interval's lower end does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.architecture import Architecture, Conv, FusedInvertedBottleneck, Head, InvertedBottleneck
from mhmodels.complexity import complexity
from mhmodels.hardware.compare_files import Ratio, compare_files, interleaved_ratio, timed

WIDTHS = ((32, 64), (32, 64, 96), (32, 64, 96, 128, 160), (64, 96, 128, 160, 224), (96, 128, 160, 192, 256, 320))


def record(benchmark: Any, ratio: Ratio, bar: float) -> None:
    """Writes a ratio to the benchmark's record and checks it against its bar."""
    benchmark.extra_info.update(
        ratio=ratio.ratio, low=ratio.low, high=ratio.high, a_ms=ratio.a_ms, b_ms=ratio.b_ms, blocks=ratio.blocks, bar=bar
    )
    print(
        f"\nratio {ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], {ratio.a_ms:.2f} against {ratio.b_ms:.2f} ms, bar {bar}"
    )
    assert ratio.at_most(bar)


def process(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def test_list_starts_almost_as_fast_as_click(benchmark: Any) -> None:
    command = Path(sys.executable).with_name("mhmodels")
    ours, click = timed(process(str(command), "list"), 3), timed(process(sys.executable, "-c", "import click"), 3)
    record(benchmark, benchmark.pedantic(lambda: interleaved_ratio(ours, click), rounds=1), bar=2.5)


def random_architecture(rng: np.random.Generator) -> Architecture:
    """A network shaped like the paper's search space."""
    stages = []
    for stage, widths in enumerate(WIDTHS):
        filters = int(rng.choice(widths))
        blocks = []
        for i in range(int(rng.integers(1, 5))):
            kind = InvertedBottleneck if rng.random() < 0.5 else FusedInvertedBottleneck
            stride = (2, 2, 2, 1, 2)[stage] if i == 0 else 1
            blocks.append(
                kind(kernel=int(rng.choice((3, 5))), stride=stride, filters=filters, expansion=float(rng.integers(1, 7)))
            )
        stages.append(tuple(blocks))
    head = Head(features=(Conv(filters=960),), hidden=(Conv(filters=1280),))
    return Architecture(name="sample", stem=(Conv(filters=32, kernel=3, stride=2),), stages=tuple(stages), head=head)


def test_complexity_of_thousands_of_networks_a_second(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    batches = [[random_architecture(rng) for _ in range(1000)] for _ in range(5)]
    benchmark.pedantic(lambda: [complexity(one) for one in batches.pop()], rounds=5)
    rate = 1000 / benchmark.stats["median"]
    benchmark.extra_info["architectures_per_second"] = rate
    print(f"\n{rate:.0f} architectures a second")
    assert rate >= 5000


@pytest.fixture(scope="module")
def stock_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """keras.applications' MobileNetV2 through TensorFlow's own converter: float32, and post-training int8."""
    from mhmodels.quiet import load_tensorflow, quiet_native

    load_tensorflow()
    import keras
    import tensorflow as tf

    from mhmodels.preprocessing import sample_pictures

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None)
    image = keras.Input(batch_shape=(1, 224, 224, 3))
    fixed = keras.Model(image, model(image))
    pictures = sample_pictures(13)
    folder = tmp_path_factory.mktemp("stock")
    with quiet_native():
        converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
        (folder / "float32.tflite").write_bytes(converter.convert())
        converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[None]] for picture in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        (folder / "int8.tflite").write_bytes(converter.convert())
    return {fmt: folder / f"{fmt}.tflite" for fmt in ("float32", "int8")}


@pytest.mark.parametrize("fmt", ["float32", "int8"])
def test_latency_against_the_stock_converter(benchmark: Any, stock_files: dict[str, Path], tmp_path: Path, fmt: str) -> None:
    from export.pipeline import Options, export_model
    from mhmodels.quiet import load_tensorflow
    from mhmodels.registry import resolve

    load_tensorflow()
    ours = next(iter(export_model(resolve("mobilenet_v2"), Options(directory=tmp_path, formats=(fmt,))))).path
    ratio = benchmark.pedantic(lambda: compare_files(ours, stock_files[fmt], f"host-cpu-{fmt}", blocks=30), rounds=1)
    record(benchmark, ratio, bar=1.02)
