"""Random blocks and architectures for property tests: valid ones of every type, small enough to be quick."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from mhmodels.architecture import (
    Architecture,
    Block,
    Bottleneck,
    Conv,
    FusedInvertedBottleneck,
    Head,
    InvertedBottleneck,
    MaxPool,
    Preprocessing,
    Rounding,
    Separable,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.errors import ArchitectureError
from mhmodels.network import lower

FILTERS = st.integers(1, 320)
KERNELS = st.sampled_from([1, 3, 5, 7])
STRIDES = st.sampled_from([1, 1, 2])
ACTIVATIONS = st.sampled_from(["linear", "relu", "relu6", "hard_swish"])
RATIOS = st.one_of(st.integers(1, 8).map(float), st.floats(0.25, 8, allow_nan=False))
SQUEEZES = st.none() | st.builds(
    SqueezeExcite,
    ratio=st.sampled_from([0.125, 0.25, 0.5]),
    of=st.sampled_from(["expanded", "input"]),
    divisor=st.sampled_from([1, 4, 8]),
    gate=st.sampled_from(["sigmoid", "hard_sigmoid"]),
)
COMMON = {"filters": FILTERS, "stride": STRIDES, "activation": ACTIVATIONS, "endpoint": st.booleans()}

CONVS = st.builds(
    Conv,
    **COMMON,
    kernel=KERNELS,
    batch_norm=st.booleans(),
    bias=st.booleans(),
    scaling=st.sampled_from(["always", "above_one", "never"]),
    residual=st.booleans(),
)
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    CONVS,
    st.builds(Separable, **COMMON, kernel=KERNELS, pointwise_activation=ACTIVATIONS, residual=st.booleans()),
    st.builds(InvertedBottleneck, **COMMON, kernel=KERNELS, expansion=st.none() | RATIOS, squeeze_excite=SQUEEZES),
    st.builds(InvertedBottleneck, **COMMON, kernel=KERNELS, expanded_filters=FILTERS, residual=st.booleans()),
    st.builds(FusedInvertedBottleneck, **COMMON, kernel=KERNELS, expansion=RATIOS, residual=st.booleans()),
    st.builds(
        UniversalInvertedBottleneck,
        **COMMON,
        expansion=RATIOS,
        start_kernel=st.sampled_from([0, 3, 5]),
        middle_kernel=st.sampled_from([3, 5]),
    ),
    st.builds(
        Bottleneck,
        **{**COMMON, "activation": st.sampled_from(["linear", "relu", "relu6"])},
        expansion=st.sampled_from([0.2, 0.25, 1.0]),
        kernel=KERNELS,
        shortcut=st.sampled_from(["conv", "average_pool"]),
    ),
    st.builds(MaxPool, kernel=KERNELS, stride=STRIDES, endpoint=st.booleans()),
)
ROUNDINGS = st.sampled_from([(1, 1), (1, 8), (8, 8), (8, 16), (32, 32)]).flatmap(
    lambda pair: st.builds(
        Rounding,
        divisor=st.just(pair[0]),
        minimum=st.just(pair[1]),
        mode=st.sampled_from(["guarded", "half_up", "floor"]),
        whole_blocks=st.booleans(),
    )
)
WIDTHS = st.sampled_from([0.35, 0.5, 0.75, 1.0, 1.25, 1.4])
POINTWISE = st.builds(Conv, filters=FILTERS, bias=st.booleans(), batch_norm=st.booleans())
ARCHITECTURES = st.builds(
    Architecture,
    name=st.text(st.characters(whitelist_categories=("L", "N")), min_size=1, max_size=20),
    stem=st.lists(CONVS, min_size=1, max_size=2).map(tuple),
    stages=st.lists(st.lists(BLOCKS, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple),
    head=st.builds(Head, features=st.lists(POINTWISE, max_size=1).map(tuple), hidden=st.lists(POINTWISE, max_size=1).map(tuple)),
    rounding=ROUNDINGS,
    width_multiplier=WIDTHS,
    input_size=st.tuples(st.integers(32, 512), st.integers(32, 512)),
    input_channels=st.integers(1, 5),
    classes=st.integers(1, 1001),
    preprocessing=st.builds(Preprocessing, crop_fraction=st.sampled_from([0.875, 1.0])),
)


def _exists(architecture: Architecture) -> bool:
    """Whether a network has maps of sides that can be added, and no maximum over zeros around negative values."""
    try:
        lower(architecture)
    except ArchitectureError:
        return False
    return True


PADDED = st.builds(
    lambda architecture, padding: msgspec.structs.replace(architecture, padding=padding),
    ARCHITECTURES,
    st.sampled_from(["symmetric", "trailing"]),
).filter(_exists)
"""Networks that do not pad as SAME."""
