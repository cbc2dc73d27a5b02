"""The command: its JSON contract, its tables, its picture, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.search import get_space
from mhmodels.search.profiling.parameters import parameters
from mhmodels.search.profiling.words import short


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, ["search", "profile", *map(str, words)])


def table() -> Any:
    return np.random.default_rng(0).uniform(0.1, 2, size=(22, 9))


def networks(n: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(9, size=(n, 22))


def lines(rows: Any, values: Any, *more: str) -> str:
    return "".join(
        ",".join([":".join(map(str, row)), f"{value:.6f}", *more]) + "\n" for row, value in zip(rows, values, strict=True)
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = networks(200)
    path = tmp_path / "phone.csv"
    path.write_text("encoding,ms\n" + lines(rows, 5 + table()[np.arange(22), rows].sum(axis=1)))
    return path


def test_the_contract_for_outside_checks(data: Path) -> None:
    result = invoke("--space", "fbnet", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    truth = table() - table().mean(axis=1, keepdims=True)
    assert len(found["effects"]) == 22 * 9
    for one in found["effects"]:
        assert one["unit"] == 1
        assert one["mean_ms"] == pytest.approx(truth[one["layer"] - 1, one["choice"]], abs=1e-4)
        assert one["low"] <= one["mean_ms"] <= one["high"]
    assert found["effects"][8]["block"] == "skip"
    assert (found["n"], found["space"], found["metric"], found["name"]) == (200, "fbnet", "latency", "phone")
    assert [each["name"] for each in found["hardware"]] == ["phone"]
    assert found["hardware"][0]["effects"] == found["effects"]
    assert {"blocks", "depth", "decisions", "level_ms", "set_aside", "missing"} <= set(found)
    assert {"p5", "p95", "n"} <= set(found["effects"][0])


def test_several_hardware_have_a_list_each(tmp_path: Path) -> None:
    rows = networks(120)
    path = tmp_path / "lab.csv"
    ms = 5 + table()[np.arange(22), rows].sum(axis=1)
    path.write_text(
        "encoding,ms,hardware\n" + lines(rows, ms, "phone") + lines(rows, 2 * ms, "npu") + lines(rows[:9], ms[:9], "new")
    )
    result = invoke("--space", "fbnet", "--data", path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [each["name"] for each in found["hardware"]] == ["phone", "npu"]
    assert "effects" not in found
    assert "new is left out: 9 networks for" in result.stderr
    one = json.loads(invoke("--space", "fbnet", "--data", path, "--hardware", "npu", "--json").stdout)
    assert one["effects"] == found["hardware"][1]["effects"]


def test_text_fits_a_terminal(data: Path, tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    result = invoke("--space", "fbnet", "--data", data, "--plot", picture)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "ib k5 e6" in result.stdout
    assert "strongest placement effects of 198" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_another_metric_is_a_column(tmp_path: Path) -> None:
    rows = networks(250)
    path = tmp_path / "accuracy.csv"
    path.write_text("encoding,accuracy\n" + lines(rows, 0.7 + 0.01 * table()[np.arange(22), rows].sum(axis=1)))
    result = invoke("--space", "fbnet", "--data", path, "--metric", "accuracy", "--json")
    found = json.loads(result.stdout)
    assert found["metric"] == "accuracy"
    truth = 0.01 * (table() - table().mean(axis=1, keepdims=True))
    assert all(one["mean"] == pytest.approx(truth[one["layer"] - 1, one["choice"]], abs=1e-5) for one in found["effects"])


def test_madds_are_exact_where_they_add_up() -> None:
    found = json.loads(invoke("--space", "nas_bench_macro", "--metric", "madds", "-n", 100, "--json").stdout)
    space: Any = get_space("nas_bench_macro")
    row, other = [0, 1, 1, 1, 1, 1, 1, 1], [0, 2, 1, 1, 1, 1, 1, 1]
    by_cell = {(one["unit"], one["layer"], one["choice"]): one["mean"] for one in found["effects"]}
    assert by_cell[1, 2, 2] - by_cell[1, 2, 1] == pytest.approx(float(np.diff(space.madds([row, other]))[0]) / 1e6)


def test_parameters_are_those_of_complexity() -> None:
    from mhmodels.complexity import complexity

    space: Any = get_space("multi_hardware")
    rows = space.draw(3, np.random.default_rng(0))
    assert parameters(space, rows).tolist() == [complexity(one).params for one in space.build_all(rows)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "fbnet"], "no collection of latencies of 'fbnet' comes with the package"),
        (["--space", "nowhere"], "unknown search space"),
        (["--space", "fbnet", "--data", "phone.csv", "--hardware", "npu"], "unknown hardware with latencies 'npu'"),
        (["--space", "fbnet", "--data", "phone.csv", "--metric", "accuracy"], "expected 'accuracy'"),
        (["--space", "fbnet", "--data", "phone.csv", "--metric", "madds"], "expected no --data"),
        (["--space", "fbnet", "--metric", "accuracy"], "expected one --data FILE"),
        (["--space", "fbnet", "--data", "phone.csv", "--where", "threads=1"], "--where chooses rows of a --store"),
        (["--space", "nas_bench_201", "--metric", "params"], "is tabular"),
        (["--space", "fbnet", "--data", "phone.csv", "--plot", "phone.csv"], "expected a name that ends with"),
        (["--space", "fbnet", "--data", "few.csv"], "space 'fbnet', expected at least 88: measure more"),
        (["--space", "fbnet", "--data", "equal.csv"], "equal: argument 'values': all 100 are 5"),
        (["--space", "fbnet", "--data", "nan.csv"], "line 3"),
        (["--space", "fbnet", "--data", "nan.csv", "--metric", "ms"], "line 3: field 'ms' is 'nan'"),
        (["--space", "fbnet", "--data", "short.csv"], "an encoding is 22 whole numbers"),
    ],
)
def test_wrong_input_is_refused(
    words: list[str], message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = networks(100)
    (tmp_path / "few.csv").write_text("encoding,ms\n" + lines(rows[:20], np.arange(1, 21)))
    (tmp_path / "equal.csv").write_text("encoding,ms\n" + lines(rows, np.full(100, 5)))
    (tmp_path / "nan.csv").write_text("encoding,ms\n" + lines(rows[:1], [5.0]) + lines(rows[1:], np.full(99, np.nan)))
    (tmp_path / "short.csv").write_text("encoding,ms\n1:2:3,5\n")
    result = invoke(*words)
    assert result.exit_code != 0
    # The errors of the library are printed by the entry point, which is not run here.
    assert isinstance(result.exception, (SystemExit, MhmodelsError))
    assert message in f"{result.output} {result.exception}".replace("\n", " ")


def test_blocks_have_short_names() -> None:
    assert short("inverted_bottleneck kernel=5 expansion=6 groups=1") == "ib k5 e6"
    assert short("fused_inverted_bottleneck kernel=3 expansion=2") == "fused k3 e2"
    assert short("skip") == "skip"
