"""The package is light until a name of it is used, and examples of its other modules run (public names: tests/test_api.py)."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys

import pytest

import mhmodels.export as export

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


@pytest.mark.parametrize("module", [*MODULES, "mhmodels.export.options", "mhmodels.export.reading.stated_rule",
                                    "mhmodels.export.opening.model_request"])  # fmt: skip
def test_examples_of_modules_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert (found.failed, found.attempted > 0) == (0, True)
