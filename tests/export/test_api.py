"""The names that users import: they exist, they are documented, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import mhmodels.export as export

FUNCTIONS = (
    "WriterOptions", "check_consistency", "export_model", "labels_from_file", "latency_file", "load_manifest", "open_model",
    "quantize_aware", "save_aware", "verify",
)  # fmt: skip
MODULES = (
    "mhmodels.export.tolerances",
    "mhmodels.export.writing.latency",
    "mhmodels.tflite.schema",
)


def test_the_package_is_light_and_names_everything() -> None:
    code = (
        "import sys, mhmodels.export as export; assert set(export.__all__) <= set(dir(export)), 'dir';"
        "print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    for name in export.__all__:
        value = getattr(export, name)
        assert inspect.getdoc(value), name
        assert set(export._MODULES) == set(export.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'export_modle'"):
        export.export_modle  # noqa: B018


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_examples_of_functions_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    function = getattr(export, name)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (test,) = finder.find(function, name, globs=dict(vars(sys.modules[function.__module__])))
    assert test.examples
    assert runner.run(test).failed == 0


@pytest.mark.parametrize("module", [*MODULES, "mhmodels.export.options", "mhmodels.export.reading.stated_rule",
                                    "mhmodels.export.opening.model_request"])  # fmt: skip
def test_examples_of_modules_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert (found.failed, found.attempted > 0) == (0, True)
