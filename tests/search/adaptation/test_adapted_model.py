"""Files of adapted models: what comes back, what takes them, and which are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.hardware.capabilities import Capabilities
from mhmodels.search import (
    CostModel,
    CostModelError,
    Objective,
    Reward,
    adapt,
    get_space,
    load_cost_model,
    predict,
    restrict,
    sample,
    shipped_model,
)
from mhmodels.search.cost_model.adapted import predictor as adapted_predictor
from mhmodels.search.cost_model.adapted.predictor import AdaptedPredictor
from mhmodels.search.space.template import ArchitectureSpace
from tests.search.synthetic_latencies import REST, SOURCE, launch_bound, noise, table, world

EVALUATOR = """
import numpy as np

def accuracy(space, encodings):
    return 0.5 + 0.4 * np.tanh(space.madds(encodings) / 1e9)
"""


def of_cells() -> CostModel:
    """From two tables, to 20 cells. Log latencies of the first are sums, so it becomes a kernel regression; those of the other
    are not, so it becomes a cost model."""
    here = world("nas_bench_201")
    sources = {
        "a": table(here.rows[SOURCE], np.exp(here.ms / here.ms.std())[SOURCE]),
        "b": table(here.rows[SOURCE], launch_bound(here)[SOURCE]),
    }
    return adapt(here.space, sources, here.rows[300:320], here.ms[300:320] ** 0.9, "my-npu").model


def of_networks() -> CostModel:
    """From a cost model that comes with the package, to 20 networks."""
    space = get_space("multi_hardware")
    source = shipped_model(space, "ethos-u55-128")
    rows = sample(space, 20).encodings
    ms = source.bind(space).predict(rows) ** 0.9 * noise(20, 0.02)
    return adapt(space, {"ethos-u55-128": source}, rows, ms, "my-npu").model


@pytest.fixture(scope="module")
def cells() -> CostModel:
    return of_cells()


@pytest.fixture(scope="module")
def networks() -> CostModel:
    return of_networks()


@pytest.fixture(scope="module")
def path(networks: CostModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models") / "model.json"
    networks.save(found)
    return found


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)])


@pytest.mark.parametrize("which", ["cells", "networks"])
def test_a_model_from_a_file_is_the_model(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model: CostModel = request.getfixturevalue(which)
    model.save(tmp_path / "model.json")
    loaded = load_cost_model(tmp_path / "model.json")
    assert loaded == model
    assert (loaded.form, loaded.hardware, loaded.n, loaded.doubts) == ("adapted", "my-npu", 20, ())
    space = get_space(model.space)
    rows = sample(space, 100).encodings
    first, second = model.bind(space), loaded.bind(space)
    assert isinstance(first, AdaptedPredictor)
    assert isinstance(second, AdaptedPredictor)
    np.testing.assert_array_equal(first.predict(rows), second.predict(rows))
    np.testing.assert_array_equal(first.interval(rows, 0.8), second.interval(rows, 0.8))


def test_an_adapted_model_predicts_architectures_of_its_space(networks: CostModel) -> None:
    space = get_space("multi_hardware")
    assert isinstance(space, ArchitectureSpace)
    rows = sample(space, 3).encodings
    found = networks.predict([space.build(row) for row in rows])
    np.testing.assert_allclose(found, networks.bind(space).predict(rows))
    (row,) = predict(["multi_max"], [networks])
    assert (row.hardware, row.inside, row.unseen) == ("my-npu", True, ())


def test_objectives_take_adapted_models(networks: CostModel) -> None:
    space = get_space("multi_hardware")
    models = [networks, shipped_model(space, "ethos-u65-256")]
    objective = Objective.of_cost_models(space, models, Reward(references={model.hardware: 10.0 for model in models}))
    rows = sample(space, 5).encodings
    assert objective.latencies(rows).shape == (5, 2)
    np.testing.assert_array_equal(objective.latencies(rows)[:, 0], networks.bind(space).predict(rows))
    assert objective.identities()["my-npu"].startswith("sha256:")


def test_a_restricted_space_predicts_what_its_parent_does(networks: CostModel) -> None:
    space = get_space("multi_hardware")
    assert isinstance(space, ArchitectureSpace)
    narrow = restrict(space, [Capabilities(id="npu", description="An NPU.", source="its manual", max_kernel=3)]).space
    rows = sample(narrow, 50).encodings
    np.testing.assert_array_equal(networks.bind(narrow).predict(rows), networks.bind(space).predict(rows))
    for level in (0.5, 0.9):
        wide, small = (networks.bind(where).interval(rows, level) for where in (space, narrow))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(wide, small)


def test_many_networks_are_predicted_in_parts_of_bounded_size(cells: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    space = get_space("nas_bench_201")
    rows = np.array(list(space))
    bound: Any = cells.bind(space)
    sizes: list[int] = []
    kernels = bound._prior.kernels

    def counted(first: Any, second: Any) -> Any:
        sizes.append(len(first.mean))
        return kernels(first, second)

    monkeypatch.setattr(bound._prior, "kernels", counted)
    whole, ends = bound.predict(rows), bound.interval(rows, 0.9)
    assert max(sizes) <= adapted_predictor._AT_ONCE <= 5000
    assert sum(sizes) == 2 * len(rows)
    monkeypatch.setattr(adapted_predictor, "_AT_ONCE", 7)
    np.testing.assert_allclose(bound.predict(rows[:100]), whole[:100], rtol=1e-6)
    np.testing.assert_allclose(bound.interval(rows[:100], 0.9), [side[:100] for side in ends], rtol=1e-6)


def test_no_networks_are_no_error(cells: CostModel) -> None:
    bound: Any = cells.bind(get_space("nas_bench_201"))
    nothing = np.zeros((0, 6), int)
    assert bound.predict(nothing).shape == (0,)
    assert [side.shape for side in bound.interval(nothing)] == [(0,), (0,)]


def test_the_floor_holds_for_predictions_and_intervals(cells: CostModel) -> None:
    bound: Any = msgspec.structs.replace(cells, floor_ms=50.0).bind(get_space("nas_bench_201"))
    rows = world("nas_bench_201").rows[REST]
    low, high = bound.interval(rows, 0.9)
    assert (bound.predict(rows) >= 50 - 1e-9).all()
    assert (low < bound.predict(rows)).all()
    assert (bound.predict(rows) < high).all()


def test_an_adapted_model_is_a_source_of_another(cells: CostModel) -> None:
    here = world("nas_bench_201")
    model, ms = cells, here.ms**0.8
    for _ in range(4):
        model = adapt(here.space, {"before": model}, here.rows[400:412], ms[400:412], "next").model
        again = CostModel.from_json(model.to_json())
        np.testing.assert_array_equal(again.bind(here.space).predict(here.rows), model.bind(here.space).predict(here.rows))
    with pytest.raises(CostModelError, match="over 4 times: adapt from the latencies of the hardware itself"):
        adapt(here.space, {"before": model}, here.rows[400:412], ms[400:412], "next")


def test_the_command_line_predicts(path: Path, networks: CostModel, tmp_path: Path) -> None:
    result = run("predict", "multi_max", "--cost-model", path, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["latency_ms"][0]["ms"] == pytest.approx(predict(["multi_max"], [networks])[0].ms)


def test_the_command_line_validates(path: Path, networks: CostModel, tmp_path: Path) -> None:
    space = get_space("multi_hardware")
    rows = sample(space, 60).encodings
    ms = shipped_model(space, "ethos-u55-128").bind(space).predict(rows) ** 0.9
    lines = [f"{':'.join(map(str, row))},{value}" for row, value in zip(rows.tolist(), ms, strict=True)]
    (tmp_path / "rest.csv").write_text("\n".join(["encoding,ms", *lines]) + "\n")
    result = run("validate", "--cost-model", path, "--data", tmp_path / "rest.csv", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["hardware"] == "my-npu"
    assert found["statistics"]["n"] == 40  # the 20 that the model was adapted to are left out
    assert found["statistics"]["spearman"] > 0.99
    assert found["statistics"]["mape"] < 0.05


def test_the_command_line_searches(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge.py").write_text(EVALUATOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run(
        *("run", "--space", "multi_hardware", "--cost-model", path, "--reference", "my-npu=10", "--evaluator", "judge:accuracy"),
        *("--method", "evolution", "--evaluations", "30", "-o", tmp_path / "found.json", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert "my-npu" in result.stdout


def replaced(*where: Any, value: Any = None, gone: bool = False) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in where[:-1]:
            document = document[key]
        if gone:
            del document[where[-1]]
        else:
            document[where[-1]] = value

    return change


A, R = "adaptation", "regression"


def both(document: Any) -> None:
    inner = json.loads(json.dumps(document))
    inner.pop("format")
    document[A]["sources"][0]["cost_model"] = inner


def other_space(document: Any) -> None:
    inner = msgspec.to_builtins(shipped_model("multi_hardware", "ethos-u55-128"))
    document[A]["sources"][0].update(regression=None, cost_model=inner)


def nested(document: Any) -> None:
    inner = json.loads(json.dumps(document))
    inner.pop("format")
    inner[A]["sources"] = inner[A]["sources"][:1]
    for _ in range(60):
        inner = {**inner, A: {**inner[A], "sources": [{"hardware": "x", "centre": 0.0, "scale": 1.0, "cost_model": inner}]}}
    document[A]["sources"] = [{"hardware": "x", "centre": 0.0, "scale": 1.0, "cost_model": inner}]


DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "no adaptation": (replaced(A, gone=True), "field 'adaptation' is missing or empty, expected the sources and measurements"),
    "null": (replaced(A), "field 'adaptation' is missing or empty"),
    "form": (replaced("form", value="structural"), "field 'weights' is missing"),
    "decision": (replaced(A, "decision", value="x"), "Invalid enum value 'x'"),
    "unknown field": (replaced(A, "foo", value=1), "unknown field `foo`"),
    "fewer latencies": (replaced(A, "ms", value=[1.0]), "20 encodings, 1 latencies and 20 precisions"),
    "no precision": (replaced(A, "precision", value=[0.0] * 20), "a precision above 0"),
    "no measurement": (lambda d: d[A].update(encodings=[], ms=[], precision=[]), "0 encodings, 0 latencies and 0 precisions"),
    "no sources": (replaced(A, "sources", value=[]), "length >= 1"),
    "no groups": (replaced(A, "variances", value={}), "field 'variances' is empty"),
    "only deviations of one source": (
        lambda d: d[A].update(variances={"deviations": 1.0}, sources=d[A]["sources"][:1]),
        "its only group of kernels is 'deviations'",
    ),
    "unknown group": (replaced(A, "variances", "foo", value=1.0), "unknown group of kernels 'foo', expected some of sources"),
    "neither": (replaced(A, "sources", 0, R), "source 'a' needs either a regression or a cost model"),
    "both": (both, "source 'a' needs either a regression or a cost model"),
    "source of another space": (other_space, "is for encodings of space 'multi_hardware'"),
    "nested 60 times": (nested, "over 4 times"),
    "short encodings": (replaced(A, "encodings", value=["0:0"] * 20), "encodings are no encodings of space 'nas_bench_201'"),
    "encoding of words": (replaced(A, "encodings", 0, value="x"), "encodings are no encodings"),
    "unknown choice": (replaced(A, "encodings", 0, value="5:0:0:0:0:0"), "encodings are no encodings"),
    "choice below 0": (replaced(A, "encodings", 0, value="-1:0:0:0:0:0"), "encodings are no encodings"),
    "huge choice": (replaced(A, "encodings", 0, value="99999999999999999999:0:0:0:0:0"), "encodings are no encodings"),
    "encoding of a source": (replaced(A, "sources", 0, R, "encodings", 0, value="0:0"), "encodings are no encodings"),
    "fewer weights of a source": (
        replaced(A, "sources", 0, R, "dual", value=[1.0]),
        "250 encodings and 1 dual weights|and 1 dual",
    ),
    "range of a source": (replaced(A, "sources", 0, R, "lowest", value=99.0), "a source predicts 99 to"),
    "fewer features": (replaced(A, "feature_centre", value=[1.0]), "it has 1 features of networks, space 'nas_bench_201' has 16"),
    "tiny feature scale": (replaced(A, "feature_scale", 0, value=1e-300), "field 'feature_scale' has 1e-300"),
    "floor": (replaced("floor_ms", value=0.0), "field 'floor_ms' is 0"),
    **{
        f"{'.'.join(map(str, where))} = {value}": (
            replaced(A, *where, value=value),
            rf"`\$.adaptation.{where[0]}.*found '{re.escape(str(value))}'",
        )
        for where, values in {
            ("precision", 0): (-1, 1e300),
            ("ms", 0): (0, -1, 1e300, 1e-300),
            ("noise",): (0, -1, 1e-300, 1e300),
            ("clock_ms",): (-1, 1e300),
            ("feature_scale", 0): (-1, 1e300),
            ("feature_centre", 0): (1e300,),
            ("sources", 0, "scale"): (0, -1, 1e-300, 1e300),
            ("sources", 0, "centre"): (1e300, -1e300),
            ("sources", 0, R, "dual", 0): (1e300,),
            ("sources", 0, R, "centre"): (1e300,),
        }.items()
        for value in values
    },
    "negative variance": (replaced(A, "variances", "choices", value=-5), "Expected `float` >= 0"),
    "huge variance": (replaced(A, "variances", "choices", value=1e300), "Expected `float` <= 1000000"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_with_one_message(name: str, cells: CostModel) -> None:
    change, message = DAMAGE[name]
    document = json.loads(cells.to_json())
    change(document)
    with pytest.raises(MhmodelsError, match=message):
        CostModel.from_json(json.dumps(document), "model.json").bind(get_space("nas_bench_201"))


def test_an_adaptation_beside_weights_is_refused(networks: CostModel) -> None:
    weights = shipped_model("multi_hardware", "ethos-u55-128").weights
    with pytest.raises(CostModelError, match="field 'adaptation' is of form adapted, field 'form' is structural"):
        msgspec.structs.replace(networks, form="structural", weights=weights)


@pytest.mark.parametrize("command", ["predict", "validate", "run"])
def test_commands_refuse_a_damaged_file_without_a_traceback(command: str, path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_bytes())
    document[A]["encodings"][0] = "0:0"
    damaged = tmp_path / "model.json"
    damaged.write_text(json.dumps(document))
    space = get_space("multi_hardware")
    (tmp_path / "rest.csv").write_text(f"encoding,ms\n{':'.join(map(str, sample(space, 30, seed=9).encodings[0].tolist()))},3\n")
    arguments = {
        "predict": ("predict", "multi_max", "--cost-model", damaged),
        "validate": ("validate", "--cost-model", damaged, "--data", tmp_path / "rest.csv"),
        "run": (
            *("run", "--space", "multi_hardware", "--cost-model", damaged, "--reference", "my-npu=10"),
            *("--evaluator", "json:dumps", "--method", "random", "--evaluations", "3", "-o", tmp_path / "found.json"),
        ),
    }[command]
    result = run(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, (MhmodelsError, SystemExit)), repr(result.exception)
    assert "encodings are no encodings of space 'multi_hardware'" in f"{result.exception} {result.output}"
    if command != "predict":
        assert str(damaged) in f"{result.exception} {result.output}"
