"""How latency is distributed over the depth of the mean network: the share of each layer (arXiv 2109.12426, figure 2)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.forms import form_rows
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.cost_model.predictor import LinearPredictor
from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockProfile, Effect
from mhmodels.search.profiling.layout import UnitLayer, layout_of
from mhmodels.search.profiling.reference import ReferenceNetworks
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

STEM, HEAD, OVERHEAD = "stem", "head", "overhead"
"""Parts without a layer: before the units; after them, with pooling and classifier; and the constant of a cost model."""
_NETWORKS = 2000


class LayerShare(Effect, frozen=True, kw_only=True):
    """The part of the mean network's metric that a layer accounts for.

    Attributes:
        part: `unit.layer`, or `stem`, a fixed stage, `head` or `overhead`.
        unit, layer: As in `PlacementEffect`; None for the other parts.
        present: Share of the mean network's depths that have the layer, from 0 to 1.
        mean: Share of the metric of the mean network, for example 0.05 for 5 %, counting networks without the layer as 0. It may
            be below 0.
        low, high: Limits of its interval; None if the shares come from a cost model.
        p5, p95: 5 and 95 % quantiles of the share in networks that have the layer; None if the shares come from measurements.

    Example:
        >>> from mhmodels.search import LayerShare
        >>> LayerShare(part="1.2", unit=1, layer=2, present=0.75, mean=0.1, low=0.08, high=0.12).is_clear
        True
    """

    part: str
    unit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    layer: Annotated[int, msgspec.Meta(ge=1)] | None = None
    present: float = 1.0
    p5: float | None = None
    p95: float | None = None


def layer_shares(space: SearchSpace, profile: BlockProfile) -> tuple[LayerShare, ...]:
    """Shares of the optional layers, by what their presence adds: probability of the layer times its depth effect.

    What every network has, such as the first layers of the units, cannot be told apart from whole networks: `cost_model_shares`
    splits it.

    Args:
        space: Space of the profile.
        profile: A profile of a metric above 0.

    Raises:
        CostModelError: The mean network's metric is not above 0, or no layer of the space is optional.

    Example:
        >>> from mhmodels.search import get_space, layer_shares, profile, sample
        >>> space = get_space("multi_hardware")
        >>> encodings = sample(space, 300).encodings
        >>> [one.part for one in layer_shares(space, profile(space, encodings, space.madds(encodings)))][:4]
        ['1.2', '1.3', '1.4', '2.2']
    """
    if profile.level <= 0:
        raise CostModelError(f"the mean network has {profile.level:g}, expected a metric above 0 to take shares of")
    if not profile.depth:
        raise CostModelError(f"no layer of space '{space.name}' is optional: its networks do not tell what a layer adds")
    layout = layout_of(space)
    known: dict[tuple[int, int], list[int]] = {}
    for one in profile.effects:
        known.setdefault((one.unit, one.layer), []).extend([one.choice] if one.mean is not None else [])
    by_column = {each.column: known[each.unit, each.layer] for each in layout.layers}
    reference = ReferenceNetworks(
        space, layout, [by_column.get(column, each.tolist()) for column, each in enumerate(space.allowed)]
    )
    expected = reference.expected()
    layers = {(each.unit, each.layer): each for each in layout.layers}
    result = []
    for effect in profile.depth:
        layer = layers[effect.unit, effect.layer]
        absent = 0.0 if layer.skip is None else float(expected[reference.starts[layer.column] + layer.skip])
        limits = (
            None if each is None else (1 - absent) * each / profile.level for each in (effect.mean, effect.low, effect.high)
        )
        mean, low, high = limits
        result.append(
            LayerShare(
                part=f"{layer.unit}.{layer.layer}", unit=layer.unit, layer=layer.layer, present=1 - absent,
                mean=mean, low=low, high=high,
            )
        )  # fmt: skip
    return tuple(result)


def cost_model_shares(space: SearchSpace, model: CostModel, seed: int = 0) -> tuple[LayerShare, ...]:
    """Shares of all layers, stem and head, as a cost model divides latency among the parts of networks.

    The mean is over 2,000 networks of the distribution that effects are relative to.

    Args:
        space: Space of the networks.
        model: A structural or coupled cost model of the space.
        seed: Random seed of the networks.

    Raises:
        CostModelError: The cost model is not a sum over layers, or is of another space.

    Example:
        >>> from mhmodels.search import cost_model_shares, get_space, shipped_model
        >>> space = get_space("multi_hardware")
        >>> shares = cost_model_shares(space, shipped_model(space, "ethos-u65-256"))
        >>> shares[1].part, round(sum(one.mean for one in shares), 6)
        ('1.1', 1.0)
    """
    predictor = model.bind(space)
    if not isinstance(space, ArchitectureSpace) or not isinstance(predictor, LinearPredictor):
        raise CostModelError(
            f"the {model.form} cost model of '{model.hardware}' is not a sum over layers, expected a structural or coupled one"
        )
    layout = layout_of(space)
    reference = ReferenceNetworks(space, layout, [each.tolist() for each in space.allowed])
    rows = reference.draw(_NETWORKS, np.random.default_rng(seed))
    ms = predictor.table[form_rows(space, rows, model.form)]
    total = ms.sum(axis=1) + model.intercept_ms
    parts: dict[_Part, Floats] = {}
    for part, column in zip(_parts(space, layout.layers), ms.T, strict=True):
        parts[part] = parts.get(part, 0) + column
    parts[_Part(OVERHEAD)] = np.full(len(rows), model.intercept_ms)
    return tuple(_share(part, values, total, rows) for part, values in parts.items())


class _Part(NamedTuple):
    name: str
    layer: UnitLayer | None = None


def _parts(space: ArchitectureSpace, layers: tuple[UnitLayer, ...]) -> list[_Part]:
    """The part of each slot of the space's table, the last two of pooling and classifier."""
    by_column = {layer.column: layer for layer in layers}
    columns = {decision.name: column for column, decision in enumerate(space.decisions)}
    parts = []
    for group in space.template.groups:
        for slot in group.slots:
            layer = by_column.get(columns.get(slot.name, -1))
            if layer is not None:
                parts.append(_Part(f"{layer.unit}.{layer.layer}", layer))
            else:
                stage = slot.name.rpartition("_")[0]
                parts.append(_Part(stage if group.part == "stage" else STEM if group.part == "stem" else HEAD))
    return [*parts, _Part(HEAD), _Part(HEAD)]


def _share(part: _Part, values: Floats, total: Floats, rows: Encodings) -> LayerShare:
    layer = part.layer
    having = np.ones(len(rows), bool)
    if layer is not None and layer.skip is not None:
        having = rows[:, layer.column] != layer.skip
    p5, p95 = np.quantile((values / total)[having], (0.05, 0.95)) if having.any() else (np.nan, np.nan)
    return LayerShare(
        part=part.name,
        unit=layer.unit if layer else None,
        layer=layer.layer if layer else None,
        present=float(having.mean()),
        mean=float(values.sum() / total.sum()),
        p5=float(p5),
        p95=float(p95),
    )
