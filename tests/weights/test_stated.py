"""Trained weights know their classes and input size: commands take them, and refuse what contradicts them before TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mhmodels.cli.main import cli
from mhmodels.errors import WeightsError
from mhmodels.registry import resolve
from mhmodels.system import quiet
from mhmodels.weights import write_weights
from mhmodels.weights.stated import weighted_network
from tests.training.tiny import write_folder
from tests.weights.helpers import random_arrays

NETWORK = resolve("multi_max@0.25").at(classes=4, input_size=(48, 64))
NAMED = resolve("multi_max@0.25")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "x.weights.h5"
    write_weights(path, NETWORK, random_arrays(NETWORK))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "top", "size", "classes", "notes"),
    [
        ({}, True, (48, 64), 4, ("4 classes, as the weights say", "input of 48x64 pixels, as the weights say")),
        ({"classes": 4}, True, (48, 64), 4, ("input of 48x64 pixels, as the weights say",)),
        ({"input_size": (32, 96)}, True, (32, 96), 4, ("4 classes, as the weights say",)),
        ({"classes": 4, "input_size": (48, 64)}, True, (48, 64), 4, ()),
        ({}, False, (48, 64), 1000, ("input of 48x64 pixels, as the weights say",)),
        ({"classes": 7}, False, (48, 64), 7, ("input of 48x64 pixels, as the weights say",)),
    ],
)
def test_what_is_not_asked_for_is_the_weights(
    weights: str, changes: dict[str, Any], top: bool, size: tuple[int, int], classes: int, notes: tuple[str, ...]
) -> None:
    found = weighted_network(NAMED, weights, changes, top=top)
    assert (found.architecture.input_size, found.architecture.classes, found.notes) == (size, classes, notes)


def test_what_contradicts_the_weights(weights: str, tmp_path: Path) -> None:
    for network, changes, message in (
        (NAMED, {"classes": 5}, "4 classes, expected 5 as the model has"),
        (NAMED, {"input_channels": 1}, "for pictures of 3 channels, expected 1"),
        (resolve("multi_max@0.5"), {}, r"weights of multi_max at width 0\.25 .*expected multi_max at width 0\.5"),
    ):
        with pytest.raises(WeightsError, match=message):
            weighted_network(network, weights, changes)
    # Without its classifier a file does not say how many classes there are.
    body = tmp_path / "body.weights.h5"
    write_weights(body, NETWORK, random_arrays(NETWORK, classifier=False))
    assert weighted_network(NAMED, body, {}).architecture.classes == 1000
    assert weighted_network(NAMED, None, {"classes": 3}).architecture == NAMED.at(classes=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "multi_max@0.25", "-o", "out", "--classes", "5"), "4 classes, expected 5"),
        (("export", "multi_max@0.5", "-o", "out"), "at width 0.5"),
        (("consistency", "multi_max@0.25", "--classes", "5"), "4 classes, expected 5"),
        (("consistency", "multi_max@0.5"), "at width 0.5"),
        (("evaluate", "multi_max@0.25", "--data", "data", "--classes", "5"), "4 classes, expected 5"),
        (("evaluate", "multi_max@0.25", "--data", "data"), "has 3 classes, the weights 4"),
    ],
)
def test_commands_say_so_before_tensorflow(
    arguments: tuple[str, ...], message: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heavy() -> None:
        raise AssertionError("TensorFlow was loaded first")

    monkeypatch.setattr(quiet, "load_tensorflow", heavy)
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", {"a": 1, "b": 1, "c": 1})
    done = CliRunner().invoke(cli, [*arguments, "--weights", weights])
    assert isinstance(done.exception, Exception)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.tensorflow
def test_an_export_is_of_the_weights_own_size_and_classes(weights: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "multi_max@0.25", "-o", str(tmp_path), "--weights", weights, "--json"])
    assert done.exit_code == 0, done.output
    (file,) = json.loads(done.stdout)["files"]
    assert Path(file["path"]).name == "multi_max_w0.25_48x64_float32.tflite"
    assert file["outputs"][0]["shape"] == [1, 4]
    assert "multi_max: 4 classes, as the weights say" in done.stderr
