"""Shares of the layers in the latency of the mean network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.search import (
    CostModelError,
    FitOptions,
    cost_model_shares,
    fit,
    get_space,
    layer_shares,
    profile,
    shipped_model,
)
from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.profiling.reference import ReferenceNetworks


def reference_rows(space: Any, n: int) -> Any:
    reference = ReferenceNetworks(space, layout_of(space), [each.tolist() for each in space.allowed])
    return reference.draw(n, np.random.default_rng(0))


def test_layers_of_equal_cost_have_shares_of_their_presence() -> None:
    """Every optional layer costs 2 ms and the rest 10 ms: the mean network has 5 x (2/3 + 1/3) optional layers, 20 ms."""
    space = get_space("ofa_mobilenet_v3")
    optional = [one.column for one in layout_of(space).layers if one.skip is not None]
    rows = reference_rows(space, 400)
    shares = layer_shares(space, profile(space, rows, 10 + 2.0 * (rows[:, optional] != 9).sum(axis=1)))
    assert [one.part for one in shares][:4] == ["1.3", "1.4", "2.3", "2.4"]
    assert [one.present for one in shares] == pytest.approx([2 / 3, 1 / 3] * 5)
    assert [one.mean for one in shares] == pytest.approx([0.1 * 2 / 3, 0.1 / 3] * 5, rel=1e-4)
    assert all(one.low <= one.mean <= one.high for one in shares)  # type: ignore[operator]


def test_skipping_as_a_choice_of_every_layer() -> None:
    """Layer 3.3 of NAS-Bench-Macro costs 6 or 0 ms, and the rest 8 ms: 4 of 12 ms of the mean network."""
    space = get_space("nas_bench_macro")
    rows = reference_rows(space, 300)
    shares = layer_shares(space, profile(space, rows, 8 + 6.0 * (rows[:, 7] != 0)))
    assert {one.part: round(float(one.mean or 0), 4) for one in shares} == {
        "1.2": 0, "2.2": 0, "2.3": 0, "3.2": 0, "3.3": round(1 / 3, 4)
    }  # fmt: skip


@pytest.mark.slow
def test_a_cost_model_and_its_predictions_agree_about_optional_layers() -> None:
    space = get_space("multi_hardware")
    model = shipped_model(space, "ethos-u55-128")
    rows = reference_rows(space, 2000)
    divided = {one.part: one for one in cost_model_shares(space, model)}
    assert next(iter(divided)) == "stem"
    assert list(divided)[-2:] == ["head", "overhead"]
    assert sum(one.mean for one in divided.values()) == pytest.approx(1)  # type: ignore[misc]
    added = layer_shares(space, profile(space, rows, model.bind(space).predict(rows), robust=False))
    covered = [one.low <= divided[one.part].mean <= one.high for one in added]  # type: ignore[operator]
    assert np.mean(covered) >= 0.8
    assert all(abs(one.mean - divided[one.part].mean) < 0.02 for one in added)  # type: ignore[operator]


def test_shares_that_cannot_be_told_are_refused() -> None:
    space = get_space("nas_bench_201")
    rows = space.draw(200, np.random.default_rng(0))
    ms = 2 + space.one_hot(rows) @ np.random.default_rng(1).uniform(0.1, 1, size=int(space.cardinalities.sum()))
    with pytest.raises(CostModelError, match="no layer of space 'nas_bench_201' is optional"):
        layer_shares(space, profile(space, rows, ms))
    with pytest.raises(CostModelError, match="expected a metric above 0"):
        layer_shares(space, profile(space, rows, -ms))
    model = fit(space, rows, ms, "phone", FitOptions(curve=False)).model
    with pytest.raises(CostModelError, match="pairwise cost model of 'phone' is not a sum over layers"):
        cost_model_shares(space, model)
