"""AdaProxy in closed form: exact cases, refusals, and the published tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mhmodels.search import (
    CostModel,
    CostModelError,
    Latencies,
    LatencyOrigin,
    SpaceError,
    adapt,
    get_space,
    sample,
    shipped_model,
)
from mhmodels.search.adaptation import ada_proxy as module
from mhmodels.search.adaptation.ada_proxy import ada_proxy

DATA = Path(__file__).parents[4] / "shared" / "data"
CELLS = get_space("nas_bench_201")
# Spearman after AdaProxy from Myriad, mean of 10 seeds at k = 20 and 50 (facts/proxy_and_blocks.md 1.4), for the columns at hand.
REPRODUCED = {
    "edgegpu_tx2": (0.815, 0.940),
    "edgetpu_hwnas": (0.929, 0.959),
    "eyeriss": (0.906, 0.989),
    "fpga": (0.904, 0.997),
    "pixel3": (0.772, 0.876),
    "adreno640_tflite21": (0.898, 0.935),
    "cortexA76_tflite21": (0.884, 0.933),
    "i7_7820x_tf": (0.802, 0.875),
    "sd855_kryo485_cpu_int8": (0.919, 0.940),
    "sd855_adreno640_gpu_int8": (0.871, 0.919),
    "jetson_nano_fp32": (0.882, 0.921),
}


def proxy_latencies(n: int = 200, seed: int = 0) -> tuple[Latencies, Any]:
    """Latencies of cells on a proxy that charges for each choice, and these charges."""
    encodings = sample(CELLS, n, seed=seed).encodings
    charges = np.array([0.0, 0.1, 0.5, 1.0, 0.3])
    return Latencies(encodings, 1.0 + charges[encodings].sum(axis=1), (), LatencyOrigin("proxy"), ()), charges


def test_a_target_with_another_charge_for_one_operation_is_learned() -> None:
    source, charges = proxy_latencies()
    charges = charges * np.array([1, 1, 1, 3, 1]) * 2
    ms = 4.0 + charges[source.encodings].sum(axis=1)
    model = ada_proxy(CELLS, source, source.encodings[:100], ms[:100], "target")
    assert model.bind(CELLS).predict(source.encodings[100:]) == pytest.approx(ms[100:], rel=1e-3)
    assert (model.form, model.n, model.error, model.hardware) == ("coupled", 100, "absolute", "target")
    assert model.held_out.spearman is not None
    assert model.held_out.spearman > 0.999


def test_a_network_that_occurs_twice_is_refused() -> None:
    """Leave-one-out prediction would predict the one from the other."""
    source, _ = proxy_latencies()
    twice = np.concatenate([source.encodings[:10], source.encodings[:1]])
    with pytest.raises(CostModelError, match="11 latencies are of 10 different networks"):
        ada_proxy(CELLS, source, twice, np.append(source.ms[:10], 3.0), "target")
    doubled = source._replace(encodings=np.concatenate([source.encodings] * 2), ms=np.concatenate([source.ms] * 2))
    with pytest.raises(CostModelError, match="source 'proxy': 400 latencies are of 200 different networks"):
        ada_proxy(CELLS, doubled, source.encodings[:10], source.ms[:10], "target")


def test_a_slower_proxy_needs_five_networks() -> None:
    source, _ = proxy_latencies()
    model = ada_proxy("nas_bench_201", source, source.encodings[:5], 3.0 + 0.5 * source.ms[:5], "target", ["a doubt"])
    assert model.bind(CELLS).predict(source.encodings) == pytest.approx(3.0 + 0.5 * source.ms, rel=1e-2)
    assert model.warnings[0] == "a doubt"


def test_weights_stay_small_on_the_rank_deficient_design() -> None:
    """NumPy's default tolerance yields weights of 1e8 ms on noisy tables, which b multiplies."""
    source, _ = proxy_latencies(3000)
    noisy = source._replace(ms=source.ms * np.exp(0.05 * np.random.default_rng(0).normal(size=len(source.ms))))
    model = ada_proxy(CELLS, noisy, source.encodings[:50], source.ms[:50], "target")
    assert np.abs(model.row_weights).max() < 10 * source.ms.max()


def test_leave_one_out_statistics_and_the_solution_are_exact() -> None:
    """The closed form agrees with fits that leave one network out, at the same penalty."""
    random = np.random.default_rng(0)
    design, ms = random.normal(size=(12, 4)), random.normal(size=12) + 5
    fitted = module._solve(design, ms)

    def solved(kept: Any) -> Any:
        free = np.stack([design.sum(axis=1), np.ones(12)], axis=1)
        rest = design - free @ np.linalg.lstsq(free, design, rcond=None)[0]
        penalty = fitted.strength * (rest**2).sum() / 12
        full = np.hstack([free, design])[kept]
        return np.linalg.solve(full.T @ full + penalty * np.diag([0, 0, 1, 1, 1, 1.0]), full.T @ ms[kept])

    every = np.arange(12)
    assert solved(every) == pytest.approx([fitted.slowdown, fitted.offset, *fitted.deviations], abs=1e-8)
    for i in range(12):
        weights = solved(every != i)
        assert weights[0] * design[i].sum() + weights[1] + design[i] @ weights[2:] == pytest.approx(fitted.left_out[i], abs=1e-8)


def test_a_cost_model_of_an_architecture_space_is_a_proxy() -> None:
    space = get_space("multi_hardware")
    encodings = sample(space, 60).encodings
    source = shipped_model(space, "ethos-u55-128")
    ms = 2.0 + 0.4 * source.bind(space).predict(encodings)
    model = ada_proxy(space, source, encodings[:30], ms[:30], "my-npu")
    predicted = model.bind(space).predict(encodings[30:])
    assert predicted == pytest.approx(ms[30:], rel=1e-3)
    again = CostModel.from_json(model.to_json())
    assert (again.bind(space).predict(encodings[30:]) == predicted).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda source, rows, ms: (source, rows[:4], ms[:4]), "'target' has 4 measured networks, expected at least 5"),
        (lambda source, rows, ms: (source, rows, np.full(len(ms), 2.5)), "all 20 latencies on 'target' are 2.5 ms"),
        (lambda source, rows, ms: (source, rows, -ms), "latencies are no latencies"),
        (lambda source, rows, ms: (source._replace(ms=np.ones(200)), rows, ms), "source 'proxy': all 200 latencies are 1 ms"),
        (
            lambda source, rows, ms: (source._replace(ms=source.ms[:9], encodings=source.encodings[:9]), rows, ms),
            "source 'proxy': it has 9 networks with a latency, expected at least 20",
        ),
        (
            lambda _, rows, ms: (shipped_model("multi_hardware", "ethos-u55-128"), rows, ms),
            "source 'ethos-u55-128': the cost model knows|source 'ethos-u55-128': the cost model is for",
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused(change: Any, message: str) -> None:
    source, _ = proxy_latencies()
    given, encodings, ms = change(source, source.encodings[:20], source.ms[:20])
    with pytest.raises(CostModelError, match=message):
        ada_proxy(CELLS, given, encodings, ms, "target")


def test_an_adapted_cost_model_is_a_proxy() -> None:
    source, _ = proxy_latencies()
    first = adapt(CELLS, {"proxy": source}, source.encodings[:30], 2 * source.ms[:30], "first").model
    model = ada_proxy(CELLS, first, source.encodings[:30], 3.0 + source.ms[:30], "second")
    assert spearmanr(model.bind(CELLS).predict(source.encodings), source.ms)[0] > 0.98


def test_a_source_of_another_space_is_refused_by_name() -> None:
    source, _ = proxy_latencies()
    other = source._replace(encodings=source.encodings[:, :5])
    with pytest.raises(SpaceError, match="source 'proxy'"):
        ada_proxy(CELLS, other, source.encodings[:20], source.ms[:20], "target")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the latency tables are not here ({DATA})")
def test_published_tables_are_reproduced() -> None:
    """Targets within 0.05 of the facts, whose cross-validation has five folds; means within 0.015 (k = 20) and 0.005 (k = 50)."""
    with np.load(DATA / "nasbench201_latency.npz", allow_pickle=False) as table:
        ops, columns = table["ops"], dict(zip(table["devices"].tolist(), table["latency_ms"].T.astype(float), strict=True))
    proxy = columns["myriadvpu_openvino19r2"]
    known = np.flatnonzero(np.isfinite(proxy))
    source = Latencies(ops[known].astype(np.int16), proxy[known], (), LatencyOrigin("myriad"), ())
    found = np.zeros((len(REPRODUCED), 2))
    for row, target in enumerate(REPRODUCED):
        pool = known[np.isfinite(columns[target][known])]
        for column, k in enumerate((20, 50)):
            scores = []
            for seed in range(10):
                order = np.random.default_rng(seed).permutation(pool)
                model = ada_proxy(CELLS, source, ops[order[:k]], columns[target][order[:k]], target)
                scores.append(spearmanr(model.bind(CELLS).predict(ops[order[k:]]), columns[target][order[k:]])[0])
            found[row, column] = np.mean(scores)
    facts = np.array(list(REPRODUCED.values()))
    assert np.abs(found - facts).max() <= 0.05
    assert (np.abs(found.mean(axis=0) - facts.mean(axis=0)) <= [0.015, 0.005]).all()
