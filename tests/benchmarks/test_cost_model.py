"""Issue 6: predictions of at least 200,000 encoded architectures a second on one core. Run with `make bench`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.hardware import get_hardware
from mhmodels.hardware.roofline import simulate
from search.cost_model import FitOptions, fit
from search.cost_model.fitting import Origin
from search.sampling import sample
from search.spaces import get_space
from search.template import ArchitectureSpace

BAR = 200_000


def space_of(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


@pytest.mark.parametrize("form", ["structural", "coupled"])
def test_predictions_a_second(benchmark: Any, form: Any) -> None:
    """NumPy's gathers and sums run on one core, whatever the machine has."""
    space = space_of("multi_hardware")
    drawn = sample(space, 300, 0)
    hardware, _ = get_hardware("roofline-31.2")
    ms = [simulate(one, hardware) for one in space.build_all(drawn.encodings)]
    model = fit(space, drawn.encodings, ms, Origin(hardware.id, "simulated"), FitOptions(form=form, curve=False)).model
    predictor = model.bind(space)
    rows = space.draw(100_000, np.random.default_rng(0))
    benchmark.pedantic(lambda: predictor.predict(rows), rounds=10, warmup_rounds=1)
    rate = len(rows) / benchmark.stats["median"]
    benchmark.extra_info.update(architectures_per_second=rate, bar=BAR)
    print(f"\n{form}: {rate:,.0f} predictions a second, bar {BAR:,}")
    assert rate >= BAR


def test_sampling_and_encoding_a_second(benchmark: Any) -> None:
    """Thousands of architectures drawn, built and encoded again in a second."""
    space = space_of("multi_hardware")
    rng = np.random.default_rng(0)

    def once() -> None:
        for one in space.build_all(space.draw(1000, rng)):
            space.encode(one)

    benchmark.pedantic(once, rounds=5, warmup_rounds=2)
    rate = 1000 / benchmark.stats["median"]
    benchmark.extra_info["architectures_per_second"] = rate
    print(f"\n{rate:,.0f} architectures drawn, built and encoded a second")
    assert rate >= 1000
