"""`mhmodels search monotonicity` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import FileFormatError, MhmodelsError, StoreError, UnknownNameError
from mhmodels.hardware import Measurement
from mhmodels.search import CostModelError, get_space, monotonicity, sample
from mhmodels.search.cost_model.latencies.dataset import side_by_side
from mhmodels.search.cost_model.latencies.reading import hardware_in, read_all_hardware, read_latencies
from mhmodels.search.cost_model.latencies.stored import stored_on_all_hardware
from mhmodels.search.cost_model.latencies.units import unit_gap
from mhmodels.search.cost_model.shipping import DATA, shipped_tables
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

SPACE = "nas_bench_201"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["search", "monotonicity", *arguments], catch_exceptions=True)


def document(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None, result.output
    return json.loads(result.stdout)


def latencies(seed: int, noise: float, n: int = 40) -> Any:
    base = np.random.default_rng(0).normal(size=n)
    return np.round(10 * np.exp(0.3 * (base + noise * np.random.default_rng(seed).normal(size=n))), 3)


def cells(n: int = 40) -> list[str]:
    return [":".join(map(str, row)) for row in sample(get_space(SPACE), n, seed=0).encodings]


def write(path: Path, columns: dict[str, Any], names: bool = True, first: int = 0) -> Path:
    """A table of latencies: of several devices with a column `hardware`, or of one without."""
    lines = ["encoding,hardware,ms" if names else "encoding,ms"]
    for name, ms in columns.items():
        for cell, value in list(zip(cells(), ms, strict=True))[first:]:
            lines.append(f"{cell},{name},{value}" if names else f"{cell},{value}")
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three devices: a and b are alike, c is not."""
    return write(tmp_path / "devices.csv", {"a": latencies(1, 0.05), "b": latencies(2, 0.05), "c": latencies(3, 2.0)})


def test_two_devices_are_one_line_and_the_next_command(table: Path) -> None:
    result = run("--space", SPACE, "--data", str(table), "--hardware", "a,c")
    expected = monotonicity(latencies(1, 0.05), latencies(3, 2.0))
    first, second = result.stdout.splitlines()
    assert first.startswith("a and c: Spearman 0.")
    assert f"{expected.spearman:.2f}" in first
    assert "90 % interval" in first
    assert "40 networks: adapt (the upper limit 0." in first
    assert second == (
        "next: adapt the latencies of a to c: mhmodels search adapt --space nas_bench_201 --source a --target c --budget 50"
    )
    alike = run("--space", SPACE, "--data", str(table), "--hardware", "b a").stdout
    assert "b and a: Spearman 0.9" in alike
    assert ": reuse (the lower limit 0.9" in alike
    assert alike.splitlines()[1].endswith("mhmodels search run --space nas_bench_201 --cost-model b.json")


def test_json_has_the_matrix_and_each_pair(table: Path) -> None:
    found = document("--space", SPACE, "--data", str(table), "--threshold", "0.8", "--confidence", "0.95")
    assert {name: found[name] for name in ("space", "threshold", "confidence", "hardware")} == {
        "space": SPACE,
        "threshold": 0.8,
        "confidence": 0.95,
        "hardware": ["a", "b", "c"],
    }
    expected = monotonicity(latencies(1, 0.05), latencies(3, 2.0), threshold=0.8, confidence=0.95)
    assert found["matrix"][0][2] == found["matrix"][2][0] == pytest.approx(expected.spearman)
    assert [found["matrix"][i][i] for i in range(3)] == [1, 1, 1]
    pair = found["pairs"][1]
    assert set(pair) == {"first", "second", "n", "spearman", "low", "high", "decision", "needed", "reason"}
    assert (pair["first"], pair["second"], pair["n"], pair["decision"]) == ("a", "c", 40, expected.decision)
    assert (pair["low"], pair["high"]) == pytest.approx((expected.low, expected.high))


def test_several_devices_are_a_table_sorted_by_similarity(table: Path) -> None:
    shown = run("--space", SPACE, "--data", str(table)).stdout.splitlines()
    assert shown[2].split()[:2] == ["a", "b"]
    values = [float(line.split()[3]) for line in shown[2:5]]
    assert values == sorted(values, reverse=True)
    assert shown[5].startswith("threshold 0.9, 90 % intervals")


def test_the_table_fits_80_columns_whatever_the_names(tmp_path: Path) -> None:
    long = {f"samsung-galaxy-s{i}-ultra/qualcomm-hexagon-delegate": latencies(i, 0.2 + i) for i in range(3)}
    path = write(tmp_path / "devices.csv", long)
    shown = run("--space", SPACE, "--data", str(path)).stdout.splitlines()
    rows = shown[: next(i for i, line in enumerate(shown) if line.startswith("threshold"))]
    assert max(map(len, rows)) <= 80
    assert "".join(line.split(" ")[0] for line in rows[2:]).count("samsung-galaxy-s") == 3


def test_a_source_limits_the_pairs(table: Path) -> None:
    found = document("--space", SPACE, "--data", str(table), "--source", "c")
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("c", "a"), ("c", "b")]
    assert found["hardware"] == ["c", "a", "b"]
    one = document("--space", SPACE, "--data", str(table), "--source", "c", "--hardware", "a")
    assert [(pair["first"], pair["second"]) for pair in one["pairs"]] == [("c", "a")]


def test_files_without_a_hardware_column_are_devices_named_as_the_file(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.csv", {name: latencies(seed, 0.1)}, names=False) for seed, name in enumerate(("one", "two"))
    ]
    paths.append(write(tmp_path / "three.tsv", {"three": latencies(2, 0.1)}, names=False, first=36))
    paths[2].write_text(paths[2].read_text().replace(",", "\t"))
    found = document("--space", SPACE, *[word for path in paths for word in ("--data", str(path))])
    assert found["hardware"] == ["one", "two", "three"]
    assert [pair["n"] for pair in found["pairs"]] == [40, 4, 4]
    assert found["matrix"][2] == [None, None, 1]
    assert found["pairs"][2]["reason"].startswith("4 networks have a latency on both devices, expected at least 5")
    shown = run("--space", SPACE, *[word for path in paths for word in ("--data", str(path))]).stdout
    assert "one and three: 4 networks have" in shown


def test_the_collections_of_the_package_are_compared_by_default() -> None:
    found = document("--space", "multi_hardware", "--hardware", "host-cpu-int8,hexagon-sa8255,rknn-rk3588")
    assert [(pair["n"], pair["decision"]) for pair in found["pairs"]] == [(1000, "adapt"), (150, "measure more"), (150, "adapt")]
    assert found["pairs"][0]["spearman"] == pytest.approx(0.697, abs=0.001)
    assert [path.name for path in shipped_tables("nas_bench_macro")] == ["nas_bench_macro.csv"]
    shown = run("--space", "multi_hardware", "--hardware", "host-cpu-float32", "--source", "host-cpu-int8").stdout
    assert "--cost-model host-cpu-int8\n" in shown


def test_another_unit_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "devices.csv", {"a": latencies(1, 0.1), "b": 1000 * latencies(2, 0.1)})
    result = run("--space", SPACE, "--data", str(path))
    assert "WARNING: the median latency of b" in result.stderr
    assert "may be in another unit than ms" in result.stderr
    assert "WARNING" not in run("--space", "multi_hardware").stderr


def test_unit_gap_is_between_neighbours_in_speed() -> None:
    assert unit_gap({"npu": 0.1, "gpu": 2.0, "cpu": 60.0}) == ""
    assert unit_gap({}) == unit_gap({"npu": 0.1}) == ""
    assert unit_gap({"cpu": 60.0, "wrong": 60_000.0, "npu": 1.0}).startswith(
        "the median latency of wrong (6e+04 ms) is 1e+03 times that of cpu"
    )


def test_the_picture_is_drawn(table: Path, tmp_path: Path) -> None:
    picture = tmp_path / "map.png"
    result = run("--space", SPACE, "--data", str(table), "--plot", str(picture), "--json")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"drawn to {picture}" in result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "1"], "is not in the range 0<x<1"),
        (["--threshold", "nan"], "expected a finite decimal number"),
        (["--confidence", "0"], "is not in the range 0<x<1"),
        (["--where", "threads=1"], "--where chooses rows of a --store"),
        (["--plot", "map.txt"], "expected a name that ends with .png"),
    ],
)
def test_wrong_options_are_refused(options: list[str], message: str, table: Path) -> None:
    result = run("--space", SPACE, "--data", str(table), *options)
    assert result.exit_code == 2
    assert message in result.output


def test_the_picture_does_not_replace_what_is_read(table: Path) -> None:
    data = table.rename(table.with_suffix(".png"))
    assert "which is what the command reads too" in run("--space", SPACE, "--data", str(data), "--plot", str(data)).output


def test_devices_that_are_not_there_are_named(table: Path) -> None:
    for options in (["--hardware", "a,d"], ["--source", "d"]):
        error = run("--space", SPACE, "--data", str(table), *options).exception
        assert isinstance(error, UnknownNameError)
        assert "unknown hardware with latencies 'd'" in str(error)
        assert all(name in str(error) for name in "abc")
    alone = run("--space", SPACE, "--data", str(table), "--hardware", "a").exception
    assert isinstance(alone, CostModelError)
    assert "only on 'a', expected at least two devices" in str(alone)


def test_a_space_without_a_collection_needs_data() -> None:
    result = run("--space", "fbnet")
    assert result.exit_code == 2
    assert "no collection of latencies of 'fbnet'" in result.output


def test_the_same_hardware_in_two_files_is_not_mixed(table: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", {"a": latencies(7, 0.3)})
    result = run("--space", SPACE, "--data", str(table), "--data", str(other))
    assert result.exit_code == 2
    assert "hardware 'a' is in" in result.output


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("0:0:0:0:0:0,,5", FileFormatError, "no 'hardware', which other lines have"),
        ("0:0:0:0:0:0,a,-5", CostModelError, "expected finite milliseconds above 0"),
        ("0:0:0:0:0:0,a,nan", FileFormatError, "expected milliseconds as a decimal number"),
        ("0:0:0:0:0:9,a,5", MhmodelsError, "decision '3<-2' is 9"),
    ],
)
def test_wrong_rows_are_refused_with_their_line(line: str, error: type[Exception], message: str, table: Path) -> None:
    table.write_text(f"{table.read_text()}{line}\n")
    found = run("--space", SPACE, "--data", str(table)).exception
    assert isinstance(found, error)
    assert message in str(found)
    assert "line 122" in str(found)


def test_several_kinds_of_one_hardware_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    rows = [f"{cell},a,{'measured' if i % 2 else 'estimated'},{i + 1}" for i, cell in enumerate(cells())]
    path.write_text("\n".join(["encoding,hardware,kind,ms", *rows, ""]))
    with pytest.raises(CostModelError, match="latencies on 'a' are estimated and measured, expected one kind"):
        read_all_hardware(path, get_space(SPACE))


def test_all_hardware_of_a_file_is_read_as_each_alone() -> None:
    space, path = get_space("multi_hardware"), DATA / "multi_hardware.csv"
    found = read_all_hardware(path, space)
    assert tuple(found) == hardware_in(path)
    for name in ("ethos-u65-256", "host-cpu-int8"):
        alone = read_latencies(path, space, name)
        assert (found[name].encodings == alone.encodings).all()
        assert (found[name].ms == alone.ms).all()
        assert found[name][2:] == alone[2:]
    assert list(read_all_hardware(path, space, ["ethos-u65-256", "other"])) == ["ethos-u65-256"]
    joined = side_by_side(found)
    assert {name: int(np.isfinite(ms).sum()) for name, ms in joined.ms.items()} == {
        name: len(one.ms) for name, one in found.items()
    }
    places = {row.tobytes(): i for i, row in enumerate(joined.encodings)}
    one = found["ethos-u65-256"]
    assert all(joined.ms["ethos-u65-256"][places[row.tobytes()]] == ms for row, ms in zip(one.encodings, one.ms, strict=True))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A compiler, a phone in two modes, and hardware that only a network of the zoo was measured on."""
    space = get_space("multi_hardware")
    assert isinstance(space, ArchitectureSpace)
    path = tmp_path / "results.db"
    common: dict[str, Any] = {"format": "int8", "file_bytes": 1, "time": "2026-01-01T00:00:00+00:00"}
    with Store(path) as rows:
        for i, one in enumerate(space.build_all(sample(space, 12, 3).encodings)):
            key: dict[str, Any] = {
                "model_hash": one.architecture_id,
                "model": one.name,
                "architecture_id": one.architecture_id,
                **common,
            }
            rows.add(Measurement(**key, hardware="npu", kind="estimated", device="npu", median_ms=1.0 + i))
            modes = (("burst", 5.0 + i), ("sustained", 30.0 - i))
            for mode, ms in modes if i % 2 else modes[::-1]:  # the latest rows are of both
                rows.add(
                    Measurement(**key, hardware="phone", kind="measured", device="p", median_ms=ms, configuration={"mode": mode})
                )
        zoo: dict[str, Any] = {"model_hash": "1", "model": "mobilenet_v1", "architecture_id": "1", **common}
        rows.add(Measurement(**zoo, hardware="other", kind="measured", device="o", median_ms=5.0))
    return path


@pytest.mark.parametrize(("mode", "spearman"), [("burst", 1), ("sustained", -1)])
def test_a_condition_chooses_rows_of_the_hardware_that_has_it(store: Path, mode: str, spearman: int) -> None:
    options = ["--space", "multi_hardware", "--store", str(store), "--where", f"configuration.mode={mode}"]
    found = document(*options)
    assert found["hardware"] == ["npu", "phone"]
    assert found["pairs"][0]["spearman"] == pytest.approx(spearman)
    assert "other is left out: " in run(*options).stderr


def test_conditions_of_a_store_are_not_mixed(store: Path) -> None:
    options = ["--space", "multi_hardware", "--store", str(store)]
    asked = run(*options, "--hardware", "npu,phone").exception
    assert isinstance(asked, CostModelError)
    assert "come from different conditions" in str(asked)
    assert "--where" in str(asked)
    found = run(*options)
    assert "phone is left out: latencies on phone come from different conditions" in found.stderr
    assert "only on 'npu'" in str(found.exception)
    unknown = run(*options, "--where", "configuration.mod=burst").exception
    assert "no row has a field 'configuration.mod' (--where)" in str(unknown)
    with Store(store) as rows, pytest.raises(CostModelError, match="no row has a field 'nonsense'"):
        stored_on_all_hardware(rows, get_space("multi_hardware"), where={"nonsense": "1"})


def test_a_store_and_files_are_compared_together(store: Path, tmp_path: Path) -> None:
    drawn = sample(get_space("multi_hardware"), 12, 3).encodings
    rows = [f"{':'.join(map(str, row))},{12 - i}" for i, row in enumerate(drawn)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["encoding,ms", *rows, ""]))
    found = document("--space", "multi_hardware", "--store", str(store), "--data", str(path), "--hardware", "mine,npu")
    assert [(pair["first"], pair["second"], pair["n"]) for pair in found["pairs"]] == [("mine", "npu", 12)]
    assert found["matrix"][0][1] == pytest.approx(-1)


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert isinstance(run("--space", SPACE, "--store", str(tmp_path / "none.db")).exception, StoreError)


def test_the_command_is_listed_and_light() -> None:
    group = cli.commands["search"] if "search" in cli.commands else cli.get_command(click.Context(cli), "search")
    assert isinstance(group, click.Group)
    assert "monotonicity" in group.list_commands(click.Context(group))
    code = (
        "import sys, mhmodels.search.cli.monotonicity, mhmodels.search.cli.monotonicity_tables\n"
        "import mhmodels.search.cli.device_latencies\n"
        "heavy = {'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
