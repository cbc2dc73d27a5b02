"""Effects as differences of expected networks, and the profile that estimates of them make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.profiling.block_profile import BlockMean, DecisionEffect, DepthEffect, Effect, PlacementEffect
from mhmodels.search.profiling.layout import UnitLayer, block_words
from mhmodels.search.profiling.reference import Cell, ReferenceNetworks
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.search_space import SearchSpace

Estimator: TypeAlias = "Callable[[Floats], list[tuple[float, float, float]]]"
"""Estimates (effect, low, high) of each row of contrasts (effects, choices) of one-hot vectors."""


class ProfileParts(NamedTuple):
    """The effects of a `BlockProfile`, with its attributes."""

    effects: tuple[PlacementEffect, ...]
    blocks: tuple[BlockMean, ...]
    depth: tuple[DepthEffect, ...]
    decisions: tuple[DecisionEffect, ...]
    missing: tuple[str, ...]


def profile_parts(
    space: SearchSpace,
    reference: ReferenceNetworks,
    estimate: Estimator,
    level: float,
    counts: Callable[[Cell], int],
    percentiles: Callable[[Cell], tuple[tuple[float, float, float], ...] | None],
) -> ProfileParts:
    """Estimates all effects of a space.

    Args:
        space: The space.
        reference: Distribution that effects are relative to.
        estimate: Estimates contrasts.
        level: Metric of the mean network.
        counts: Number of networks with a choice.
        percentiles: Percentile effects of a choice, for each of `percentiles.LEVELS`.
    """
    mean = reference.expected()
    cells = {cell: reference.expected(cell) - mean for cell in _cells(reference)}
    found = dict(zip(cells, _effects(estimate, cells.values()), strict=True))
    effects = []
    for layer in reference.layout.layers:
        for choice in map(int, space.allowed[layer.column]):
            cell = Cell(layer.column, choice)
            many = percentiles(cell) if cell in found else None
            low, high = (Effect(mean=m, low=a, high=b) for m, a, b in many) if many else (None, None)
            effects.append(
                PlacementEffect(
                    unit=layer.unit, layer=layer.layer, choice=choice, block=layer.blocks[choice], n=counts(cell),
                    p5=low, p95=high, **found.get(cell, {}),
                )
            )  # fmt: skip
    decisions = tuple(
        DecisionEffect(
            decision=space.decisions[column].name, choice=choice, value=describe(space.decisions[column].choices[choice]),
            n=counts(Cell(column, choice)), **found.get(Cell(column, choice), {}),
        )
        for column in reference.layout.others for choice in map(int, space.allowed[column])
    )  # fmt: skip
    return ProfileParts(
        tuple(effects),
        _block_means(reference, cells, estimate, level),
        _depth_effects(reference, cells, estimate),
        decisions,
        missing_choices(space, reference),
    )


def missing_choices(space: SearchSpace, reference: ReferenceNetworks) -> tuple[str, ...]:
    """Choices that are allowed and do not occur, in words.

    Args:
        space: The space.
        reference: Distribution with the choices that occur.
    """
    return tuple(
        f"{decision.name}: {describe(decision.choices[choice])}"
        for decision, allowed, found in zip(space.decisions, space.allowed, reference.choices, strict=True)
        for choice in allowed
        if choice not in found
    )


def _cells(reference: ReferenceNetworks) -> Iterable[Cell]:
    return (Cell(column, int(choice)) for column, choices in enumerate(reference.choices) for choice in choices)


def _effects(estimate: Estimator, contrasts: Iterable[Floats]) -> list[dict[str, float]]:
    rows = list(contrasts)
    found = estimate(np.stack(rows)) if rows else []
    return [{"mean": mean, "low": low, "high": high} for mean, low, high in found]


def _block_means(
    reference: ReferenceNetworks, cells: dict[Cell, Floats], estimate: Estimator, level: float
) -> tuple[BlockMean, ...]:
    places: dict[str, list[Floats]] = {word: [] for word in block_words(reference.layout)}
    for layer in reference.layout.layers:
        for choice in reference.blocks(layer):
            places[layer.blocks[choice]].append(cells[Cell(layer.column, choice)])
    known = {block: rows for block, rows in places.items() if rows}
    effects = _effects(estimate, [np.mean(rows, axis=0) for rows in known.values()])
    means = [
        BlockMean(block=block, locations=len(rows), metric=level + effect["mean"], **effect)
        for (block, rows), effect in zip(known.items(), effects, strict=True)
    ]
    return tuple(sorted(means, key=lambda one: one.metric))


def _depth_effects(reference: ReferenceNetworks, cells: dict[Cell, Floats], estimate: Estimator) -> tuple[DepthEffect, ...]:
    layers, contrasts = list[UnitLayer](), list[Floats]()
    for layer in reference.layout.layers:
        skip = Cell(layer.column, -1 if layer.skip is None else layer.skip)
        blocks = [choice for choice in reference.blocks(layer) if choice != layer.skip]
        if skip in cells and blocks:
            layers.append(layer)
            if reference.layout.by_depth:
                contrasts.append(reference.added(layer))
            else:
                contrasts.append(np.mean([cells[Cell(layer.column, choice)] for choice in blocks], axis=0) - cells[skip])
    effects = _effects(estimate, contrasts)
    return tuple(DepthEffect(unit=one.unit, layer=one.layer, **effect) for one, effect in zip(layers, effects, strict=True))
