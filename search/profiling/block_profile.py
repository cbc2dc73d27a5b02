"""The profile of a space on one hardware: effects of blocks, depths and other decisions on a metric of whole networks."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from mhmodels.formats.checked import Checked

_Number: TypeAlias = Annotated[float, msgspec.Meta()]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Effect(Checked, frozen=True, kw_only=True):
    """An effect with its interval.

    Attributes:
        mean: Difference in the metric's unit; None where it cannot be estimated.
        low, high: Limits of its interval.

    Example:
        >>> from mhmodels.search import Effect
        >>> Effect(mean=0.5, low=0.2, high=0.8).is_clear
        True
    """

    mean: _Number | None = None
    low: _Number | None = None
    high: _Number | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not contain 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class PlacementEffect(Effect, frozen=True, kw_only=True):
    """What a block at a layer changes against the mean network (arXiv 2109.12426, section 3): E[M(A_u,l,b)] - E[M(A)].

    Attributes:
        unit: Number of the unit, from 1: a stage, the whole network (FBNet), or a decision (tabular spaces).
        layer: Number of the layer in the unit, from 1. Networks with the block have at least this depth.
        choice: Index of the decision's choice.
        block: The block, or `skip` for the absence of the layer.
        mean: The effect; None where no network has the choice.
        n: Number of networks with the choice.
        p5, p95: Effects on the 5 and 95 % quantiles of the metric; without limits, or None, where fewer than 20 networks have
            the choice.

    Example:
        >>> from mhmodels.search import PlacementEffect
        >>> effect = PlacementEffect(unit=1, layer=2, choice=0, block="conv kernel=3", mean=0.5, low=0.2, high=0.8, n=40)
        >>> effect.is_clear
        True
    """

    unit: _Count
    layer: _Count
    choice: _Count
    block: str
    n: _Count
    p5: Effect | None = None
    p95: Effect | None = None


class BlockMean(Effect, frozen=True, kw_only=True):
    """A block over all layers that offer it, each layer with the same weight (section 3): M_b.

    Attributes:
        block: The block.
        locations: Number of layers that offer it.
        metric: Mean of the metric over networks with the block at one of these layers: M_b.
        mean: Difference from the mean network.

    Example:
        >>> from mhmodels.search import BlockMean
        >>> BlockMean(block="conv kernel=3", locations=4, metric=10.5, mean=0.5, low=0.2, high=0.8).is_clear
        True
    """

    block: str
    locations: _Count
    metric: _Number


class DepthEffect(Effect, frozen=True, kw_only=True):
    """What a layer costs by being there, whatever its block.

    Attributes:
        unit, layer: As in `PlacementEffect`.
        mean: Difference between the networks whose unit ends with this layer, and those whose unit ends before it. Where to skip
            is a candidate of every layer: difference between the mean of the other candidates, and skipping.

    Example:
        >>> from mhmodels.search import DepthEffect
        >>> DepthEffect(unit=1, layer=4, mean=0.5, low=0.2, high=0.8).is_clear
        True
    """

    unit: _Count
    layer: _Count


class DecisionEffect(Effect, frozen=True, kw_only=True):
    """What a choice of another decision changes against the mean network: of a width, a resolution, or in the stem.

    Attributes:
        decision: Name of the decision.
        choice: Index of the choice.
        value: The choice in words.
        n: Number of networks with the choice.
        mean: The effect; None where no network has the choice.

    Example:
        >>> from mhmodels.search import DecisionEffect
        >>> DecisionEffect(decision="stage2_width", choice=1, value="64", mean=0.5, low=0.2, high=0.8, n=40).is_clear
        True
    """

    decision: str
    choice: _Count
    value: str
    n: _Count


class BlockDifference(Effect, frozen=True, kw_only=True):
    """What it changes to use one block instead of another in a whole stage. Its interval is that of the difference.

    Attributes:
        stage: Number of the stage, from 1: the unit, except in FBNet, whose stages are one unit; 0 for the whole network.
        block, other: The blocks.
        layers: Number of layers that offer both.
        mean: Networks with `block` at all these layers, less networks with `other` there. Optional layers are as often present as
            in the mean network.

    Example:
        >>> from mhmodels.search import BlockDifference
        >>> one = BlockDifference(stage=1, block="conv kernel=5", other="conv kernel=3", layers=4, mean=0.5, low=0.2, high=0.8)
        >>> one.is_clear
        True
    """

    stage: _Count
    block: str
    other: str
    layers: _Count


class BlockProfile(Checked, frozen=True, kw_only=True):
    """Effects of the choices of a space on a metric of whole networks.

    Attributes:
        space: Name of the space.
        method: `regression` on one sample, or `conditional` sampling of every choice.
        confidence: Confidence of the intervals.
        n: Number of networks that the effects are estimated from.
        set_aside: Number of networks with absurd values, which are left out.
        level: The metric of the mean network.
        error: Root mean square error of predicting a network from all others; None for `conditional`.
        effects: Placement effects, in the order of the layers and their choices.
        blocks: Blocks over all layers, smallest mean first.
        depth: Effects of the presence of layers.
        decisions: Effects of widths, resolutions and other decisions.
        missing: Choices that no network has, in words; effects are relative to networks without them.
        differences: Differences between blocks of a stage, each pair once; empty where they were not asked for.

    Example:
        >>> from mhmodels.search import get_space, profile, sample
        >>> space = get_space("nas_bench_macro")
        >>> encodings = sample(space, 60).encodings
        >>> found = profile(space, encodings, space.madds(encodings))
        >>> found.blocks[0].block, len(found.effects)
        ('skip', 24)
    """

    space: str
    method: Literal["regression", "conditional"]
    confidence: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    n: _Count
    set_aside: _Count
    level: _Number
    error: _Number | None
    effects: tuple[PlacementEffect, ...]
    blocks: tuple[BlockMean, ...]
    depth: tuple[DepthEffect, ...]
    decisions: tuple[DecisionEffect, ...]
    missing: tuple[str, ...]
    differences: tuple[BlockDifference, ...] = ()
