"""`run_search` from Python, as in a notebook; the layers of `mhmodels search` below and above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.architecture import load_architecture
from mhmodels.search.cli.group import COMMANDS
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import NonDominated, Random
from mhmodels.search.objective.objective import Objective, Reach
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.observing import SilentSearchObserver
from mhmodels.search.run.request import RequestError, SearchRequest, WeightSharing, load_request, request_document
from mhmodels.search.run.resolving import resolve_search
from mhmodels.search.run.search import run_search
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.supernet.presets import PRESETS


def accuracy(space: SearchSpace, encodings: Encodings) -> Any:
    return encodings.mean(axis=1) / 2


def request(**changes: Any) -> SearchRequest:
    fields: dict[str, Any] = {"space": "nas_bench_macro", "latencies": "nas_bench_macro", "method": Random(evaluations=20)}
    return SearchRequest(**(fields | changes))


def test_a_search_in_a_notebook(tmp_path: Path) -> None:
    result = run_search(request(method=NonDominated(evaluations=40, population=10)), tmp_path / "run.db", accuracy=accuracy)
    assert result is not None
    result.save(tmp_path / "mine.json")
    assert load_architecture(tmp_path / "mine.json").name == "mine"
    assert result.architecture("mine") == load_architecture(tmp_path / "mine.json")
    assert result.latency_ms.keys() == result.objective.sources.keys()
    assert result.provenance["accuracies"].endswith("test_search_python:accuracy")
    accuracies = [network["accuracy"] for network in result.front()["networks"]]
    assert accuracies == sorted(accuracies, reverse=True)
    again = run_search(request(method=NonDominated(evaluations=40, population=10)), tmp_path / "run.db", accuracy=accuracy)
    assert again is not None
    np.testing.assert_array_equal(again.found.encoding, result.found.encoding)
    with pytest.raises(SearchError, match="holds no search that was begun from the command line"):
        load_request(tmp_path / "run.db")  # a function object has no name to find it by


def test_an_observer_is_told_everything() -> None:
    class Watcher(SilentSearchObserver):
        def __init__(self) -> None:
            self.begun, self.counts = list[str](), list[int]()

        def begins(self, objective: Objective, accuracies: str, reach: Reach) -> None:
            self.begun.append(f"{objective.space.name}: {accuracies}")

        def evaluated(self, evaluations: int, phase: str, best_reward: float) -> None:
            self.counts.append(evaluations)

    watcher = Watcher()
    run_search(request(), accuracy=accuracy, observer=watcher)
    assert watcher.begun == ["nas_bench_macro: tests.search.test_search_python:accuracy"]
    assert watcher.counts[-1] == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": {"a": 0.0}}, "argument 'references' has 'a=0', expected a finite number above 0"),
        ({"references": {"a": float("inf")}}, "argument 'references' has 'a=inf'"),
        ({"weights": {"a": -1.0}}, "argument 'weights' has 'a=-1', expected a finite number of at least 0"),
        ({"seed": -1}, "field 'seed' is -1, expected a whole number"),
        ({"aggregate": "mean"}, "field 'aggregate' is 'mean', expected"),
        ({"evaluator": "a:b", "weight_sharing": WeightSharing(preset=PRESETS["quick"], data="digits64")}, "give one of both"),
    ],
)
def test_a_request_that_cannot_be_names_its_argument(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        request(**changes)


def test_a_request_needs_one_source_of_accuracies_and_one_of_latencies() -> None:
    with pytest.raises(RequestError, match="argument 'evaluator'"):
        resolve_search(request())
    with pytest.raises(SearchError, match="argument 'cost_models'"):
        resolve_search(request(latencies=""), accuracy=accuracy)
    with pytest.raises(RequestError, match="argument 'log' is missing"):
        run_search(request(weight_sharing=WeightSharing(preset=PRESETS["quick"], data="digits64")))


def test_everything_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from mhmodels.search.run import resolving
    from mhmodels.search.run.sources import latencies

    opened: list[str] = []
    for module, name in ((latencies, "load_cost_model"), (resolving, "load_space")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda word, real=real, name=name: opened.append(name) or real(word))
    own = request(space="multi_hardware", latencies="", cost_models=("ethos-u55-128", "ethos-u85-256"))
    resolved = resolve_search(own, accuracy=accuracy)
    assert sorted(opened) == ["load_cost_model", "load_cost_model", "load_space"]
    assert list(resolved.cost_models) == list(resolved.references) == ["ethos-u55-128", "ethos-u85-256"]
    assert all(Path(path).is_file() for path in resolved.request.cost_models)


@pytest.mark.parametrize("shares", [False, True])
def test_a_log_keeps_its_request_in_the_form_of_its_file(shares: bool, tmp_path: Path) -> None:
    sharing = WeightSharing(preset=PRESETS["quick"], data="digits64", classes=4)
    own = request(weight_sharing=sharing) if shares else request(evaluator="a:b")
    document = request_document(own)
    assert document["options"] == (msgspec.to_builtins(sharing) if shares else {})
    with SearchLog(tmp_path / "run.db", document) as log:
        log.begin({})
    assert load_request(tmp_path / "run.db") == own


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    words = ["mhmodels", "search", *([command] if command else []), "--help"]
    code = (
        "import sys\nfrom mhmodels.cli.main import main\n"
        f"sys.argv = {words!r}\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_library_module_imports_a_command_line() -> None:
    """Importing all of search but its command line loads neither click nor rich's displays of the commands."""
    code = (
        "import pkgutil, importlib, sys, mhmodels.search\n"
        "for found in pkgutil.walk_packages(mhmodels.search.__path__, 'mhmodels.search.'):\n"
        "    if '.cli' not in found.name:\n"
        "        importlib.import_module(found.name)\n"
        # Walking imports the empty packages themselves, but none of their modules.
        "commands = [one for name, one in sys.modules.items() if name.startswith('mhmodels.') and '.cli.' in name]\n"
        "print([one.__name__ for one in commands if not hasattr(one, '__path__')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
