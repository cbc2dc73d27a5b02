"""Evolution of the Pareto front: its mutation, restricted spaces, and what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mhmodels.cli.main import cli
from mhmodels.search import get_space
from mhmodels.search.errors import SearchError, SpaceError
from mhmodels.search.methods.dominance import non_dominated
from mhmodels.search.methods.strategies import FrontEvolution, Method, Random
from mhmodels.search.methods.unit_mutation import UnitMutation
from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.run.loop import search
from mhmodels.search.space.search_space import Encodings, SearchSpace
from tests.search import toys

SKIP = 9
"""Index of the skipped block in the optional layers of `ofa_mobilenet_v3`, whose units have four layers."""


def reduced() -> SearchSpace:
    """Without 7x7 kernels, the first unit with at most three layers, one input size."""
    space = get_space("ofa_mobilenet_v3")
    allowed = [[choice for choice in each.tolist() if choice == SKIP or choice % 3 != 2] for each in space.allowed]
    allowed[3], allowed[-1] = [SKIP], [24]
    return space.restricted(allowed)


def children(space: SearchSpace, probabilities: tuple[float, ...], n: int = 400) -> tuple[Encodings, Encodings]:
    rng = np.random.default_rng(0)
    parents, mutation = space.draw(n, rng), UnitMutation(space, probabilities)
    return parents, np.array([mutation.child(parent, rng) for parent in parents])


def test_a_child_changes_one_layer_of_a_unit() -> None:
    parents, found = children(get_space("ofa_mobilenet_v3"), (0.0, 1.0, 0.0))
    assert (np.delete(found, range(4, 8), axis=1) == np.delete(parents, range(4, 8), axis=1)).all()
    before, after = ((rows[:, 4:8] != SKIP).sum(axis=1) for rows in (parents, found))
    assert set(after - before) == {-1, 0, 1}
    swapped = after == before
    assert ((found != parents)[swapped].sum(axis=1) == 1).all()
    assert (after[before == 2] >= 2).all()
    assert (after[before == 4] <= 4).all()


def test_probabilities_hold_for_their_units_and_the_last_one_for_all_others() -> None:
    parents, found = children(get_space("ofa_mobilenet_v3"), (0.0, 0.25, 1.0), n=2000)
    changed = [(found[:, 4 * unit : 4 * unit + 4] != parents[:, 4 * unit : 4 * unit + 4]).any(axis=1).mean() for unit in range(5)]
    assert changed[0] == 0
    assert changed[1] == pytest.approx(0.25, abs=0.04)  # four standard deviations of 2,000 draws
    assert changed[2:] == [1, 1, 1]
    assert (found[:, 20] != parents[:, 20]).all()  # the input size is a unit after the five stages


SPACES = [reduced(), toys.space(), *map(get_space, ("nas_bench_macro", "fbnet", "ofa_resnet50"))]


@pytest.mark.parametrize("space", SPACES)
def test_children_are_canonical_members(space: SearchSpace) -> None:
    parents, found = children(space, (0.5,))
    np.testing.assert_array_equal(found, space.canonical(space.check(found)))
    assert (found != parents).any(axis=1).mean() > 0.5


def test_choices_that_a_restriction_fixed_stay() -> None:
    _, found = children(reduced(), (1.0,))
    assert (found[:, 3] == SKIP).all()
    assert (found[:, -1] == 24).all()
    assert not ((found[:, :-1] != SKIP) & (found[:, :-1] % 3 == 2)).any()


def test_non_dominated_rows_against_every_pair() -> None:
    goals = np.random.default_rng(0).integers(6, size=(200, 3)).astype(float)
    kept = non_dominated(goals)
    beaten = (goals[:, None] >= goals[None]).all(axis=2) & (goals[:, None] > goals[None]).any(axis=2)
    assert {tuple(row) for row in goals[kept]} == {tuple(row) for row in goals[~beaten.any(axis=1)]}
    assert len({tuple(row) for row in goals[kept]}) == len(kept)


class Ms:
    """1 ms and the sum of the choices, so that accuracy costs time."""

    def predict(self, encodings: Encodings) -> toys.Floats:
        return 1.0 + encodings.sum(axis=1)


class Uneven:
    """Accuracy by decision and choice: some choices cost time for nothing."""

    identity = "uneven"

    def evaluate(self, encodings: Encodings) -> toys.Floats:
        worth = np.random.default_rng(7).random((8, 6))
        return worth[np.arange(8), encodings].mean(axis=1)


def area(method: Method, seed: int) -> float:
    """Hypervolume of accuracy and ms of all networks that a method evaluates; the reference is accuracy 0 and 41 ms."""
    space = toys.space(decisions=8, choices=6)
    objective = Objective(space, {"a": Ms()}, Reward(references={"a": 1.0}, target=10.0))
    log = search(objective, Uneven(), method, seed).log
    order = non_dominated(np.column_stack([log.latencies[:, 0], -log.accuracy]))
    ms = np.append(log.latencies[order, 0], 41.0)
    return float((np.diff(ms) * log.accuracy[order]).sum())


def test_the_front_is_better_than_that_of_random_search() -> None:
    method = FrontEvolution(evaluations=300, population=20, children=40)
    pairs = [(area(method, seed), area(Random(evaluations=300), seed)) for seed in range(5)]
    gains = [found - random for found, random in pairs]
    assert min(gains) > 0
    assert np.mean(gains) > 1.5


def test_a_start_is_evaluated_first_and_its_children_are_searched() -> None:
    objective = toys.objective()
    start = ((toys.BEST,) * 5, (0,) * 5)
    log = search(
        objective, toys.Share(), FrontEvolution(evaluations=40, population=2, children=4, start=start, each=False), 0
    ).log
    np.testing.assert_array_equal(log.encodings[:2], start)
    assert (log.encodings[2:6] != np.array(start)[:, None]).any(axis=2).all()  # children, none of them a parent
    with pytest.raises(SpaceError, match="decision 'a' is 7"):
        search(objective, toys.Share(), FrontEvolution(start=((7, 0, 0, 0, 0),)), 0)


@pytest.mark.parametrize("probabilities", [(), (0.5, 0.0), (1.5,), (float("nan"),)])
def test_probabilities_out_of_range_are_refused(probabilities: tuple[float, ...]) -> None:
    with pytest.raises(SearchError, match=r"'probabilities'.*from 0 to 1"):
        FrontEvolution(probabilities=probabilities)


def test_the_command_searches_and_writes_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "front_scores.py").write_text("def accuracy(space, encodings):\n    return encodings.mean(axis=1) / 2\n")
    monkeypatch.chdir(tmp_path)
    command = ["search", "run", "--space", "nas_bench_macro", "--latencies", "nas_bench_macro", "--hardware", "ethos-u55-128"]
    command += ["--evaluator", "front_scores:accuracy", "--method", "front-evolution", "--evaluations", "63", "--json"]
    wrong = CliRunner().invoke(cli, [*command, "--unit-probability", "0"])
    assert isinstance(wrong.exception, SearchError)
    assert "probabilities" in str(wrong.exception)
    done = CliRunner().invoke(cli, [*command, "--unit-probability", "0.25", "--unit-probability", "1", "--front", "front.json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(Path("front.json").read_text())["networks"]) > 3
