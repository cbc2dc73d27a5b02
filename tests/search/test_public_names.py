"""The public interface of `mhmodels.search`: lazy, complete, documented with examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from mhmodels import search

_WITHOUT_EXAMPLE = {"SKIP"}


def _modules() -> list[str]:
    return sorted({f"mhmodels.search.{module}" for module in search._MODULE_OF.values()} | {"mhmodels.search"})


def test_every_name_is_listed_once_in_each_place() -> None:
    assert search.__file__ is not None
    tree = ast.parse(Path(search.__file__).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    typed = {
        name.name: str(node.module).removeprefix("mhmodels.search.")
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert typed == search._MODULE_OF
    assert set(search.__all__) == set(typed)
    assert dir(search) == sorted(search.__all__)


@pytest.mark.parametrize("name", sorted(set(search.__all__) - _WITHOUT_EXAMPLE))
def test_every_name_has_a_docstring_and_an_example(name: str) -> None:
    value = getattr(search, name)
    assert "Example:\n" in str(inspect.getdoc(value)), name
    if inspect.isfunction(value):
        assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(value).parameters.values())


def test_the_package_is_light() -> None:
    heavy = {"numpy", "scipy", "sklearn", "tensorflow", "keras", "click", "rich"}
    code = f"import sys, mhmodels.search; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        search.nothing  # noqa: B018


@pytest.mark.parametrize("module", _modules())
@pytest.mark.slow
def test_examples(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(module)).failed == 0
