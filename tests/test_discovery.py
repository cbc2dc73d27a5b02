"""What people find networks with: `mhmodels list`, `info --card`, and the documentation, whose examples are run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mhmodels import complexity, get_architecture, list_models
from mhmodels.registry import zoo
from mhmodels.report.model_cards import model_card
from tests.conftest import Command, Run

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("sort", "key"), [("params", "params"), ("madds", "madds"), ("name", "name")])
def test_list_sorts(sort: str, key: str, command: Command) -> None:
    rows = json.loads(command("list", "--sort", sort, "--json").stdout)["models"]
    assert [row[key] for row in rows] == sorted(row[key] for row in rows)
    assert len(rows) == len(list_models())


def test_list_sorts_by_accuracy_with_the_unknown_last(command: Command) -> None:
    lines = command("list", "mobilenet_v*", "--sort", "top1").stdout.splitlines()
    assert lines[1].startswith("mobilenet_v4_conv_large.timm ")
    assert lines[2].startswith("mobilenet_v4_conv_large ")
    assert lines[-1].startswith("mobilenet_v3_small_minimalistic.keras ")


def test_list_filters(command: Command) -> None:
    done = command("list", "--max-params", "4M", "--max-madds", "0.25G", "--max-input-size", "224", "--json")
    names = [row["name"] for row in json.loads(done.stdout)["models"]]
    assert names == list_models(max_params=4e6, max_madds=250e6, max_input_size=224)
    assert 0 < len(names) < len(list_models())


def test_list_of_nothing(command: Command) -> None:
    done = command("list", "--max-params", "5")
    assert (done.returncode, done.stdout) == (0, "")
    assert "--sort params" in done.stderr
    assert json.loads(command("list", "--max-params", "5", "--json").stdout) == {"models": []}


@pytest.mark.parametrize("count", ["five", "0", "-3M", "nan", "inf", "M", ""])
def test_counts_that_are_none(count: str, command: Command) -> None:
    done = command("list", "--max-madds", count)
    assert done.returncode == 2
    assert "is not a count above 0 such as 5M" in done.stderr


def test_card(mhmodels: Run) -> None:
    card = mhmodels("info", "multi_avg_seg@0.75", "--card").stdout
    assert card == model_card(get_architecture("multi_avg_seg").at(width_multiplier=0.75))
    assert card.startswith("# Multi-AVG for segmentation\n")
    for part in (
        "`mhmodels.MultiAVGSeg`",
        "| 0.75 | 2,628,488 | 2,676,272 | 227.3 |",
        "| 6 | 32 | 7x7x336 | `head1_conv_act` |",
        "mean 123.675, 116.28, 103.53",
        "| 73.35 % | 1 | TF Model Garden |",
        "#13610",
    ):
        assert part in card
    assert json.loads(mhmodels("info", "multi_avg_seg@0.75", "--card", "--json").stdout) == {
        "name": "multi_avg_seg",
        "card": card,
    }


def test_card_names_the_weights_that_create_model_takes() -> None:
    assert '- `weights="digits64"` with `multi_max@0.25`' in model_card(get_architecture("multi_max"))
    assert "None that the zoo knows of" in model_card(get_architecture("mnasnet_b1"))


@pytest.mark.parametrize("name", list_models())
def test_every_card_is_complete(name: str) -> None:
    entry = zoo()[name]
    card = model_card(entry.architecture)
    counts = complexity(entry.architecture)
    assert f"| 1 | {counts.params:,} | {counts.params_total:,} | {counts.madds / 1e6:,.1f} |" in card
    assert entry.source in card
    assert all(published.source in card and f"{published.top1:g} %" in card for published in entry.published)
    assert all(weights.origin in card for weights in entry.weights)
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        "## Sizes", "## Feature maps", "## Preprocessing", "## Published accuracy", "## Weights",
    ]  # fmt: skip


def test_card_of_a_users_own_architecture(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine.json").write_bytes(get_architecture("multi_max").at(name="mine").to_json())
    card = command("info", "mine.json", "--card").stdout
    assert "not of the zoo" in card
    assert "## Weights" not in card
    assert "accuracy" not in card


def test_the_documented_table_is_the_zoos() -> None:
    rows = {}
    networks = (DOCS / "zoo.md").read_text().split("\n## Networks\n")[1].split("\n## ")[0]
    for line in networks.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows[cells[0].strip("`")] = tuple(cells[1:4])
    expected = {}
    for name in list_models():
        architecture = get_architecture(name)
        counts = complexity(architecture)
        expected[name] = (str(architecture.input_size[0]), f"{counts.params / 1e6:.2f} M", f"{counts.madds / 1e6:.1f} M")
    assert rows == expected


def _blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / document).read_text(), re.DOTALL | re.MULTILINE)


def _python(program: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.tensorflow
def test_examples_of_the_zoo_page() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec("\n".join(_blocks("zoo.md", "python")), {"__name__": "zoo"})
    shown = output.getvalue()
    assert "multi_max" in shown
    assert "stage6_block4_add" in shown


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_family_is_one_file(tmp_path: Path) -> None:
    """The worked example: the documented file alone makes a network that is found, counted, built and described."""
    table, use = _blocks("adding-a-model.md", "python")
    (tmp_path / "pocket_net.py").write_text(table)
    begin = f"import mhmodels.families; mhmodels.families.__path__.append({os.fspath(tmp_path)!r})\n"
    shown = _python(begin + use, tmp_path)
    assert "815,880 parameters" in shown
    assert "32 64 stage5_block1_project_bn" in shown
    commands = [line.split()[1:] for line in "".join(_blocks("adding-a-model.md", "console")).splitlines()]
    assert len(commands) == 2
    for command in commands:
        program = f"import sys; sys.argv = {command!r}\nfrom mhmodels.cli.main import main; main()"
        assert "PocketNet" in _python(begin + program, tmp_path) or command[-1] == "--json"
    assert json.loads(_python(begin + program, tmp_path))["width_multiplier"] == 0.5


def test_a_name_that_two_families_declare(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text("from mhmodels.families.mobilenet_v1 import MODELS\n")
    program = (
        f"import mhmodels.families; mhmodels.families.__path__.append({os.fspath(tmp_path)!r})\n"
        "import mhmodels\ntry:\n    mhmodels.list_models()\nexcept mhmodels.MhmodelsError as error:\n    print(error)"
    )
    assert "declares 'mobilenet_v1', which another family declares already" in _python(program, tmp_path)


def test_list_shows_public_weights_and_how_to_get_them(command: Command) -> None:
    said = command("list", "mobilenet_v2*", "--weights").stdout
    assert "mobilenet_v2.torchvision\n" in said
    assert "  @1     torchvision's ImageNet weights MobileNet_V2_Weights.IMAGENET1K_V2, 72.154 %: --weights imagenet\n" in said
    assert "huggingface.co/timm/mobilenetv2_050.lamb_in1k: model.safetensors" in said
    rows = json.loads(command("list", "--weights", "--json").stdout)["models"]
    assert {row["name"] for row in rows} >= {"multi_max", "mobilenet_v4_conv_small.timm", "efficientnet_lite0"}
    assert all(row["weights"] for row in rows)
    assert "multi_avg.tunas" not in {row["name"] for row in rows}
    assert "no public weights" in command("list", "proxylessnas*", "--weights").stderr
