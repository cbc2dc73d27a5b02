"""Training runs: they learn, they continue exactly, and they stop with a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.training.errors import CheckpointError, DataError, TrainingError
from mhmodels.training.named_recipes import load_recipe
from mhmodels.training.recipes import SGD, Adam, Augmentation, LearningRate, RMSProp
from mhmodels.training.run import checkpoint
from mhmodels.training.run.progress import Silent, Status
from mhmodels.training.run.run_folder import load_metrics

from . import tiny
from .child import content

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).parents[2]


class Interrupted(BaseException):
    """Stands in for anything that ends a process."""


class Watcher(Silent):
    """Counts steps and interrupts the run at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.seen: list[Status] = []
        self.notes: list[str] = []

    def stepped(self, status: Status) -> None:
        self.seen.append(status)
        if status.step == self.stop_at:
            raise Interrupted

    def note(self, message: str) -> None:
        self.notes.append(message)


def run(folder: Path, watcher: Watcher | None = None, **changes: Any) -> Any:
    from mhmodels.training.session import TrainingRequest, train_network

    fields = {"architecture": tiny.architecture(), "data": tiny.data(), "recipe": tiny.recipe(), "folder": folder, **changes}
    return train_network(TrainingRequest(**fields), watcher or Watcher())


def child(folder: Path, options: dict[str, Any], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.child", str(folder), json.dumps(options)],
        cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """The folder of a run to the end, and the losses of its steps."""
    folder: Path = tmp_path_factory.mktemp("learned") / "run"
    watcher = Watcher()
    run(folder, watcher)
    return folder, [status.loss for status in watcher.seen]


@pytest.fixture(scope="module")
def learned(whole: tuple[Path, list[float]]) -> Path:
    """A run to the end, whose content others must reach."""
    return whole[0]


def test_a_run_learns_and_leaves_everything(learned: Path) -> None:
    metrics = load_metrics(learned / "metrics.json")
    assert metrics.steps == 12
    assert [result.epoch for result in metrics.history] == [1, 2]
    assert metrics.history[1].loss < metrics.history[0].loss
    assert metrics.test_accuracy is not None
    assert metrics.setup.recipe == load_recipe(learned / "recipe.json") == tiny.recipe()
    assert (learned / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((learned / "tensorboard").iterdir())
    assert not list(learned.rglob(".*"))


def test_the_weights_load_into_a_model_with_softmax(learned: Path) -> None:
    from mhmodels.builder import create_model
    from mhmodels.preprocessing.pictures import fit_picture, preprocess
    from mhmodels.weights import read_info

    path = learned / "model.weights.h5"
    info = read_info(path)
    assert info is not None
    assert info.preprocessing == tiny.recipe().preprocessing
    assert info.labels.names == ("colour 0", "colour 1", "colour 2")
    model = create_model(tiny.architecture(), weights=str(path))
    source = tiny.data().test
    assert source is not None
    read = [source.read(index, 0) for index in range(len(source))]
    pixels = np.stack([fit_picture(image, (tiny.SIDE, tiny.SIDE), info.preprocessing) for image, _ in read])
    scores = model.predict(preprocess(pixels, info.preprocessing), verbose=0)
    accuracy = np.mean(scores.argmax(1) == [label for _, label in read])
    assert accuracy == pytest.approx(load_metrics(learned / "metrics.json").test_accuracy)
    assert info.accuracy[0].top1 == pytest.approx(100 * accuracy, abs=0.01)


@pytest.mark.numeric
@pytest.mark.parametrize("stop_at", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 6, 7))])
def test_an_interrupted_run_ends_with_the_same_bits(learned: Path, tmp_path: Path, stop_at: int) -> None:
    """Before, at and after the end of an epoch, with dropout; checkpoints after every step or only after epochs."""
    folder = tmp_path / "run"
    seconds = 0.0 if stop_at % 2 else 600.0
    with pytest.raises(Interrupted):
        run(folder, Watcher(stop_at), checkpoint_seconds=seconds)
    watcher = Watcher()
    run(folder, watcher, resume=True)
    assert content(folder) == content(learned)
    before, after = load_metrics(learned / "metrics.json"), load_metrics(folder / "metrics.json")
    untimed = [[msgspec.structs.replace(row, seconds=0) for row in metrics.history] for metrics in (before, after)]
    assert untimed[0] == untimed[1]
    if seconds == 0:
        # The last step was done, its checkpoint was not: one step at most is done again.
        assert watcher.seen[0].step == stop_at


@pytest.mark.slow
def test_kill_9_with_augmentation_averages_and_rmsprop(tmp_path: Path) -> None:
    recipe = tiny.recipe(
        optimizer=RMSProp(epsilon=0.1), ema=0.5, augmentation=Augmentation(), l2=1e-3, label_smoothing=0.1,
        learning_rate=LearningRate(peak=0.01, reference_batch=8, warmup=0.2),
    )  # fmt: skip
    run(tmp_path / "whole", recipe=recipe)
    options = {"recipe": _changes(recipe), "kill_at": 8, "checkpoint_seconds": 0.0}
    process = child(tmp_path / "killed", options)
    process.communicate(timeout=300)
    assert process.returncode == -9
    assert not (tmp_path / "killed" / "metrics.json").exists()
    run(tmp_path / "killed", recipe=recipe, resume=True)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    weights = [(tmp_path / name / "model.weights.h5") for name in ("killed", "whole")]
    assert _hash(weights[0]) == _hash(weights[1])


def test_resuming_with_other_settings_names_the_differences(learned: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"recipe\.epochs was 2, now 3; .*recipe\.optimizer\.type was 'sgd', now 'adam'; seed was 0, now 4"
    ):
        run(learned, recipe=_plain_recipe(), seed=4, resume=True)
    with pytest.raises(TrainingError, match=r"train was .colours: 48 pictures.*now .colours: 40 pictures"):
        run(learned, data=tiny.data(count=40), resume=True)
    with pytest.raises(TrainingError, match="holds a run already; resume it, or give another folder"):
        run(learned)


@pytest.mark.numeric
def test_resuming_a_finished_run_changes_nothing(learned: Path) -> None:
    before = content(learned)
    watcher = Watcher()
    metrics = run(learned, watcher, resume=True)
    assert watcher.seen == []
    assert metrics.test_accuracy == metrics.history[-1].test_accuracy
    assert content(learned) == before


def test_a_loss_that_diverges_stops_at_its_step(tmp_path: Path) -> None:
    recipe = tiny.recipe(optimizer=SGD(), learning_rate=LearningRate(peak=1e30, decay="constant", warmup=0.7), dropout=0.0)
    with pytest.raises(
        TrainingError, match=r"step \d+ of 12: .*(nan|inf|finite).*(no checkpoint was written before|last good checkpoint is)"
    ):
        run(tmp_path / "run", recipe=recipe, checkpoint_seconds=0.0)
    good = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert good is not None
    with np.load(good) as archive:
        assert all(np.isfinite(archive[name]).all() for name in archive.files if name.startswith("model/"))


@pytest.mark.slow
def test_a_disk_that_fills_during_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.savez

    def full(archive: Any, **arrays: Any) -> None:
        if checkpoint.latest(tmp_path / "run" / "checkpoints") is not None:
            raise OSError(28, "No space left on device")
        real(archive, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CheckpointError, match=r"step_00000012\.npz.*No space left.*stays \(step_00000006\.npz\)"):
        run(tmp_path / "run")
    monkeypatch.undo()
    assert run(tmp_path / "run", resume=True).steps == 12


@pytest.mark.slow
def test_unreadable_pictures_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    lenient = tiny.recipe(epochs=1, max_bad_share=0.1)
    metrics = run(tmp_path / "lenient", data=tiny.data(bad={7, 11}), recipe=lenient)
    assert metrics.skipped == ("colours/7.png (cannot be decoded: broken)", "colours/11.png (cannot be decoded: broken)")
    with pytest.raises(DataError, match=r"2 of 48 pictures cannot be read, expected at most 0"):
        run(tmp_path / "strict", data=tiny.data(bad={7, 11}))


def test_fine_tuning_to_other_classes_keeps_all_but_the_classifier(learned: Path, tmp_path: Path) -> None:
    from mhmodels.weights import read_weights

    watcher = Watcher()
    still = tiny.recipe(epochs=1, optimizer=SGD(momentum=0.0), learning_rate=LearningRate(peak=1e-12), evaluate_every=9)
    data = tiny.data(classes=4)._replace(test=None)
    run(
        tmp_path / "run",
        watcher,
        architecture=tiny.architecture(4),
        data=data,
        recipe=still,
        weights=str(learned / "model.weights.h5"),
    )
    assert any("has 3 classes: the classifier for 4 begins anew" in note for note in watcher.notes)
    before, after = (read_weights(folder / "model.weights.h5")[1] for folder in (learned, tmp_path / "run"))
    kernels = [key for key in before if key[1] == "kernel" and key[0] != "logits"]
    assert len(kernels) == 4
    assert all(np.allclose(before[key], after[key], atol=1e-9) for key in kernels)


@pytest.mark.slow
def test_a_transform_is_trained_and_its_weights_come_back(tmp_path: Path) -> None:
    """As quantisation-aware training does: a model around the built one, sharing its variables."""
    import keras

    def with_noise(model: Any) -> Any:
        image = keras.Input(model.input_shape[1:])
        return keras.Model(image, model(keras.layers.GaussianNoise(0.01)(image)))

    run(tmp_path / "run", transform=with_noise, transform_name="noise")
    assert (tmp_path / "run" / "transformed.weights.h5").is_file()
    from mhmodels.training.session import evaluate_network

    source = tiny.data().test
    assert source is not None
    judged = evaluate_network(tiny.architecture(), str(tmp_path / "run" / "model.weights.h5"), source)
    assert judged.top1 == load_metrics(tmp_path / "run" / "metrics.json").test_accuracy
    with pytest.raises(TrainingError, match="transform was 'noise', now None"):
        run(tmp_path / "run", resume=True)


@pytest.mark.slow
def test_averaged_weights_are_evaluated_and_saved_but_not_trained_on(whole: tuple[Path, list[float]], tmp_path: Path) -> None:
    """Averaging must not touch the training itself: the losses are those of a run without it."""
    plain, losses = whole
    averaged = Watcher()
    metrics = run(tmp_path / "averaged", averaged, recipe=tiny.recipe(ema=0.9))
    assert [status.loss for status in averaged.seen] == losses
    assert _hash(plain / "model.weights.h5") != _hash(tmp_path / "averaged" / "model.weights.h5")
    assert metrics.test_loss != load_metrics(plain / "metrics.json").test_loss


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.slow
def test_mixed_precision_learns_and_saves_float32(tmp_path: Path, precision: str) -> None:
    import keras

    from mhmodels.weights import read_weights

    metrics = run(tmp_path / "run", precision=precision, recipe=tiny.recipe(epochs=6))
    assert metrics.history[-1].loss < 0.7 * metrics.history[0].loss
    assert {array.dtype for array in read_weights(tmp_path / "run" / "model.weights.h5")[1].values()} == {np.dtype(np.float32)}
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_a_batch_must_divide_over_replicas_and_tf_config_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, message in (
        ("", "TF_CONFIG is not set, expected for example"),
        ("{", "TF_CONFIG is '{', expected"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 3}}', "expected type worker and index 0 to 0"),
    ):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(TrainingError, match=message):
            run(tmp_path / "run", strategy="multi_worker")


@pytest.mark.slow
def test_two_devices_train_as_one_and_resume(tmp_path: Path) -> None:
    """Mirrored over two logical CPUs, batch normalisation over both: the losses of one device with the same batch."""
    shared = {"synchronised_batch_norm": True, "dropout": 0.0}
    one = finished(child(tmp_path / "one", {"recipe": shared}))
    two = finished(child(tmp_path / "two", {"recipe": shared, "strategy": "mirrored", "devices": 2}))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    process = child(
        tmp_path / "cut", {"recipe": shared, "strategy": "mirrored", "devices": 2, "kill_at": 9, "checkpoint_seconds": 0}
    )
    process.communicate(timeout=600)
    assert process.returncode == -9
    again = finished(child(tmp_path / "cut", {"recipe": shared, "strategy": "mirrored", "devices": 2, "resume": True}))
    assert again["losses"] == pytest.approx(two["losses"][8:], rel=1e-5)


def _plain_recipe() -> Any:
    return tiny.recipe(epochs=3, optimizer=Adam())


def _changes(recipe: Any) -> dict[str, Any]:
    """What of a recipe differs from the tests' default, as JSON that `child` takes."""
    changed, default = msgspec.to_builtins(recipe), msgspec.to_builtins(tiny.recipe())
    return {key: value for key, value in changed.items() if value != default[key]}


def _hash(path: Path) -> str:
    from mhmodels.weights import read_info

    info = read_info(path)
    assert info is not None
    return info.sha256


def test_a_folder_in_which_a_run_goes_on_is_not_taken_up_by_another(tmp_path: Path) -> None:
    """`train --resume` beside a running `train` used to remove the files that the first one needed."""
    folder = tmp_path / "run"

    class Second(Watcher):
        def stepped(self, status: Status) -> None:
            super().stepped(status)
            if status.step == 1:
                held = (folder / "run.lock").read_text()
                with pytest.raises(TrainingError, match=f"process {held} trains in this folder; wait for it"):
                    run(folder, resume=True)
                with pytest.raises(TrainingError, match="holds a run already"):
                    run(folder)

    watcher = Second()
    run(folder, watcher)
    assert len(watcher.seen) > 1
    assert load_metrics(folder / "metrics.json").steps == watcher.seen[-1].step
