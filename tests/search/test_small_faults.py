"""Faults found by using the searches: each kind with what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from mhmodels.cli.common import OutputFile
from mhmodels.cli.main import cli
from mhmodels.errors import MeasurementError
from mhmodels.registry import resolve
from mhmodels.search.cli.show import show
from mhmodels.search.collecting.claims import claimed
from mhmodels.search.cost_model.shipping import shipped_model
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.run.drawing import boxes
from mhmodels.search.run.results import NetworkFile
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.tabular import TabularSpace


@pytest.mark.parametrize(
    "name", ["a\nb.json", "a\tb.json", "a\x1b[2J.json", f"{'n' * 251}.json", f"{'d' * 256}/a.json", "file/a.json"]
)
def test_a_name_that_cannot_be_written_is_refused_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(click.BadParameter):
        OutputFile(".json").convert(name, None, None)
    search = ["search", "run", "--space", "nas_bench_macro", "--evaluator", "x:y", "--cost-model", "x.json", "-o", name]
    assert CliRunner().invoke(cli, search).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [f"{'n' * 250}.json", "new/folders/a.json", "ä b'c.json"])
def test_names_that_can_be_written_are_tried_and_leave_nothing(name: str, tmp_path: Path) -> None:
    assert OutputFile(".json").convert(str(tmp_path / name), None, None) == tmp_path / name
    assert list(tmp_path.iterdir()) == []


def test_members_have_the_channels_of_their_space() -> None:
    space, network = get_space("multi_hardware"), resolve("multi_max")
    assert space.contains(network)
    assert space.contains(network.at(classes=7, name="mine"))  # type: ignore[call-arg]
    for channels in (1, 4):
        assert not space.contains(network.at(input_channels=channels))
        with pytest.raises(SpaceError, match=f"field 'input_channels' is {channels}, expected 3"):
            space.encode(network.at(input_channels=channels))  # type: ignore[attr-defined]


def test_tables_of_large_spaces_tell_their_members_apart() -> None:
    """Numbers made of 40 decisions overflow, and different members got equal ones."""
    space = TabularSpace("large", [OneOf(f"d{i}", tuple("abcdefgh")) for i in range(40)])
    rows = np.random.default_rng(0).integers(0, 8, (500, 40)).astype(np.int16)
    rows[1] = rows[0]
    rows[1, 0] = (rows[0, 0] + 1) % 8
    table = space.attach(rows, ms=np.arange(500.0))
    assert table.evaluate(rows[::-1], "ms").tolist() == list(range(499, -1, -1))
    absent = rows[:1].copy()
    absent[0, :2] = (rows[0, :2] + 3) % 8
    with pytest.raises(SpaceError, match="is not in the table"):
        table.evaluate(absent, "ms")
    with pytest.raises(SpaceError, match="is there twice"):
        space.attach(np.concatenate([rows, rows[:1]]), ms=np.arange(501.0))


def test_two_collections_on_one_hardware_and_store_do_not_run_beside_each_other(tmp_path: Path) -> None:
    store, link = tmp_path / "results.db", tmp_path / "link.db"
    link.symlink_to(store)
    with claimed(store, ["phone/gpu", "host"]):
        for path, wanted in ((store, ["host"]), (link, ["other", "phone/gpu"])):
            with pytest.raises(MeasurementError, match=r"process \d+ collects on .* into this store"), claimed(path, wanted):
                pass
        with claimed(store, ["other"]), claimed(tmp_path / "another.db", ["host"]):
            pass
    with claimed(store, ["host"]):
        pass


@pytest.mark.parametrize("value", [1e308, -1e13])
@pytest.mark.parametrize("field", ["intercept_ms", "floor_ms", "weights", "deviations", "baselines"])
def test_weights_that_no_latency_comes_of_are_refused(field: str, value: float) -> None:
    document = msgspec.to_builtins(shipped_model("multi_hardware", "host-cpu-int8"))
    old = document[field]
    changed: Any = value
    if isinstance(old, dict):
        changed = {**old, next(iter(old)): value}
    elif not isinstance(old, float):
        changed = [{**old[0], "ms": value}, *old[1:]]
    with pytest.raises((CostModelError, msgspec.ValidationError), match="expected finite numbers of at most 1e"):
        msgspec.convert({**document, field: changed}, type(shipped_model("multi_hardware", "host-cpu-int8")))


def test_maps_that_are_not_square_are_shown_with_both_sides() -> None:
    network = resolve("multi_max@0.25").at(input_size=(96, 160))
    found = boxes(network)
    assert found[0].size == (48, 80)
    assert [box.size for box in found if box.part == "head"] == [(3, 5)]
    from rich.console import Console

    out = Console(width=200, record=True)
    show(out, NetworkFile(network, None, None, {}))
    text = out.export_text()
    assert "96×160 pixels" in text
    assert "48×80" in text
    assert text.count("²") == text.count("1²") == 1  # behind the pooling
