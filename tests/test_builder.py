"""Keras models of the zoo: heads, shapes, channels, widths, saved files, feature maps, and counts, in pairs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels import Architecture, complexity, create_model, endpoints, get_architecture, list_models
from mhmodels.architecture import Conv
from mhmodels.complexity import layer_complexity
from mhmodels.errors import ArchitectureError, UnknownNameError
from mhmodels.network import lower
from tests.pairwise import Row, covering_rows

pytestmark = pytest.mark.tensorflow

OPTIONS: dict[str, list[Any]] = {
    "width": [0.35, 0.5, 0.75, 1.0, 1.25, 1.4],
    "head": ["top", "none", "avg", "max", "features"],
    "size": [(64, 64), (64, 96), (None, None)],
    "channels": [3, 1, 5],
}


def _paired_rows() -> list[Row]:
    """Every pair of options, and every model: rows again where there are more models, the shallowest models where fewer.

    Saving and loading takes longer than all the rest of a row: these rows do it once for each head.
    """
    rows: list[Row] = [{**row, "saved": i % 7 == 3} for i, row in enumerate(covering_rows(OPTIONS))]
    models = sorted(list_models(), key=lambda name: len(lower(get_architecture(name)).ops))
    rows += [{**row, "saved": False} for row in rows[: max(0, len(models) - len(rows))]]
    models = sorted([*models, *models[: len(rows) - len(models)]], key=models.index)
    longest_first = sorted(range(len(rows)), key=lambda i: (not rows[i]["saved"], -float(rows[i]["width"])))  # type: ignore[arg-type]
    assigned = dict(zip(longest_first, models, strict=True))
    return [{**row, "model": assigned[i]} for i, row in enumerate(rows)]


PAIRED = _paired_rows()
# A variant has its base's blocks with other paddings, widths or activations; these siblings of others have no others, either.
SIBLINGS = r"\.|minimalistic|mobilenet_v(3|4_conv)_large|mobilenet_v4_conv_medium|mnasnet_b1|multi_max_seg|proxylessnas_mobile"
QUICK = [
    row for row in PAIRED if not re.search(SIBLINGS, str(row["model"])) and (row["model"], row["head"]) != ("mobilenet_v1", "top")
]


def _other_rows() -> list[Row]:
    """Every model once more: with feature maps, or with its top where the paired rows have its feature maps; each one saved."""
    mapped = {row["model"] for row in PAIRED if row["head"] == "features"}
    cycled = zip(itertools.cycle([0.35, 1.4]), itertools.cycle([(64, 96), (None, None)]), itertools.cycle([3, 3, 1]), strict=True)
    return [
        {"width": width, "head": "top" if name in mapped else "features", "size": size, "channels": channels}
        | {"saved": True, "model": name}
        for name, (width, size, channels) in zip(list_models(), cycled, strict=False)
    ]


def _id(row: Row) -> str:
    size = "x".join("?" if side is None else str(side) for side in row["size"])  # type: ignore[attr-defined]
    return f"{row['model']}@{row['width']}-{row['head']}-{size}x{row['channels']}{'-saved' if row['saved'] else ''}"


def test_the_rows_hold_every_model_and_every_pair_of_options() -> None:
    assert {row["model"] for row in PAIRED} == set(list_models())
    for a, b in itertools.combinations(OPTIONS, 2):
        assert {(row[a], row[b]) for row in PAIRED} == set(itertools.product(OPTIONS[a], OPTIONS[b]))
    for name, values in {**OPTIONS, "saved": [False, True]}.items():
        assert {row[name] for row in QUICK} == set(values)
    both = {(row["model"], row["head"]) for row in (*PAIRED, *_other_rows())}
    assert {name for name, head in both if head == "features"} == set(list_models())


@pytest.mark.parametrize("row", [pytest.param(row, marks=[] if row in QUICK else pytest.mark.slow) for row in PAIRED], ids=_id)
def test_in_pairs(row: Row, tmp_path: Path) -> None:
    _check(row, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("row", _other_rows(), ids=_id)
def test_every_model_once_more(row: Row, tmp_path: Path) -> None:
    _check(row, tmp_path)


def _check(row: Any, folder: Path) -> None:
    import keras

    keras.backend.clear_session()
    name, head, width, channels = row["model"], row["head"], row["width"], row["channels"]
    architecture = get_architecture(name).at(width_multiplier=width, input_channels=channels, classes=11)
    model = create_model(
        name,
        width_multiplier=width,
        input_shape=(*row["size"], channels),
        classes=11,
        include_top=head == "top",
        pooling=head if head in ("avg", "max") else None,
        features=head == "features",
    )
    picture = np.random.default_rng(5).normal(size=(2, *(side or 64 for side in row["size"]), channels)).astype(np.float32)
    outputs = model(picture)
    _check_outputs(architecture, head, outputs, picture.shape[1:3])
    needed = _needed_operations(architecture, head)
    assert model.count_params() == sum(layer.params + layer.biases + layer.batch_norm for layer in needed)
    if head == "top":
        assert model.count_params() == complexity(architecture).params_total
    if row["saved"]:
        model.save(folder / "model.keras")
        again = keras.models.load_model(folder / "model.keras")
        for before, after in zip(_list(outputs), _list(again(picture)), strict=True):
            np.testing.assert_array_equal(before, after)


def _check_outputs(architecture: Architecture, head: str, outputs: Any, size: tuple[int, int]) -> None:
    found = [np.asarray(output) for output in _list(outputs)]
    assert all(np.isfinite(output).all() for output in found)
    network = lower(architecture, size=size, top=False)
    last = network.ops[-1]
    expected: list[tuple[int | None, ...]] = {
        "top": [(2, 11)],
        "none": [(2, *last.size, last.channels)],
        "avg": [(2, last.channels)],
        "max": [(2, last.channels)],
        "features": [(2, -(-size[0] // e.stride), -(-size[1] // e.stride), e.channels) for e in endpoints(architecture)],
    }[head]
    assert [output.shape for output in found] == expected
    if head == "top":
        np.testing.assert_allclose(found[0].sum(axis=1), 1, atol=1e-5)


def _needed_operations(architecture: Architecture, head: str) -> list[Any]:
    network = lower(architecture, top=head == "top")
    ops = list(network.ops)
    if head == "features":
        ops = ops[: [op.name for op in ops].index(network.endpoints[-1].layer) + 1]
    return [layer_complexity(op) for op in ops]


def _list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("multi_avg_seg", 8),
        ("mobilenet_v4_conv_small", 16),
        ("mobilenet_v1", 8),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (("multi_avg_seg", 16), ("mobilenet_v4_conv_small", 8), ("mobilenet_v1", 16))
        ),
    ],
)
def test_feature_maps_under_an_output_stride(name: str, output_stride: int) -> None:
    model = create_model(name, features=True, output_stride=output_stride, input_shape=(None, None, 3), width_multiplier=0.35)
    found = endpoints(name, output_stride=output_stride, width_multiplier=0.35)
    maps = model(np.random.default_rng(1).normal(size=(1, 70, 97, 3)).astype(np.float32))
    assert [m.shape for m in maps] == [(1, -(-70 // e.stride), -(-97 // e.stride), e.channels) for e in found]
    assert [e.stride for e in found][-1] == output_stride
    for endpoint, output in zip(found, model.outputs, strict=True):
        assert model.get_layer(endpoint.keras_layer).output is output


def test_dilation_sees_what_striding_saw() -> None:
    """Every second pixel of the dilated map is the strided map: same weights, same receptive field.

    True of separable blocks and odd maps, where SAME padding puts the windows of both at the same pixels. (Inverted
    bottlenecks dilate one block earlier in Model Garden, and so here.)
    """
    plain = create_model("mobilenet_v1", include_top=False, input_shape=(272, 272, 3), width_multiplier=0.25)
    dilated = create_model("mobilenet_v1", include_top=False, input_shape=(272, 272, 3), width_multiplier=0.25, output_stride=16)
    dilated.set_weights(plain.get_weights())
    picture = np.random.default_rng(2).normal(size=(1, 272, 272, 3)).astype(np.float32)
    coarse, fine = np.asarray(plain(picture)), np.asarray(dilated(picture))
    assert (coarse.shape[1], fine.shape[1]) == (9, 17)
    np.testing.assert_allclose(fine[:, ::2, ::2], coarse, atol=1e-5 * np.ptp(coarse))
    assert np.ptp(fine[:, 1::2]) > 0


def test_top_on_a_dilated_network() -> None:
    model = create_model("multi_avg", output_stride=16, input_shape=(64, 64, 3), width_multiplier=0.35, classes=7)
    assert model.output_shape == (None, 7)
    assert model.get_layer("head1_conv").output.shape[1:3] == (4, 4)


def test_features_without_the_unused_end() -> None:
    model = create_model("multi_max", features=True, out_strides=(16, 4), input_shape=(64, 64, 3))
    assert [output.shape[1:] for output in model.outputs] == [(4, 4, 128), (16, 16, 32)]
    assert "stage6_block1_expand" not in {layer.name for layer in model.layers}


def test_features_on_another_model_as_input() -> None:
    import keras

    image = keras.Input((64, 64, 4))
    reduced = keras.layers.Conv2D(3, 1, name="to_rgb")(image)
    model = create_model("multi_max", input_tensor=reduced, features=True, out_strides=(32,), width_multiplier=0.5)
    assert model.input_shape == (None, 64, 64, 4)
    assert model.get_layer("to_rgb").count_params() == 15
    assert model.outputs[0].shape == (None, 2, 2, 80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": True, "out_strides": (4, 64)}, "out_strides is (4, 64), expected different strides out of 4, 8, 16, 32"),
        ({"features": True, "out_strides": ()}, "expected different strides out of"),
        ({"out_strides": (4,)}, "out_strides is given without features=True"),
        ({"features": True, "pooling": "avg"}, "pooling is 'avg' and features is True"),
        ({"output_stride": 7}, "output_stride is 7, expected 8, 16, 32 or None"),
        ({"pooling": "mean"}, "pooling is 'mean', expected None, 'avg' or 'max'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"classes": 0}, "classes"),
        ({"input_shape": (31, 64, 3)}, "input size is 31"),
        ({"input_shape": (64, 64)}, "expected (height, width, channels)"),
        ({"input_shape": (64, 64, None)}, "expected a known number of channels"),
        ({"input_shape": (64, 64, 0)}, "input_channels"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "expected a Keras tensor"),
        ({"width_multiplier": -1}, "width multiplier is -1"),
        ({"width_multiplier": "1"}, "width multiplier is '1'"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        create_model("multi_max", **arguments)
    assert message in str(caught.value)


def test_models_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="did you mean multi_avg"):
        create_model("multi_awg")
    with pytest.raises(ArchitectureError, match="has no endpoints"):
        create_model(Architecture(name="bare", stem=(Conv(filters=8),), stages=()), features=True)
