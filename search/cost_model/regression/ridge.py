"""Ridge regression with the penalty that leave-one-out prediction prefers, for dense and sparse designs.

`RidgeSystem` decomposes a design once and solves it for any number of targets.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from mhmodels.search.arrays import Floats

Design: TypeAlias = "Floats | sparse.csr_array"
"""(n, features), NumPy or SciPy sparse."""
STRENGTHS = 10.0 ** np.arange(-8.0, 3.01, 0.5)
"""Penalties to choose from, relative to the mean squared length of the design's rows."""
_DENSE = 40_000_000
"""Number of elements up to which a sparse design is made dense: dense matrix products are many times faster."""


class Ridge(NamedTuple):
    """A solution.

    Attributes:
        weights: (features,).
        strength: Penalty, relative to the mean squared length of the design's rows.
        loo_error: Root mean square error of leave-one-out prediction, in the unit of the target.
        left_out: (n,), prediction for each sample by a fit to all others; of the unconstrained solution if `nonnegative`.
    """

    weights: Floats
    strength: float
    loo_error: float
    left_out: Floats


class _Decomposition(Protocol):
    """Eigen-decomposition of a design; solves for a target (n,) and an absolute penalty."""

    def weights(self, target: Floats, penalty: float) -> Floats:
        """Weights (features,)."""

    def loo(self, target: Floats, penalty: float) -> Floats:
        """Leave-one-out residuals (n,)."""


class RidgeSystem:
    """A design whose eigen-decomposition is computed once and shared by all targets.

    Minimises |design w - target|² + strength |w / scales|², with the strength of `STRENGTHS` that has the smallest exact
    leave-one-out error.
    """

    def __init__(self, design: Design, scales: Floats) -> None:
        """Decomposes a design.

        Args:
            design: (n, features), NumPy or SciPy sparse.
            scales: (features,), expected magnitude of each weight, at least 0.
        """
        n, features = design.shape
        self._scaled: Design
        if n * features <= _DENSE:
            self._scaled = _dense(design) * scales
            mean_square = float((self._scaled**2).sum()) / n
        else:
            scaled = sparse.csr_array(design) @ sparse.diags_array(scales)
            self._scaled, mean_square = scaled, float(scaled.multiply(scaled).sum()) / n
        self._mean_square = max(mean_square, np.finfo(float).tiny)
        self._scales = scales
        self._decomposition: _Decomposition = _Primal(self._scaled) if features <= n else _Dual(self._scaled)

    def solve(self, target: Floats, *, nonnegative: bool = False) -> Ridge:
        """Solves for a target.

        Args:
            target: (n,).
            nonnegative: Whether to exclude weights below 0. The strength is that of the unconstrained solution.
        """
        penalties = STRENGTHS * self._mean_square
        residuals = [self._decomposition.loo(target, penalty) for penalty in penalties]
        errors = [float(np.sqrt(np.mean(residual**2))) for residual in residuals]
        best = int(np.argmin(errors))
        if nonnegative:
            weights = _nonnegative(self._scaled, target, penalties[best])
        else:
            weights = self._decomposition.weights(target, penalties[best])
        return Ridge(weights * self._scales, float(STRENGTHS[best]), errors[best], target - residuals[best])


def ridge(design: Design, target: Floats, scales: Floats, *, nonnegative: bool = False) -> Ridge:
    """Solves a design for one target.

    Args:
        design: (n, features), NumPy or SciPy sparse.
        target: (n,).
        scales: (features,), expected magnitude of each weight, at least 0.
        nonnegative: Whether to exclude weights below 0. The strength is that of the unconstrained solution.
    """
    return RidgeSystem(design, scales).solve(target, nonnegative=nonnegative)


class _Primal:
    """By the eigenvectors of the features' Gram matrix, for at most as many features as samples."""

    def __init__(self, design: Design) -> None:
        values, vectors = np.linalg.eigh(_dense(design.T @ design))
        self._values, self._vectors = np.maximum(values, 0.0), vectors
        self._projected = design @ vectors
        self._squares = self._projected**2

    def weights(self, target: Floats, penalty: float) -> Floats:
        weights: Floats = self._vectors @ (self._projected.T @ target / (self._values + penalty))
        return weights

    def loo(self, target: Floats, penalty: float) -> Floats:
        inverse = 1.0 / (self._values + penalty)
        residual = target - self._projected @ (self._projected.T @ target * inverse)
        leverage = self._squares @ inverse
        left_out: Floats = residual / np.maximum(1.0 - leverage, 1e-9)
        return left_out


class GramSystem:
    """Ridge regression by the eigenvectors of a Gram matrix (n, n) of samples, which may be any kernel between them."""

    def __init__(self, gram: Floats) -> None:
        """Decomposes a Gram matrix."""
        values, vectors = np.linalg.eigh(gram)
        self._values, self._vectors = np.maximum(values, 0.0), vectors
        self._squares = vectors**2

    def dual(self, target: Floats, penalty: float) -> Floats:
        """Dual weights (n,) for a target (n,) and an absolute penalty."""
        weights: Floats = self._vectors @ (self._vectors.T @ target / (self._values + penalty))
        return weights

    def loo(self, target: Floats, penalty: float) -> Floats:
        """Leave-one-out residuals (n,)."""
        return self.dual(target, penalty) / (self._squares @ (1.0 / (self._values + penalty)))


class _Dual:
    """By the eigenvectors of the samples' Gram matrix, for more features than samples."""

    def __init__(self, design: Design) -> None:
        self._design, self._system = design, GramSystem(_dense(design @ design.T))

    def weights(self, target: Floats, penalty: float) -> Floats:
        weights: Floats = self._design.T @ self._system.dual(target, penalty)
        return weights

    def loo(self, target: Floats, penalty: float) -> Floats:
        return self._system.loo(target, penalty)


def _nonnegative(design: Design, target: Floats, penalty: float) -> Floats:
    from sklearn.linear_model import Ridge as Solver

    solver = Solver(alpha=penalty, fit_intercept=False, positive=True, tol=1e-8, max_iter=20_000)
    return np.asarray(solver.fit(sparse.csr_matrix(design) if sparse.issparse(design) else design, target).coef_, np.float64)


def _dense(matrix: Design) -> Floats:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())
