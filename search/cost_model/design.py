"""The design matrix of a cost model, with columns that fits to different parts of the data share, and its solution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from mhmodels.search.arrays import Bools, Floats, Indices
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.forms import Form, touched_rows
from mhmodels.search.cost_model.regression.ridge import Design, ridge
from mhmodels.search.cost_model.regression.robust import Judged, Resemblance, far_off, judge, scaled_rows
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

_DEVIATIONS = (0.0, 0.03, 0.1, 0.3)
"""How far a block may deviate from what its features predict, relative to its own latency; leave-one-out chooses."""


class Solution(NamedTuple):
    """The weights of a cost model.

    Attributes:
        intercept: Ms of every network.
        weights: Ms by structural feature.
        deviations: Ms by block signature.
        rows: Ms by row of the space's table.
        strength: Penalty, as in `Ridge`.
        deviation_scale: Element of `_DEVIATIONS` that was chosen.
        left_out: (k,), latency in ms of each sample that was fitted to, as a fit to the others predicts it.
    """

    intercept: float
    weights: dict[str, float]
    deviations: dict[str, float]
    rows: dict[int, float]
    strength: float
    deviation_scale: float
    left_out: Floats


class _Columns(NamedTuple):
    """The design of some samples.

    Attributes:
        design: (samples, features) with the constant first.
        start: (samples, k), columns that explain log latencies roughly.
        scales: (features,), expected magnitude of each weight.
        used: Rows of the space's table that the columns after the first stand for; empty for the structural form.
    """

    design: Design
    start: Floats
    scales: Floats
    used: Indices


class FitDesign:
    """The regression's columns for all samples of a data set.

    Attributes:
        space: Space of the samples.
        encodings: (n, decisions), int16.
        form: Form of the cost model.
    """

    def __init__(self, space: SearchSpace, encodings: Encodings, form: Form) -> None:
        """Computes the columns.

        Args:
            space: Space of the samples.
            encodings: (n, decisions), int16, canonical.
            form: Form of the cost model.
        """
        self.space, self.form, self.encodings = space, form, encodings
        self._touched = touched_rows(space, encodings, form)
        if form == "structural":
            assert isinstance(space, ArchitectureSpace)
            self._names, self._groups = _signatures(space)
            self._structural: Floats = self._touched @ space.table(features.structural, len(features.NAMES))
            self._tied = (self._touched @ self._groups).tocsr()

    def solve(self, train: Indices, ms: Floats, *, relative: bool, nonnegative: bool) -> tuple[Solution, Judged]:
        """Fits to the credible latencies of some samples. For relative errors, equations are divided by the fitted latency.

        Args:
            train: (k,), indices of the samples.
            ms: (n,), latencies of all samples in ms.
            relative: Whether to minimise relative errors.
            nonnegative: Whether to exclude weights below 0.
        """
        columns = self._columns(train, float(np.median(ms[train])))
        judged = judge(columns.design, columns.start, columns.scales, ms[train], relative=relative)
        kept = np.flatnonzero(judged.kept)
        weights = 1.0 / judged.scale[kept]
        design, target = scaled_rows(columns.design[kept], weights), ms[train[kept]] * weights
        if self.form == "structural":
            return self._solve_structural(train[kept], design, weights, target, columns.scales, nonnegative), judged
        found = ridge(design, target, columns.scales, nonnegative=nonnegative)
        rows = {int(row): float(value) for row, value in zip(columns.used, found.weights[1:], strict=True) if value}
        return Solution(float(found.weights[0]), {}, {}, rows, found.strength, 0.0, found.left_out / weights), judged

    def suspects(self, ms: Floats, predicted: Floats, floor: float) -> tuple[Bools, Bools]:
        """Finds latencies far from predictions.

        Args:
            ms: (n,), latencies in ms.
            predicted: (n,), predictions in ms.
            floor: Latency in ms from which on errors are relative.

        Returns:
            (n,) each: latencies that are far off without a pattern, and those of networks that resemble each other.
        """
        off = far_off(ms, predicted, floor)
        columns = self._columns(np.arange(len(ms)), float(np.median(ms)))
        resemblance = Resemblance(columns.design, columns.scales)
        similar = resemblance.predictable(off & (ms < predicted)) | resemblance.predictable(off & (ms > predicted))
        return off & ~similar, similar

    def parameters(self, train: Indices) -> tuple[int, str]:
        """Number of weights that some samples determine, and their name in a message."""
        used = len(np.unique(self._touched[train].indices))
        if self.form != "structural":
            return used, f"{used} of {self._touched.shape[1]} weights of the {self.form} form occur in them"
        live = int((np.abs(self._structural[train]).sum(axis=0) > 0).sum())
        return live, f"{live} structural features occur in them"

    def _columns(self, train: Indices, typical: float) -> _Columns:
        """The design of some samples whose typical latency is known."""
        if self.form == "structural":
            dense = np.hstack([np.ones((len(train), 1)), self._structural[train]])
            root = np.sqrt((dense**2).mean(axis=0)) / typical
            scales = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
            scales[0] = 10 * typical
            return _Columns(dense, np.log1p(self._structural[train]), scales, np.arange(0))
        part = self._touched[train]
        used = np.unique(part.indices)
        columns = sparse.hstack([np.ones((len(train), 1)), part[:, used]], format="csr")
        scales = np.full(len(used) + 1, typical / part[[0]].sum())
        scales[0] = 10 * typical
        return _Columns(columns, part[:, used].toarray(), scales, used)

    def _solve_structural(
        self, train: Indices, dense: Design, weights: Floats, target: Floats, scales: Floats, nonnegative: bool
    ) -> Solution:
        """Fits the features, then lets blocks deviate from them as far as that improves leave-one-out prediction."""
        best, scale = ridge(dense, target, scales, nonnegative=nonnegative), 0.0
        intercept, of_features = float(best.weights[0]), best.weights[1:]
        tied = self._tied[train]
        used = np.flatnonzero(np.asarray(tied.sum(axis=0)).ravel())
        # A block may deviate in proportion to the latency that its features predict.
        cost = np.abs(self._signature_features()[used] @ of_features)
        cost = np.maximum(cost, 0.1 * cost.mean())
        deviations = np.zeros(len(used))
        columns = sparse.hstack([dense, scaled_rows(tied[:, used], weights)], format="csr")
        for factor in _DEVIATIONS[1:]:
            found = ridge(columns, target, np.concatenate([scales, factor * cost]), nonnegative=nonnegative)
            # With few samples errors differ by chance, so the simpler model stays unless the other is clearly better.
            if found.loo_error < best.loo_error * (1 - 1 / np.sqrt(len(train))):
                best, scale = found, factor
                intercept, of_features = float(found.weights[0]), found.weights[1 : dense.shape[1]]
                deviations = found.weights[dense.shape[1] :]
        by_name = {self._names[i]: float(value) for i, value in zip(used, deviations, strict=True) if value}
        # Weights of 0 are kept as well: they tell that training had such kernels.
        seen = {name: float(w) for name, w, size in zip(features.NAMES, of_features, scales[1:], strict=True) if size > 0}
        return Solution(intercept, seen, by_name, {}, best.strength, scale, best.left_out / weights)

    def _signature_features(self) -> Floats:
        """(signatures, features): mean features of the blocks with each signature."""
        assert isinstance(self.space, ArchitectureSpace)
        table = self.space.table(features.structural, len(features.NAMES))
        counts = np.asarray(self._groups.sum(axis=0)).ravel()
        mean: Floats = (self._groups.T @ table) / counts[:, None]
        return mean


def _signatures(space: ArchitectureSpace) -> tuple[list[str], sparse.csr_array]:
    """The signatures of all blocks of a space, and (rows, signatures) with a 1 where a row of its table has the signature."""
    names: dict[str, int] = {}
    pairs = [
        (row, names.setdefault(features.signature(piece), len(names)))
        for row, piece in enumerate(space.pieces())
        if piece is not None
    ]
    rows, columns = np.array(pairs).T
    groups = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(space.row_count, len(names)))
    return list(names), groups
