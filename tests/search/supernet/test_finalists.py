"""Who is judged at the end of a search, and that what is judged is what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller, ControllerSettings
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.finalists import NEAR, finalists
from mhmodels.search.supernet.judging import shared_accuracies
from mhmodels.search.supernet.network.plan import SuperNetworkPlan
from mhmodels.search.supernet.presets import PolicySettings
from mhmodels.search.supernet.request import check_space, side_of
from mhmodels.search.supernet.watching import SilentObserver

from . import tiny

COUNT = 6
QUICK: dict[str, Any] = {
    "steps": 8, "scored": 4, "update_every": 1, "train_only": 0.5, "finalists": COUNT,
    "policy": PolicySettings(learning_rate=0.1, growth=1.0, delay=0.0, operation_warm_up=0.0, width_warm_up=0.0),
}  # fmt: skip


def controller(seed: int = 3) -> Controller:
    """A policy that has learned something, so that its samples are not even."""
    made = Controller(tiny.space(), ControllerSettings(steps=10), seed)
    made.logits += np.random.default_rng(seed).normal(0, 0.5, made.logits.shape)
    return made


def off_target(rows: Any) -> Any:
    objective = tiny.objective(tiny.space())
    return np.abs(objective.f(rows) / objective.reward.target - 1)


def test_finalists_are_the_policys_own_samples_in_their_order() -> None:
    """Sorted ones would begin with the first choices of the alphabet, whatever the policy prefers."""
    space, objective = tiny.space(), tiny.objective(tiny.space())
    rows = finalists(controller(), objective, COUNT)
    np.testing.assert_array_equal(rows[0], controller().argmax(skip_first=True))
    drawn = controller().sample(64 * COUNT)
    places = [int(np.flatnonzero((drawn == row).all(axis=1))[0]) for row in rows[1:]]
    assert places == sorted(places)
    assert places[0] <= np.flatnonzero(off_target(drawn) <= NEAR)[1]  # the first of them may be the most probable one
    assert (off_target(rows[1:]) <= NEAR).all()
    assert len(np.unique(space.canonical(rows), axis=0)) == COUNT
    assert rows.tolist() != sorted(rows.tolist())


def test_finalists_that_miss_the_target_come_by_their_distance() -> None:
    space = tiny.space()
    middle = tiny.objective(space)
    objective = Objective(space, middle.sources, msgspec.structs.replace(middle.reward, target=3.0))  # a rare one
    off = np.abs(objective.f(finalists(controller(), objective, 60)[1:]) / 3.0 - 1)
    far = off[off > NEAR]
    assert len(far) > 5
    np.testing.assert_array_equal(far, np.sort(far))
    assert (off[: len(off) - len(far)] <= NEAR).all()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_what_is_judged_is_what_is_logged_and_reported(tmp_path: Path, eager: None) -> None:
    from mhmodels.search.supernet.loop import search_supernet

    with SearchLog(tmp_path / "search.db") as log:
        request = tiny.request(tmp_path, preset=tiny.preset(**QUICK), log=log)
        outcome = search_supernet(request)
        ends, whole, told = log.evaluated("finalist"), log.evaluated(), list(log.statistics())
    space = request.space
    assert len(ends.f) == COUNT
    assert len(whole.f) == 4 * 4 + COUNT
    # Blocks are where the policy drew them, in all phases: some network has a gap in a stage.
    assert (space.canonical(whole.encodings) != whole.encodings).any()
    best = int(ends.rewards.argmax())
    np.testing.assert_array_equal(outcome.judged, ends.encodings[best])
    np.testing.assert_array_equal(outcome.encoding, space.canonical(outcome.judged[None])[0])
    assert space.build(outcome.encoding).architecture_id == space.build(outcome.judged).architecture_id
    assert (outcome.accuracy, outcome.reward) == (ends.accuracy[best], ends.rewards[best])
    assert "probabilities" in told[-1]
    assert len(told[-1]["probabilities"]) == len(space.decisions)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = shared_accuracies(request._replace(log=None), ends.encodings)
    np.testing.assert_array_equal(again, ends.accuracy)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(SearchError, match=r"seed was 0, now 1"):
        shared_accuracies(request._replace(log=None, seed=1), ends.encodings)
    with pytest.raises(SearchError, match="no search is there"):
        shared_accuracies(request._replace(log=None, folder=tmp_path / "gone"), ends.encodings)
    assert not (tmp_path / "gone").exists()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_log_whose_folder_is_gone_keeps_its_rows(tmp_path: Path, eager: None) -> None:
    from mhmodels.search.supernet.loop import search_supernet

    folder = tmp_path / "weights"
    with SearchLog(tmp_path / "search.db") as log:
        fields = {"space": tiny.small(), "preset": tiny.preset(**QUICK), "log": log}
        search_supernet(tiny.request(folder, **fields))
        rows = len(log.evaluated().f)
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(SearchError, match=r"search.db: holds a search whose weights were in .*weights, which is gone"):
            search_supernet(tiny.request(folder, **fields, resume=True))
        assert len(log.evaluated().f) == rows


def test_places_matter_to_shared_weights_and_not_to_the_network() -> None:
    """A gap in the middle of a stage reads other weights than the canonical form: only the former were trained."""
    space = tiny.space()
    row = np.zeros(len(space.decisions), np.int16)
    first = next(i for i, d in enumerate(space.decisions) if SKIP in d.choices)
    row[first] = space.decisions[first].choices.index(SKIP)
    moved = space.canonical(row[None])[0]
    plan = SuperNetworkPlan(space, 1.0, 3)
    here, there = ({name for place in plan.path(x) for name in [place.name]} for x in (row, moved))
    assert here != there
    assert space.build(row).architecture_id == space.build(moved).architecture_id


@pytest.mark.tensorflow
@pytest.mark.slow
def test_an_unfinished_search_judges_nothing(tmp_path: Path) -> None:
    from mhmodels.search.supernet.loop import WeightSharingSearch

    request = tiny.request(tmp_path, preset=tiny.preset(**QUICK))
    WeightSharingSearch(request, SilentObserver())
    with pytest.raises(SearchError, match="step 0 of 8; resume it"):
        shared_accuracies(request, request.space.draw(1, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ofa_mobilenet_v3", r"decides on the input size \(25 of 128 to 224 pixels\)"),
        ("ofa_proxylessnas", "decides on the input size"),
        ("nas_bench_201", "is tabular"),
    ],
)
def test_spaces_in_which_no_weights_can_be_shared(name: str, text: str) -> None:
    with pytest.raises(SearchError, match=text):
        check_space(get_space(name))


def test_an_ofa_space_of_one_size_will_do() -> None:
    space = get_space("ofa_mobilenet_v3")
    column = next(i for i, decision in enumerate(space.decisions) if decision.name == "input_size")
    allowed = [one if i != column else one[:1] for i, one in enumerate(space.allowed)]
    check_space(space.restricted(allowed))
    check_space(get_space("multi_hardware"))


def test_a_space_of_one_size_is_trained_at_that_size() -> None:
    space, multi_hardware = get_space("ofa_mobilenet_v3"), get_space("multi_hardware")
    assert isinstance(space, ArchitectureSpace)
    assert isinstance(multi_hardware, ArchitectureSpace)
    column = next(i for i, decision in enumerate(space.decisions) if decision.name == "input_size")
    allowed = [one if i != column else one[3:4] for i, one in enumerate(space.allowed)]
    assert side_of(space.restricted(allowed)) == space.input_sizes[3] < max(space.input_sizes)
    assert side_of(multi_hardware) == 224


@pytest.mark.tensorflow
def test_pictures_of_a_search_have_the_size_that_its_space_allows(tmp_path: Path) -> None:
    from mhmodels.search.supernet.loop import WeightSharingSearch

    template = tiny.space().template._replace(input_size=OneOf("input_size", (32, 64), "resolution"))
    space = ArchitectureSpace("two sizes", template)
    allowed = [
        one[:1] if decision.name == "input_size" else one for decision, one in zip(space.decisions, space.allowed, strict=True)
    ]
    own = space.restricted(allowed)
    request = tiny.request(tmp_path, space=own, objective=tiny.objective(own), preset=tiny.preset(input_size=None))
    assert WeightSharingSearch(request, SilentObserver()).feeds.train._size == (32, 32)
