"""A struct made in Python has the limits of one that is read from JSON, and sizes are told before anything is allocated."""

from __future__ import annotations

import math
from typing import Any, get_args

import msgspec
import pytest

from mhmodels import create_model, get_architecture
from mhmodels.architecture import (
    Architecture,
    Block,
    Conv,
    FusedInvertedBottleneck,
    Head,
    InvertedBottleneck,
    Preprocessing,
    Rounding,
    SqueezeExcite,
)
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError
from mhmodels.export.graph.operations import random_graph

VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 31, 32, 64, 65, 99, 256, 257, 65536, 65537, 10**30, 0.5, 2.0, -0.5, 1e-300, math.nan, math.inf, -math.inf),
    *(True, None, "relu", "foo", "", "conv", "always", [1, 2], [], {}, {"ratio": 1.0}),
)
SMALLEST: dict[type[msgspec.Struct], dict[str, Any]] = {
    **{kind: {"filters": 8, "expansion": 2.0} for kind in get_args(Block)},
    **{kind: {"filters": 8} for kind in (Conv, InvertedBottleneck)},
    **{kind: {} for kind in (SqueezeExcite, Rounding, Head, Preprocessing)},
}
SMALLEST = {kind: {k: v for k, v in values.items() if k in kind.__struct_fields__} for kind, values in SMALLEST.items()}


@pytest.mark.parametrize("kind", SMALLEST, ids=lambda kind: kind.__name__)
def test_python_refuses_what_json_refuses(kind: type[msgspec.Struct]) -> None:
    for field in kind.__struct_fields__:
        for value in VALUES:
            given = {**SMALLEST[kind], field: value}
            try:
                read = msgspec.convert(given, kind)
            except msgspec.ValidationError:
                with pytest.raises(ArchitectureError):
                    kind(**given)
            else:
                assert kind(**{**given, field: getattr(read, field)}) == read


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv(filters=8, kernel=99),
        lambda: Conv(filters=8, activation="foo"),  # type: ignore[arg-type]
        lambda: InvertedBottleneck(filters=8, expansion=math.nan),
        lambda: InvertedBottleneck(filters=8, squeeze_excite={"ratio": 1.0}),  # type: ignore[arg-type]
        lambda: SqueezeExcite(divisor=0),
        lambda: Rounding(divisor=0),
        lambda: get_architecture("multi_max").at(classes=2_000_000),
        lambda: Architecture(name="x", stem=(Conv(filters=8),), stages=[]),  # type: ignore[arg-type]
        lambda: Architecture(name="x", stem=(Conv(filters=8),) * 5000, stages=()),
    ],
)
def test_what_json_refuses_python_refuses(make: Any) -> None:
    with pytest.raises(ArchitectureError, match=r"expected|field"):
        make()


def test_a_small_description_of_a_huge_network_is_refused_before_anything_is_allocated() -> None:
    wide = (FusedInvertedBottleneck(filters=60_000, expansion=4.0),) * 2
    network = Architecture(name="huge", stem=(Conv(filters=60_000, kernel=3),), stages=(wide,), width_multiplier=16.0)
    assert complexity(network).params > 10**12  # is counted, not built
    large = Architecture(name="large", stem=(Conv(filters=65536),), stages=(), input_size=(4096, 4096), classes=2)
    for one in (network, large):
        with pytest.raises(ArchitectureError, match=r"has (a feature map of )?[0-9,]+ (parameters|elements), expected at most"):
            create_model(one)
        with pytest.raises(ArchitectureError, match="expected at most"):
            random_graph(one)
