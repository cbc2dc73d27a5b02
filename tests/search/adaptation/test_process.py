"""The Gaussian process of an adaptation: what it sets aside, what its intervals state, and degenerate kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.search.adaptation.process import HYPERPRIOR, fit_process
from mhmodels.search.cost_model.adapted.posterior import (
    CONSTANT,
    Posterior,
    clock_step,
    clock_variance,
    quantile,
)
from mhmodels.search.cost_model.adapted.prior import GROUPS


def line(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Scores (n,) of a source and its kernel."""
    scores = np.random.default_rng(seed).standard_normal(n)
    return scores, np.outer(scores, scores)[None]


def fitted(kernels: Any, logs: Any, groups: tuple[str, ...] = ("sources",), unit: float = 0.5) -> Any:
    return fit_process(kernels, logs, np.zeros(len(logs)), groups, unit, np.zeros(len(logs)))


def test_every_group_of_kernels_has_a_prior_of_its_variance() -> None:
    assert set(HYPERPRIOR) == {*GROUPS, "noise"}


def test_a_straight_line_is_found_and_its_noise_is_estimated() -> None:
    scores, kernels = line(40)
    for sd in (0.02, 0.1):
        logs = 3 + 0.4 * scores + sd * np.random.default_rng(1).standard_normal(40)
        found = fitted(kernels, logs)
        assert np.sqrt(found.noise) * 0.5 == pytest.approx(sd, rel=0.5)
        assert np.abs(found.predicted - (3 + 0.4 * scores)).max() < sd
        assert found.kept.all()


@pytest.mark.parametrize("factor", [1e-4, 0.1, 10, 1e4])
@pytest.mark.parametrize("n", [8, 20, 50])
def test_one_measurement_that_the_others_contradict_is_set_aside_wherever_it_stands(n: int, factor: float) -> None:
    scores, kernels = line(n)
    truth = 1 + 0.4 * scores
    for place in (int(scores.argmin()), int(scores.argmax()), 3):
        logs = truth + 0.03 * np.random.default_rng(2).standard_normal(n)
        logs[place] += np.log(factor)
        found = fitted(kernels, logs)
        assert np.flatnonzero(~found.kept).tolist() == [place]
        assert np.abs(found.predicted - truth).max() < 0.15
        assert found.predicted[place] == pytest.approx(truth[place], abs=0.15)


def test_measurements_that_differ_twofold_are_not_set_aside() -> None:
    scores, kernels = line(20)
    logs = 0.4 * scores + 0.03 * np.random.default_rng(2).standard_normal(20)
    logs[4] += np.log(2)
    found = fitted(kernels, logs)
    assert found.kept.all()
    assert found.precision[4] < 0.5 * np.median(found.precision)
    assert np.abs(np.delete(found.predicted - 0.4 * scores, 4)).max() < 0.1


def test_left_out_predictions_are_those_of_a_fit_without_the_measurement() -> None:
    rng = np.random.default_rng(3)
    part = rng.standard_normal((12, 4))
    kernels, target = (part @ part.T)[None], rng.standard_normal(12)
    noise, variances = np.full(12, 0.1), np.array([0.7])
    whole = Posterior(kernels, variances, noise, target)
    for place in range(12):
        rest = np.delete(np.arange(12), place)
        without = Posterior(kernels[:, rest][:, :, rest], variances, noise[rest], target[rest])
        cross = kernels[:, [place]][:, :, rest]
        assert whole.left_out[place] == pytest.approx(float(without.mean(cross)[0]), abs=1e-6)
        own = kernels[:, [place], [place]]
        assert whole.left_out_sd[place] == pytest.approx(float(without.sd(cross, own)[0]), abs=1e-4)


def test_the_level_is_free_and_far_networks_are_uncertain() -> None:
    scores, kernels = line(15)
    posterior = Posterior(kernels, np.array([1.0]), np.full(15, 0.01), 2 + 0 * scores)
    far = np.array([0.0, 30.0])
    cross = (far[:, None] * scores)[None]
    assert posterior.mean(cross) == pytest.approx([2, 2], abs=0.1)
    near_sd, far_sd = posterior.sd(cross, (far**2)[None])
    assert near_sd < 0.1 < far_sd < np.sqrt(CONSTANT + 900)


@pytest.mark.parametrize("kernel", ["zero", "constant", "repeated"])
def test_kernels_of_low_rank_are_no_numerical_failure(kernel: str) -> None:
    n = 30
    kernels = {
        "zero": np.zeros((2, n, n)),
        "constant": np.ones((2, n, n)),
        "repeated": np.stack([np.kron(np.eye(3), np.ones((10, 10)))] * 2),
    }[kernel]
    logs = 1 + 0.1 * np.random.default_rng(0).standard_normal(n)
    found = fitted(kernels, logs, ("sources", "choices"))
    assert np.isfinite(found.predicted).all()
    assert np.isfinite(found.posterior.weights).all()
    assert (found.posterior.left_out_sd >= 0).all()


def test_measurements_without_noise_are_no_numerical_failure() -> None:
    scores, kernels = line(10)
    found = fitted(kernels, 2 + 0.3 * scores)
    assert np.abs(found.predicted - (2 + 0.3 * scores)).max() < 1e-2


@pytest.mark.parametrize(
    ("ms", "step"),
    [([3.0, 4, 9], 1.0), ([3.0, 4.5, 9], 0.0), ([5.0, 5, 5], 0.0), ([1500.0, 2100, 1800], 0.0), ([1.0, 2, 5000], 1.0)],
)
def test_a_clock_of_whole_milliseconds_is_recognised(ms: list[float], step: float) -> None:
    assert clock_step(np.array(ms)) == step


def test_a_coarse_clock_makes_short_latencies_uncertain() -> None:
    variance = clock_variance(np.array([1.0, 10, 100]), 1.0)
    assert variance == pytest.approx([1 / 12, 1 / 1200, 1 / 120_000])
    assert clock_variance(np.array([1.0, 10]), 0.0).tolist() == [0, 0]


def test_levels_are_those_of_students_t() -> None:
    assert quantile(0.9) == pytest.approx(2.353, abs=1e-3)
    assert quantile(0.5) < quantile(0.9) < quantile(0.999)
    for level in (0, 1, -1, 50, float("nan")):
        with pytest.raises(ValueError, match="expected a probability above 0 and below 1"):
            quantile(level)
