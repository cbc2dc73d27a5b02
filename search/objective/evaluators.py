"""Where a search's accuracies come from when no weights are shared: tables, functions, predictors."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Protocol, TextIO, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.tabular import Table

Floats: TypeAlias = NDArray[np.float64]
_PENALTIES = np.logspace(-3, 4, 29)


class Evaluator(Protocol):
    """Accuracy of members of a space.

    Attributes:
        identity: in words and hashes what the accuracies come from: part of a result's provenance, and of what a resumed
            search must not change.
    """

    identity: str

    def evaluate(self, encodings: Encodings) -> ArrayLike | Iterator[float]:
        """Accuracies (n,), fractions from 0 to 1, of encodings (n, decisions).

        An iterator gives them one by one, in order: each is in the log as soon as it arrives, and a search that is interrupted
        repeats none of them.
        """


class TableAccuracy:
    """A column of a table of all members that will be asked for."""

    def __init__(self, table: Table, column: str, identity: str) -> None:
        """Takes `column` of `table`, which holds fractions."""
        self.table, self.column, self.identity = table, column, identity

    def evaluate(self, encodings: Encodings) -> Floats:
        """See `Evaluator`; SpaceError for members that the table does not have."""
        return self.table.evaluate(encodings, self.column)


class TableLatency:
    """A column of a table, in ms, as a source of latencies."""

    def __init__(self, table: Table, column: str, identity: str) -> None:
        """Takes `column` of `table`, which holds ms on one hardware."""
        self.table, self.column, self.identity = table, column, identity
        self.space = table.space

    def predict(self, encodings: Encodings) -> Floats:
        """See `mhmodels.search.objective.rewards.LatencySource`; SpaceError for members that the table does not have."""
        return self.table.evaluate(encodings, self.column)


class CallableAccuracy:
    """A function of the user's: a training script, a simulator."""

    def __init__(self, space: Space, function: Callable[[Space, Encodings], ArrayLike | Iterator[float]], identity: str) -> None:
        """Calls `function` with the space and encodings (n, decisions) for accuracies (n,)."""
        self.space, self.function, self.identity = space, function, identity

    def evaluate(self, encodings: Encodings) -> ArrayLike | Iterator[float]:
        """See `Evaluator`; what the function prints goes to stderr, for stdout is the command's."""
        with redirect_stdout(_trusted_stderr()):
            given = self.function(self.space, encodings)
        return _redirected(given) if isinstance(given, Iterator) else given


def _trusted_stderr() -> TextIO:
    """The user's own function may move the cursor, as progress bars do; the command line's stderr shows such characters."""
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
    """Ridge regression on one-hot encodings and, if there are enough samples, on pairs of choices.

    Attributes:
        spearman: rank correlation with the truth of samples that were left out, from 5-fold cross-validation.
        rmse: likewise, as a fraction of accuracy.
    """

    def __init__(self, space: Space, encodings: ArrayLike, accuracy: ArrayLike) -> None:
        """Trains on accuracies (n,) of encodings (n, decisions).

        Raises:
            SearchError: fewer than ten different networks, or accuracies that are no fractions.
            SpaceError: not members.
        """
        from scipy.stats import spearmanr
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import KFold, cross_val_predict

        self.space = space
        rows, place = np.unique(space.canonical(space.check(encodings)), axis=0, return_inverse=True)
        # Several trainings of one network count as their mean.
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
        """See `Evaluator`; predictions beyond 0 and 1 are cut off."""
        rows = self.space.canonical(self.space.check(encodings))
        guessed: Floats = np.clip(self._model.predict(self._features(rows)) + self._mean, 0, 1)
        return guessed

    def _features(self, rows: Encodings) -> Floats:
        hot = self.space.one_hot(rows).astype(np.float64)
        if not self._pairs:
            return hot
        i, j = np.triu_indices(hot.shape[1], 1)
        return np.concatenate([hot, hot[:, i] * hot[:, j]], axis=1)
