"""Searches: they end where they would have ended, and stop with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.training import checkpoint
from mhmodels.training.errors import DataError
from mhmodels.training.recipes import SGD, LearningRate
from search.errors import SearchError
from search.log import SearchLog
from search.rewards import Objective
from search.supernet.data import open_search_data
from search.supernet.presets import Policy, Walk
from search.supernet.record import settings
from search.supernet.watching import Silent, Status
from tests.training.tiny import write_folder

from . import tiny

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[3]
NO_WARM_UP = {"operation_warm_up": 0.0, "width_warm_up": 0.0}
QUICK: dict[str, Any] = {
    "scored": 4, "update_every": 2, "train_only": 0.5, "finalists": 4, "trained_norms": (0.5, 1.5),
    "walk": Walk(fixed=0.1, end=0.7, every=1),
    "policy": Policy(learning_rate=0.1, growth=1.0, delay=0.0, **NO_WARM_UP),
}  # fmt: skip


class Interrupted(BaseException):
    """Stands in for anything that ends a process."""


class Watcher(Silent):
    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.seen = stop_at, list[Status]()

    def stepped(self, status: Status) -> None:
        self.seen.append(status)
        if status.step == self.stop_at:
            raise Interrupted


def run(folder: Path, watcher: Watcher | None = None, **changes: Any) -> Any:
    from search.supernet.loop import search_supernet

    with SearchLog(folder / "search.db") as log:
        return search_supernet(tiny.request(folder, log=log, **changes), watcher)


def digest(folder: Path) -> str:
    """Of all weights, slots and the controller at the end."""
    newest = checkpoint.latest(folder / "checkpoints")
    assert newest is not None
    content = hashlib.sha256(newest.name.encode())
    with np.load(newest) as archive:
        for name in sorted(set(archive.files) - {"state"}):
            content.update(name.encode() + archive[name].tobytes())
    return content.hexdigest()


@pytest.mark.parametrize(
    "changes", [pytest.param({"mixed_operations": True}, marks=pytest.mark.slow), QUICK], ids=["tunas", "quick"]
)
def test_an_interrupted_search_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    preset = tiny.preset(**changes)
    watcher = Watcher()
    whole = run(tmp_path / "whole", watcher, preset=preset)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", Watcher(stop_at=9), preset=preset, checkpoint_seconds=0)
    # A checkpoint is followed by more steps and rows before the end comes.
    newest = checkpoint.checkpoints(tmp_path / "cut" / "checkpoints")
    newest[-1].unlink()
    again = Watcher()
    resumed = run(tmp_path / "cut", again, preset=preset, resume=True)
    assert 0 < len(again.seen) < 12
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    assert resumed.logits.any()
    np.testing.assert_array_equal(resumed.encoding, whole.encoding)
    assert resumed.accuracy == whole.accuracy
    with SearchLog(tmp_path / "cut" / "search.db") as cut, SearchLog(tmp_path / "whole" / "search.db") as uncut:
        assert list(cut.statistics()) == list(uncut.statistics())
        np.testing.assert_array_equal(cut.evaluated().encodings, uncut.evaluated().encodings)
        assert len(cut.evaluated().f) == preset.updates * (preset.scored or 1) + max(1, preset.finalists)
    losses = [status.loss for status in watcher.seen]
    assert [status.loss for status in again.seen] == losses[-len(again.seen) :]


def child(folder: Path, options: dict[str, Any], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.search.supernet.child", str(folder), json.dumps(options)],
        cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


@pytest.mark.slow
def test_a_killed_search_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = finished(child(tmp_path / "whole", {}))
    for kill_at in (4, 11):  # before the controller learns, and while it does
        folder = tmp_path / f"killed{kill_at}"
        process = child(folder, {"kill_at": kill_at, "checkpoint_seconds": 0})
        process.communicate(timeout=600)
        assert process.returncode == -9
        again = finished(child(folder, {"resume": True}))
        assert len(again["losses"]) == 12 - kill_at + 1
        assert {key: again[key] for key in ("hash", "logits", "encoding")} == {
            key: whole[key] for key in ("hash", "logits", "encoding")
        }


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["multi_worker", "mirrored"])
def test_two_replicas_are_one_process_with_the_same_two_architectures(tmp_path: Path, workers: str) -> None:
    preset = {"architectures": 2, "steps": 50, "policy": {"learning_rate": 0.05, "delay": 0.0, **NO_WARM_UP}}
    one = finished(child(tmp_path / "one", {"preset": preset}))
    both = {"preset": preset, "strategy": workers}
    if workers == "mirrored":
        results = [finished(child(tmp_path / "two", {**both, "devices": 2}))]
    else:
        results = [finished(each) for each in [child(tmp_path / "two", both, place) for place in cluster()]]
        assert results[0]["hash"] == results[1]["hash"]
    for result in results:
        np.testing.assert_allclose(result["logits"], one["logits"], atol=1e-4)
        assert result["norm"] == pytest.approx(one["norm"], rel=1e-4)
        assert result["encoding"] == one["encoding"]
    assert np.abs(one["logits"]).max() > 0.5
    assert np.mean(one["losses"][-5:]) < 0.8 * np.mean(one["losses"][:5])  # it learned, so that agreement means something


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    short = tiny.preset(steps=2, policy=Policy(delay=0.0, **NO_WARM_UP))
    run(tmp_path / "run", preset=short)
    with pytest.raises(SearchError, match="holds a search already"):
        run(tmp_path / "run", preset=short)
    with pytest.raises(SearchError, match=r"method\.l2 was 4e-05, now 0\.0"):
        run(tmp_path / "run", preset=msgspec.structs.replace(short, l2=0.0), resume=True)
    with pytest.raises(SearchError, match="seed was 0, now 1"):
        run(tmp_path / "run", preset=short, seed=1, resume=True)
    with pytest.raises(SearchError, match=r"accuracies was .*96 pictures.*, now .*88 pictures"):
        run(tmp_path / "run", preset=short, data=tiny.data(count=88), resume=True)
    with pytest.raises(SearchError, match=r"method\.optimizer"):
        run(tmp_path / "run", preset=msgspec.structs.replace(short, optimizer=SGD()), resume=True)

    class Other(tiny.Madds):
        identity = "another cost model"

    own = tiny.space()
    objective = tiny.objective(own)
    objective.sources["phone"] = Other(own)
    with pytest.raises(SearchError, match=r"latencies\.phone was .?MAdds.?, now .?another cost model"):
        run(tmp_path / "run", preset=short, objective=objective, resume=True)
    target = Objective(own, tiny.objective(own).sources, msgspec.structs.replace(objective.reward, target=1.1))
    with pytest.raises(SearchError, match=r"reward\.target was 1\.0, now 1\.1"):
        run(tmp_path / "run", preset=short, objective=target, resume=True)


def test_another_picture_in_a_folder_is_other_data(tmp_path: Path) -> None:
    """What a search was trained on is part of its settings by the list of files."""
    pictures = write_folder(tmp_path / "pictures", {"red": 20, "green": 20, "blue": 20})
    before = settings(tiny.request(tmp_path / "run", data=open_search_data(str(pictures))))
    (pictures / "red" / "new.png").write_bytes((pictures / "red" / "00.png").read_bytes())
    after = settings(tiny.request(tmp_path / "run", data=open_search_data(str(pictures))))
    assert [name for name in before if before[name] != after[name]] == ["accuracies"]


def test_a_diverged_loss_names_step_and_network_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    wild = tiny.preset(learning_rate=LearningRate(peak=1e30, decay="constant"), optimizer=SGD(momentum=0.0))
    with pytest.raises(SearchError, match=r"step 2 of 12: the loss of tiny:\d.* became (nan|inf); no checkpoint was written"):
        run(tmp_path / "first", preset=wild)
    good = tiny.preset()
    with pytest.raises(Interrupted):
        run(tmp_path / "run", Watcher(stop_at=3), preset=good, checkpoint_seconds=0)
    kept = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert kept is not None
    from search.supernet import loop

    search = loop.Search(tiny.request(tmp_path / "run", preset=good, resume=True), Watcher())
    search.restore()
    name = next(name for name in search.trainer.network.weights if name.startswith("stem"))
    search.trainer.network.weights[name].assign(np.full(search.trainer.network.weights[name].shape, np.nan))
    with pytest.raises(SearchError, match=f"the last good checkpoint is .*{kept.name}"):
        search.to_end()
    assert checkpoint.latest(tmp_path / "run" / "checkpoints") == kept


def test_data_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than one batch"):
        run(tmp_path / "few", data=tiny.data(count=7))
    with pytest.raises(DataError, match="3 classes, the network 5"):
        run(tmp_path / "classes", classes=5)
    assert not (tmp_path / "few" / "checkpoints").exists()


def cluster() -> list[dict[str, str]]:
    """TF_CONFIG of two workers on free ports of the loopback interface."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    places = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": i}})} for i in range(2)]
