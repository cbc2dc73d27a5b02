"""The cost of each layer of a network on one hardware, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware.measurement import MeasurementKind

Bound: TypeAlias = Literal["compute", "memory", ""]
CostUnit: TypeAlias = Literal["ms", "cycles"]
_SHARE_ERROR = 1e-6


class LayerCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cost of one layer.

    Attributes:
        name: Name of the layer in the network; in a file of unknown origin, name of the operator's output tensor.
        operator: Kind of the TFLite operator, such as `CONV_2D`; a tool's own name where the layer is not in the file.
        position: Index of the operator in the file, in execution order.
        cost: Cost in the unit of the profile.
        share: Share of the sum over all layers, 0 to 1.
        macs: Multiply-accumulates; None where unknown.
        moved_bytes: Bytes of the tensors that the layer reads and writes, weights included, each counted once; None where
            unknown. A tool may move more, because it reads tensors repeatedly.
        bound: `compute` or `memory`, whichever the tool says takes longer; "" where it does not tell.
        memory: Name of the memory with the longest access time, such as `DRAM`; "" where unknown.
        utilisation: Used share of the MAC array while the layer runs, 0 to 1; None where the tool does not tell.
        parts: Number of the tool's operations that the cost is the sum of.
        standard_error: Standard error of the cost, in the same unit; None for estimates.

    Example:
        >>> from mhmodels.hardware import LayerCost
        >>> LayerCost(name="stem_conv", operator="CONV_2D", position=0, cost=0.3, bound="memory", memory="DRAM").share
        0.0
    """

    name: str
    operator: str
    position: int
    cost: float
    share: float = 0.0
    macs: int | None = None
    moved_bytes: int | None = None
    bound: Bound = ""
    memory: str = ""
    utilisation: float | None = None
    parts: int = 1
    standard_error: float | None = None

    def __post_init__(self) -> None:
        for field, value, highest in (("cost", self.cost, math.inf), ("utilisation", self.utilisation, 1.0)):
            if value is not None and not (0 <= value <= highest and math.isfinite(value)):
                raise MeasurementError(f"layer '{self.name}': field '{field}' is {value!r}, expected 0 to {highest:g}")


class LayerProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The costs of all layers of one network on one hardware; `with_shares` computes the shares.

    Attributes:
        hardware: Hardware id.
        model: Label of the network.
        kind: Kind of the figures: `measured`, `estimated` or `simulated`.
        unit: Unit of all costs: `ms`, or `cycles` where the tool states no clock.
        layers: Layers in the order of the network.
        total: Cost of the whole network by the same tool, which may differ from the sum over the layers.
        merged: Layers of the file without a cost of their own, because the tool computes them in a neighbour or not at all.
        channel_multiple: Number that channels are padded to a multiple of in the MAC array; 1 where unknown.
        channel_source: Publication or file that states `channel_multiple`.
        noisy: Whether measured costs may be wrong, because the machine was slower than it can be.
        notes: What the figures contain and what the tool does not cost, one sentence each.

    Raises:
        MeasurementError: There is no layer, the shares do not add up to 1, or the total is not above 0.

    Example:
        >>> from mhmodels.hardware import LayerCost, LayerProfile
        >>> layers = (LayerCost(name="conv", operator="CONV_2D", position=0, cost=1.5, share=1.0),)
        >>> LayerProfile(hardware="my-npu", model="net", kind="estimated", unit="ms", layers=layers, total=2.0).covered
        0.75
    """

    hardware: str
    model: str
    kind: MeasurementKind
    unit: CostUnit
    layers: tuple[LayerCost, ...]
    total: float
    merged: tuple[str, ...] = ()
    channel_multiple: int = 1
    channel_source: str = ""
    noisy: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"layers of '{self.model}' on {self.hardware}"
        if not (math.isfinite(self.total) and self.total > 0):
            raise MeasurementError(f"{where}: field 'total' is {self.total!r}, expected a number above 0")
        if not self.layers or abs(sum(layer.share for layer in self.layers) - 1) > _SHARE_ERROR:
            raise MeasurementError(f"{where}: the shares of {len(self.layers)} layers do not add up to 1")

    @property
    def covered(self) -> float:
        """Sum over the layers divided by the total: 1 where the layers explain the whole latency."""
        return sum(layer.cost for layer in self.layers) / self.total

    def costliest(self, number: int) -> tuple[LayerCost, ...]:
        """Returns the costliest layers, the costliest first."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.cost)[:number])


def with_shares(layers: Iterable[LayerCost]) -> tuple[LayerCost, ...]:
    """Returns layers in the order of the network, each with its share of the sum.

    Raises:
        MeasurementError: There are no layers, or none of them costs anything.

    Example:
        >>> first, second = (LayerCost(name=name, operator="ADD", position=i, cost=1.0 + 2 * i) for i, name in enumerate("ab"))
        >>> [layer.share for layer in with_shares([second, first])]
        [0.25, 0.75]
    """
    ordered = sorted(layers, key=lambda layer: layer.position)
    total = sum(layer.cost for layer in ordered)
    if not total > 0:
        raise MeasurementError(f"the costs of {len(ordered)} layers add up to {total:g}, expected more than 0")
    return tuple(msgspec.structs.replace(layer, share=layer.cost / total) for layer in ordered)
