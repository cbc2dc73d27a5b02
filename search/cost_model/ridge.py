"""Ridge regression with the strength that leave-one-out prediction likes best, for dense and sparse designs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
_DENSE = 40_000_000
STRENGTHS = 10.0 ** np.arange(-8.0, 3.01, 0.5)


class Ridge(NamedTuple):
    """A solution.

    Attributes:
        weights: (features,).
        strength: the penalty's factor, relative to the mean squared length of the design's rows.
        loo_error: root mean square error of leave-one-out prediction, in the target's unit.
        left_out: (n,), what a fit to all other samples predicts for each sample; of the free solution if `nonnegative`.
    """

    weights: Floats
    strength: float
    loo_error: float
    left_out: Floats


def ridge(design: Any, target: Floats, scales: Floats, *, nonnegative: bool = False) -> Ridge:
    """Minimises |design w - target|² + strength |w / scales|², the strength chosen by exact leave-one-out errors.

    Args:
        design: (n, features), NumPy or SciPy sparse.
        target: (n,).
        scales: (features,), how large each weight may be expected to be.
        nonnegative: whether weights below 0 are ruled out; the strength is that of the free solution.
    """
    n, features = design.shape
    if n * features <= _DENSE:  # matrix products of the dense are many times faster, where there is room
        scaled = (design.toarray() if sparse.issparse(design) else design) * scales
        mean_square = float((scaled**2).sum()) / n
    else:
        scaled = sparse.csr_array(design) @ sparse.diags_array(scales)
        mean_square = float(scaled.multiply(scaled).sum()) / n
    mean_square = max(mean_square, np.finfo(float).tiny)
    solve = _Primal(scaled, target) if features <= n else _Dual(scaled, target)
    residuals = [solve.loo(strength * mean_square) for strength in STRENGTHS]
    errors = [float(np.sqrt(np.mean(residual**2))) for residual in residuals]
    best = int(np.argmin(errors))
    if nonnegative:
        weights = _nonnegative(scaled, target, STRENGTHS[best] * mean_square)
    else:
        weights = solve.weights(STRENGTHS[best] * mean_square)
    return Ridge(weights * scales, float(STRENGTHS[best]), errors[best], target - residuals[best])


class _Primal:
    """Through the eigenvectors of the features' Gram matrix; for no more features than samples."""

    def __init__(self, design: Any, target: Floats) -> None:
        values, vectors = np.linalg.eigh(_plain(design.T @ design))
        self.values, self.vectors = np.maximum(values, 0.0), vectors
        self.projected = design @ vectors
        self.squares = self.projected**2
        self.target = target
        self.right = self.projected.T @ target

    def weights(self, penalty: float) -> Floats:
        return self.vectors @ (self.right / (self.values + penalty))

    def loo(self, penalty: float) -> Floats:
        inverse = 1.0 / (self.values + penalty)
        residual = self.target - self.projected @ (self.right * inverse)
        leverage = self.squares @ inverse
        return residual / np.maximum(1.0 - leverage, 1e-9)


class _Dual:
    """Through the eigenvectors of the samples' Gram matrix; for more features than samples."""

    def __init__(self, design: Any, target: Floats) -> None:
        values, vectors = np.linalg.eigh(_plain(design @ design.T))
        self.values, self.vectors = np.maximum(values, 0.0), vectors
        self.design = design
        self.squares = vectors**2
        self.right = vectors.T @ target

    def weights(self, penalty: float) -> Floats:
        return self.design.T @ (self.vectors @ (self.right / (self.values + penalty)))

    def loo(self, penalty: float) -> Floats:
        inverse = 1.0 / (self.values + penalty)
        alpha = self.vectors @ (self.right * inverse)
        return alpha / (self.squares @ inverse)


def _nonnegative(design: Any, target: Floats, penalty: float) -> Floats:
    from sklearn.linear_model import Ridge as Solver

    solver = Solver(alpha=penalty, fit_intercept=False, positive=True, tol=1e-8, max_iter=20_000)
    return np.asarray(solver.fit(sparse.csr_matrix(design) if sparse.issparse(design) else design, target).coef_, np.float64)


def _plain(matrix: Any) -> Floats:
    result: Floats = matrix.toarray() if sparse.issparse(matrix) else matrix
    return result
