"""What a reduction removed from a space, why, and what is left."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from mhmodels.formats.checked import Checked
from mhmodels.search.errors import SpaceError
from mhmodels.search.profiling.block_profile import Effect
from mhmodels.search.space.search_space import SearchSpace

HardwareAggregate: TypeAlias = Literal["avg", "worst"]
"""How several hardware count: by the mean of their relative latencies, or a choice goes only if it loses on each of them."""
Scope: TypeAlias = Literal["unit", "network"]
"""Where a block is removed: in a single unit, or in all units at once, as the paper does."""
_Number: TypeAlias = Annotated[float, msgspec.Meta()]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class ChoiceCost(Effect, frozen=True, kw_only=True):
    """Latency of a choice on a hardware, as a share of the latency of the mean network.

    Attributes:
        hardware: Id of the hardware, or `average` of several.
        worth: Accuracy that better steps buy for `mean`, at the hardware's exchange rate.

    Example:
        >>> from mhmodels.search import ChoiceCost
        >>> ChoiceCost(hardware="my-npu", mean=0.2, low=0.15, high=0.25, worth=1.5).is_clear
        True
    """

    hardware: str
    worth: _Number


class RemovedBlock(Checked, frozen=True, kw_only=True):
    """A block that was removed from a unit, and the block that replaces it.

    Attributes:
        unit: Number of the stage, from 1; 0 for all stages.
        block: The removed block.
        by: The faster block that makes it needless.
        decisions: Names of the decisions that lose the block.
        cost: Latency of using `block` instead of `by` at all these decisions, on each hardware or on their average.
        accuracy: Accuracy of using `block` instead of `by`.

    Example:
        >>> from mhmodels.search import ChoiceCost, Effect, RemovedBlock
        >>> cost = ChoiceCost(hardware="my-npu", mean=0.2, low=0.15, high=0.25, worth=1.5)
        >>> gain = Effect(mean=0.01, low=-0.05, high=0.07)
        >>> RemovedBlock(unit=1, block="conv kernel=7", by="conv kernel=5", decisions=("a",), cost=(cost,), accuracy=gain).by
        'conv kernel=5'
    """

    unit: _Count
    block: str
    by: str
    decisions: tuple[str, ...]
    cost: tuple[ChoiceCost, ...]
    accuracy: Effect


class DepthCap(Checked, frozen=True, kw_only=True):
    """A last layer that was removed from a unit.

    Attributes:
        unit: Number of the unit, from 1.
        layers: Number of layers that the unit may have now.
        decision: Name of the decision that can only be skipped now.
        cost: Latency of the layer, on each hardware or on their average.
        accuracy: Accuracy of the layer.

    Example:
        >>> from mhmodels.search import ChoiceCost, DepthCap, Effect
        >>> cost = ChoiceCost(hardware="my-gpu", mean=0.05, low=0.04, high=0.06, worth=0.4)
        >>> cap = DepthCap(unit=1, layers=3, decision="a", cost=(cost,), accuracy=Effect(mean=0.01, low=-0.05, high=0.07))
        >>> cap.layers
        3
    """

    unit: _Count
    layers: _Count
    decision: str
    cost: tuple[ChoiceCost, ...]
    accuracy: Effect


class Reduction(Checked, frozen=True, kw_only=True):
    """What a reduction removed from a space, why, and what is left.

    Attributes:
        space: Name of the space.
        schema: Schema of the space.
        hardware: Ids of the hardware.
        aggregate: How several hardware count.
        per: Where blocks are removed.
        confidence: Confidence of the intervals.
        rate, depth_rate: Shares of the exchange rate below which a block or a last layer does not pay.
        least_share: Share of the latency of the mean network from which a difference counts.
        exchange: Exchange rates of blocks by hardware, or for `average`: the accuracy that better steps between blocks buy for
            the latency of one whole mean network; 0 where none has a clear price.
        depth_exchange: Exchange rates of blocks and layers together, which last layers are compared with.
        removed: Blocks that were removed, by unit.
        caps: Last layers that were removed, by unit.
        kept: Remarks on what stays although it does not pay, so that every unit has a choice.
        allowed: By decision, the indices of the choices that are left.
        log10_before, log10_after: Decimal logarithm of the number of different networks.

    Example:
        >>> from mhmodels.search import Reduction, get_space
        >>> space = get_space("nas_bench_macro")
        >>> allowed = {one.name: (0, 1) for one in space.decisions}
        >>> found = Reduction(space=space.name, schema=space.schema, hardware=("my-npu",), aggregate="avg", per="unit",
        ...                   confidence=0.9, rate=0.5, depth_rate=1.0, least_share=0.01, exchange={}, depth_exchange={},
        ...                   removed=(), caps=(), kept=(), allowed=allowed, log10_before=3.8, log10_after=2.4)
        >>> found.restrict(space).sizes.positional
        256
    """

    space: str
    schema: str
    hardware: tuple[str, ...]
    aggregate: HardwareAggregate
    per: Scope
    confidence: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    rate: _Number
    depth_rate: _Number
    least_share: _Number
    exchange: dict[str, float]
    depth_exchange: dict[str, float]
    removed: tuple[RemovedBlock, ...]
    caps: tuple[DepthCap, ...]
    kept: tuple[str, ...]
    allowed: dict[str, tuple[_Count, ...]]
    log10_before: _Number
    log10_after: _Number

    def restrict(self, space: SearchSpace) -> SearchSpace:
        """Makes the reduced space. It keeps name and schema, so that cost models of the whole space apply.

        Args:
            space: The space that was reduced, whole or as it was then.

        Raises:
            SpaceError: The space has another schema, or lacks a choice that the reduction leaves.
        """
        if space.schema != self.schema:
            raise SpaceError(
                f"the reduction is of space '{self.space}' with schema {self.schema}, not of '{space.name}' with {space.schema}"
            )
        return space.restricted([self.allowed[one.name] for one in space.decisions], [self.summary()])

    def summary(self) -> str:
        """What was removed, in one line."""
        blocks = len(self.removed)
        return (
            f"reduction for {', '.join(self.hardware)}: {blocks} block{'' if blocks == 1 else 's'} of units, "
            f"{len(self.caps)} last layer{'' if len(self.caps) == 1 else 's'}"
        )
