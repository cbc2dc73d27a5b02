"""examples/search_digits.py: it compares what was searched, and no training stands in for another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.registry import get_architecture
from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.request import settings
from mhmodels.training import session
from mhmodels.training.data.sources import open_data
from mhmodels.training.named_recipes import RECIPES
from tests.examples import load_example

from . import tiny
from .test_command import arguments, run

__all__ = ["arguments"]  # the fixture


@pytest.fixture(scope="module")
def example() -> Any:
    return load_example("search_digits")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was trained; an accuracy of its own for every network in the place of training."""
    requests: list[Any] = []

    def stand_in(request: Any) -> None:
        requests.append(request)
        request.folder.mkdir(parents=True)
        accuracy = int(request.architecture.architecture_id[:6], 16) / 16**6
        (request.folder / "metrics.json").write_text(json.dumps({"test_accuracy": accuracy}))

    monkeypatch.setattr(session, "train_network", stand_in)
    return requests


def test_a_training_is_named_by_all_that_decides_it(example: Any, trained: list[Any], tmp_path: Path) -> None:
    own = example.Training(open_data("digits64"), RECIPES["digits"], 0, 0.25, 64, 10, tmp_path)
    entrant = example.Entrant("multi_max", get_architecture("multi_max"), 1.0, 1.0, None)
    first = example.alone(entrant, own)
    assert example.alone(entrant, own) == first
    assert len(trained) == 1  # it was kept
    longer = msgspec.structs.replace(own.recipe, epochs=own.recipe.epochs + 1)
    others = (
        (entrant, own._replace(seed=1)),
        (entrant, own._replace(recipe=longer)),
        (entrant, own._replace(data=open_data("digits64-hard"))),
        (entrant, own._replace(side=48)),
        (entrant, own._replace(width=0.5)),
        (entrant._replace(width=0.8), own),
        (entrant._replace(architecture=get_architecture("multi_avg")), own),
    )
    for number, (changed, training) in enumerate(others, 2):
        example.alone(changed, training)
        assert len(trained) == number
    assert len({request.folder for request in trained}) == 1 + len(others)


def test_random_networks_have_the_same_norm_and_are_others(example: Any) -> None:
    objective = tiny.objective(tiny.space())
    own = objective.space.draw(1, np.random.default_rng(0))[0]
    f = float(objective.f(own[None])[0])
    rows = np.array(example.like(objective, f, own, 20, 0))
    assert len(np.unique(rows, axis=0)) == 20
    assert (np.abs(objective.f(rows) / f - 1) <= 0.05).all()
    assert not (rows == own).all(axis=1).any()
    with pytest.raises(SearchError, match="0 networks within 5 %"):
        example.like(objective, 1e6, own, 20, 0)


@pytest.mark.tensorflow
def test_a_search_on_several_replicas_is_the_search_of_its_result(example: Any, tmp_path: Path) -> None:
    search = tiny.request(tmp_path)
    own = msgspec.json.decode(msgspec.json.encode(settings(search)))
    example.check_origin(tmp_path / "found.json", tmp_path / "found.db", search, own | {"replicas": 2})
    with pytest.raises(SearchError, match=r"found by the search in .*found\.db: seed differ"):
        example.check_origin(tmp_path / "found.json", tmp_path / "found.db", search, own | {"replicas": 2, "seed": 1})


def test_the_verdict(example: Any) -> None:
    accuracies = [0.80, 0.70, 0.72, 0.74, 0.76, 0.90]
    rows = [
        {"name": f"random{i}", "accuracy": value, "shared": value - 0.3 if i else 0.59, "f": 1.0}
        for i, value in enumerate(accuracies)
    ]
    found = {"name": "found", "accuracy": 0.80, "shared": 0.5, "f": 1.0}
    multi_max = {"name": "multi_max", "accuracy": 0.75, "shared": None, "f": 1.03}
    told = example.verdict([found, *rows, multi_max], 5)
    assert told["percentile"] == pytest.approx(90)  # above four of five, level with one
    assert told["spread"] == pytest.approx(10)
    assert told["multi_max_points"] == pytest.approx(5)
    assert told["multi_max_f_off"] == pytest.approx(0.03)
    assert told["ranked"] == 6
    assert told["tau"] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_from_a_search_to_its_comparison(
    example: Any, trained: list[Any], arguments: list[str | Path], tmp_path: Path, eager: None
) -> None:
    found, output = tmp_path / "found.json", tmp_path / "comparison.json"
    assert run(*arguments, "-o", found, "--json").exception is None
    asked = [str(found), "--networks", "2", "--ranked", "4", "--epochs", "1", "--runs", str(tmp_path / "runs"), "-o", str(output)]
    document = example.main(asked)
    assert json.loads(output.read_bytes()) == msgspec.json.decode(msgspec.json.encode(document))
    assert [row["name"] for row in document["rows"]] == ["found", *(f"random{i}" for i in range(4)), "multi_max"]
    provenance = json.loads(found.read_bytes())["provenance"]
    assert document["rows"][0]["shared"] == provenance["accuracy"]  # the shared weights say the same of it again
    assert document["ranked"] == 4
    assert all(request.architecture.input_size == (32, 32) and request.architecture.classes == 10 for request in trained)
    example.main(asked)
    assert len(trained) == 6  # the second time all were there
    changed = json.loads(found.read_bytes())
    changed["provenance"]["seed"] = 9
    found.write_text(json.dumps(changed))
    with pytest.raises(SearchError, match=r"was not found by the search in .*found\.db: seed differ"):
        example.main(asked)
