"""Profiles a space as published: new networks for every unit, layer and block (arXiv 2109.12426, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockMean, BlockProfile, DecisionEffect, DepthEffect, Effect, PlacementEffect
from mhmodels.search.profiling.layout import UnitLayer, block_words, layout_of
from mhmodels.search.profiling.percentiles import percentile_effects
from mhmodels.search.profiling.reference import Cell, ReferenceNetworks
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.search_space import Encodings, SearchSpace

_BASE = 10
"""Networks of the mean network's sample, as a multiple of those of a choice."""


def conditional_profile(
    space: SearchSpace,
    measure: Callable[[Encodings], ArrayLike],
    per_cell: int,
    rng: np.random.Generator,
    *,
    confidence: float = 0.9,
) -> BlockProfile:
    """Estimates what every choice does to a metric, from networks that are drawn for each choice: A_u,l,b of section 3.

    It needs many networks, so that it suits predictors and tables. In networks drawn for a block at layer l, the unit's depth is
    uniform among the depths of at least l.

    Args:
        space: Space of the networks.
        measure: Computes the metric (n,) of encodings (n, decisions).
        per_cell: Number of networks for every choice, at least 2; the mean network has ten times as many.
        rng: Random generator.
        confidence: Two-sided confidence of the intervals, above 0 and below 1: of means by normal approximation, of percentile
            effects by order statistics, for which a choice needs 20 networks.

    Returns:
        Effects with intervals. The effects of depth are differences of networks drawn with either depth.

    Raises:
        CostModelError: An argument is out of range, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import conditional_profile, get_space
        >>> space = get_space("nas_bench_macro")
        >>> found = conditional_profile(space, space.madds, 50, np.random.default_rng(0))
        >>> found.blocks[-1].block
        'inverted_bottleneck kernel=5 expansion=6'
    """
    if per_cell < 2:
        raise CostModelError(f"argument 'per_cell' is {per_cell}, expected at least 2 networks for a choice")
    if not 0 < confidence < 1:
        raise CostModelError(f"argument 'confidence' is {confidence}, expected a number above 0 and below 1")
    layout = layout_of(space)
    drawing = _Drawing(
        space, ReferenceNetworks(space, layout, [each.tolist() for each in space.allowed]), measure, per_cell, rng, confidence
    )
    effects = tuple(drawing.placement(layer, int(choice)) for layer in layout.layers for choice in space.allowed[layer.column])
    decisions = tuple(drawing.decision(column, int(choice)) for column in layout.others for choice in space.allowed[column])
    return BlockProfile(
        space=space.name,
        method="conditional",
        confidence=confidence,
        n=per_cell * (_BASE + len(drawing.samples)),
        set_aside=0,
        level=float(drawing.base.mean()),
        error=None,
        effects=effects,
        blocks=drawing.block_means(),
        depth=drawing.depths(),
        decisions=decisions,
        missing=(),
    )


class _Drawing:
    """Samples of all choices; their effects."""

    def __init__(
        self,
        space: SearchSpace,
        reference: ReferenceNetworks,
        measure: Callable[[Encodings], ArrayLike],
        per_cell: int,
        rng: np.random.Generator,
        confidence: float,
    ) -> None:
        from scipy.stats import norm

        self._space, self._reference, self._measure, self._rng = space, reference, measure, rng
        self._confidence = confidence
        self._factor = float(norm.ppf((1 + confidence) / 2))
        self._per_cell = per_cell
        self.base = self._values(reference.draw(_BASE * per_cell, rng))
        self.samples: dict[Cell, Floats] = {}

    def placement(self, layer: UnitLayer, choice: int) -> PlacementEffect:
        values = self._of(Cell(layer.column, choice))
        low, high = (Effect(mean=m, low=a, high=b) for m, a, b in percentile_effects(values, self.base, self._confidence))
        return PlacementEffect(
            unit=layer.unit, layer=layer.layer, choice=choice, block=layer.blocks[choice], n=len(values), p5=low, p95=high,
            **self._difference([values], [self.base]),
        )  # fmt: skip

    def decision(self, column: int, choice: int) -> DecisionEffect:
        values, decision = self._of(Cell(column, choice)), self._space.decisions[column]
        return DecisionEffect(
            decision=decision.name, choice=choice, value=describe(decision.choices[choice]), n=len(values),
            **self._difference([values], [self.base]),
        )  # fmt: skip

    def block_means(self) -> tuple[BlockMean, ...]:
        layers = self._reference.layout.layers
        found = []
        for block in block_words(self._reference.layout):
            places = [
                Cell(one.column, choice)
                for one in layers
                for choice in self._reference.blocks(one)
                if one.blocks[choice] == block
            ]
            if places:
                samples = [self.samples[cell] for cell in places]
                mean = float(np.mean([values.mean() for values in samples]))
                found.append(BlockMean(block=block, locations=len(places), metric=mean, **self._difference(samples, [self.base])))
        return tuple(sorted(found, key=lambda one: one.metric))

    def depths(self) -> tuple[DepthEffect, ...]:
        reference, found = self._reference, []
        for layer in reference.layout.layers:
            if reference.is_optional(layer):
                rows = (reference.draw_depth(self._per_cell, self._rng, layer, more) for more in (True, False))
                difference = self._difference(*([self._values(each)] for each in rows))
                found.append(DepthEffect(unit=layer.unit, layer=layer.layer, **difference))
            elif not reference.layout.by_depth and layer.skip in reference.choices[layer.column]:
                blocks = [self.samples[Cell(layer.column, choice)] for choice in reference.blocks(layer) if choice != layer.skip]
                skipped = self.samples[Cell(layer.column, layer.skip)] if layer.skip is not None else self.base
                found += (
                    [DepthEffect(unit=layer.unit, layer=layer.layer, **self._difference(blocks, [skipped]))] if blocks else []
                )
        return tuple(found)

    def _of(self, cell: Cell) -> Floats:
        self.samples[cell] = self._values(self._reference.draw(self._per_cell, self._rng, cell))
        return self.samples[cell]

    def _values(self, rows: Encodings) -> Floats:
        values = np.asarray(self._measure(rows), np.float64)
        if values.shape != (len(rows),) or not np.isfinite(values).all():
            raise CostModelError(f"argument 'measure' returned values {values.shape}, expected ({len(rows)},), all finite")
        return values

    def _difference(self, these: list[Floats], those: list[Floats]) -> dict[str, float]:
        means, variances = [], []
        for samples in (these, those):
            means.append(np.mean([values.mean() for values in samples]))
            variances.append(sum(values.var(ddof=1) / len(values) for values in samples) / len(samples) ** 2)
        mean, half = float(means[0] - means[1]), self._factor * float(np.sqrt(sum(variances)))
        return {"mean": mean, "low": mean - half, "high": mean + half}
