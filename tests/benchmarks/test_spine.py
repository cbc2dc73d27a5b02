"""Start-up of the command line, throughput of counting, latency of our files against those of the stock converter."""

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
from mhmodels.hardware.interleaved import compare_files, interleaved_ratio, timed

from .figures import Figures, choose, network

WIDTHS = ((32, 64), (32, 64, 96), (32, 64, 96, 128, 160), (64, 96, 128, 160, 224), (96, 128, 160, 192, 256, 320))


def process(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def test_list_starts_almost_as_fast_as_click(benchmark: Any, figures: Figures) -> None:
    command, runs = str(Path(sys.executable).with_name("mhmodels")), choose(3, 1)
    listed = subprocess.run([command, "list"], check=True, capture_output=True, text=True).stdout
    figures.holds("multi_max" in listed, "the command lists the zoo")
    ours, click = timed(process(command, "list"), runs), timed(process(sys.executable, "-c", "import click"), runs)
    ratio = benchmark.pedantic(lambda: interleaved_ratio(ours, click), rounds=1)
    figures.at_most(ratio, bar=2.5, tolerance=0.2)  # start-up is files and bytecode: other disks, other ratios


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


def test_complexity_of_thousands_of_networks_a_second(benchmark: Any, figures: Figures) -> None:
    rng, count, rounds = np.random.default_rng(0), choose(1000, 50), choose(5, 1)
    batches = [[random_architecture(rng) for _ in range(count)] for _ in range(rounds)]
    first = batches[-1][0]
    counted = benchmark.pedantic(lambda: [complexity(one) for one in batches.pop()], rounds=rounds)
    rate = count / benchmark.stats["median"]
    figures.report(f"{rate:.0f} architectures counted a second, target 5000", architectures_per_second=rate, target=5000)
    figures.holds(len(counted) == count, "every network is counted")
    wider = complexity(first.at(width_multiplier=2.0))
    figures.holds(wider.madds > 3 * complexity(first).madds, "a network of twice the width has about four times the work")


@pytest.fixture(scope="module")
def stock_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """keras.applications' MobileNetV2 through TensorFlow's own converter: float32, and post-training int8."""
    from mhmodels.system.quiet import load_tensorflow, quiet_native

    load_tensorflow()
    import keras
    import tensorflow as tf

    from mhmodels.preprocessing.pictures import sample_pictures

    keras.utils.set_random_seed(0)
    side = choose(224, 64)
    model = keras.applications.MobileNetV2((side, side, 3), alpha=choose(1.0, 0.25), weights=None, classes=1000)
    image = keras.Input(batch_shape=(1, side, side, 3))
    fixed = keras.Model(image, model(image))
    pictures = sample_pictures(choose(13, 2), (side, side))
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
def test_latency_against_the_stock_converter(
    benchmark: Any, figures: Figures, stock_files: dict[str, Path], tmp_path: Path, fmt: str
) -> None:
    """The same network with other random weights."""
    from mhmodels.export import ExportOptions, export_model
    from mhmodels.system.quiet import load_tensorflow
    from mhmodels.tflite.file import read_tflite

    load_tensorflow()
    ours = next(iter(export_model(network("mobilenet_v2"), ExportOptions(directory=tmp_path, formats=(fmt,))))).path
    kinds = [[one.kind for one in read_tflite(path).operators] for path in (ours, stock_files[fmt])]
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD"):
        figures.holds(kinds[0].count(kind) <= kinds[1].count(kind) + 1, f"our file has no more {kind} than the converter's")
    ratio = benchmark.pedantic(
        lambda: compare_files(ours, stock_files[fmt], f"host-cpu-{fmt}", processes=choose(8, 2), runs=choose(10, 1)), rounds=1
    )
    figures.at_most(ratio, bar=1.02, tolerance=0.05)
