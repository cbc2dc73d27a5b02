"""Searches: they end where they would have ended, and stop with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import SearchLog
from mhmodels.search.supernet.presets import PolicySettings, WalkSettings
from mhmodels.search.supernet.record import claim
from mhmodels.search.supernet.request import settings
from mhmodels.search.supernet.training.data import SearchData, open_search_data
from mhmodels.search.supernet.watching import SearchStatus, SilentObserver
from mhmodels.training.errors import DataError
from mhmodels.training.recipes import SGD, LearningRate
from mhmodels.training.run import checkpoint
from tests.training.tiny import CLASSES, Colours, write_folder

from . import tiny

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[3]
NO_WARM_UP = {"operation_warm_up": 0.0, "width_warm_up": 0.0}
QUICK: dict[str, Any] = {
    "scored": 4, "update_every": 2, "train_only": 0.5, "finalists": 4, "trained_norms": (0.5, 1.5),
    "walk": WalkSettings(fixed=0.1, end=0.7, every=1),
    "policy": PolicySettings(learning_rate=0.1, growth=1.0, delay=0.0, **NO_WARM_UP),
}  # fmt: skip


class Interrupted(BaseException):
    """Stands in for anything that ends a process."""


class Watcher(SilentObserver):
    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.seen, self.notes = stop_at, list[SearchStatus](), list[str]()

    def stepped(self, status: SearchStatus) -> None:
        self.seen.append(status)
        if status.step == self.stop_at:
            raise Interrupted

    def note(self, message: str) -> None:
        self.notes.append(message)


def run(folder: Path, watcher: Watcher | None = None, **changes: Any) -> Any:
    from mhmodels.search.supernet.loop import search_supernet

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


@pytest.mark.numeric
@pytest.mark.slow
def test_an_interrupted_search_ends_as_one_that_was_not(tmp_path: Path, eager: None) -> None:
    _interrupted(tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("changes", [{"mixed_operations": True}, QUICK], ids=["tunas", "quick"])
def test_an_interrupted_compiled_search_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    _interrupted(tmp_path, changes)


def _interrupted(tmp_path: Path, changes: dict[str, Any]) -> None:
    preset, own = tiny.preset(**changes), tiny.small()
    watcher = Watcher()
    whole = run(tmp_path / "whole", watcher, space=own, preset=preset)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", Watcher(stop_at=9), space=own, preset=preset, checkpoint_seconds=0)
    # A checkpoint is followed by more steps and rows before the end comes.
    newest = checkpoint.checkpoints(tmp_path / "cut" / "checkpoints")
    newest[-1].unlink()
    again = Watcher()
    resumed = run(tmp_path / "cut", again, space=own, preset=preset, resume=True)
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
    whole = finished(child(tmp_path / "whole", {"small": True}))
    for kill_at in (4, 11):  # before the controller learns, and while it does
        folder = tmp_path / f"killed{kill_at}"
        process = child(folder, {"small": True, "kill_at": kill_at, "checkpoint_seconds": 0})
        process.communicate(timeout=600)
        assert process.returncode == -9
        again = finished(child(folder, {"small": True, "resume": True}))
        assert len(again["losses"]) == 12 - kill_at + 1
        assert {key: again[key] for key in ("hash", "logits", "encoding")} == {
            key: whole[key] for key in ("hash", "logits", "encoding")
        }


TWO: dict[str, Any] = {"architectures": 2, "steps": 50, "policy": {"learning_rate": 0.05, "delay": 0.0, **NO_WARM_UP}}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds with two architectures a step."""
    return finished(child(tmp_path_factory.mktemp("one"), {"preset": TWO}))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["multi_worker", "mirrored"])
def test_two_replicas_are_one_process_with_the_same_two_architectures(tmp_path: Path, workers: str, one: dict[str, Any]) -> None:
    both = {"preset": TWO, "strategy": workers}
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


@pytest.mark.slow
def test_each_replica_adds_its_gradients_up_on_its_own_device(tmp_path: Path) -> None:
    preset = {"architectures": 4, "steps": 2, "policy": {"delay": 0.0, **NO_WARM_UP}}
    told = finished(child(tmp_path, {"small": True, "preset": preset, "strategy": "mirrored", "devices": 2}))
    assert told["places"] == ["CPU:0", "CPU:1"]


def begun(folder: Path, log: SearchLog | None = None, watcher: Watcher | None = None, **changes: Any) -> Any:
    """A search that has done nothing yet."""
    from mhmodels.search.supernet.loop import WeightSharingSearch

    return WeightSharingSearch(tiny.request(folder, log=log, **changes), watcher or Watcher())


def with_rows(search: Any) -> Any:
    """The same, with two evaluations in its log."""
    rows = search.request.space.draw(2, np.random.default_rng(0))
    search.request.log.add("supernet", search._rewarded(rows, np.full(2, 0.5)), {})
    return search


def test_a_full_disk_takes_tensorboard_and_not_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def no_space(*_: Any, **__: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    watcher = Watcher()
    search = begun(tmp_path, watcher=watcher)
    search.reporter.summaries = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    monkeypatch.setattr(tf.summary, "scalar", no_space)
    for _ in range(2):
        search._report(1.0, 0.5, 60.0)
    assert search.reporter.summaries is None
    assert len(watcher.seen) == 2
    (note,) = watcher.notes
    assert "TensorBoard's files cannot be written (No space left on device); the search goes on" in note


def test_a_file_in_tensorboards_way_does_not_end_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher()
    search = begun(tmp_path, watcher=watcher)
    (tmp_path / "tensorboard").write_text("a file")
    search.progress.step = search.preset.steps  # what is left is the end
    monkeypatch.setattr(search, "validated", lambda rows: np.full(len(rows), 0.5))
    assert search.to_end().accuracy == 0.5
    (note,) = watcher.notes
    assert "TensorBoard's files cannot be written (Not a directory)" in note


def test_a_search_that_has_lost_its_checkpoints_keeps_its_log(tmp_path: Path) -> None:
    with SearchLog(tmp_path / "search.db") as log:
        with_rows(begun(tmp_path, log))._save()
        shutil.rmtree(tmp_path / "checkpoints")
        with pytest.raises(SearchError, match=r"checkpoints: no checkpoint is there, but some were written.* Bring them back"):
            begun(tmp_path, log, resume=True).restore()
        assert log.count() == 2


def test_a_search_killed_before_its_first_checkpoint_begins_again_and_says_so(tmp_path: Path) -> None:
    again = Watcher()
    with SearchLog(tmp_path / "search.db") as log:
        with_rows(begun(tmp_path, log))
        begun(tmp_path, log, again, resume=True).restore()
        assert log.count() == 0
    assert again.notes == [f"{tmp_path / 'search.db'}: 2 evaluations behind step 0 are made again"]


def test_the_log_is_on_the_disk_before_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda *_: left.append((tmp_path / "search.db-wal").stat().st_size))
    with SearchLog(tmp_path / "search.db") as log:
        search = with_rows(begun(tmp_path, log))
        assert (tmp_path / "search.db-wal").stat().st_size > 0
        search._save()
    assert left == [0]


@pytest.mark.slow
def test_other_settings_are_refused_by_name(tmp_path: Path, eager: None) -> None:
    short, own = tiny.preset(steps=2, policy=PolicySettings(delay=0.0, **NO_WARM_UP)), tiny.small()
    run(tmp_path / "run", space=own, preset=short)
    with pytest.raises(SearchError, match="holds a search already"):
        run(tmp_path / "run", space=own, preset=short)
    with pytest.raises(SearchError, match=r"method\.l2 was 4e-05, now 0\.0"):
        run(tmp_path / "run", space=own, preset=msgspec.structs.replace(short, l2=0.0), resume=True)
    with pytest.raises(SearchError, match="seed was 0, now 1"):
        run(tmp_path / "run", space=own, preset=short, seed=1, resume=True)
    with pytest.raises(SearchError, match=r"accuracies was .*96 pictures.*, now .*88 pictures"):
        run(tmp_path / "run", space=own, preset=short, data=tiny.data(count=88), resume=True)
    with pytest.raises(SearchError, match=r"method\.optimizer"):
        run(tmp_path / "run", space=own, preset=msgspec.structs.replace(short, optimizer=SGD()), resume=True)

    class Other(tiny.Madds):
        identity = "another cost model"

    objective = tiny.objective(own)
    objective.sources["phone"] = Other(own)
    with pytest.raises(SearchError, match=r"latencies\.phone was .?MAdds.?, now .?another cost model"):
        run(tmp_path / "run", space=own, preset=short, objective=objective, resume=True)
    target = Objective(own, tiny.objective(own).sources, msgspec.structs.replace(objective.reward, target=1.1))
    with pytest.raises(SearchError, match=r"reward\.target was 1\.0, now 1\.1"):
        run(tmp_path / "run", space=own, preset=short, objective=target, resume=True)


def test_other_classes_are_other_settings_and_the_datas_own_are_not(tmp_path: Path) -> None:
    request = tiny.request(tmp_path, classes=None)
    claim(request, write=True)
    claim(request._replace(classes=CLASSES, resume=True), write=True)
    with pytest.raises(SearchError, match="classes was 3, now 4"):
        claim(request._replace(classes=4, resume=True), write=True)


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_record_that_is_damaged_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(SearchError, match=r"settings\.json: cannot be read .* expected the settings of the search"):
        claim(tiny.request(tmp_path, resume=True), write=True)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "search").write_text("")
    with pytest.raises(SearchError, match="search: is a file, expected a folder or nothing"):
        claim(tiny.request(tmp_path / "search"), write=True)


@pytest.mark.numeric
def test_another_picture_in_a_folder_is_other_data(tmp_path: Path) -> None:
    """What a search was trained on is part of its settings by the list of files."""
    pictures = write_folder(tmp_path / "pictures", {"red": 20, "green": 20, "blue": 20})
    before = settings(tiny.request(tmp_path / "run", data=open_search_data(str(pictures))))
    (pictures / "red" / "new.png").write_bytes((pictures / "red" / "00.png").read_bytes())
    after = settings(tiny.request(tmp_path / "run", data=open_search_data(str(pictures))))
    assert [name for name in before if before[name] != after[name]] == ["accuracies"]


@pytest.mark.slow
def test_a_diverged_search_names_step_and_network_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    wild = tiny.preset(learning_rate=LearningRate(peak=1e30, decay="constant"), optimizer=SGD(momentum=0.0))
    # Step 1 leaves weights of 1e28. Which of the two shows that first depends on the CPU's kernels, the step does not.
    said = r"step 2 of 12: the (loss|gradient norm) of tiny:\d.* became (nan|inf); no checkpoint was written"
    with pytest.raises(SearchError, match=said):
        run(tmp_path / "first", preset=wild)
    good = tiny.preset()
    with pytest.raises(Interrupted):
        run(tmp_path / "run", Watcher(stop_at=3), preset=good, checkpoint_seconds=0)
    kept = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert kept is not None
    from mhmodels.search.supernet import loop

    search = loop.WeightSharingSearch(tiny.request(tmp_path / "run", preset=good, resume=True), Watcher())
    search.restore()
    name = next(name for name in search.trainer.network.weights if name.startswith("stem"))
    search.trainer.network.weights[name].assign(np.full(search.trainer.network.weights[name].shape, np.nan))
    with pytest.raises(SearchError, match=f"the last good checkpoint is .*{kept.name}"):
        search.to_end()
    assert checkpoint.latest(tmp_path / "run" / "checkpoints") == kept


@pytest.mark.slow
def test_a_picture_that_cannot_be_read_is_named_and_too_many_end_the_search(tmp_path: Path, eager: None) -> None:
    watcher, good, short = Watcher(), Colours(count=16, name="validation"), tiny.preset(steps=4, max_bad_share=0.05)
    own = tiny.small()
    run(tmp_path / "one", watcher, space=own, data=SearchData(Colours(count=24, bad=[5]), good), preset=short)
    assert watcher.notes[-1] == (
        "colours: 1 of 24 pictures could not be read, others stood in: colours/5.png (cannot be decoded: broken)"
    )
    with pytest.raises(DataError, match=r"2 of 24 pictures cannot be read, expected at most 1 "):
        run(tmp_path / "two", space=own, data=SearchData(Colours(count=24, bad=[5, 6]), good), preset=short)


def test_data_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than one batch"):
        run(tmp_path / "few", data=tiny.data(count=7))
    parts = tiny.preset(architectures=4)
    with pytest.raises(DataError, match=r"20 pictures .* of 32, .*'batch_size' 8 times 'architectures' 4 in preset 'test'"):
        run(tmp_path / "few", preset=parts, data=tiny.data(count=20))
    many = tiny.preset(architectures=4, scored=4, validation_batch=100)
    with pytest.raises(DataError, match=r"64 pictures .* of 100, which is 'validation_batch' 100 in preset .*argument 'preset'"):
        run(tmp_path / "few", preset=many)
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
