"""Padding before strides: which pixels each window reads, at every size, in operations, Keras models and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mhmodels import Architecture, get_architecture, load_architecture
from mhmodels.architecture import Conv, InvertedBottleneck, MaxPool, Separable
from mhmodels.errors import ArchitectureError, FileFormatError, MhmodelsError
from mhmodels.network import IMAGE, Op, lower
from mhmodels.search import get_space, shipped_model
from tests.zoo_strategies import PADDED

PADDINGS = ("same", "symmetric", "trailing")


def with_padding(*blocks: Any, padding: Any = "symmetric", side: int = 64) -> Architecture:
    return Architecture(name="n", stem=blocks[:1], stages=(blocks[1:],), input_size=(side, side), padding=padding)


def window_start(network: Any, op: Op) -> tuple[int, int, int]:
    """(rows before the map in the first window, side of the map, side of the output) of an operation that reads the image."""
    ops = {each.name: each for each in network.ops}
    pad = ops.get(op.inputs[0])
    side = network.architecture.input_size[0]
    if pad is not None:
        assert op.padding == "valid"
        assert pad.size[0] == side + sum(pad.pads[:2])
        return pad.pads[0], side, op.size[0]
    total = max((math.ceil(side / op.stride) - 1) * op.stride + op.kernel - side, 0)
    return total // 2, side, op.size[0]


@given(st.sampled_from([3, 5, 7]), st.integers(32, 80), st.sampled_from(PADDINGS))
def test_windows_are_where_the_definition_puts_them(kernel: int, side: int, padding: Any) -> None:
    architecture = with_padding(Separable(filters=8, kernel=kernel, stride=2), padding=padding).at(input_size=(side, 40))
    network = lower(architecture, top=False)
    before, _, out = window_start(network, next(op for op in network.ops if op.kind == "depthwise"))
    expected = {
        "same": (max((math.ceil(side / 2) - 1) * 2 + kernel - side, 0) // 2, math.ceil(side / 2)),
        "symmetric": (kernel // 2, (side + 2 * (kernel // 2) - kernel) // 2 + 1),
        "trailing": (0, (side + 1 - kernel) // 2 + 1),
    }
    assert (before, out) == expected[padding]


@given(PADDED)
def test_operations_of_padded_networks_fit_together(architecture: Architecture) -> None:
    same = {op.name: op for op in lower(msgspec.structs.replace(architecture, padding="same")).ops}
    sizes = {IMAGE: architecture.input_size}
    network = lower(architecture)
    for op in network.ops:
        if op.kind == "pad":
            top, bottom, left, right = op.pads
            height, width = sizes[op.inputs[0]]
            assert op.size == (height + top + bottom, width + left + right)
        else:
            twin = same.pop(op.name)
            assert op._replace(size=twin.size, inputs=twin.inputs, padding=twin.padding) == twin
            if architecture.padding == "symmetric":
                assert op.size == twin.size
        sizes[op.name] = op.size
    assert not same
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_same_is_not_written_and_changes_no_identity() -> None:
    network = get_architecture("mobilenet_v2")
    assert b"padding" not in network.to_json()
    assert network.architecture_id == "76d21b3c6d3a0e82"
    others = {msgspec.structs.replace(network, padding=padding).architecture_id for padding in PADDINGS}
    assert len(others) == 3


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (with_padding(Conv(filters=8, kernel=2, stride=2)), "stem: kernel is 2, expected an odd number"),
        (
            with_padding(Conv(filters=8, kernel=3, activation="linear"), MaxPool()),
            "stage2_block1: max pooling with a stride stands behind 'linear', expected one of relu",
        ),
        (
            with_padding(Conv(filters=8, stride=2), Separable(filters=8, kernel=31, stride=2), padding="trailing").at(
                input_size=32
            ),
            r"stage2_block1: a map of \(16, 16\) is too small for a 31x31 window",
        ),
    ],
    ids=["even kernel", "maximum of negative values", "too small"],
)
def test_networks_that_cannot_be_padded_so(architecture: Architecture, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        lower(architecture)


def test_other_words_are_refused_from_python_and_from_files(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="field 'padding' is 'valid', expected"):
        msgspec.structs.replace(get_architecture("multi_max"), padding="valid").__post_init__()
    content = get_architecture("multi_max").to_json().replace(b'"name"', b'"padding": "valid", "name"', 1)
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.json.*padding"):
        load_architecture(tmp_path / "x.json")


def test_search_spaces_and_cost_models_know_the_difference() -> None:
    network = msgspec.structs.replace(get_architecture("multi_max"), padding="symmetric")
    with pytest.raises(MhmodelsError, match="field 'padding' is 'symmetric', expected 'same'"):
        get_space("multi_hardware").encode(network)
    assert shipped_model("multi_hardware", "ethos-u55-128").unseen(network) == ("pad",)


@pytest.mark.tensorflow
@pytest.mark.parametrize("padding", ["symmetric", "trailing"])
def test_a_model_of_any_size_is_that_of_each_size_and_loads_anywhere(padding: Any, tmp_path: Path) -> None:
    import keras

    from mhmodels import create_model

    blocks = (Conv(filters=8, kernel=3, stride=2), MaxPool(), InvertedBottleneck(filters=8, kernel=5, stride=2, expansion=2))
    network = with_padding(*blocks, padding=padding).at(classes=5)
    model = create_model(network, input_shape=(None, None, 3), classifier_activation=None)
    for height, width in ((64, 64), (57, 75), (65, 50)):
        picture = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
        fixed = create_model(network, input_shape=(height, width, 3), classifier_activation=None)
        fixed.set_weights(model.get_weights())
        fixed.save(tmp_path / "x.keras")
        loaded = keras.models.load_model(tmp_path / "x.keras")
        expected = np.asarray(model(picture))
        for other in (fixed, loaded):
            np.testing.assert_allclose(np.asarray(other(picture)), expected, atol=1e-6 * np.ptp(expected))
