"""Library errors name arguments; the command line puts its options there."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mhmodels.cli.common import emit_json
from mhmodels.cli.main import cli
from mhmodels.cli.messages import with_options
from mhmodels.errors import StoreError, WeightsError

OPTIONS = (["--min-battery", "battery_level"], ["-s", "--cost-model", "paths"], ["--no-softmax"])
COMMAND = click.Command("c", params=[click.Option(names) for names in OPTIONS])
vars(COMMAND)["argument_options"] = {"directory": "-o"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("allow less (argument 'battery_level')", "allow less (--min-battery)"),
        ("argument 'min_battery', argument 'paths' and argument 'cost_model'", "--min-battery, --cost-model and --cost-model"),
        ("argument 'other' and no argument", "argument 'other' and no argument"),
        ("argument 'paths=a.json' or argument 'battery_level=(3, 4)'", "--cost-model a.json or --min-battery 3x4"),
        ("argument 'softmax=False', argument 'directory'", "--no-softmax, -o"),
    ],
)
def test_arguments_become_options(text: str, shown: str) -> None:
    assert with_options(text, COMMAND) == shown


def test_texts_in_json_name_options() -> None:
    @click.command()
    @click.option("--engine")
    def command(engine: str | None) -> None:
        emit_json({"reason": "give argument 'engine=tensorflow'", "argument": engine})

    assert json.loads(CliRunner().invoke(command).stdout) == {"reason": "give --engine tensorflow", "argument": None}


def test_a_command_names_its_option() -> None:
    error = CliRunner().invoke(cli, ["compare", "multi_max", "--hardware", "roofline-40", "--store", "/dev/null"]).exception
    assert isinstance(error, StoreError)
    assert "(--store)" in str(error)


def test_a_command_of_a_group_names_its_option(tmp_path: Path) -> None:
    words = ["weights", "import", str(tmp_path / "x.h5"), "--model", "nonsense", "-o", str(tmp_path / "o.weights.h5")]
    error = CliRunner().invoke(cli, words).exception
    assert isinstance(error, WeightsError)
    assert str(error).endswith("(--model)")


def test_a_file_that_is_a_positional_argument_is_named_as_in_the_usage() -> None:
    resume = click.Command("resume", params=[click.Argument(["log_path"], metavar="LOG.db")])
    assert with_options("give another path (argument 'log')", resume) == "give another path (LOG.db)"
