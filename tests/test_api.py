"""The public Python API: every exported name explains itself, its examples run, and docs/api.md says the same."""

from __future__ import annotations

import doctest
import importlib
import inspect
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mhmodels
from mhmodels.registry import zoo

GENERATOR = Path(__file__).parents[1] / "docs" / "generate_api.py"
API = runpy.run_path(str(GENERATOR))
NAMES = [
    f"{package}.{name}"
    for package in API["PACKAGES"]
    for name in getattr(importlib.import_module(package), "__all__", ())
    if not name.startswith("__")
]
SLOW = {
    "mhmodels.export.ConsistencyReport",
    "mhmodels.export.Exported",
    "mhmodels.export.FileReport",
    "mhmodels.export.Manifest",
    "mhmodels.export.check_consistency",
    "mhmodels.export.export_model",
    "mhmodels.export.load_manifest",
    "mhmodels.export.open_model",
    "mhmodels.export.verify",
    "mhmodels.search.collect",
    "mhmodels.search.measure_front",
    "mhmodels.search.stored_latencies",
    "mhmodels.create_model",
    "mhmodels.training.evaluate_network",
    "mhmodels.training.train_network",
    "mhmodels.weights.load_weights",
    "mhmodels.weights.model_arrays",
    "mhmodels.weights.save_weights",
}
"""Names whose examples build, train or export networks."""


def load(name: str) -> Any:
    """The object that a public name stands for."""
    package, _, short = name.rpartition(".")
    return getattr(importlib.import_module(package), short)


def needs_example(value: object) -> bool:
    """Functions and classes that a user calls; not errors, and not protocols, which a user implements."""
    if inspect.isclass(value):
        return not issubclass(value, BaseException) and not getattr(value, "_is_protocol", False)
    return inspect.isroutine(value)


@pytest.mark.tensorflow
def test_the_page_is_what_the_docstrings_say() -> None:
    assert API["PAGE"].read_text() == API["page"](), "run `python docs/generate_api.py`"


@pytest.mark.tensorflow
def test_every_public_name_has_a_docstring_with_an_example() -> None:
    described = {name: value for name in NAMES if API["documented"](value := load(name))}
    assert not [name for name, value in described.items() if not inspect.getdoc(value)]
    without = {name for name, value in described.items() if needs_example(value) and "Example:" not in inspect.getdoc(value)}  # type: ignore[operator]
    assert not without


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES])
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value = load(name)
    if not API["documented"](value):
        return
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    known = {**vars(sys.modules[value.__module__]), "Path": Path}
    for found in doctest.DocTestFinder(recurse=False).find(value, name, module=False, globs=known):
        runner.run(found, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.tensorflow
def test_the_builder_of_models_is_one_with_its_public_name() -> None:
    from mhmodels.builder import create_model

    public, own = inspect.signature(mhmodels.create_model), inspect.signature(create_model)
    assert [(each.name, each.default, each.kind) for each in public.parameters.values()] == [
        (each.name, each.default, each.kind) for each in own.parameters.values()
    ]


@pytest.mark.parametrize("builder", [entry.builder for entry in zoo().values() if entry.builder])
def test_builders_show_what_they_take(builder: str) -> None:
    build: Callable[..., Any] = getattr(mhmodels, builder)
    parameters = inspect.signature(build).parameters
    assert list(parameters)[:3] == ["input_shape", "include_top", "weights"]
    assert set(parameters) == set(inspect.signature(mhmodels.create_model).parameters) - {"model"}
    assert build.__name__ == builder
    assert f">>> from mhmodels import {builder}" in (build.__doc__ or "")
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'depth'"):
        build(depth=3)


def test_unknown_names_are_refused() -> None:
    for package in API["PACKAGES"]:
        with pytest.raises(AttributeError):
            getattr(importlib.import_module(package), "NoSuchName")  # noqa: B009
