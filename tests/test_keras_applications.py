"""Parity with keras.applications: the same weights, batch normalisation statistics included, give the same scores.

The `.keras` networks must be theirs at every width; the plain ones at the widths that have public weights. Inputs are
multiples of 32, because its explicit padding of even maps is SAME there and only there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mhmodels import complexity, create_model, get_architecture
from mhmodels.registry import zoo

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]

ALPHAS = (0.35, 0.5, 0.56, 0.75, 1.0, 1.3, 1.4)
QUICK = [("mobilenet_v2", 0.56, (64, 64, 3)), ("mobilenet_v3_small", 0.35, (64, 64, 3)), ("mobilenet_v1", 0.25, (49, 75, 3))]
TOLERANCE = 1e-5  # of the spread of the scores


def _reference(name: str) -> Callable[..., Any]:
    import keras

    applications = keras.applications
    v3 = {"include_preprocessing": False}
    return {
        "mobilenet_v1": applications.MobileNet,
        "mobilenet_v2": applications.MobileNetV2,
        "mobilenet_v3_large": functools.partial(applications.MobileNetV3Large, **v3),
        "mobilenet_v3_large_minimalistic": functools.partial(applications.MobileNetV3Large, minimalistic=True, **v3),
        "mobilenet_v3_small": functools.partial(applications.MobileNetV3Small, **v3),
        "mobilenet_v3_small_minimalistic": functools.partial(applications.MobileNetV3Small, minimalistic=True, **v3),
    }[name]


FAMILIES = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_large_minimalistic",
    "mobilenet_v3_small",
    "mobilenet_v3_small_minimalistic",
)

# Three widths of each, and each width for two or three of them; the counts below are of more.
SPREAD = [(name, ALPHAS[(i + shift) % len(ALPHAS)]) for i, name in enumerate(FAMILIES) for shift in (0, 2, 4)]


def _weighted(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    """A dense classifier (V2) has the shape of our 1x1 convolution without its two ones."""
    shapes = [tuple(weight.shape) for weight in layer.weights]
    return [(1, 1, *shape) if len(shape) == 2 else shape for shape in shapes]


def _randomise(model: Any, seed: int) -> None:
    """Weights that keep signals alive and of one size through fifty layers, with batch normalisation that shifts and scales."""
    import keras

    generator = np.random.default_rng(seed)
    for layer in _weighted(model):
        values = []
        for weight in layer.weights:
            shape, kind = weight.shape, weight.path.rsplit("/", 1)[-1]
            if "kernel" in kind:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
                gain = 1 if "project" in layer.name else 2  # no activation follows a projection
                values.append(generator.normal(0, np.sqrt(gain / fan_in), shape))
            elif kind in ("gamma", "moving_variance"):
                values.append(generator.uniform(0.5, 1.5, shape))
            else:
                values.append(generator.normal(0, 0.1, shape))
        layer.set_weights(values)


def _check(name: str, suffix: str, alpha: float, shape: tuple[int, int, int]) -> None:
    import keras

    keras.backend.clear_session()
    reference = _reference(name)(alpha=alpha, weights=None, input_shape=shape, classes=13, classifier_activation=None)
    _randomise(reference, seed=round(100 * alpha))
    ours = create_model(name + suffix, width_multiplier=alpha, input_shape=shape, classes=13, classifier_activation=None)
    theirs, mine = _weighted(reference), _weighted(ours)
    assert [_shapes(layer) for layer in theirs] == [_shapes(layer) for layer in mine]
    for source, target in zip(theirs, mine, strict=True):
        target.set_weights([value.reshape(w.shape) for value, w in zip(source.get_weights(), target.weights, strict=True)])
    pictures = np.random.default_rng(3).uniform(-1, 1, (2, *shape)).astype(np.float32)
    expected, found = (np.asarray(model(pictures)) for model in (reference, ours))
    spread = np.ptp(expected)
    assert np.ptp(expected, axis=0).max() > 1e-3 * spread > 1e-4, "the random weights have died out: the scores say nothing"
    assert np.abs(found - expected).max() <= TOLERANCE * spread


@pytest.mark.parametrize(("name", "alpha", "shape"), QUICK)
def test_same_weights_same_scores(name: str, alpha: float, shape: tuple[int, int, int]) -> None:
    _check(name, ".keras", alpha, shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(97, 65, 3), (50, 114, 3), (225, 63, 3)])
def test_same_weights_same_scores_at_odd_sizes(name: str, shape: tuple[int, int, int]) -> None:
    _check(name, ".keras", 0.5, shape)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "alpha"), SPREAD)
def test_same_weights_same_scores_at_other_widths(name: str, alpha: float) -> None:
    _check(name, ".keras", alpha, (96, 160, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_plain_networks_take_the_public_weights(name: str) -> None:
    for alpha in zoo()[name].weights[0].width_multipliers:
        _check(name, "", alpha, (64, 64, 3))


# Parameters of keras.applications 3.15 with 1000 classes, counted once from its models.
COUNTS = {
    "mobilenet_v1": {0.33: 706_151, 0.35: 773_521, 0.56: 1_604_632, 0.9: 3_538_619, 1.0: 4_253_864, 1.4: 7_702_091},
    "mobilenet_v2": {0.35: 1_691_208, 0.56: 2_102_744, 0.9: 3_173_144, 1.0: 3_538_984, 1.3: 5_431_048, 1.4: 6_156_712},
    "mobilenet_v3_large": {0.25: 1_843_824, 0.35: 2_141_208, 0.75: 4_012_616, 1.0: 5_507_432, 1.4: 10_049_024},
    "mobilenet_v3_small": {0.25: 1_273_928, 0.35: 1_354_680, 0.75: 2_051_552, 1.0: 2_554_968, 1.4: 4_411_352},
    "mobilenet_v3_large_minimalistic": {0.35: 1_921_240, 0.9: 3_589_776, 1.0: 3_948_688, 1.4: 6_991_392},
    "mobilenet_v3_small_minimalistic": {0.35: 1_286_320, 0.9: 1_944_392, 1.0: 2_056_848, 1.4: 3_445_296},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_counts_at_many_widths(name: str) -> None:
    for alpha, count in COUNTS[name].items():
        assert complexity(get_architecture(f"{name}.keras").at(width_multiplier=alpha)).params_total == count, alpha


@pytest.mark.parametrize("name", FAMILIES)
def test_variants_are_their_base_where_weights_are_public(name: str) -> None:
    for weights in zoo()[name].weights:
        for alpha in weights.width_multipliers:
            base, variant = (get_architecture(name + suffix).at(width_multiplier=alpha) for suffix in ("", ".keras"))
            assert complexity(base) == complexity(variant), alpha
