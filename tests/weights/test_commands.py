"""`mhmodels weights` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.weights import weights
from mhmodels.errors import MhmodelsError
from mhmodels.registry import resolve
from mhmodels.weights import read_weights, write_weights
from tests.weights.helpers import backbone, classifier, optimizer, random_arrays, save

ARCHITECTURE = resolve("multi_max@0.25").at(classes=5)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(weights, list(arguments), catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.weights.h5"
    write_weights(path, ARCHITECTURE, random_arrays(ARCHITECTURE), source="a test", licence="CC0-1.0")
    return path


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


def test_usage(tmp_path: Path) -> None:
    assert run("import", "x").exit_code == 2
    with pytest.raises(MhmodelsError, match="no such file or checkpoint"):
        run("import", str(tmp_path / "nothing"), "--model", "multi_max", "-o", str(tmp_path / "x.weights.h5"))
    with pytest.raises(MhmodelsError, match="unknown model 'multi_mux'"):
        run("import", str(tmp_path), "--model", "multi_mux", "-o", str(tmp_path / "x.weights.h5"))


def test_the_list_names_networks_licences_and_addresses() -> None:
    document = json.loads(run("list", "--json").output)
    assert {"imagenet"} <= {entry["name"] for entry in document["weights"]}
    assert all(entry["url"] or entry["file"] for entry in document["weights"])
    assert "mobilenet_v3_small@0.75" in run("list").output


def test_fetching_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(MhmodelsError, match=r"cannot be reached .*offline\? .*put it at"):
        run("fetch", "imagenet", "--model", "mobilenet_v3_small")
