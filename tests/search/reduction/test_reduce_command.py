"""`mhmodels search reduce`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.search import get_space, load_space
from tests.search.reduction.devices import SPACE, accuracies, latencies, launch_bound, networks, npu

MACRO: Any = get_space("nas_bench_macro")


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, ["search", "reduce", *map(str, words)])


def lines(rows: Any, values: Any, *more: str) -> str:
    return "".join(
        ",".join([":".join(map(str, row)), f"{value:.6f}", *more]) + "\n" for row, value in zip(rows, values, strict=True)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latencies and accuracies of networks of Once-for-All, and of NAS-Bench-Macro, whose 5x5 kernels are slow for nothing."""
    path = tmp_path_factory.mktemp("reduce")
    rows = networks(200, 0)
    (path / "lab.csv").write_text(
        "encoding,ms,hardware\n" + lines(rows, latencies(npu, rows), "npu") + lines(rows, latencies(launch_bound, rows), "gpu")
    )
    (path / "accuracies.csv").write_text("encoding,accuracy\n" + lines(rows, accuracies(rows)))
    some = np.unique(MACRO.draw(200, np.random.default_rng(0)), axis=0)
    (path / "macro.csv").write_text("encoding,ms\n" + lines(some, 5 + (some == 1).sum(axis=1) + 9.0 * (some == 2).sum(axis=1)))
    (path / "macro_accuracies.csv").write_text("encoding,accuracy\n" + lines(some, 70 + (some > 0).sum(axis=1)))
    return path


@pytest.fixture
def macro(folder: Path) -> list[object]:
    return ["--space", "nas_bench_macro", "--data", folder / "macro.csv", "--accuracy", folder / "macro_accuracies.csv"]


def test_removed_blocks_are_printed_with_numbers_and_written(folder: Path, tmp_path: Path) -> None:
    options = ["--space", "ofa_mobilenet_v3", "--data", folder / "lab.csv", "--accuracy", folder / "accuracies.csv"]
    output = tmp_path / "reduced.json"
    result = invoke(*options, "--hardware", "npu", "-o", output)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "npu: 200 networks, mean network " in text
    assert "blocks of units that are removed, and faster blocks that remain (15):" in text
    assert "ib k7 e6" in text
    space = load_space(str(output))
    assert f"(log10 {np.log10(float(SPACE.sizes.distinct)):.2f} and {np.log10(float(space.sizes.distinct)):.2f})" in text
    assert space.sizes.distinct <= load_space("ofa_mobilenet_v3/kirin9000-npu").sizes.distinct
    assert f"written to {output}" in result.stderr
    told = json.loads(output.read_text())["provenance"]
    assert told["rule"] == "intervals"
    assert told["hardware"] == ["npu"]
    assert len(told["removed"]) == 15


def test_the_json_document_has_every_number(macro: list[object], tmp_path: Path) -> None:
    result = invoke(*macro, "--json", "-o", tmp_path / "small.json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["path"] == str(tmp_path / "small.json")
    assert (found["space"], found["schema"], found["hardware"]) == ("nas_bench_macro", MACRO.schema, ["macro"])
    assert [one["unit"] for one in found["removed"]] == sorted(one["unit"] for one in found["removed"])
    first = found["removed"][0]
    assert first["block"] == "inverted_bottleneck kernel=5 expansion=6"
    assert first["by"] == "inverted_bottleneck kernel=3 expansion=3"
    assert first["cost"][0]["low"] <= first["cost"][0]["mean"] <= first["cost"][0]["high"]
    assert {"mean", "low", "high"} == set(first["accuracy"])
    assert found["confidence"] == 0.95
    assert len(found["removed"]) == 3
    left = load_space(str(tmp_path / "small.json"))
    assert found["log10_after"] == pytest.approx(np.log10(left.sizes.distinct))
    assert all(2 not in allowed for allowed in left.allowed)


def test_several_hardware_at_worst(folder: Path) -> None:
    options = ["--space", "ofa_mobilenet_v3", "--data", folder / "lab.csv", "--accuracy", folder / "accuracies.csv", "--json"]
    worst = json.loads(invoke(*options, "--hardware", "npu,gpu", "--aggregate", "worst").stdout)
    assert worst["hardware"] == ["npu", "gpu"]
    assert sorted(worst["exchange"], reverse=True) == ["npu", "gpu"]
    assert not worst["removed"]


def test_nothing_to_remove_is_no_error(macro: list[object], tmp_path: Path) -> None:
    result = invoke(*macro, "--least-share", 1, "-o", tmp_path / "same.json")
    assert result.exit_code == 0, result.output
    assert "nothing is removed: no block and no last layer is clearly too dear" in result.stdout
    assert load_space(str(tmp_path / "same.json")).sizes == MACRO.sizes


def test_a_published_rule_needs_no_measurements(tmp_path: Path) -> None:
    output = tmp_path / "npu.json"
    result = invoke("--space", "ofa_mobilenet_v3", "--rule", "kirin9000-npu", "-o", output)
    assert result.exit_code == 0, result.output
    assert "kernel=7" in result.stdout
    published = load_space("ofa_mobilenet_v3/kirin9000-npu")
    assert [one.tolist() for one in load_space(str(output)).allowed] == [one.tolist() for one in published.allowed]
    further = json.loads(invoke("--space", output, "--rule", "ofa_mobilenet_v3/threadripper2990wx-cpu", "--json").stdout)
    assert further["log10_after"] < further["log10_before"] == pytest.approx(np.log10(float(published.sizes.distinct)))


@pytest.mark.parametrize(
    "option", ["--rate", "--depth-rate", "--least-share", "--confidence", "--per", "--aggregate", "--hardware"]
)
def test_a_published_rule_takes_no_setting_of_the_other_rule(option: str) -> None:
    value = {"--per": "network", "--aggregate": "worst"}.get(option, "0.5")
    result = invoke("--space", "ofa_mobilenet_v3", "--rule", "kirin9000-npu", option, value)
    assert result.exit_code == 2
    assert f"expected no {option}" in result.output


def test_repeated_networks_and_failed_evaluations_are_told(macro: list[object], tmp_path: Path) -> None:
    text = Path(str(macro[5])).read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*text, *(f"{line.split(',')[0]},0" for line in text[1:4]), ""]))
    shown = invoke(*macro[:5], tmp_path / "twice.csv")
    assert "3 repeated networks: the median of their values counts" in " ".join(shown.stderr.split())
    (tmp_path / "failed.csv").write_text("\n".join([*text[:-1], text[-1].split(",")[0] + ",0.1", ""]))
    shown = invoke(*macro[:5], tmp_path / "failed.csv")
    told = " ".join(shown.stderr.split())
    assert f"1 of {len(text) - 1} values of 'accuracy' are far from the others (the first is 0.1, the median" in told
    assert "far from the others" not in invoke(*macro).stderr


def test_published_accuracies_are_for_one_space(folder: Path) -> None:
    found = invoke(
        "--space", "ofa_mobilenet_v3", "--data", folder / "lab.csv", "--hardware", "npu", "--accuracy", "published", "--json"
    )
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["removed"]) >= 15
    other = invoke("--space", "multi_hardware", "--accuracy", "published")
    assert "space with published accuracies 'multi_hardware'" in str(other.exception)


def test_options_that_do_not_go_together_are_refused(macro: list[object], tmp_path: Path) -> None:
    for wanted, words in (
        ("--accuracy FILE.csv is missing: without accuracies", macro[:4]),
        ("--rule is a published reduction and needs no measurements, expected no --accuracy", [*macro, "--rule", "x"]),
        ("no collection of latencies of 'fbnet' comes with the package", ["--space", "fbnet", "--accuracy", macro[5]]),
        ("'--rate'", [*macro, "--rate", "nan"]),
        ("'--rate'", [*macro, "--rate", "1.5"]),
        ("'-o'", [*macro, "-o", tmp_path / "x.txt"]),
    ):
        result = invoke(*words)
        assert result.exit_code == 2 or isinstance(result.exception, MhmodelsError), result.output
        assert wanted in result.output + str(result.exception)


def test_measurements_that_cannot_tell_are_refused(macro: list[object], tmp_path: Path) -> None:
    def with_accuracies(text: str) -> str:
        path = tmp_path / "bad.csv"
        path.write_text(text)
        result = invoke(*macro[:5], path)
        assert isinstance(result.exception, MhmodelsError), result.output
        return str(result.exception)

    few = MACRO.draw(12, np.random.default_rng(0))
    assert "12 networks for 16 effects of the choices of space 'nas_bench_macro', expected at least 20" in with_accuracies(
        "encoding,accuracy\n" + lines(few, np.arange(12))
    )
    assert "line 2: field 'accuracy' is 'nan', expected a finite decimal number" in with_accuracies(
        "encoding,accuracy\n0:0:0:0:0:0:0:0,nan\n"
    )
    assert "expected 'accuracy'" in with_accuracies("encoding,top1\n0:0:0:0:0:0:0:0,0.5\n")
    assert "none of 1 rows has a 'accuracy'" in with_accuracies("encoding,accuracy\n0:0:0:0:0:0:0:0,\n")
    assert "absent.csv" in str(invoke(*macro[:5], tmp_path / "absent.csv").exception)
    assert "hardware with latencies 'my-npu'" in str(invoke(*macro, "--hardware", "my-npu").exception)


def test_hardware_that_was_named_is_never_left_out(folder: Path, tmp_path: Path) -> None:
    some = np.unique(MACRO.draw(200, np.random.default_rng(0)), axis=0)
    ms = 5 + (some == 1).sum(axis=1) + 9.0 * (some == 2).sum(axis=1)
    table = tmp_path / "lab.csv"
    table.write_text("encoding,ms,hardware\n" + lines(some, ms, "npu") + lines(some[:9], ms[:9], "new"))
    options = ["--space", "nas_bench_macro", "--data", table, "--accuracy", folder / "macro_accuracies.csv"]
    result = invoke(*options)
    assert result.exit_code == 0, result.output
    assert "new is left out: 9 networks for" in result.stderr
    assert "new: 9 networks for" in str(invoke(*options, "--hardware", "npu,new").exception)
