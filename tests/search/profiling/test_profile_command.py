"""The command: its JSON contract, its tables, its picture, and what it refuses."""

from __future__ import annotations

import json
from itertools import product
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


def test_every_view_fits_a_terminal_and_is_drawn(data: Path, tmp_path: Path) -> None:
    for view, words in (("map", "(% of the mean network):"), ("share", "shares of the mean network")):
        picture = tmp_path / f"{view}.png"
        result = invoke("--space", "fbnet", "--data", data, "--view", view, "--plot", picture)
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert words in result.stdout
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


def test_the_table_of_a_benchmark_has_accuracies(tmp_path: Path) -> None:
    """Accuracies that add up over the layers, in the form of the file of NAS-Bench-Macro."""
    effects = np.random.default_rng(0).uniform(0, 4, size=(8, 3))
    effects[2], effects[4], effects[6], effects[7] = effects[3], effects[3], effects[5], effects[5]  # layers of a stage commute
    effects[:, 0] = 0
    rows = np.array(list(product(range(3), repeat=8)))
    # To skip is 0 anywhere, so that strings of the same network have the same accuracy.
    percent = 50 + effects[np.array([0, 1, 3, 3, 3, 5, 5, 5]), rows].sum(axis=1)
    path = tmp_path / "macro.csv"
    path.write_text(
        "arch,acc1,acc2,acc3\n"
        + "".join(f"{''.join(map(str, row))},{p:.6f},{p:.6f},{p:.6f}\n" for row, p in zip(rows, percent, strict=True))
    )
    result = invoke("--space", "nas_bench_macro", "--data", path, "--metric", "accuracy", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n"] == 6561
    by_cell = {(one["unit"], one["layer"], one["choice"]): one["mean"] for one in found["effects"]}
    truth = effects - effects.mean(axis=1, keepdims=True)
    assert by_cell[1, 2, 2] == pytest.approx(truth[1, 2] / 100, abs=1e-6)
    assert by_cell[3, 3, 0] == pytest.approx(truth[5, 0] / 100, abs=1e-6)


def test_cost_models_are_profiled_without_measurements(tmp_path: Path) -> None:
    result = invoke("--space", "multi_hardware", "--cost-model", "ethos-u55-128", "-n", 300, "--json")
    assert result.exit_code == 0, result.output
    assert "whose error (mean 0.2%" in result.stderr
    found = json.loads(result.stdout)
    assert (found["name"], found["n"], found["set_aside"]) == ("ethos-u55-128", 300, 0)
    assert sum(one["mean"] for one in found["shares"]) == pytest.approx(1)
    assert [one["part"] for one in found["shares"]][:3] == ["stem", "1.1", "1.2"]


def test_networks_that_were_selected_by_size_are_left_out(tmp_path: Path) -> None:
    rows = networks(200)
    ms = 5 + table()[np.arange(22), rows].sum(axis=1)
    path = tmp_path / "mixed.csv"
    names = ["uniform"] * 100 + ["window=0.5:2"] * 100
    path.write_text(
        "encoding,ms,distribution\n"
        + "".join(f"{':'.join(map(str, row))},{one:.6f},{name}\n" for row, one, name in zip(rows, ms, names, strict=True))
    )
    result = invoke("--space", "fbnet", "--data", path, "--json")
    assert "100 of 200 networks were selected by their MAdds (distribution window=…) and are left out" in result.stderr
    assert json.loads(result.stdout)["n"] == 100
    path.write_text(path.read_text().replace("uniform", "window=1:2", 50))
    result = invoke("--space", "fbnet", "--data", path, "--json")
    assert "the other 50 are too few" in result.stderr
    assert json.loads(result.stdout)["n"] == 200


def test_unsupported_blocks_and_absurd_values_are_told(tmp_path: Path) -> None:
    """Networks with a block that the hardware does not run have no latency; one value is absurd."""
    rows = networks(400)
    ms = 5 + table()[np.arange(22), rows].sum(axis=1)
    text = [f"{each:.6f}" for each in ms]
    without = (rows[:, 3] == 2) | (rows[:, 8] == 7)
    text[int(np.argmin(without))] = "9999"
    path = tmp_path / "npu.csv"
    path.write_text(
        "encoding,ms\n"
        + "".join(
            f"{':'.join(map(str, row))},{'' if lacking else one}\n" for row, one, lacking in zip(rows, text, without, strict=True)
        )
    )
    result = invoke("--space", "fbnet", "--data", path, "--view", "map")
    assert result.exit_code == 0, result.output
    assert f"{without.sum()} of 400 architectures have no latency" in result.stderr
    assert "2 choices occur in no network" in result.stderr
    assert "1 networks with absurd values are left out" in result.stderr
    assert sum(line.count("?") for line in result.stdout.splitlines() if line.startswith("ib")) == 2


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
        (
            ["--space", "fbnet", "--data", "phone.csv", "--metric", "ms", "--view", "share"],
            "layers have shares of latency, madds",
        ),
        (
            ["--space", "nas_bench_macro", "--metric", "accuracy"],
            "expected one --data FILE; found 0. The package has no such table",
        ),
        (["--space", "nas_bench_macro", "--data", "phone.csv", "--metric", "accuracy"], "expected 'accuracy'"),
        (["--space", "nas_bench_macro", "--data", "short_table.csv", "--metric", "accuracy"], "expected all 3969"),
        (["--space", "multi_hardware", "--cost-model", "nothing"], "unknown cost model of 'multi_hardware' 'nothing'"),
        (
            ["--space", "multi_hardware", "--cost-model", "ethos-u55-128", "--data", "phone.csv"],
            "--cost-model predicts latencies",
        ),
        (["--space", "multi_hardware", "--cost-model", "ethos-u55-128", "-n", "30"], "30 networks for 491 effects"),
        (["--space", "multi_hardware", "--hardware", "rknn-rk3588"], "150 networks for 491 effects"),
        (["--space", "fbnet", "--data", "one.csv"], "1 networks for 176 effects"),
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
    (tmp_path / "one.csv").write_text("encoding,ms\n" + lines(rows[:1], [5.0]))
    (tmp_path / "short_table.csv").write_text("arch,acc1,acc2,acc3\n01210121,90,91,92\n")
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
