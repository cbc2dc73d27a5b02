"""`mhmodels search run --data`: as a user runs it, and what resuming and showing make of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import load_architecture
from mhmodels.cli.main import cli
from mhmodels.hardware import get_hardware, list_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.presets import PRESETS
from mhmodels.training.run import checkpoint
from tests.conftest import Run

from . import tiny

SPACE = "nas_bench_macro"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A cost model of simulated hardware, a preset of a few steps, a target that the space has."""
    folder = tmp_path_factory.mktemp("supernet")
    space = get_space(SPACE)
    assert isinstance(space, ArchitectureSpace)
    hardware, _ = get_hardware(next(entry.id for entry, _ in list_hardware() if entry.id.startswith("roofline")))
    rows = np.unique(space.draw(100, np.random.default_rng(0)), axis=0)
    ms = [simulate(architecture, hardware) for architecture in space.build_all(rows)]
    model = fit(space, rows, ms, LatencyOrigin(hardware.id, kind="simulated"), FitOptions(curve=False)).model
    (folder / "model.json").write_bytes(model.to_json())
    preset = msgspec.structs.replace(
        PRESETS["quick"],
        steps=4,
        batch_size=8,
        validation_batch=50,
        input_size=32,
        scored=2,
        train_only=0.6,
        update_every=1,
        finalists=2,
    )
    (folder / "preset.json").write_bytes(preset.to_json())
    return [
        "run", "--space", SPACE, "--data", "digits64", "--preset", folder / "preset.json", "--cost-model", folder / "model.json",
        "--reference", f"{hardware.id}={float(np.median(ms))}",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_search_on_digits_ends_in_an_architecture_with_provenance(tmp_path: Path, arguments: list[str | Path]) -> None:
    found = tmp_path / "found.json"
    result = run(*arguments, "-o", found, "--json")
    assert result.exception is None, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    architecture = load_architecture(found)
    space = get_space(SPACE)
    assert isinstance(space, ArchitectureSpace)
    np.testing.assert_array_equal(space.encode(architecture.at(name="x")), document["encoding"])
    assert document["method"]["method"] == "supernet"
    assert document["method"]["steps"] == 4
    assert document["f_avg"] == pytest.approx(1.0, abs=0.3)
    assert "digits64 search validation" in document["accuracies"]
    assert document["evaluations"] == 2 * 2 + 2  # two updates of two networks each, two finalists
    newest = checkpoint.latest(tmp_path / "found.search" / "checkpoints")
    assert newest is not None
    assert newest.name == "step_00000004.npz"
    again = json.loads(run("resume", tmp_path / "found.db", "--json").stdout)
    assert {**again, "path": None} == {**document, "path": None}
    other = run(*arguments, "--seed", "1", "-o", found)
    assert isinstance(other.exception, Exception)
    assert "seed" in str(other.exception)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--evaluator", "x.npz"], "give one of both"),
        (["--preset", "slow"], "slow"),
        (["--data", "digits65"], "digits65"),
        (["--classes", "0"], "--classes"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str | Path], changes: list[str], message: str, tmp_path: Path) -> None:
    result = run(*arguments, *changes, "-o", tmp_path / "found.json")
    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_tpu_that_is_not_there_is_one_message(arguments: list[str | Path], mhmodels: Run) -> None:
    done = mhmodels("search", *map(str, arguments), "--strategy", "tpu", "-o", "found.json")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "strategy tpu: no TPU found" in done.stderr


def test_what_was_found_is_counted_without_reading_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search with the paper's preset has 3.5 million of them."""
    from mhmodels.search.run.weight_sharing import found_network

    objective = tiny.objective(tiny.space())
    drawn = objective.space.draw(30, np.random.default_rng(0))
    rows = np.concatenate([drawn, drawn[:10]])
    latencies, f = objective.latencies(rows), objective.f(rows)
    worth = Evaluations(("",) * 40, rows, np.full(40, 0.5), latencies, f, f, ("host",) * 40)
    outcome: Any = SimpleNamespace(encoding=rows[0], accuracy=0.5, latencies=latencies[0], f=1.0, reward=0.5)
    with SearchLog(tmp_path / "search.db") as log:
        log.add("supernet", worth, {})
        log.add("finalist", worth, {})
        everything, read = log.evaluated(), log.evaluated
        monkeypatch.setattr(log, "evaluated", lambda phase: read(phase))  # never without a phase
        found = found_network(objective, outcome, log)
    assert found.evaluations == len(everything.f) == 80
    assert found.networks == len(np.unique(objective.space.canonical(rows), axis=0))
    assert found.log.phases == ("finalist",) * 40


def test_data_are_remembered_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mhmodels.search.run.request import SearchRequest, WeightSharing
    from mhmodels.search.run.resolving import located

    monkeypatch.chdir(tmp_path)
    for given, kept in (
        ("digits64-hard", "digits64-hard"),
        ("gs://bucket/train-*", "gs://bucket/train-*"),
        ("pictures", str(tmp_path / "pictures")),
        ("records/train-*", str(tmp_path / "records/train-*")),
    ):
        request = SearchRequest(space=SPACE, weight_sharing=WeightSharing(preset=PRESETS["quick"], data=given))
        sharing = located(request, request.space).weight_sharing
        assert sharing is not None
        assert sharing.data == kept
