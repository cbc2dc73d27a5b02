"""`mhmodels search …` as a user runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import Architecture
from mhmodels.cli.main import cli
from mhmodels.hardware import get_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.search.cost_model.model import encoding_hashes
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import SearchSpace
from tests.conftest import Command, Run

HARDWARE = "roofline-31.2"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["search", *arguments], catch_exceptions=True)


def document(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample whose latencies are simulated: what a user has after measuring."""
    path = tmp_path_factory.mktemp("samples") / "samples.jsonl"
    assert run("sample", "--space", "multi_hardware", "-n", "150", "--seed", "3", "-o", str(path)).exit_code == 0
    hardware, _ = get_hardware(HARDWARE)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["ms"] = simulate(Architecture.from_json(json.dumps(row["architecture"])), hardware)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(measured: Path) -> Path:
    path = measured.with_name("model.json")
    result = run("fit", "--data", str(measured), "--space", "multi_hardware", "--hardware", HARDWARE, "-o", str(path))
    assert result.exit_code == 0, result.output
    return path


def test_spaces_are_listed_and_sized_exactly() -> None:
    spaces = {space["name"]: space for space in document("space")["spaces"]}
    assert set(spaces) >= {"multi_hardware", "proxylessnas", "mobilenet_v3_like", "ofa_mobilenet_v3", "fbnet", "nas_bench_201"}
    assert spaces["multi_hardware"]["sizes"]["product"] == (24 * 48**3) ** 5 * 900
    assert spaces["proxylessnas"]["coupled_features"] == {"declared": 144, "effective": 144}
    assert math.prod(len(d["choices"]) for d in spaces["nas_bench_201"]["decisions"]) == 15_625
    assert "multi_hardware" in run("space").output


def test_limits_give_an_account_and_a_cross() -> None:
    arguments = ("multi_hardware_unrestricted", "--hardware", "pixel4-edgetpu-2020", "hexagon-2020")
    found = document("space", *arguments, "--member", "mobilenet_v3_large", "--member", "multi_max")
    assert found["sizes"] == document("space", "multi_hardware")["sizes"]
    assert {removal["hardware"] for removal in found["removed"]} == {"pixel4-edgetpu-2020", "hexagon-2020"}
    large, multi_max = found["members"]
    assert large["hardware"]["pixel4-edgetpu-2020"]["mark"] == "×"
    assert large["hardware"]["hexagon-2020"]["mark"] == "slow"
    assert multi_max["member"]
    assert {entry["mark"] for entry in multi_max["hardware"].values()} == {"runs"}
    text = run("space", *arguments, "--member", "mobilenet_v3_large").stdout
    assert "removed by hexagon-2020: kernel 7, above 5" in text
    assert "pixel4-edgetpu-2020 × (hard_swish, squeeze-excite)" in text


def test_limits_are_found_by_probes() -> None:
    """This one's limits are declared, but files are refused by its runner, which is what probes see."""
    from mhmodels.search.space.probing import probe

    found = probe("roofline-pixel4-edgetpu")
    assert set(found.without) == {"squeeze-excite", "hard_swish"}
    assert found.max_kernel is None
    everything = run("space", "multi_hardware_unrestricted", "--hardware", "roofline-40", "--probe")
    assert everything.exit_code == 0
    assert "removed by" not in everything.stdout
    assert "roofline-40: runs everything that was tried" in everything.stderr


@pytest.mark.parametrize(("hardware_id", "message"), [("fake-half", "takes float16 files"), ("fake-gone", "was unplugged")])
def test_probes_are_refused_before_they_are_measured(hardware_id: str, message: str) -> None:
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import built_in_hardware
    from mhmodels.search.space.probing import probe
    from tests.search.fake_hardware import FakeRunner

    runner = FakeRunner([hardware_id])
    runner.lost.add("fake-gone")
    with pytest.raises(MeasurementError, match=message):
        probe(hardware_id, built_in_hardware().with_runner("fake", runner))
    assert not runner.made


def test_models_that_come_with_the_package_predict_by_their_id() -> None:
    npu, again = document("predict", "multi_max", "--cost-model", "ethos-u55-128", "--cost-model", "ethos-u55-128")["rows"][0][
        "latency_ms"
    ]
    assert npu == again
    assert npu["hardware"] == "ethos-u55-128"
    assert 15 < npu["ms"] < 16  # Vela's own estimate is 15.57
    table = run("predict", "multi_max", "--cost-model", "ethos-u55-128").stdout
    assert "ethos-u55-128" in table
    unknown = run("predict", "multi_max", "--cost-model", "ethos-u56-128")
    assert "unknown cost model of 'multi_hardware' 'ethos-u56-128': did you mean ethos-u55-128" in str(unknown.exception)


def test_samples_are_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("sample", "--space", "fbnet", "-n", "20", "--distribution", "uniform", "-o", str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    counts = document("sample", "--space", "fbnet", "-n", "10", "-o", str(tmp_path / "c"))["distributions"]
    assert counts == {"depth-uniform": 5, "window=0.5:2": 5}


@pytest.mark.slow
def test_restricted_samples_stay_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    found = document(
        "sample", "--space", "multi_hardware_unrestricted", "-n", "30", "--hardware", "pixel4-edgetpu-2020,hexagon-2020",
        "-o", str(path),
    )  # fmt: skip
    text = path.read_text()
    assert found["n"] == len(text.splitlines()) == 30
    assert "hard_swish" not in text
    assert "squeeze_excite" not in text


def test_fit_reports_and_draws(measured: Path, tmp_path: Path) -> None:
    found = document(
        "fit", "--data", str(measured), "--space", "multi_hardware", "--hardware", HARDWARE, "-o", str(tmp_path / "model.json"),
        "--plot", str(tmp_path / "figure4.png"),
    )  # fmt: skip
    assert found["held_out"]["n"] == 30
    assert found["held_out"]["hit_rate_10"] == 1.0
    assert found["held_out"]["spearman"] > 0.99
    assert set(found["by_distribution"]) == {"depth-uniform", "window=0.5:2"}
    assert [point["n"] for point in found["learning_curve"]] == [30, 100, 120]
    assert (found["kind"], found["form"], found["n"]) == ("simulated", "structural", 120)
    assert (tmp_path / "figure4.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_that_cannot_be_predicted_leaves_the_others(model: Path) -> None:
    """Unknown names and unreadable cost models are named at the end, with exit code 1; the rest is answered."""
    words = ("multi_mux", "multi_max", "--cost-model", str(model), "--cost-model", "missing.json", "--json")
    done = run("predict", *words)
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [row["model"] for row in document["rows"]] == ["multi_max"]
    assert len(document["rows"][0]["latency_ms"]) == 1
    assert [(one["model"], one["hardware"]) for one in document["failed"]] == [("", "missing.json"), ("multi_mux", "")]
    assert "unknown model 'multi_mux'" in document["failed"][1]["error"]


def test_predict_models_and_samples(model: Path, measured: Path) -> None:
    rows = document("predict", "multi_max", "mobilenet_v3_large", "--cost-model", str(model))["rows"]
    inside, outside = (row["latency_ms"][0] for row in rows)
    assert (inside["inside"], outside["inside"], inside["kind"], inside["hardware"]) == (True, False, "predicted", HARDWARE)
    assert outside["unseen"] == ["multiply", "hard_swish"] or set(outside["unseen"]) == {"multiply", "hard_swish"}
    samples = document("predict", "--samples", str(measured), "--cost-model", str(model))["rows"]
    truth = [json.loads(line)["ms"] for line in measured.read_text().splitlines()]
    assert [row["latency_ms"][0]["ms"] for row in samples] == pytest.approx(truth, rel=0.05)
    assert "kernels never seen" in run("predict", "mobilenet_v3_large", "--cost-model", str(model)).stdout


def test_validate_leaves_out_what_was_trained_on(model: Path, measured: Path, tmp_path: Path) -> None:
    fitted = json.loads(model.read_text())
    found = document("validate", "--cost-model", str(model), "--data", str(measured))
    assert found["statistics"] == fitted["held_out"]
    space = get_space("multi_hardware")
    known = set(fitted["trained_on"])
    lines = [line for line in measured.read_text().splitlines() if hash_of(space, line) in known]
    assert len(lines) == fitted["n"]
    trained = tmp_path / "trained.jsonl"
    trained.write_text("\n".join(lines))
    result = run("validate", "--cost-model", str(model), "--data", str(trained))
    assert "all 120 architectures were trained on, expected others" in str(result.exception)


def test_remarks_reach_people_beside_a_document(model: Path, measured: Path) -> None:
    result = run("validate", "--cost-model", str(model), "--data", str(measured), "--json")
    assert "120 of 150 architectures were trained on and are left out" in result.stderr
    assert json.loads(result.stdout)["statistics"]["n"] == 30


def test_names_with_brackets_are_no_markup(measured: Path, tmp_path: Path) -> None:
    lines = measured.read_text().splitlines()[:40]
    data, path = tmp_path / "few.jsonl", tmp_path / "model.json"
    data.write_text("\n".join(json.dumps({**json.loads(line), "distribution": "[bold]a[/]"}) for line in lines) + "\n")
    fitted = run("fit", "--data", str(data), "--space", "multi_hardware", "--hardware", "[bold]b[/x]", "-o", str(path))
    assert fitted.exception is None
    assert "[bold]a[/]" in fitted.stdout
    assert "[bold]b[/x]" in fitted.stdout
    assert "[bold]b[/x]" in run("predict", "multi_max", "--cost-model", str(path)).stdout


def test_a_table_s_provenance_is_not_written_over(tmp_path: Path) -> None:
    """`-o latencies.json` is near at hand for `--data latencies.csv`."""
    beside, space = tmp_path / "latencies.json", get_space("multi_hardware")
    (tmp_path / "latencies.csv").write_text("architecture,ms\nmulti_max,2.5\n")
    content = json.dumps({"format": "mhmodels.latencies/1", "space": space.name, "schema": space.schema, "environments": {}})
    beside.write_text(content)
    words = ("fit", "--data", str(beside.with_suffix(".csv")), "--space", space.name, "--hardware", "a", "-o", str(beside))
    result = run(*words)
    assert (result.exit_code, "which is what the command reads too" in result.output) == (2, True)
    assert beside.read_text() == content
    beside.write_text("{}")  # of no table: a model may take its place, if there are latencies enough
    assert "1 different architectures" in str(run(*words).exception)


def hash_of(space: SearchSpace, line: str) -> str:
    return encoding_hashes(space, space.check(json.loads(line)["encoding"]))[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("space", "nothing"), 1, "unknown search space 'nothing'"),
        (("space", "nas_bench_201", "--hardware", "hexagon-2020"), 1, "is tabular"),
        (("space", "multi_hardware", "--hardware", "hexagon-2021"), 1, "did you mean hexagon-2020"),
        (("space", "--hardware", "hexagon-2020"), 2, "need the NAME of a space"),
        (("sample", "--space", "fbnet", "-n", "5", "--distribution", "odd", "-o", "x"), 1, "distribution is 'odd'"),
        (("sample", "--space", "fbnet", "-n", "0", "-o", "x"), 2, "0 is not in the range"),
        (("fit", "--data", "missing", "--space", "fbnet", "--hardware", "a", "-o", "x.json"), 1, "missing: cannot be read"),
        (
            ("fit", "--space", "fbnet", "--hardware", "a", "-o", "x.json"),
            1,
            "results.db: no such file, expected a measurement store",
        ),
        (("fit", "--space", "fbnet", "--hardware", "a", "-o", "x"), 2, "expected a name that ends with .json"),
        (("fit", "--space", "fbnet", "--hardware", "a", "-o", "x.json", "--plot", "x.txt"), 2, "with .png or .svg or .pdf"),
        (("fit", "--space", "fbnet", "--hardware", "a", "-o", "/proc/x.json"), 2, "nothing can be written to '/proc'"),
        (("fit", "--space", "fbnet", "--hardware", "a", "-o", "/dev/null/x.json"), 2, "nothing can be written to '/dev/null'"),
        (
            ("fit", "--space", "fbnet", "--hardware", "a", "-o", "x.json", "--held-out", "nan"),
            2,
            "'nan': expected a finite decimal number",
        ),
        (("collect", "--space", "fbnet", "-n", "5", "--patience", "nan"), 2, "'nan': expected a finite decimal number"),
        (
            ("fit", "--data", "x.json", "--space", "fbnet", "--hardware", "a", "-o", "x.json"),
            2,
            "-o is 'x.json', which is what the command reads too",
        ),
        (("predict", "--cost-model", "x"), 2, "nothing to predict"),
        (("predict", "multi_max", "--cost-model", "missing.json"), 1, "missing.json: cannot be read"),
    ],
)
def test_what_a_user_gets_wrong(command: Command, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = command("search", *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cost_model_of_other_hardware_or_size_is_refused(command: Command, model: Path) -> None:
    result = command("search", "predict", "multi_max", "--cost-model", str(model), "--hardware", "ethos-u55-128")
    assert result.returncode == 1
    assert "is for hardware 'roofline-31.2', not 'ethos-u55-128'" in result.stderr
    result = command("search", "predict", "mobilenet_v4_conv_large", "--cost-model", str(model))
    assert result.returncode == 1
    assert "knows input sizes 224, 'mobilenet_v4_conv_large' has (384, 384)" in result.stderr


def test_help_of_the_root_imports_no_search(mhmodels: Run) -> None:
    assert "Search for networks; collect latencies and fit cost models." in mhmodels("--help").stdout


def test_probes_are_compiled_for_socs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equation 1 with what an NPU's compiler refuses: kernels of 7 and more, and everything in float32."""
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import Placement, PlacementSoc
    from mhmodels.hardware.placement import placing
    from mhmodels.search.space.probing import probe

    def compile_for_soc(data: bytes, source: str, soc: PlacementSoc) -> placing.CompiledNetwork:
        whole = source not in ("probe kernel 7", "probe kernel 9", "probe hard_swish") and len(data) < 40_000
        placement = Placement(model=source, format="int8", soc=soc.name, product="", whole=whole, operators_taken=0, operators=1,
                              partitions=0, seconds=1.0, compiler="c")  # fmt: skip
        return placing.CompiledNetwork(placement, None)

    monkeypatch.setattr(placing, "compile_for_soc", compile_for_soc)
    found = probe("sm8650")
    assert (found.max_kernel, found.without, found.required) == (5, ("hard_swish",), True)
    assert "Snapdragon 8 Gen 3" in found.description
    assert "compiled probes" in found.source
    done = run("space", "multi_hardware_unrestricted", "--hardware", "SM8650", "--probe")
    assert "removed by SM8650: kernel 7, above 5" in done.stdout
    monkeypatch.setattr(placing, "compile_for_soc", lambda *_: compile_for_soc(bytes(10**6), "all", _[2]))
    with pytest.raises(MeasurementError, match="SM8650-float32 does not even run a plain"):
        probe("SM8650-float32")
