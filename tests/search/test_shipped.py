"""The collection and the cost models that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mhmodels.errors import UnknownNameError
from search.cost_model import FitOptions, fit
from search.cost_model.data import read_latencies
from search.cost_model.fitting import Origin
from search.cost_model.model import encoding_hashes
from search.cost_model.shipping import shipped_hardware, shipped_model
from search.cost_model.statistics import statistics
from search.errors import CostModelError
from search.sampling import sample
from search.spaces import get_space

TABLE = Path(__file__).parents[2] / "search" / "data" / "multi_hardware_ethos_u.csv"
NPUS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")


@pytest.mark.parametrize("hardware", NPUS)
def test_fits_to_the_collection_hit_nearly_all_held_out_networks(hardware: str) -> None:
    """Pooled over five splits, since a fifth of a hundred networks is few."""
    space = get_space("multi_hardware")
    found = read_latencies(TABLE, space, Origin(hardware, "estimated"))
    assert len(found.ms) >= 100
    pooled: list[tuple[float, float]] = []
    for seed in range(5):
        result = fit(space, found.encodings, found.ms, found.origin, FitOptions(curve=False, seed=seed), found.distributions)
        pooled += list(zip(result.true_ms, result.predicted_ms, strict=True))
    report = statistics(*np.array(pooled).T)
    assert report.hit_rate_10 >= 0.95
    assert report.spearman is not None
    assert report.spearman >= 0.98


def test_the_collection_is_the_beginning_of_the_sample_it_says_it_is() -> None:
    space = get_space("multi_hardware")
    beginning = {row.tobytes(): name for row, name in zip(*sample(space, 1000, 0), strict=True)}
    for hardware in NPUS:
        found = read_latencies(TABLE, space, Origin(hardware))
        assert [beginning[row.tobytes()] for row in found.encodings] == list(found.distributions)


@pytest.mark.parametrize("hardware", NPUS)
def test_a_shipped_model_repeats_its_held_out_statistics(hardware: str) -> None:
    space = get_space("multi_hardware")
    model = shipped_model(space, hardware)
    assert (model.hardware, model.kind, model.space) == (hardware, "estimated", "multi_hardware")
    assert model.environment is not None
    assert model.environment.compiler == "Vela 5.2.0"
    found = read_latencies(TABLE, space, Origin(hardware))
    seen = set(model.trained_on)
    held = np.array([digest not in seen for digest in encoding_hashes(space, found.encodings)])
    assert held.sum() == model.held_out.n
    again = statistics(found.ms[held], model.bind(space).predict(found.encodings[held]))
    assert again.mape == pytest.approx(model.held_out.mape, rel=1e-6)
    assert again.hit_rate_10 == model.held_out.hit_rate_10


def test_what_is_not_shipped_is_refused_by_name() -> None:
    assert shipped_hardware("multi_hardware") == NPUS
    with pytest.raises(UnknownNameError, match=r"shipped cost model of 'multi_hardware' 'ethos-u55-64'.*ethos-u55-128"):
        shipped_model("multi_hardware", "ethos-u55-64")
    with pytest.raises(UnknownNameError, match="shipped cost model of 'multi_hardware' 'host-cpu-int8'"):
        shipped_model("multi_hardware", "host-cpu-int8")


def test_a_shipped_model_does_not_serve_another_space(monkeypatch: pytest.MonkeyPatch) -> None:
    other = get_space("proxylessnas")
    monkeypatch.setattr(other, "name", "multi_hardware")
    with pytest.raises(CostModelError, match="schema"):
        shipped_model(other, "ethos-u55-128")
