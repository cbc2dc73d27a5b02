"""Evaluators: sources of accuracies for searches without shared weights: tables, functions, predictors."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Protocol, TextIO, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import SearchError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.tabular import Table

AccuracyAnswer: TypeAlias = "ArrayLike | Iterator[float]"
"""Accuracies (n,), or an iterator over them."""
_PENALTIES = np.logspace(-3, 4, 29)


class Evaluator(Protocol):
    """A source of accuracies of a space's members.

    Attributes:
        identity: Source of the accuracies in words and hashes. It is part of a result's provenance, and must be the same when a
            search is resumed.

    Example:
        >>> class Constant:
        ...     identity = "constant"
        ...
        ...     def evaluate(self, encodings):
        ...         return [0.5] * len(encodings)
        >>> from mhmodels.search import Evaluator
        >>> evaluator: Evaluator = Constant()
        >>> evaluator.evaluate([[0, 1], [1, 0]])
        [0.5, 0.5]
    """

    identity: str

    def evaluate(self, encodings: Encodings) -> AccuracyAnswer:
        """Evaluates networks.

        Args:
            encodings: (n, decisions), int16.

        Returns:
            (n,), accuracies as fractions from 0 to 1; or an iterator over them in order. The log keeps each accuracy of an
            iterator as soon as it arrives, so that an interrupted search repeats none.
        """


class TableAccuracy:
    """Accuracies in a column of a table, which must have all members that a search asks for."""

    def __init__(self, table: Table, column: str, identity: str) -> None:
        """Takes `column` of `table`, fractions from 0 to 1."""
        self.table, self.column, self.identity = table, column, identity

    def evaluate(self, encodings: Encodings) -> Floats:
        """Accuracies (n,) of encodings (n, decisions); SpaceError for members that the table does not have."""
        return self.table.evaluate(encodings, self.column)


class TableLatency:
    """Latencies in a column of a table, in ms."""

    def __init__(self, table: Table, column: str, identity: str) -> None:
        """Takes `column` of `table`, ms on one hardware."""
        self.table, self.column, self.identity = table, column, identity
        self.space = table.space

    def predict(self, encodings: Encodings) -> Floats:
        """Latencies (n,) in ms of encodings (n, decisions); SpaceError for members that the table does not have."""
        return self.table.evaluate(encodings, self.column)


class CallableAccuracy:
    """Accuracies from a function of the user's, for example a training script or a simulator."""

    def __init__(self, space: SearchSpace, function: Callable[[SearchSpace, Encodings], AccuracyAnswer], identity: str) -> None:
        """Takes a function.

        Args:
            space: Space of the networks.
            function: Called with the space and encodings (n, decisions); returns accuracies (n,) from 0 to 1, or an iterator.
            identity: Name of the function.
        """
        self.space, self.function, self.identity = space, function, identity

    def evaluate(self, encodings: Encodings) -> AccuracyAnswer:
        """Calls the function. Its prints go to stderr, because stdout belongs to the command."""
        with redirect_stdout(_trusted_stderr()):
            given = self.function(self.space, encodings)
        return _redirected(given) if isinstance(given, Iterator) else given


def _trusted_stderr() -> TextIO:
    """stderr without the command line's filter: the user's own function may print progress bars, which move the cursor."""
    return getattr(sys.stderr, "trusted", sys.stderr)


def _redirected(answers: Iterator[float]) -> Iterator[float]:
    while True:
        with redirect_stdout(_trusted_stderr()):
            try:
                one = next(answers)
            except StopIteration:
                return
        yield one


class PredictedAccuracy:
    """Predicts accuracies by ridge regression on one-hot encodings and, with enough samples, on pairs of choices.

    Attributes:
        spearman: Rank correlation of predictions and accuracies in 5-fold cross-validation.
        rmse: Root mean square error in 5-fold cross-validation, as a fraction of accuracy.
    """

    def __init__(self, space: SearchSpace, encodings: ArrayLike, accuracy: ArrayLike) -> None:
        """Trains the predictor.

        Args:
            space: Space of the networks.
            encodings: (n, decisions), integers.
            accuracy: (n,), fractions from 0 to 1.

        Raises:
            SearchError: There are fewer than ten different networks, or an accuracy is not a fraction.
            SpaceError: An encoding is not a member of the space.
        """
        from scipy.stats import spearmanr
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import KFold, cross_val_predict

        self.space = space
        rows, place = np.unique(space.canonical(space.check(encodings)), axis=0, return_inverse=True)
        # Repeated accuracies of one network are averaged.
        truth = np.bincount(place.ravel(), np.asarray(accuracy, np.float64)) / np.bincount(place.ravel())
        if len(rows) < 10 or not ((truth >= 0) & (truth <= 1)).all():
            raise SearchError(
                f"accuracy predictor: {len(rows)} different networks with accuracies from {truth.min(initial=1):g} to "
                f"{truth.max(initial=0):g}, expected at least 10 and fractions from 0 to 1"
            )
        pairs = int(space.cardinalities.sum()) ** 2 // 2
        self._pairs = pairs <= len(rows)
        features = self._features(rows)
        self._mean = truth.mean()
        self._model = RidgeCV(_PENALTIES, fit_intercept=False)
        guessed = cross_val_predict(self._model, features, truth - self._mean, cv=KFold(5, shuffle=True, random_state=0))
        self.spearman = float(spearmanr(guessed, truth)[0])
        self.rmse = float(np.sqrt(np.mean((guessed + self._mean - truth) ** 2)))
        self._model.fit(features, truth - self._mean)
        data = hashlib.sha256(rows.astype("<i2").tobytes() + truth.astype("<f8").tobytes()).hexdigest()[:16]
        self.identity = f"ridge on {len(rows)} accuracies ({data}), {'pairs' if self._pairs else 'one-hot'}"

    def evaluate(self, encodings: Encodings) -> Floats:
        """Predicted accuracies (n,) of encodings (n, decisions), clipped to 0 to 1."""
        rows = self.space.canonical(self.space.check(encodings))
        guessed: Floats = np.clip(self._model.predict(self._features(rows)) + self._mean, 0, 1)
        return guessed

    def _features(self, rows: Encodings) -> Floats:
        hot = self.space.one_hot(rows).astype(np.float64)
        if not self._pairs:
            return hot
        i, j = np.triu_indices(hot.shape[1], 1)
        return np.concatenate([hot, hot[:, i] * hot[:, j]], axis=1)
