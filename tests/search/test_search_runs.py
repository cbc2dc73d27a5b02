"""Whole searches on small spaces: budgets, optima, logs that resume, bad input."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mhmodels.errors import StoreError
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import ControllerSettings
from mhmodels.search.methods.strategies import Evolution, FrontEvolution, Method, NonDominated, Random, Reinforce
from mhmodels.search.objective.evaluators import CallableAccuracy, PredictedAccuracy
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.run.evaluations import Evaluations
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.loop import FoundNetwork, search
from mhmodels.search.run.pareto import front_document, pareto_front
from tests.search import toys

CONTROLLER = ControllerSettings(steps=40, delay=0.1, operation_warm_up=0.1, width_warm_up=0.0, learning_rate=0.05)
METHODS: dict[str, Method] = {
    "random": Random(evaluations=150),
    "evolution": Evolution(evaluations=150, population=20, tournament=10),
    "parallel evolution": Evolution(evaluations=150, population=20, tournament=10, children=8),
    "nsga2": NonDominated(evaluations=150, population=20),
    "nsga2, norm": NonDominated(evaluations=150, population=20, each=False),
    "front evolution": FrontEvolution(evaluations=150, population=10, children=20, each=False),
    "front evolution, start": FrontEvolution(evaluations=150, population=10, children=20, start=((0,) * 5, (3,) * 5, (0,) * 5)),
    "reinforce": Reinforce(controller=CONTROLLER, replicas=3, refinement=30, population=10, tournament=5),
}


class Stop(Exception):
    """The machine goes away."""


def run(method: Method, seed: int = 1, log: SearchLog | None = None, evaluator: Any = None) -> FoundNetwork:
    return search(toys.objective(), evaluator or toys.Share(), method, seed, log)


@pytest.mark.parametrize("name", METHODS)
def test_budgets_are_kept_to_the_network(name: str) -> None:
    method, evaluator = METHODS[name], toys.Share()
    found = run(method, evaluator=evaluator)
    assert found.evaluations == method.budget == len(found.log.accuracy)
    assert found.networks == evaluator.count == len(np.unique(found.log.encodings, axis=0))
    if not isinstance(method, Reinforce):
        assert found.networks == method.budget  # no network twice
    np.testing.assert_allclose(found.log.rewards, toys.objective()(found.log.accuracy, found.log.encodings))


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_searches_and_others_do_not(name: str) -> None:
    one, same, other = (run(METHODS[name], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.log.encodings, same.log.encodings)
    np.testing.assert_array_equal(one.encoding, same.encoding)
    assert not np.array_equal(one.log.encodings, other.log.encodings)


@pytest.mark.parametrize("name", ["random", "evolution", "nsga2", "front evolution"])
def test_a_space_that_is_exhausted_ends_the_search(name: str) -> None:
    """4^2 networks and a budget of 150."""
    small = toys.objective(toys.space(decisions=2), target=2.0)
    rows = np.array(list(small.space))
    found = search(small, toys.Share(), METHODS[name], 0)
    assert found.networks <= 16
    if name == "random":
        assert found.networks == 16
        assert found.reward == pytest.approx(small(toys.Share().evaluate(rows), rows).max())


@pytest.mark.parametrize("seed", range(3))
def test_evolution_and_refinement_find_the_toy_optimum(seed: int) -> None:
    """All decisions on BEST is the best: it is on target (f_max = 4) and has accuracy 1."""
    for method in (Evolution(evaluations=300, population=20, tournament=10), METHODS["reinforce"]):
        found = run(method, seed)
        assert found.reward >= 0.79
    assert run(Evolution(evaluations=500, population=20, tournament=10), seed).reward == pytest.approx(1.0)


def test_the_result_is_the_best_that_was_evaluated() -> None:
    for name in ("random", "evolution", "nsga2", "reinforce"):
        found = run(METHODS[name])
        assert found.reward == pytest.approx(found.log.rewards.max())
        assert found.binding == "b"


def test_without_refinement_the_result_is_the_argmax() -> None:
    method = Reinforce(
        controller=ControllerSettings(
            steps=1500, delay=0.0, operation_warm_up=0.0, width_warm_up=0.0, learning_rate=0.02, growth=1.0
        ),
        replicas=4,
        refinement=0,
    )
    found = run(method)
    assert (found.encoding == toys.BEST).all()
    assert found.log.phases[-1] == "argmax"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [1, 37, 100])
def test_an_interrupted_search_ends_as_if_nothing_had_happened(name: str, stop: int, tmp_path: Path) -> None:
    whole = run(METHODS[name])

    def fail(count: int) -> None:
        if count == stop:
            raise Stop

    with SearchLog(tmp_path / "run.db") as log, pytest.raises(Stop):
        run(METHODS[name], log=log, evaluator=toys.Share(fail))
    with SearchLog(tmp_path / "run.db") as log:
        kept = np.unique(log.evaluated().encodings, axis=0)
        evaluator = toys.Share()
        resumed = run(METHODS[name], log=log, evaluator=evaluator)
        assert evaluator.count == whole.networks - len(kept)  # what the log has is not evaluated again
        stored = log.evaluated()
    for one in (resumed.log, stored):
        np.testing.assert_array_equal(one.encodings, whole.log.encodings)
        np.testing.assert_array_equal(one.rewards, whole.log.rewards)
        assert tuple(one.phases) == tuple(whole.log.phases)
    np.testing.assert_array_equal(resumed.encoding, whole.encoding)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from tests.search import toys
from tests.search.test_search_runs import METHODS
from mhmodels.search.run.log import SearchLog
from mhmodels.search.run.loop import search
with SearchLog({path!r}) as log:
    search(toys.objective(), toys.Share(lambda count: time.sleep(0.005)), METHODS["reinforce"], 1, log)
"""


def test_a_search_that_was_killed_resumes(tmp_path: Path) -> None:
    path, root = tmp_path / "run.db", str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", KILLED.format(root=root, path=str(path))])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and _rows(path) > 30:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 30 < _rows(path) < METHODS["reinforce"].budget
    with SearchLog(path) as log:
        resumed = run(METHODS["reinforce"], log=log)
    np.testing.assert_array_equal(resumed.log.encodings, run(METHODS["reinforce"]).log.encodings)


HELD = """
import sys, time
sys.path.insert(0, {root!r})
from mhmodels.search.run.log import SearchLog
with SearchLog({path!r}) as log:
    log.begin({{"seed": 1}})
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_log_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    code = HELD.format(root=str(Path(__file__).parents[2]), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with SearchLog(path) as log:
            assert log.header() == {"seed": 1}  # reading needs no lock
            evaluator = toys.Share()
            with pytest.raises(StoreError, match=rf"run\.db: process {process.pid} searches with this log .*run\.db\.lock"):
                run(METHODS["random"], log=log, evaluator=evaluator)
            assert evaluator.count == 0
    finally:
        process.kill()
        process.wait()
    with SearchLog(path) as log:
        log.begin({"seed": 1})  # the kernel dropped the lock
        log.begin({"seed": 1})


def _rows(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM evaluations").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_log_of_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "run.db") as log:
        run(METHODS["random"], log=log)
        before = log.evaluated()
        with pytest.raises(SearchError, match=r"seed is 1 there and 2 now"):
            run(METHODS["random"], 2, log)
        with pytest.raises(SearchError, match=r"method\.evaluations is 150 there and 151 now"):
            run(Random(evaluations=151), log=log)
        with pytest.raises(SearchError, match=r"reward\.target is 4\.0 there and 3\.0 now"):
            search(toys.objective(target=3.0), toys.Share(), METHODS["random"], 1, log)
        with pytest.raises(SearchError, match="method"):
            run(METHODS["evolution"], log=log)
        np.testing.assert_array_equal(log.evaluated().encodings, before.encodings)


def test_a_log_goes_on_with_its_hardware_in_its_order_only(tmp_path: Path) -> None:
    """Rows have latencies by place: in another order they would be another hardware's, without a word."""
    objective = toys.objective()
    turned = Objective(
        objective.space,
        dict(reversed(objective.sources.items())),
        msgspec.structs.replace(objective.reward, references=dict(reversed(objective.reward.references.items()))),
    )
    with SearchLog(tmp_path / "run.db") as log:
        run(METHODS["random"], log=log)
        with pytest.raises(SearchError, match=r'hardware is \["\w+","\w+".*\] there and \["'):
            search(turned, toys.Share(), METHODS["random"], 1, log)


@pytest.mark.parametrize(
    ("table", "column", "value", "what"),
    [
        ("evaluations", "latency_ms", "[1.0", "an evaluation"),
        ("evaluations", "encoding", b"\x01", "an evaluation"),
        ("evaluations", "latency_ms", "[1.0]", "an evaluation"),
        ("header", "document", "{", "header"),
        ("header", "request", "no", "request"),
        ("statistics", "document", "[]", "a statistic"),
    ],
)
def test_a_damaged_cell_is_one_message(table: str, column: str, value: Any, what: str, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with SearchLog(path, {}) as log:
        run(METHODS["reinforce"], log=log)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", [value])
    reading = {"an evaluation": SearchLog.evaluated, "header": SearchLog.header, "request": SearchLog.request}
    with SearchLog(path) as log, pytest.raises(StoreError, match=f"{what} cannot be read .*: the file is damaged"):
        reading.get(what, lambda log: list(log.statistics()))(log)


def test_foreign_files_are_left_as_they_are(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, and long enough that SQLite looks at it" * 20)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (value)")
    for path, message in ((text, "not a search log"), (other, "not a search log"), (tmp_path, "cannot be")):
        content = path.read_bytes() if path.is_file() else b""
        with pytest.raises(StoreError, match=message):
            SearchLog(path)
        assert not content or path.read_bytes() == content
    newer = tmp_path / "newer.db"
    SearchLog(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        SearchLog(newer)


def test_a_full_disk_keeps_what_was_there_and_the_search_resumes(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with SearchLog(path) as log:
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="disk is full; free some space and resume"):
            run(METHODS["random"], log=log)
        kept = len(log.evaluated().accuracy)
    with SearchLog(path) as log:
        resumed = run(METHODS["random"], log=log)
    assert kept < 150
    np.testing.assert_array_equal(resumed.log.encodings, run(METHODS["random"]).log.encodings)


def test_the_log_says_how_the_method_stood(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "run.db") as log:
        run(METHODS["reinforce"], log=log)
        told = list(log.statistics())
    assert len(told) == CONTROLLER.steps
    assert [one["step"] for one in told] == list(range(1, CONTROLLER.steps + 1))
    assert all(one["after"] == 3 * one["step"] for one in told)
    assert told[-1]["entropy"] < told[0]["entropy"]
    assert np.allclose(np.sum(told[-1]["probabilities"], axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "text"),
    [(np.nan, "accuracy nan for toy:"), (93.6, "accuracy 93.6 for toy:"), (None, r"shape \(\)")],
)
def test_evaluators_that_give_no_accuracy_stop_the_search(values: Any, text: str) -> None:
    function = CallableAccuracy(toys.space(), lambda _, rows: 0.5 if values is None else np.full(len(rows), values), "bad")
    with pytest.raises(SearchError, match=text):
        run(METHODS["evolution"], evaluator=function)


@pytest.mark.parametrize("given", [["93 %"] * 50, {"a": 1.0}, [[0.5], [0.5, 0.5]]])
def test_evaluators_that_give_no_numbers_stop_the_search(given: Any) -> None:
    with pytest.raises(SearchError, match=r"evaluator gave .*, expected 50 fractions from 0 to 1|shape"):
        run(Evolution(evaluations=80), evaluator=CallableAccuracy(toys.space(), lambda *_: given, "bad"))


def test_an_evaluator_that_ends_early_is_not_the_end_of_the_method() -> None:
    values = iter([0.5] * 3)
    function = CallableAccuracy(toys.space(), lambda _, rows: [next(values) for _ in rows], "ends")
    with pytest.raises(SearchError, match="evaluator raised StopIteration, expected 20 accuracies"):
        run(METHODS["evolution"], evaluator=function)


def test_what_an_evaluator_prints_is_not_the_commands_output(capsys: pytest.CaptureFixture[str]) -> None:
    def talking(_: Any, rows: Any) -> Any:
        print("epoch 1")
        return np.full(len(rows), 0.5)

    run(METHODS["random"], evaluator=CallableAccuracy(toys.space(), talking, "talks"))
    told = capsys.readouterr()
    assert (told.out, "epoch 1" in told.err) == ("", True)


def test_a_population_larger_than_the_space_is_all_of_it() -> None:
    found = run(Evolution(evaluations=5000, population=5000, tournament=10))
    assert found.networks == toys.space().sizes.distinct


def test_evolution_without_pymoo_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo", None)
    for name in [name for name in sys.modules if name.startswith(("pymoo.", "mhmodels.search.methods.pymoo"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("mhmodels.search.methods.pymoo_operators", raising=False)
    with pytest.raises(SearchError, match=r"mhmodels\[search\]"):
        run(METHODS["evolution"])
    assert run(METHODS["random"]).networks == 150


@pytest.mark.parametrize("name", ["evolution", "nsga2", "reinforce"])
def test_a_missing_pymoo_is_noticed_before_anything_is_evaluated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the controller, whose refinement comes last."""
    monkeypatch.setitem(sys.modules, "mhmodels.search.methods.pymoo_operators", None)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    for module in [module for module in sys.modules if module.startswith("pymoo.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "mhmodels.search.methods.pymoo_operators")
    monkeypatch.delattr("mhmodels.search.methods.pymoo_operators", raising=False)
    evaluator = toys.Share()
    with pytest.raises(SearchError, match=r"mhmodels\[search\]"):
        run(METHODS[name], evaluator=evaluator)
    assert evaluator.count == 0


def test_hardware_of_weight_0_decides_no_front() -> None:
    """It is shown, and nothing else: neither in the front nor in NSGA-II's goals."""
    space = toys.space()
    rows = np.unique(space.draw(60, np.random.default_rng(0)), axis=0)

    class Backwards(toys.Linear):
        def predict(self, encodings: Any) -> Any:
            return 9.0 - super().predict(encodings)

    def front_of(weights: dict[str, float]) -> dict[str, Any]:
        reward = Reward(references={"a": 1.0, "b": 1.0}, target=2.0, weights=weights)
        objective = Objective(space, {"a": toys.Linear(0.1), "b": Backwards(0.1)}, reward)
        accuracy, latencies = toys.Share().evaluate(rows), objective.latencies(rows)
        f = reward.f(latencies)
        log = Evaluations(("",) * len(rows), rows, accuracy, latencies, f, reward.of_norm(accuracy, f), ("a",) * len(rows))
        found = FoundNetwork(rows[0], 0.0, latencies[0], 0.0, 0.0, "a", 0, 0, log)
        return front_document(objective, found.log, each=True)

    both, one = front_of({}), front_of({"b": 0.0})
    assert len(one["networks"]) < len(both["networks"])
    costs = [network["latency_ms"]["a"] for network in one["networks"]]
    assert costs == sorted(costs, reverse=True)
    assert set(one["networks"][0]["latency_ms"]) == {"a", "b"}


@given(arrays(np.float64, (12, 3), elements=st.integers(0, 4).map(float)))
def test_fronts_hold_exactly_what_nothing_beats(goals: Any) -> None:
    """Accuracy and two costs on a grid, so that there are many ties."""
    blank = np.zeros(12)
    rows = Evaluations(("",) * 12, np.zeros((12, 1), np.int16), goals[:, 0], goals[:, 1:], blank, blank, ("",) * 12)
    kept = pareto_front(rows, goals[:, 1:])
    signed = goals * [-1, 1, 1]

    def beaten(i: int) -> bool:
        return any((signed[j] <= signed[i]).all() and (signed[j] < signed[i]).any() for j in range(12))

    assert {tuple(signed[i]) for i in kept} == {tuple(signed[i]) for i in range(12) if not beaten(i)}
    assert len({tuple(signed[i]) for i in kept}) == len(kept)
    assert (np.diff(goals[kept, 0]) <= 0).all()


@pytest.mark.slow
def test_a_predictor_ranks_what_it_has_not_seen() -> None:
    space, rng = toys.space(), np.random.default_rng(0)
    rows = np.unique(space.draw(300, rng), axis=0)
    noise = rng.normal(0, 0.02, len(rows))
    predictor = PredictedAccuracy(space, rows, np.clip(0.5 + 0.1 * (rows == toys.BEST).sum(axis=1) + noise, 0, 1))
    assert predictor.spearman > 0.85
    assert predictor.rmse < 0.04
    found = run(Evolution(evaluations=500, population=20, tournament=10), evaluator=predictor)
    assert (found.encoding == toys.BEST).sum() >= 4
    twice = PredictedAccuracy(
        space, np.repeat(rows, 2, axis=0), np.repeat(np.linspace(0.2, 0.8, len(rows)), 2) + np.tile([0, 0.1], len(rows))
    )
    once = PredictedAccuracy(space, rows, np.linspace(0.2, 0.8, len(rows)) + 0.05)
    np.testing.assert_allclose(twice.evaluate(rows), once.evaluate(rows))  # the mean of two trainings
    with pytest.raises(SearchError, match="at least 10"):
        PredictedAccuracy(space, rows[:5], np.full(5, 0.5))
    with pytest.raises(SearchError, match="fractions"):
        PredictedAccuracy(space, rows, np.full(len(rows), 93.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Random(evaluations=0),
        lambda: Evolution(population=0),
        lambda: NonDominated(evaluations=-5),
        lambda: Reinforce(controller=CONTROLLER, replicas=0),
    ],
)
def test_methods_that_cannot_be(make: Any) -> None:
    with pytest.raises(SearchError, match="expected a whole number"):
        make()


class OneByOne(toys.Share):
    """The same accuracies, each when it is ready."""

    def evaluate(self, encodings: Any) -> Any:
        return (float(super(OneByOne, self).evaluate(row[None])[0]) for row in encodings)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [1, 7, 61])
def test_of_a_batch_that_is_interrupted_nothing_that_was_evaluated_is_lost(tmp_path: Path, name: str, stop: int) -> None:
    """A batch that the log holds in part was neither recalled nor written down."""

    def interrupt(count: int) -> None:
        if count > stop:
            raise Stop

    method, path = METHODS[name], tmp_path / "search.db"
    whole = run(method)
    with SearchLog(path) as log, pytest.raises(Stop):
        run(method, log=log, evaluator=OneByOne(interrupt))
    with SearchLog(path) as log:
        assert len(log.encodings()) == stop
        rest = OneByOne()
        resumed = run(method, log=log, evaluator=rest)
        assert stop + rest.count == len(log.encodings())
        np.testing.assert_array_equal(log.evaluated().encodings, whole.log.encodings)
        assert [one["after"] for one in log.statistics()] == sorted({one["after"] for one in log.statistics()})
    np.testing.assert_array_equal(resumed.log.rewards, whole.log.rewards)
    np.testing.assert_array_equal(resumed.encoding, whole.encoding)


@pytest.mark.parametrize("answers", [0, 3, 30])
def test_an_iterator_of_another_length_is_refused(answers: int) -> None:
    class Wrong(toys.Share):
        def evaluate(self, encodings: Any) -> Any:
            return iter([0.5] * answers)

    with pytest.raises(SearchError, match=r"evaluator gave .* accuracies.*, expected 20"):
        run(METHODS["evolution"], evaluator=Wrong())


def test_a_rollback_that_fails_half_way_leaves_the_log_usable(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "search.db") as log:
        run(METHODS["random"], log=log)
        before = log.count()
        with pytest.raises(SearchError, match="written after 1000"):
            log.truncate(1000)
        log.truncate(10)
        assert (before, log.count()) == (150, 10)
