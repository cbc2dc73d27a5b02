"""Distillation: quantisation-aware training that learns from the float network, with pictures and without labels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import Preprocessing
from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.preprocessing.decoding import open_picture
from mhmodels.training import Distillation, Recipe, load_metrics, load_recipe, open_pictures
from mhmodels.training.errors import DataError, RecipeError, TrainingError
from mhmodels.training.recipes import SGD, Adam, LearningRate
from mhmodels.weights import Labels, WeightsInfo, read_info, read_weights, write_weights
from tests.weights.helpers import random_arrays

from . import tiny
from .child import content

ROOT = Path(__file__).parents[2]
NETWORK = tiny.architecture()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its weights, and a flat folder of 60 pictures."""
    folder: Path = tmp_path_factory.mktemp("distillation")
    (folder / "tiny.json").write_bytes(NETWORK.to_json())
    write_teacher(folder / "float.weights.h5")
    (folder / "pictures").mkdir()
    source = tiny.Colours(count=60)
    for index in range(len(source)):
        source.read(index, 0)[0].save(folder / "pictures" / f"{index:02d}.png")
    return folder


def write_teacher(path: Path) -> WeightsInfo:
    """Writes weights of which one channel per layer is much larger than the others, so that one scale per tensor costs much."""
    arrays = random_arrays(NETWORK, seed=3)
    for (layer, role), array in arrays.items():
        if role == "gamma":
            array[:] = np.abs(array) + 0.5
            array[0] *= 12.0
        elif role == "kernel" and layer == "logits":
            array *= 2.0
    labels = Labels(name="colours", names=("red", "green", "blue"))
    return write_weights(path, NETWORK, arrays, labels=labels, licence="CC0-1.0", source="drawn for a test")


def recipe(**changes: Any) -> Recipe:
    fields = {"epochs": 3, "batch_size": 8, **changes}
    return msgspec.structs.replace(load_recipe("distil"), **fields)


def distil(place: Path, folder: Path, fmt: Any = "uint8", observer: Any = None, **changes: Any) -> Any:
    from mhmodels.cli.quantised_training import quantise_aware
    from mhmodels.training.session import TrainingRequest, train_network

    fields = {
        "architecture": NETWORK, "data": open_pictures(str(place / "pictures")), "recipe": recipe(), "folder": folder,
        "weights": str(place / "float.weights.h5"), "distillation": Distillation(), **changes,
    }  # fmt: skip
    return train_network(quantise_aware(TrainingRequest(**fields), fmt, None, None), observer)


@pytest.fixture(scope="module")
def distilled(place: Path) -> Path:
    """The folder of a run to the end."""
    distil(place, place / "run")
    return place / "run"


@pytest.mark.slow
@pytest.mark.tensorflow
def test_distillation_brings_the_rounded_network_nearer_to_the_float_network(distilled: Path) -> None:
    metrics = load_metrics(distilled / "metrics.json")
    assert metrics.start is not None
    assert metrics.kept is not None
    assert metrics.start.epoch == 0
    assert metrics.kept.epoch > 0
    assert metrics.kept.loss < 0.7 * metrics.start.loss
    assert (metrics.test_accuracy, metrics.test_loss) == (metrics.kept.accuracy, pytest.approx(metrics.kept.loss, rel=1e-5))
    assert metrics.test_accuracy >= metrics.start.accuracy


@pytest.mark.slow
@pytest.mark.tensorflow
def test_kernels_stay_and_biases_learn(place: Path, distilled: Path) -> None:
    before, after = (read_weights(path)[1] for path in (place / "float.weights.h5", distilled / "model.weights.h5"))
    same = {key: np.array_equal(before[key], after[key]) for key in before}
    assert {role for (_, role), equal in same.items() if equal} == {"kernel", "moving_mean", "moving_variance"}
    assert not any(equal for (_, role), equal in same.items() if role in ("gamma", "beta", "bias"))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_weights_file_has_ranges_and_the_labels_and_licence_of_the_teacher(distilled: Path) -> None:
    info = read_info(distilled / "model.weights.h5")
    assert info is not None
    assert info.learned is not None
    assert (info.learned.format, info.learned.granularity, info.learned.steps) == ("uint8", "tensor", 18)
    assert info.labels.names == ("red", "green", "blue")
    assert info.licence == "CC0-1.0"
    assert info.accuracy == ()  # an agreement is no accuracy
    assert info.source.endswith("distilled from: drawn for a test")


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.numeric
def test_an_interrupted_distillation_ends_with_the_same_bits(place: Path, distilled: Path, tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    from mhmodels.training.run.progress import Silent, Status

    class Stopping(Silent):
        def stepped(self, status: Status) -> None:
            if status.step == 8:
                raise Stopped

    with pytest.raises(Stopped):
        distil(place, tmp_path / "run", observer=Stopping(), checkpoint_seconds=0.0)
    metrics = distil(place, tmp_path / "run", resume=True)
    assert content(tmp_path / "run") == content(distilled)
    before = load_metrics(distilled / "metrics.json")
    assert (metrics.kept, metrics.start) == (before.kept, before.start)
    infos = [read_info(folder / "model.weights.h5") for folder in (distilled, tmp_path / "run")]
    assert infos[0] == infos[1]
    with pytest.raises(TrainingError, match=r"distillation\.temperature was 1\.0, now 2\.0"):
        distil(place, tmp_path / "run", resume=True, distillation=Distillation(temperature=2.0))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_run_that_gets_worse_stops_early_and_keeps_the_start(place: Path, tmp_path: Path) -> None:
    worse = recipe(epochs=9, patience=2, learning_rate=LearningRate(peak=0.5, decay="constant"), optimizer=Adam())
    metrics = distil(place, tmp_path / "run", recipe=worse)
    assert (metrics.steps, len(metrics.history)) == (2 * 6, 2)
    assert metrics.kept == metrics.start
    assert metrics.test_loss == pytest.approx(metrics.start.loss, rel=1e-5)
    again = distil(place, tmp_path / "run", recipe=worse, resume=True)
    assert (again.steps, again.kept) == (metrics.steps, metrics.kept)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_bad_teachers_and_recipes_are_refused_by_field(place: Path, distilled: Path, tmp_path: Path) -> None:
    def message(kind: type[MhmodelsError], **changes: Any) -> str:
        with pytest.raises(kind) as caught:
            distil(place, tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "without weights: expected those of the trained float network (argument 'weights')" in message(
        TrainingError, weights=None
    )
    assert "has ranges that quantisation-aware training for uint8 learned; expected the weights of the float network" in message(
        MhmodelsError, weights=str(distilled / "model.weights.h5")
    )
    assert "has 3 classes, expected the whole network with the 4 classes of tiny" in message(
        MhmodelsError, architecture=tiny.architecture(4)
    )
    assert "field 'label_smoothing' is 0.1, expected 0" in message(RecipeError, recipe=recipe(label_smoothing=0.1))
    other = recipe(preprocessing=Preprocessing(crop_fraction=0.5))
    assert "leave the field 'preprocessing' out of the recipe" in message(RecipeError, recipe=other)
    assert "field 'optimizer' is SGD, expected Adam" in message(RecipeError, recipe=recipe(optimizer=SGD()))
    data = open_pictures(str(place / "pictures"))._replace(test=None)
    assert "field 'patience' is 6, which needs pictures to test on" in message(DataError, data=data)


def test_pictures_of_any_folder_are_found_and_divided(place: Path, tmp_path: Path) -> None:
    flat = open_pictures(str(place / "pictures"))
    assert flat.train is not None
    assert flat.test is not None
    assert (len(flat.train), len(flat.test)) == (48, 12)
    assert flat.test.where(0).endswith("pictures/04.png")
    assert not {flat.train.where(i) for i in range(48)} & {flat.test.where(i) for i in range(12)}
    nested = tiny.write_folder(tmp_path / "nested", {"red": 5, "green/deep": 3, "blue": 2})
    opened = open_pictures(str(nested))
    assert opened.train is not None
    assert opened.test is not None
    assert (len(opened.train), len(opened.test)) == (8, 2)
    assert opened.train.read(0, 0)[1] == 0
    assert opened.train.fingerprint() != opened.test.fingerprint()
    both = open_pictures(str(place / "pictures"), test=str(nested))
    assert both.train is not None
    assert both.test is not None
    assert (len(both.train), len(both.test)) == (60, 10)
    tiny.write_folder(tmp_path / "parts", {"train": 6, "val": 3})
    parts = open_pictures(str(tmp_path / "parts"))
    assert parts.train is not None
    assert parts.test is not None
    assert open_picture(parts.test.where(0)).size == (36, 40)
    digits = open_pictures("digits64")
    assert digits.train is not None
    assert (digits.train.classes, digits.train.read(5, 0)[1]) == (None, 0)


def test_folders_without_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures in this folder or its subfolders"):
        open_pictures(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="nowhere: no such folder or files; expected a folder of pictures"):
        open_pictures(str(tmp_path / "nowhere"))
    few = tiny.write_folder(tmp_path / "few", {"a": 3})
    with pytest.raises(DataError, match="few: 3 pictures, expected at least 5, of which one is held out"):
        open_pictures(str(few))


def invoke(place: Path, *arguments: str) -> Result:
    model, weights = str(place / "tiny.json"), str(place / "float.weights.h5")
    return CliRunner().invoke(cli, ("train", model, "--data", str(place / "pictures"), "--weights", weights, *arguments))


def test_options_that_contradict_each_other_are_wrong_usage(place: Path, tmp_path: Path) -> None:
    output = ("-o", str(tmp_path / "run"))
    for arguments, message in (
        (("--distil",), "--distil needs --quantize-aware"),
        (("--temperature", "2"), "--temperature belongs to --distil"),
        (("--distil", "--quantize-aware", "uint8", "--label-offset", "1"), "--label-offset has no effect with --distil"),
        (("--distil", "--quantize-aware", "uint8", "--temperature", "0"), "--temperature"),
        (("--distil", "--quantize-aware", "uint8", "--mixed-precision", "float16"), "needs --mixed-precision none"),
    ):
        result = invoke(place, *arguments, *output)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
    result = CliRunner().invoke(
        cli, ("train", str(place / "tiny.json"), "--data", "digits64", "--distil", "--quantize-aware", "int8", *output)
    )
    assert result.exit_code == 2
    assert "--quantize-aware needs --weights" in result.stderr
    result = invoke(place, "--distil", "--quantize-aware", "uint8", "--classes", "5", *output)
    assert "3 classes, expected 5" in str(result.exception)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_kill_9_and_resume(place: Path, distilled: Path, tmp_path: Path) -> None:
    """The command line, killed after its first epoch, ends with the weights of a run without interruption."""
    (tmp_path / "recipe.json").write_bytes(recipe().to_json())
    command = [
        sys.executable, "-m", "mhmodels", "train", str(place / "tiny.json"), "--data", str(place / "pictures"), "--weights",
        str(place / "float.weights.h5"), "--quantize-aware", "uint8", "--distil", "--recipe", str(tmp_path / "recipe.json"),
        "-o", str(tmp_path / "run"), "--json", "--checkpoint-minutes", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1:"):
            process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert "agreement" in done.stderr
    assert json.loads(done.stdout)["kept"] == msgspec.to_builtins(load_metrics(distilled / "metrics.json").kept)
    infos = [read_info(folder / "model.weights.h5") for folder in (distilled, tmp_path / "run")]
    assert infos[0] is not None
    assert infos[1] is not None
    assert infos[0].sha256 == infos[1].sha256
