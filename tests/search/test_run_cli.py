"""`mhmodels search run`, `resume` and `show` as a user runs them, and what other commands make of the result."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import Architecture, load_architecture
from mhmodels.cli.main import cli
from mhmodels.complexity import complexity
from mhmodels.hardware import get_hardware, list_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.registry import get_architecture
from mhmodels.search.cli.resume import check_function
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.run.request import load_request
from mhmodels.search.space.catalogue import get_space
from tests.conftest import Run
from tests.training.tiny import write_folder

EVALUATOR = """
import numpy as np

def accuracy(space, encodings):
    return 0.5 + 0.4 * np.tanh(space.madds(encodings) / 3e7)

def late(space, encodings):
    import helping
    print("training")
    return helping.half(encodings)

def broken(space, encodings):
    return np.full(len(encodings), np.nan)
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)], catch_exceptions=True)


def document(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exception is None, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def hardware_ids() -> tuple[str, ...]:
    return tuple(entry.id for entry, _ in list_hardware() if entry.id.startswith("roofline"))[:2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hardware_ids: tuple[str, ...]) -> Path:
    """Cost models of two simulated hardware for NAS-Bench-Macro, and an evaluator of the user's."""
    path = tmp_path_factory.mktemp("search")
    space = get_space("nas_bench_macro")
    rows = np.unique(space.draw(120, np.random.default_rng(0)), axis=0)
    for hardware_id in hardware_ids:
        hardware, _ = get_hardware(hardware_id)
        ms = [simulate(architecture, hardware) for architecture in space.build_all(rows)]  # type: ignore[attr-defined]
        model = fit(space, rows, ms, LatencyOrigin(hardware_id, kind="simulated"), FitOptions(curve=False)).model
        (path / f"{hardware_id}.json").write_bytes(model.to_json())
    (path / "evaluating.py").write_text(EVALUATOR)
    (path / "helping.py").write_text("def half(rows): return [0.5] * len(rows)\n")
    (path / "unfinished.py").write_text("def accuracy(space, encodings:\n")
    (path / "lines.jsonl").write_text('{"encoding": [[0, 1], [1]], "accuracy": 0.5}\n')
    return path


@pytest.fixture
def arguments(folder: Path, hardware_ids: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    monkeypatch.chdir(folder)
    models = [part for one in hardware_ids for part in ("--cost-model", folder / f"{one}.json", "--reference", f"{one}=1.0")]
    return ["run", "--space", "nas_bench_macro", "--evaluator", "evaluating:accuracy", *models]


def target(arguments: list[str | Path], value: float = 1.0) -> list[str | Path]:
    return [*arguments, "--target", str(value)]


@pytest.fixture
def middle(arguments: list[str | Path]) -> list[str | Path]:
    """A target that the space has: what the message about an impossible one says is its median."""
    message = str(run(*target(arguments, 1e9), "--method", "random").exception)
    assert "out of reach in space 'nas_bench_macro'" in message
    return target(arguments, float(message.split("median ")[1].split(")")[0]))


def test_a_search_gives_an_architecture_that_other_commands_take(middle: list[str | Path], tmp_path: Path) -> None:
    output, front = tmp_path / "found.json", tmp_path / "front.json"
    found = document(*middle, "--method", "evolution", "--evaluations", "120", "-o", output, "--front", front)
    architecture = load_architecture(output)
    assert architecture.name == "found"
    assert architecture.input_size == (32, 32)
    space = get_space("nas_bench_macro")
    assert space.encode(architecture).tolist() == found["encoding"]  # type: ignore[attr-defined]
    told = json.loads(output.read_text())["provenance"]
    assert told["seed"] == 0
    assert told["evaluations"] == 120
    assert told["method"]["method"] == "evolution"
    assert all(value.startswith("sha256:") for value in told["latencies"].values())
    assert abs(told["f_avg"] / told["reward"]["target"] - 1) < 0.3
    info = CliRunner().invoke(cli, ["info", str(output), "--json"])
    assert json.loads(info.stdout)["madds"] == complexity(architecture).madds
    exported = CliRunner().invoke(cli, ["export", str(output), "-o", str(tmp_path), "--format", "float32", "--json"])
    assert exported.exception is None, exported.output
    assert Path(json.loads(exported.stdout)["files"][0]["path"]).is_file()
    networks = json.loads(front.read_text())["networks"]
    assert [one["accuracy"] for one in networks] == sorted((one["accuracy"] for one in networks), reverse=True)
    assert len(networks) >= 3


def test_an_evaluator_of_another_signature_is_refused_at_the_start(arguments: list[str | Path], folder: Path) -> None:
    (folder / "odd.py").write_text("def accuracy(encodings): return 0\n")
    result = run(*arguments[:4], "odd:accuracy", *arguments[5:], "--method", "random")
    assert "evaluator 'odd:accuracy': too many positional arguments; it is called with two" in str(result.exception)


def test_an_evaluator_may_import_when_it_is_called_and_print(mhmodels: Run, middle: list[str | Path], folder: Path) -> None:
    changed = [str(part).replace("evaluating:accuracy", "evaluating:late") for part in middle]
    done = mhmodels("search", *changed, "--method", "random", "--evaluations", "15", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == 0.5
    assert "training" in done.stderr


def test_a_log_runs_no_function_that_only_it_names(middle: list[str | Path], folder: Path, tmp_path: Path) -> None:
    log, ran = tmp_path / "run.db", folder / "ran"
    (folder / "marking.py").write_text(f"open({str(ran)!r}, 'w').close()\ndef accuracy(space, rows): return [0.5] * len(rows)\n")
    marked = ["marking:accuracy" if part == "evaluating:accuracy" else part for part in middle]
    document(*marked, "--method", "random", "--evaluations", "10", "--log", log)
    sys.modules.pop("marking")
    ran.unlink()
    refused = run("resume", log)
    assert refused.exit_code == 2
    assert "would run the function marking:accuracy of" in refused.output
    assert "marking.py" in refused.output
    other = run("resume", log, "--evaluator", "evaluating:accuracy")
    assert (other.exit_code, "has 'marking:accuracy'" in other.output) == (2, True)
    request, asked = load_request(log), list[str]()
    for answer in (False, True):
        with nullcontext() if answer else pytest.raises(click.UsageError, match="say so with --evaluator"):
            check_function(request, None, log, lambda text, answer=answer: asked.append(text) or answer)  # type: ignore[misc]
    assert all("marking.py" in text for text in asked)
    assert not ran.exists()
    document("resume", log, "--evaluator", "marking:accuracy")


@pytest.mark.parametrize("method", ["random", "nsga2", "reinforce"])
def test_every_method_runs_and_resumes(method: str, middle: list[str | Path], tmp_path: Path) -> None:
    budget = ["--steps", "50", "--refinement", "20", "--population", "8"] if method == "reinforce" else ["--evaluations", "60"]
    log = tmp_path / "run.db"
    first = document(*middle, "--method", method, *budget, "--log", log, "--aggregate", "max")
    again = document("resume", log, "--evaluator", "evaluating:accuracy")
    assert {key: value for key, value in first.items() if key != "path"} == {
        key: value for key, value in again.items() if key != "path"
    }
    other = run(*middle, "--method", method, *budget, "--log", log, "--aggregate", "max", "--seed", "1")
    assert "seed is 0 there and 1 now" in str(other.exception)


def test_a_log_goes_on_with_its_own_cost_models_only(
    middle: list[str | Path], hardware_ids: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    """Also `search resume`, which takes the files that the log names as they are by then."""
    model = tmp_path / "model.json"
    model.write_bytes((folder / f"{hardware_ids[0]}.json").read_bytes())
    own = [model if part == folder / f"{hardware_ids[0]}.json" else part for part in middle]
    budget = ("--method", "random", "--evaluations", "10", "--log", tmp_path / "run.db")
    document(*own, *budget)
    model.write_bytes(model.read_bytes().replace(b'"hardware"', b'"hardware" ', 1))
    resume = ("resume", tmp_path / "run.db", "--evaluator", "evaluating:accuracy")
    document(*resume)  # the same model, written otherwise
    changed = msgspec.json.decode(model.read_bytes())
    model.write_bytes(msgspec.json.encode({**changed, "intercept_ms": changed["intercept_ms"] * 1.01 + 1e-3}))
    for again in ([*own, *budget], resume):
        message = str(run(*again).exception)
        assert f'latencies.{hardware_ids[0]} is "sha256:' in message
        assert "settings" in message


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_result_is_a_model_for_every_command(
    middle: list[str | Path], hardware_ids: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """info, export, bench, compare and train, with nothing between them and the search."""
    found, store = tmp_path / "found.json", str(tmp_path / "results.db")
    document(*middle, "--method", "random", "--evaluations", "10", "-o", found)
    pictures = write_folder(tmp_path / "pictures", {"red": 12, "green": 12, "blue": 12})

    def told(*arguments: str | Path) -> Any:
        result = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
        assert result.exception is None, (arguments[0], result.output, result.exception)
        return json.loads(result.stdout)

    assert told("info", found)["name"] == "found"
    assert told("export", found, "-o", tmp_path / "files", "--format", "int8")["files"][0]["bytes"] > 0
    told("bench", found, "--hardware", hardware_ids[0], "--store", store)
    rows = told("compare", found, "--hardware", hardware_ids[0], "--hardware", hardware_ids[1], "--store", store)["rows"]
    assert rows[0]["latency_ms"].keys() == set(hardware_ids)
    assert all(value > 0 for row in rows for value in row["latency_ms"].values())
    trained = told(
        "train", found, "--data", pictures, "--recipe", "digits", "--epochs", 1, "--batch-size", 12, "-o", tmp_path / "run"
    )
    assert trained["setup"]["model"] == "found"


def test_a_predictor_is_trained_on_lines(
    middle: list[str | Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = get_space("nas_bench_macro")
    rows = np.unique(space.draw(200, np.random.default_rng(1)), axis=0)
    accuracy = 0.5 + 0.4 * np.tanh(space.madds(rows) / 3e7)  # type: ignore[attr-defined]
    lines = [json.dumps({"encoding": space.label(row), "accuracy": float(a)}) for row, a in zip(rows, accuracy, strict=True)]
    samples = tmp_path / "accuracies.jsonl"
    samples.write_text("\n".join(lines) + "\n")
    options = [str(samples) if part == "evaluating:accuracy" else part for part in middle]
    found = document(*options, "--method", "evolution", "--evaluations", "100")
    assert found["accuracies"].startswith("ridge on ")
    truth = 0.5 + 0.4 * np.tanh(space.madds(space.parse(found["label"]))[0] / 3e7)  # type: ignore[attr-defined]
    assert found["accuracy"] == pytest.approx(truth, abs=0.06)
    log = tmp_path / "run.db"
    relative = [os.path.relpath(samples, folder) if part == str(samples) else part for part in options]
    first = document(*relative, "--method", "random", "--evaluations", "20", "--log", log)
    monkeypatch.chdir(tmp_path)
    assert document("resume", log)["label"] == first["label"]  # from wherever it is continued
    other = json.dumps({"schema": "of another space", "encoding": rows[0].tolist(), "accuracy": 0.5})
    samples.write_text(lines[0] + "\n" + other + "\n")
    assert "line 2: field 'schema' is 'of another space'" in str(run(*options, "--method", "random").exception)
    samples.write_text(lines[0] + "\n" + '{"accuracy":' + "[" * 100_000)
    assert "line 2 is not an object with" in str(run(*options, "--method", "random").exception)
    samples.write_text(lines[0] + "\n{}\n")
    assert "line 2 is not an object with encoding and accuracy" in str(run(*options, "--method", "random").exception)


def test_show_draws_any_network(tmp_path: Path) -> None:
    text = run("show", "multi_max", "--png", tmp_path / "multi_max.png")
    assert text.exception is None, text.output
    assert (tmp_path / "multi_max.png").read_bytes().startswith(b"\x89PNG")
    assert "IB k5 e6!" in text.stdout
    blocks = document("show", "multi_max")["blocks"]
    assert [box["channels"] for box in blocks if box["part"] == "stage 4"] == [128] * 4
    assert [box["size"][0] for box in blocks] == [112, 56, 28, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7, 7, 7, 7, 1]
    assert "no-such" in str(run("show", "no-such").exception)
    assert "expected a name that ends with .png or" in run("show", "multi_max", "--png", tmp_path / "x.xyz").output


def test_show_says_where_a_network_comes_from(middle: list[str | Path], tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    document(*middle, "--method", "random", "--evaluations", "20", "-o", output)
    text = run("show", output).stdout
    assert "found in space nas_bench_macro, seed 0, 20 evaluations" in text
    assert document("show", output)["provenance"]["networks"] == 20


def test_show_takes_what_others_wrote_of_a_network(tmp_path: Path) -> None:
    """Provenance of any content, names with brackets."""
    other = json.loads(get_architecture("multi_max").at(name="a[/]b[best]:100:").to_json())
    other["provenance"] = {"latency_ms": {"cpu[x]": None, "npu[y]": 1.5}, "f_avg": "1.0", "accuracy": 0.9, "reward_value": 0.8}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    text = run("show", path)
    assert text.exception is None, text.output
    assert "a[/]b[best]:100: at width 1" in text.stdout
    assert "ms as the search saw them: npu[y] 1.5" in text.stdout


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("evaluating:accuracy", "evaluating:missing"), "has no function 'missing'"),
        (("evaluating:accuracy", "nowhere:f"), "No module named 'nowhere'"),
        (("evaluating:accuracy", "evaluating:broken"), "accuracy nan for nas_bench_macro:"),
        (("evaluating:accuracy", "table.csv"), "cannot be read"),
        (("evaluating:accuracy", "plain"), "expected FILE.npz"),
        (("evaluating:accuracy", "./evaluating.py:accuracy"), "expected MODULE:FUNCTION"),
        (("evaluating:accuracy", "unfinished:accuracy"), "evaluator 'unfinished:accuracy': "),
        (("evaluating:accuracy", "lines.jsonl:accuracy"), "has no columns, found 'accuracy'"),
        (("evaluating:accuracy", "lines.jsonl"), "line 1: "),
        (("nas_bench_macro", "nas_bench_201"), "cost model"),
        (("nas_bench_macro", "multi_hardware"), "input sizes"),
        (("nas_bench_macro", "nothing"), "unknown search space 'nothing'"),
    ],
)
def test_bad_input_is_one_message(change: tuple[str, str], text: str, middle: list[str | Path]) -> None:
    changed = [change[1] if part == change[0] else part for part in middle]
    result = run(*changed, "--method", "random")
    assert text in str(result.exception)
    assert type(result.exception).__module__.startswith(("search", "mhmodels"))


def test_references_that_cost_models_cannot_predict_are_asked_for(arguments: list[str | Path]) -> None:
    """MobileNetV1 runs at 224 pixels, these cost models know 32."""
    without = [part for i, part in enumerate(arguments) if part != "--reference" and arguments[i - 1] != "--reference"]
    message = str(run(*without, "--method", "random").exception)
    assert "reference 'mobilenet_v1'" in message
    assert "give a reference latency for every hardware (--reference)" in message


def test_usage_errors(middle: list[str | Path]) -> None:
    assert run(*middle, "--method", "reinforce", "--evaluations", "5").exit_code == 2
    assert run(*middle, "--weight", "x=y").exit_code == 2
    model = middle[middle.index("--cost-model") + 1]
    before = Path(model).read_bytes()
    assert "which is what the command reads too" in " ".join(run(*middle, "-o", model).output.split())
    assert Path(model).read_bytes() == before
    assert run("resume", "nothing.db").exit_code == 1
    assert "log of a search" in str(run("resume", "nothing.db").exception)


def test_from_a_shell(mhmodels: Run, middle: list[str | Path], folder: Path, tmp_path: Path) -> None:
    """A folder with a `search.py` of the user's does not get in the way."""
    (folder / "search.py").write_text("raise SystemExit('not this one')")
    done = mhmodels("search", *map(str, middle), "--method", "random", "--evaluations", "15", "--json", cwd=folder)
    (folder / "search.py").unlink()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"] == 15
    assert "equation 7" in done.stderr
    refused = mhmodels("search", *map(str, target(middle, 1e9)), "--method", "random", cwd=folder)
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines()[-1].startswith("error: target f_avg = 1e+09 is out of reach")


def test_architectures_with_provenance_keep_their_identity(tmp_path: Path) -> None:
    plain = get_architecture("multi_avg")
    beside = json.loads(plain.to_json()) | {"provenance": {"seed": 3}}
    assert Architecture.from_json(json.dumps(beside)) == plain
