"""Library errors name fields; the command line appends the option."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mhmodels.cli.fields import FieldGroup, with_options
from mhmodels.errors import MhmodelsError


def _group(error: MhmodelsError) -> click.Group:
    @click.group(cls=FieldGroup)
    def group() -> None:
        pass

    @group.command()
    @click.option("--cost-model", "paths")
    def command(paths: str | None) -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("text", "field", "shown"),
    [
        ("too slow", "cost_model", "too slow (--cost-model)"),
        ("too slow: give another --cost-model", "cost_model", "too slow: give another --cost-model"),
        ("too slow", "target", "too slow"),
        ("too slow", "", "too slow"),
        ("too slow", "paths", "too slow (--cost-model)"),
    ],
)
def test_the_option_of_a_field_is_appended_once(text: str, field: str, shown: str) -> None:
    error = MhmodelsError(text, field=field)
    assert (str(error), error.field) == (text, field)
    assert str(CliRunner().invoke(_group(error), ["command"]).exception) == shown


def test_arguments_in_a_text_become_options() -> None:
    group = _group(MhmodelsError("give argument 'paths', or argument 'other'"))
    assert str(CliRunner().invoke(group, ["command"]).exception) == "give --cost-model, or argument 'other'"


def test_a_file_that_is_an_argument_is_named_by_its_metavar() -> None:
    @click.command()
    @click.argument("log_path", metavar="LOG.db")
    def resume(log_path: str) -> None:
        pass

    assert with_options("give another path (argument 'log')", resume) == "give another path (LOG.db)"
