"""The examples in docstrings of names that are not public (those of public names: test_api.py)."""

from __future__ import annotations

import doctest
import importlib
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("mhmodels", "android_bench", "export", "search")


def modules() -> Iterator[str]:
    """Every module of the four packages that has an example."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text():
                parts = path.relative_to(ROOT).with_suffix("").parts
                names = [name for name in (*([] if folder == "mhmodels" else ["mhmodels"]), *parts) if name != "__init__"]
                yield ".".join(names)


@pytest.fixture(scope="module")
def public() -> set[str]:
    """Full names of the public classes and functions, by the modules that define them."""
    api = runpy.run_path(str(ROOT / "docs" / "generate_api.py"))
    values = [value for package in api["PACKAGES"] for value in api["public_names"](package).values()]
    return {f"{value.__module__}.{value.__qualname__}" for value in values if hasattr(value, "__qualname__")}


@pytest.mark.parametrize("module", sorted({*modules()}))
def test_examples_run(module: str, public: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for found in doctest.DocTestFinder().find(importlib.import_module(module), module):
        if not any(found.name == name or found.name.startswith(f"{name}.") for name in public):
            runner.run(found, out=said.append)
    assert not runner.failures, "".join(said)
