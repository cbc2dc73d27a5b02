"""The collection and the cost models that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mhmodels.errors import UnknownNameError
from mhmodels.registry import resolve
from mhmodels.search import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.model import encoding_hashes
from mhmodels.search.cost_model.shipping import (
    model_path,
    remark_on,
    remarks_on_table,
    shipped_hardware,
    shipped_model,
    table_path,
)
from mhmodels.search.cost_model.statistics import statistics
from mhmodels.search.errors import CostModelError
from mhmodels.search.objective.measured_tables import measured_latencies
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample

from ..conftest import Run

DATA = Path(__file__).parents[2] / "search" / "data"
TABLE = DATA / "multi_hardware.csv"
NPUS = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
HOST = ("host-cpu-float32", "host-cpu-int8")
VENDORS = ("hexagon-sa8255", "rknn-rk3588")
HARDWARE = (*NPUS, VENDORS[0], *HOST, VENDORS[1])
COMPILERS = {"hexagon-sa8255": "QAIRT 2.51 (onnxruntime-qnn 2.7.0)", "rknn-rk3588": "RKNN-Toolkit2 2.5.0"}
NETWORKS = {"rknn-rk3588": 150}


def table_of(hardware: str) -> Path:
    """The collection that has the latencies of a hardware."""
    return DATA / f"multi_hardware_{hardware}.csv" if hardware in VENDORS else TABLE


@pytest.mark.parametrize("hardware", HARDWARE)
def test_fits_to_the_collection_hit_nearly_all_held_out_networks(hardware: str) -> None:
    """Both halves; no bar was set for ethos-u85-256, of which a few networks are far off whatever the split."""
    space = get_space("multi_hardware")
    found = read_latencies(table_of(hardware), space, LatencyOrigin(hardware))
    assert len(found.ms) >= NETWORKS.get(hardware, 998)
    model = fit(space, found.encodings, found.ms, found.origin, FitOptions(curve=False), found.distributions).model
    least, halves = (0.95, ()) if hardware == "ethos-u85-256" else (0.98, tuple(model.by_distribution.values()))
    if hardware in VENDORS:
        halves = ()
    for report in (model.held_out, *halves):
        assert report.hit_rate_10 >= 0.95
        assert report.spearman is not None
        assert report.spearman >= least


def test_the_collection_is_the_beginning_of_the_sample_it_says_it_is() -> None:
    space = get_space("multi_hardware")
    beginning = {row.tobytes(): name for row, name in zip(*sample(space, 1000, 0), strict=True)}
    for hardware in HARDWARE:
        found = read_latencies(table_of(hardware), space, LatencyOrigin(hardware))
        assert [beginning[row.tobytes()] for row in found.encodings] == list(found.distributions)


@pytest.mark.parametrize("hardware", HARDWARE)
def test_a_shipped_model_repeats_its_held_out_statistics(hardware: str) -> None:
    space = get_space("multi_hardware")
    model = shipped_model(space, hardware)
    kind = "measured" if hardware in HOST else "estimated"
    assert (model.hardware, model.kind, model.space) == (hardware, kind, "multi_hardware")
    assert model.environment is not None
    assert (model.environment.compiler, bool(model.environment.runtime)) == (
        ("", True) if hardware in HOST else (COMPILERS.get(hardware, "Vela 5.2.0"), False)
    )
    found = read_latencies(table_of(hardware), space, LatencyOrigin(hardware))
    assert found.origin.environment == model.environment
    seen = set(model.trained_on)
    held = np.array([digest not in seen for digest in encoding_hashes(space, found.encodings)])
    assert held.sum() == model.held_out.n
    again = statistics(found.ms[held], model.bind(space).predict(found.encodings[held]))
    assert again.mape == pytest.approx(model.held_out.mape, rel=1e-5)  # the table has seven digits
    assert again.hit_rate_10 == model.held_out.hit_rate_10


def test_what_is_not_shipped_is_refused_by_name() -> None:
    assert shipped_hardware("multi_hardware") == HARDWARE
    with pytest.raises(UnknownNameError, match=r"shipped cost model of 'multi_hardware' 'ethos-u55-64'.*ethos-u55-128"):
        shipped_model("multi_hardware", "ethos-u55-64")
    with pytest.raises(UnknownNameError, match="shipped cost model of 'multi_hardware' 'host-cpu-uint8'"):
        shipped_model("multi_hardware", "host-cpu-uint8")
    with pytest.raises(UnknownNameError, match="shipped cost model of 'nas_bench_macro' 'ethos-u55-128': known: none"):
        shipped_model("nas_bench_macro", "ethos-u55-128")


def test_a_shipped_model_does_not_serve_another_space(monkeypatch: pytest.MonkeyPatch) -> None:
    other = get_space("proxylessnas")
    monkeypatch.setattr(other, "name", "multi_hardware")
    with pytest.raises(CostModelError, match="schema"):
        shipped_model(other, "ethos-u55-128")


def test_a_search_takes_shipped_models_by_their_hardware(mhmodels: Run, tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text("def accuracy(space, encodings):\n    return encodings.mean(axis=1) / 100\n")
    chosen = [word for hardware in NPUS for word in ("--cost-model", hardware)]
    common = ["search", "run", "--space", "multi_hardware", "--evaluator", "toy:accuracy", "--method", "random"]
    done = mhmodels(*common, *chosen, "--evaluations", "20", "--log", "run.db", "-o", "found.json", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["latency_ms"]) == set(NPUS)
    done = mhmodels(*common, "--cost-model", "ethos-u55", "--log", "other.db", "-o", "other.json")
    assert done.returncode == 1
    assert "unknown cost model of 'multi_hardware' 'ethos-u55': did you mean" in done.stderr


@pytest.mark.slow
def test_rewards_are_stated_in_measured_latencies(mhmodels: Run, tmp_path: Path) -> None:
    """C of MobileNetV1 is what the collection measured, not what a model thinks of a network outside its space."""
    (tmp_path / "toy.py").write_text("def accuracy(space, encodings):\n    return encodings.mean(axis=1) / 100\n")
    measured = json.loads(TABLE.with_suffix(".json").read_bytes())["baselines"]
    blind = msgspec.structs.replace(shipped_model("multi_hardware", "ethos-u85-256"), baselines=())
    (tmp_path / "blind.json").write_bytes(blind.to_json())
    words = ["search", "run", "--space", "multi_hardware", "--evaluator", "toy:accuracy", "--method", "random"]
    words += ["--evaluations", "2", "--cost-model", "ethos-u55-128", "--cost-model", "blind.json", "--json"]

    def references(*more: str) -> tuple[dict[str, float], str]:
        done = mhmodels(*words, *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["reward"]["references"], " ".join(done.stderr.split())

    found, told = references()
    assert found["ethos-u55-128"] == next(one["ms"] for one in measured["ethos-u55-128"] if one["model"] == "mobilenet_v1")
    assert found["ethos-u85-256"] == blind.predict([resolve("mobilenet_v1")])[0]
    assert "C of mobilenet_v1 on ethos-u85-256 is a prediction for a network unlike those that were measured" in told
    assert "is a prediction" not in references("--reference", "multi_max")[1]
    found, told = references("--reference", "ethos-u85-256=5.5")
    assert (found["ethos-u85-256"], "is a prediction" in told) == (5.5, False)


def test_a_model_of_another_cpu_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mhmodels.hardware.host import runner as host

    path = model_path("multi_hardware", Path("host-cpu-int8"))
    model = shipped_model("multi_hardware", "host-cpu-int8")
    there = model.environment
    assert there is not None
    monkeypatch.setattr(host, "cpu_identity", lambda: there.device)
    assert remark_on(model, path) == ""
    monkeypatch.setattr(host, "cpu_identity", lambda: "another CPU")
    assert "this machine is another CPU; collect and fit" in remark_on(model, path)
    assert remark_on(shipped_model("multi_hardware", "ethos-u55-128"), model_path("multi_hardware", Path("ethos-u55-128"))) == ""
    own = tmp_path / "own.json"
    assert f"{own} is of {there.device}, this machine is another CPU" in remark_on(model, own)
    assert remark_on(msgspec.structs.replace(model, hardware="host-cpu-of-mine"), own) == ""


def test_a_file_goes_before_a_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_path("multi_hardware", Path("ethos-u55-128")).is_file()
    Path("ethos-u55-128").write_text("{}")
    assert model_path("multi_hardware", Path("ethos-u55-128")) == tmp_path / "ethos-u55-128"
    assert model_path("multi_hardware", Path("missing.json")) == tmp_path / "missing.json"


@pytest.mark.slow
def test_the_collection_of_a_whole_space_has_all_of_it() -> None:
    space = get_space("nas_bench_macro")
    found = measured_latencies(table_path(Path("nas_bench_macro")), space)  # refuses a table with a gap
    assert set(found.sources) == {*NPUS, *HOST}
    assert "(estimated)" in found.sources["ethos-u55-128"].identity
    assert "(measured)" in found.sources["host-cpu-int8"].identity
    rows = np.array(list(space))
    largest = found.sources["host-cpu-float32"].predict(rows).argmax()
    assert space.label(rows[largest]) == "nas_bench_macro:2:2:2:2:2:2:2:2"


def test_latencies_that_come_along_are_known_by_their_space(
    mhmodels: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mhmodels.hardware.host import runner as host

    (tmp_path / "toy.py").write_text("def accuracy(space, encodings):\n    return encodings.mean(axis=1) / 10\n")
    words = ["search", "run", "--space", "nas_bench_macro", "--evaluator", "toy:accuracy", "--method", "random"]
    done = mhmodels(*words, "--evaluations", "20", "--latencies", "nas_bench_macro", "--hardware", "ethos-u65-256", "--json")
    assert done.returncode == 0, done.stderr
    assert "this machine is" not in done.stderr
    assert list(json.loads(done.stdout)["latency_ms"]) == ["ethos-u65-256"]
    refused = mhmodels(*words, "--latencies", "nas_bench_201")
    assert refused.returncode == 1
    assert "unknown collection of latencies 'nas_bench_201'" in refused.stderr
    monkeypatch.setattr(host, "cpu_identity", lambda: "another CPU")
    told = list(remarks_on_table(table_path(Path("nas_bench_macro")), get_space("nas_bench_macro"), ()))
    assert [one.partition(":")[0] for one in told] == list(HOST)
    assert "this machine is another CPU; collect your own" in told[0]
