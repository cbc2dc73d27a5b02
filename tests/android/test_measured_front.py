"""`mhmodels search run --measure-front` on a phone, by the path of `search collect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mhmodels.cli.main import cli
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.space.catalogue import get_space
from mhmodels.store import Store

from .conftest import MakeDevice
from .double import Server
from .tools import tool

SPACE = "nas_bench_macro"
EVALUATOR = "def accuracy(space, encodings): return 0.5 + space.madds(encodings) / 1e9\n"


def test_the_front_of_a_search_is_measured_on_the_phone_of_its_cost_model(
    server: Server, make_device: MakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    device, space = make_device(), get_space(SPACE)
    hardware = f"{device.address}/xnnpack"
    rows = np.unique(space.draw(60, np.random.default_rng(0)), axis=0)
    ms = space.madds(rows) / 1e7  # type: ignore[attr-defined]
    fit(space, rows, ms, LatencyOrigin(hardware), FitOptions(curve=False)).model.save("phone.json")
    Path("phone_evaluating.py").write_text(EVALUATOR)
    words = ["search", "run", "--space", SPACE, "--evaluator", "phone_evaluating:accuracy", "--cost-model", "phone.json"]
    words += ["--reference", f"{hardware}=3", "--method", "random", "--evaluations", "2", "--measure-front"]
    words += ["--timing-reference", "", "--blocks", "2", "--adb-server", server.address, "--store", "r.db", "--json"]
    refused = CliRunner().invoke(cli, [*words, "--log", "run.db"])
    assert "(--measure-front)" in str(refused.exception), refused.output  # no benchmark_model for the phone
    assert not Path("run.db").exists()
    result = CliRunner().invoke(cli, [*words, "--benchmark-binary", str(tool(tmp_path)), "--front", "front.json"])
    assert result.exception is None, (result.output, result.exception)
    document = json.loads(result.stdout)["measured_front"]
    (report,) = document["measured"]["hardware"]
    assert (report["hardware"], report["kind"], report["missing"]) == (hardware, "measured", 0)
    with Store("r.db") as store:
        assert {row.hardware for row in store} == {hardware}
