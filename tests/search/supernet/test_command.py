"""`mhmodels search run --data`: as a user runs it, and what resuming and showing make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import load_architecture
from mhmodels.cli.main import cli
from mhmodels.hardware import get_hardware, list_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.training import checkpoint
from search.cost_model.fitting import FitOptions, Origin, fit
from search.spaces import get_space
from search.supernet.presets import PRESETS
from search.template import ArchitectureSpace

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
    model = fit(space, rows, ms, Origin(hardware.id, kind="simulated"), FitOptions(curve=False)).model
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
    ],
)
def test_wrong_arguments_are_named(arguments: list[str | Path], changes: list[str], message: str, tmp_path: Path) -> None:
    result = run(*arguments, *changes, "-o", tmp_path / "found.json")
    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"


def test_data_are_remembered_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from search.supernet_cli import request_options

    monkeypatch.chdir(tmp_path)
    options = dict.fromkeys(("label_offset", "classes", "strategy", "recompute")) | {"preset": "quick"}
    for given, kept in (
        ("digits64-hard", "digits64-hard"),
        ("gs://bucket/train-*", "gs://bucket/train-*"),
        ("pictures", str(tmp_path / "pictures")),
        ("records/train-*", str(tmp_path / "records/train-*")),
    ):
        assert request_options({**options, "data": given})["data"] == kept
