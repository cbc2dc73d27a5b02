"""`mhmodels train` and `mhmodels evaluate` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import Preprocessing
from mhmodels.cli.main import cli
from mhmodels.cli.train import _recipe
from mhmodels.errors import MhmodelsError

from . import tiny
from .idx_folder import write_idx

NETWORK = "tiny.json"
RECIPE = "recipe.json"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, a recipe and pictures, as the working directory."""
    monkeypatch.chdir(tmp_path)
    Path(NETWORK).write_bytes(tiny.architecture().to_json())
    Path(RECIPE).write_bytes(tiny.recipe(epochs=1).to_json())
    tiny.write_folder(tmp_path / "pictures" / "train", {"red": 9, "green": 8, "blue": 8})
    tiny.write_folder(tmp_path / "pictures" / "val", {"red": 2, "green": 2, "blue": 2})
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def refused(*arguments: str) -> str:
    """The message with which a command ends."""
    result = invoke(*arguments)
    assert isinstance(result.exception, MhmodelsError), result.exception
    return str(result.exception)


def document(result: Result) -> Any:
    assert result.exception is None, result.output
    return json.loads(result.stdout)


@pytest.mark.tensorflow
@pytest.mark.usefixtures("place")
def test_train_evaluate_resume() -> None:
    train = ("train", NETWORK, "--data", "pictures", "--recipe", RECIPE, "-o", "run", "--json")
    trained = document(invoke(*train))
    assert (trained["steps"], trained["folder"], trained["weights_file"]) == (3, "run", "model.weights.h5")
    judged = document(invoke("evaluate", NETWORK, "--weights", "run/model.weights.h5", "--data", "pictures", "--json"))
    assert (judged["pictures"], judged["top1"]) == (6, trained["test_accuracy"])
    assert judged["loss"] == pytest.approx(trained["test_loss"], rel=1e-5)
    everything = document(invoke("evaluate", NETWORK, "--weights", "run/model.weights.h5", "--data", "pictures/train", "--json"))
    assert everything["pictures"] == 25
    assert document(invoke(*train, "--resume"))["history"] == trained["history"]
    assert "holds a run already; resume it, or give another folder (--resume)" in refused(*train)
    assert "recipe.batch_size was 8, now 4" in refused(*train, "--resume", "--batch-size", "4")
    mistaken = refused("evaluate", "multi_max@0.25", "--weights", "run/model.weights.h5", "--data", "pictures")
    assert "weights of tiny at width 1" in mistaken


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.usefixtures("place")
def test_train_evaluate_resume_with_idx_files() -> None:
    write_idx(Path("idx"), train=25, test=6)
    train = ("train", NETWORK, "--data", "idx:idx", "--recipe", RECIPE, "-o", "run", "--json")
    trained = document(invoke(*train))
    assert (trained["steps"], trained["setup"]["train"][:27]) == (3, "idx:idx train: 25 pictures,")
    judged = document(invoke("evaluate", NETWORK, "--weights", "run/model.weights.h5", "--data", "idx:idx", "--json"))
    assert (judged["pictures"], judged["top1"], judged["data"]) == (6, trained["test_accuracy"], "idx:idx test")
    assert document(invoke(*train, "--resume"))["history"] == trained["history"]
    write_idx(Path("idx"), train=26, test=6)
    assert json.loads(Path("run/run.json").read_text())["train"] == trained["setup"]["train"]
    assert "train was 'idx:idx train: 25 pictures," in refused(*train, "--resume")


@pytest.mark.slow
@pytest.mark.tensorflow
def test_people_read_progress_on_stderr_and_the_result_on_stdout(place: Path, mhmodels: Any) -> None:
    (place / "pictures" / "train" / "red" / "03.png").write_bytes(b"broken")
    recipe = tiny.recipe(epochs=1, max_bad_share=0.05)
    Path(RECIPE).write_bytes(recipe.to_json())
    done = mhmodels("train", NETWORK, "--data", "pictures", "--recipe", RECIPE, "-o", "run", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "epoch 1: loss" in done.stderr
    assert "1 pictures could not be read" in done.stderr
    assert "red/03.png" in done.stderr
    assert done.stdout.startswith("tiny: test accuracy")
    assert done.stdout.endswith("weights in run/model.weights.h5\n")


def test_bad_input_is_a_message(place: Path) -> None:
    rest = ("--recipe", RECIPE, "-o", "run")
    assert "nowhere: no such folder or files" in refused("train", NETWORK, "--data", "nowhere", *rest)
    assert "unknown recipe 'papr'" in refused("train", NETWORK, "--data", "pictures", "--recipe", "papr", "-o", "run")
    (place / "pictures" / "train" / "empty").mkdir()
    assert "1 of 4 class folders hold no picture: empty" in refused("train", NETWORK, "--data", "pictures", *rest)
    assert "no file of the train pictures, expected one of train-images-idx3" in refused(
        "train", NETWORK, "--data", "idx:.", *rest
    )
    assert "unknown model" in refused("train", "multimax", "--data", "digits64", *rest)
    assert not (place / "run").exists()


@pytest.mark.tensorflow
@pytest.mark.usefixtures("place")
def test_classes_that_do_not_fit_are_a_message() -> None:
    message = refused("train", NETWORK, "--data", "pictures", "--classes", "7", "--recipe", RECIPE, "-o", "run")
    assert "has 3 classes, the network 7; set classes to 3" in message
    assert "(--classes)" in message
    message = refused("train", NETWORK, "--data", "pictures", "--recipe", RECIPE, "--batch-size", "26", "-o", "run")
    assert "25 pictures are fewer than one batch of 26" in message
    assert "no such file" in refused("evaluate", NETWORK, "--weights", "none.weights.h5", "--data", "pictures")


@pytest.mark.tensorflow
@pytest.mark.usefixtures("place")
def test_networks_that_cannot_be_fed_are_a_message() -> None:
    rest = ("--data", "pictures", "--recipe", RECIPE, "-o", "run")
    Path("grey.json").write_bytes(tiny.architecture().at(input_channels=1).to_json())
    assert "tiny: field 'input_channels' is 1, expected 3" in refused("train", "grey.json", *rest)
    Path(RECIPE).write_bytes(tiny.recipe(preprocessing=Preprocessing(mean=(1.0, 2.0), std=(1.0, 2.0))).to_json())
    assert "'preprocessing.mean' and 'preprocessing.std' have 2 values, expected 3" in refused("train", NETWORK, *rest)
    assert not Path("run").exists()
    from mhmodels.weights import write_weights
    from tests.weights.helpers import random_arrays

    grey = tiny.architecture().at(input_channels=1)
    write_weights("grey.weights.h5", grey, random_arrays(grey))
    message = refused("evaluate", "grey.json", "--weights", "grey.weights.h5", "--data", "pictures")
    assert "field 'input_channels' is 1, expected 3" in message


def test_wrong_usage_exits_2() -> None:
    for arguments in (("train", NETWORK), ("train", NETWORK, "--data", "digits64"), ("evaluate", NETWORK, "--data", "digits64")):
        assert invoke(*arguments).exit_code == 2
    assert invoke("train", NETWORK, "--data", "digits64", "-o", "run", "--strategy", "horovod").exit_code == 2
    for option in ("--classes", "--input-size"):
        assert invoke("train", NETWORK, "--data", "digits64", "-o", "run", option, "0").exit_code == 2
        assert invoke("evaluate", NETWORK, "--data", "digits64", "--weights", "digits64", option, "0").exit_code == 2


def test_the_recipe_of_digits_is_for_digits_only() -> None:
    assert [_recipe(None, data, None, None).name for data in ("digits64", "digits64-hard")] == ["digits", "digits"]
    assert _recipe(None, "digits64-mine/", None, None).name == "paper"
