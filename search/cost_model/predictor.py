"""Cost models bound to a space: predictions for many networks at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.data import CostModelData
from mhmodels.search.cost_model.forms import builds, form_row_count, form_rows
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.piece_table import gather
from mhmodels.search.space.search_space import Encodings, SearchSpace


class Predictor(ABC):
    """A cost model bound to a space; `CostModel.bind` makes it.

    Attributes:
        model: The cost model.
        space: The space.

    Example:
        >>> from mhmodels.search import Predictor, get_space, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> predictor = shipped_model(space, "ethos-u65-256").bind(space)
        >>> isinstance(predictor, Predictor), predictor.predict(sample(space, 2).encodings).shape
        (True, (2,))
    """

    def __init__(self, model: CostModelData, space: SearchSpace) -> None:
        """Remembers a cost model that applies to a space."""
        self.model, self.space = model, space

    def predict(self, encodings: ArrayLike) -> Floats:
        """Predicts latencies.

        Args:
            encodings: (n, decisions), integers.

        Returns:
            (n,), float64, ms.

        Raises:
            SpaceError: An encoding is not a member of the space.
        """
        return self.predict_rows(self.space.check(encodings))

    def interval(self, encodings: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats] | None:
        """Lower and upper end (n,) in ms of the intervals that contain a measurement with some probability.

        Args:
            encodings: (n, decisions), integers.
            level: Probability, above 0 and below 1.

        Returns:
            The ends; None for a model without intervals, which only adapted models have.
        """
        return None

    @abstractmethod
    def predict_rows(self, rows: Encodings) -> Floats:
        """Predicts latencies (n,) in ms of encodings (n, decisions), int16, which a restriction of the space may exclude."""


class LinearPredictor(Predictor):
    """A cost model that is a sum over the parts of a network.

    Attributes:
        table: Ms by row of the space's table.
    """

    def __init__(self, model: CostModelData, space: SearchSpace) -> None:
        """Computes the latency of every row of the space's table."""
        super().__init__(model, space)
        self.table = _row_table(model, space)

    def predict_rows(self, rows: Encodings) -> Floats:
        total = gather(self.table, form_rows(self.space, rows, self.model.form))
        return np.maximum(total + self.model.intercept_ms, self.model.floor_ms)


def _row_table(model: CostModelData, space: SearchSpace) -> Floats:
    """ms by row of the space's table."""
    if model.form != "structural":
        table = np.zeros(form_row_count(space, model.form))
        if model.row_index and not 0 <= min(model.row_index) <= max(model.row_index) < len(table):
            raise CostModelError(f"cost model: row_index reaches {max(model.row_index)}, expected less than {len(table)}")
        table[list(model.row_index)] = model.row_weights
        return table
    if not builds(space):
        raise CostModelError(f"space '{space.name}' is tabular and has no structure: fit a pairwise model to it")
    table = space.table(features.structural, len(features.NAMES)) @ model.vector()
    if model.deviations:
        table = table + np.array(
            [model.deviations.get(features.signature(piece), 0.0) if piece is not None else 0.0 for piece in space.pieces()]
        )
    return table
