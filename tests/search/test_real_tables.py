"""Cost models against published latency tables (../shared/data, not part of a clone)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mhmodels.search import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.catalogue.ofa import ofa_mobilenet_v3

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the latency tables are not here ({DATA})")

# Spearman of the best linear operator model on the 1,999 cells that One-Proxy measured (facts/proxy_and_blocks.md 1.4).
CEILINGS = {
    "edgegpu_tx2": 0.975,
    "edgetpu_hwnas": 0.985,
    "eyeriss": 0.995,
    "fpga": 0.998,
    "pixel3": 0.926,
    "adreno640_tflite21": 0.955,
    "cortexA76_tflite21": 0.959,
    "i7_7820x_tf": 0.925,
    "sd855_kryo485_cpu_int8": 0.971,
    "sd855_adreno640_gpu_int8": 0.939,
    "jetson_nano_fp32": 0.961,
}


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    with np.load(DATA / "nasbench201_latency.npz", allow_pickle=False) as table:
        return {name: table[name] for name in ("ops", "devices", "latency_ms")}


def column(table: dict[str, Any], device: str) -> Any:
    return table["latency_ms"][:, table["devices"].tolist().index(device)]


@pytest.mark.parametrize("device", CEILINGS)
def test_linear_models_of_cells_reach_their_ceiling(cells: dict[str, Any], device: str) -> None:
    ms = column(cells, device)
    rows = np.isfinite(ms) & np.isfinite(column(cells, "edgegpu_tx2"))
    encodings, ms = cells["ops"][rows], ms[rows]
    space = get_space("nas_bench_201")
    options = FitOptions(form="coupled", error="absolute", held_out=0.01, curve=False)
    model = fit(space, encodings, ms, LatencyOrigin(device), options).model
    assert spearmanr(model.bind(space).predict(encodings), ms)[0] >= CEILINGS[device] - 0.0015


@pytest.mark.parametrize(
    "device",
    [
        "i7_7820x_tf",
        pytest.param("adreno640_tflite21", marks=pytest.mark.slow),
        pytest.param("cortexA76_tflite21", marks=pytest.mark.slow),
        "sd855_adreno640_gpu_int8",
    ],
)
def test_pairs_go_beyond_the_linear_ceiling_on_unseen_cells(cells: dict[str, Any], device: str) -> None:
    ms = column(cells, device)
    rows = np.isfinite(ms) & np.isfinite(column(cells, "edgegpu_tx2"))
    model = fit(get_space("nas_bench_201"), cells["ops"][rows], ms[rows], LatencyOrigin(device), FitOptions(curve=False)).model
    assert model.form == "pairwise"
    assert model.held_out.spearman is not None
    assert model.held_out.spearman > CEILINGS[device]


def ranks(cells: dict[str, Any], device: str, seed: int) -> tuple[float, float]:
    """Spearman on unseen cells of fits to 900: by default, and of absolute errors."""
    space, ms = get_space("nas_bench_201"), column(cells, device)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(np.isfinite(ms)))
    train, rest = order[:900], order[900:]
    models = (
        fit(space, cells["ops"][train], ms[train], LatencyOrigin(device), FitOptions(error=error, curve=False)).model  # type: ignore[arg-type]
        for error in ("relative", "absolute")
    )
    first, second = (float(spearmanr(m.bind(space).predict(cells["ops"][rest]), ms[rest])[0]) for m in models)
    return first, second


def test_cells_of_next_to_no_latency_do_not_ruin_the_default_fit(cells: dict[str, Any]) -> None:
    relative, absolute = ranks(cells, "pixel3", 0)
    assert relative >= 0.955
    assert relative >= absolute - 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_relative_errors_rank_no_device_worse_than_absolute_ones(cells: dict[str, Any], seed: int) -> None:
    worse = {device: ranks(cells, device, seed) for device in cells["devices"].tolist()}
    assert {device: pair for device, pair in worse.items() if pair[0] < pair[1] - 0.005} == {}


@pytest.mark.parametrize("device", ["pixel3", "eyeriss"])
def test_sums_of_layers_are_recovered_from_few_networks(device: str) -> None:
    """FBNet's columns of these are sums of a table of layers (facts 3), so a linear model is exact."""
    with np.load(DATA / "fbnet_latency.npz", allow_pickle=False) as table:
        rows, ms = table["arch"][:600], table["latency_ms"][:600, table["devices"].tolist().index(device)]
    model = fit(get_space("fbnet"), rows, ms, LatencyOrigin(device), FitOptions(form="coupled", curve=False)).model
    assert model.held_out.mape < 1e-4


@pytest.mark.parametrize(
    ("device", "spearman"),
    [
        pytest.param("titan_rtx_32", 0.999, marks=pytest.mark.slow),
        ("v100_64", 0.998),
        pytest.param("2080ti_64", 0.99, marks=pytest.mark.slow),
    ],
)
def test_structure_beats_places_on_once_for_all(device: str, spearman: float) -> None:
    space = ofa_mobilenet_v3(1.0, name="ofa_mobilenet_v3_w1")
    with np.load(DATA / "ofa_mbv3_latency_gpu.npz", allow_pickle=False) as table:
        ms = table["latency_ms"][:700, table["devices"].tolist().index(device)]
        kernel, expansion = (np.searchsorted(values, table[name][:700]) for values, name in (((3, 5, 7), "ks"), ((3, 4, 6), "e")))
        depth = np.repeat(table["d"][:700], 4, axis=1)
        blocks = np.where(np.tile(np.arange(4), 5) < depth, 3 * expansion + kernel, 9)
        rows = np.column_stack([blocks, (table["r"][:700] - 128) // 4])
    reports = {
        form: fit(space, rows, ms, LatencyOrigin(device), FitOptions(form=form, curve=False)).model.held_out  # type: ignore[arg-type]
        for form in ("structural", "coupled")
    }
    assert reports["structural"].mape < 0.5 * reports["coupled"].mape
    assert reports["structural"].spearman is not None
    assert reports["structural"].spearman >= spearman
