"""How many encoded architectures a cost model predicts in a second on one core, and how many are drawn and encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.hardware import get_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.search import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.template import ArchitectureSpace

from .figures import Figures, choose

TARGET, ROWS = 200_000, choose(100_000, 2_000)


def space_of(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


@pytest.mark.parametrize("form", ["structural", "coupled"])
def test_predictions_a_second(benchmark: Any, figures: Figures, form: Any) -> None:
    """NumPy's gathers and sums run on one core, whatever the machine has."""
    space = space_of("multi_hardware")
    drawn = sample(space, 300, 0)
    hardware, _ = get_hardware("roofline-31.2")
    ms = [simulate(one, hardware) for one in space.build_all(drawn.encodings)]
    model = fit(space, drawn.encodings, ms, LatencyOrigin(hardware.id, "simulated"), FitOptions(form=form, curve=False)).model
    predictor = model.bind(space)
    rows = space.draw(ROWS, np.random.default_rng(0))
    predicted = benchmark.pedantic(lambda: predictor.predict(rows), rounds=choose(10, 1), warmup_rounds=1)
    rate = len(rows) / benchmark.stats["median"]
    figures.report(f"{form}: {rate:,.0f} predictions a second, target {TARGET:,}", architectures_per_second=rate, target=TARGET)
    alone = np.concatenate([predictor.predict(rows[place : place + 1]) for place in range(20)])
    figures.holds(np.allclose(predicted[:20], alone, rtol=1e-12), "networks predicted together are predicted as one by one")


def test_sampling_and_encoding_a_second(benchmark: Any, figures: Figures) -> None:
    """Architectures are drawn, built and encoded again."""
    space = space_of("multi_hardware")
    rng = np.random.default_rng(0)
    count, encoded = choose(1000, 50), list[Any]()

    def once() -> None:
        rows = space.draw(count, rng)
        encoded[:] = [space.canonical(rows), [space.encode(one) for one in space.build_all(rows)]]

    benchmark.pedantic(once, rounds=choose(5, 1), warmup_rounds=choose(2, 0))
    rate = count / benchmark.stats["median"]
    figures.report(f"{rate:,.0f} architectures drawn, built and encoded a second, target 1,000", architectures_per_second=rate)
    figures.holds(np.array_equal(*encoded), "a built network's encoding is the canonical form of the one that was drawn")
