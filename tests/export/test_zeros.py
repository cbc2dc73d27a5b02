"""Layers of zeros in front of strides: left to the convolution where its own padding gives them, an operator elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.export.options import ExportOptions
from mhmodels.export.reading.pictures import read_pictures
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.preprocessing.pictures import sample_pictures
from mhmodels.tflite.file import read_tflite
from tests.export.writer_helpers import MINI

pytestmark = pytest.mark.tensorflow


def padded_model(pads: Any, size: int | None = 32) -> Any:
    """A strided convolution behind zeros, as keras.applications builds it."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.ZeroPadding2D(pads, name="zeros")(x)
    x = keras.layers.DepthwiseConv2D(3, 2, padding="valid", activation="relu", name="strided")(x)
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("pads", "kept"),
    [
        (((0, 1), (0, 1)), False),
        *(pytest.param(pads, True, marks=pytest.mark.slow) for pads in (1, ((0, 1), (1, 1)), ((2, 3), (0, 1)))),
    ],
)
def test_zeros_are_an_operator_only_where_no_padding_of_the_convolution_gives_them(pads: Any, kept: bool, tmp_path: Path) -> None:
    from mhmodels.export.opening.open_model import model_source
    from mhmodels.export.pipeline import export_source
    from mhmodels.export.verification.file_graph import file_logits

    model = padded_model(pads)
    source = model_source(model, "x").stated(StatedRule.named("symmetric"))
    pictures = read_pictures(None, source.architecture)
    for exported in export_source(source, pictures, ExportOptions(directory=tmp_path, formats=("float32", "int8", "uint8"))):
        assert ("PAD" in {operator.kind for operator in read_tflite(exported.path).operators}) == kept
        images = pictures.images[:8]
        expected, found = np.asarray(model(images)), file_logits(exported.path, images)
        tolerance = 1e-5 if exported.manifest.precision == "float32" else 0.05
        assert np.abs(found - expected).max() < tolerance * np.ptp(expected)


def test_zeros_that_are_an_output_stay() -> None:
    import keras

    from mhmodels.export.reading.keras_model.reader import read_model

    model = padded_model(((0, 1), (0, 1)))
    both = keras.Model(model.input, [model.get_layer("zeros").output, model.get_layer("strided").output])
    assert [op.kind for op in read_model(both).ops] == ["conv", "pad", "depthwise"]


@pytest.mark.parametrize("side", [32, 33])
def test_a_model_of_any_size_is_trained_with_the_zeros_of_its_size(side: int) -> None:
    """At an odd size the zeros are those of SAME, and the layer in front of the convolution is left out."""
    import keras

    from mhmodels import create_model
    from mhmodels.export.graph.operations import fold
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.calibration import calibrate

    network = msgspec.structs.replace(MINI, padding="symmetric", input_size=(side, side))
    keras.utils.set_random_seed(0)
    model = create_model(network, input_shape=(None, None, 3), dropout=0.0)
    aware = quantize_aware(model, network, "int8", ranges=calibrate(fold(model, network), sample_pictures(4, (side, side))))
    images = sample_pictures(4, (side, side))
    expected, found = np.asarray(model(images)), np.asarray(aware(images))
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)
