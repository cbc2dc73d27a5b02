"""Packages that import public names on first use: light, and each name in one module, for readers and type checkers alike."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = [
    f"mhmodels.{name}"
    for name in ("android_bench", "export", "hardware", "preprocessing", "report", "search", "training")
]  # fmt: skip
HEAVY = {"numpy", "scipy", "sklearn", "pandas", "tensorflow", "keras", "click", "rich", "matplotlib"}
COMPUTES_WITH_ARRAYS = {"mhmodels.hardware", "mhmodels.training"}
"""Packages of which some names, imported at once, need NumPy."""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_checker_and_python_find_a_name_in_the_same_module(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    typed = {
        name.name: str(node.module).removeprefix(f"{package}.")
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert typed == module._MODULE_OF
    assert set(typed) <= set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'no_such_name'"):
        importlib.import_module(package).no_such_name  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_the_package_loads_nothing_heavy(package: str) -> None:
    heavy = HEAVY - ({"numpy"} if package in COMPUTES_WITH_ARRAYS else set())
    code = f"import sys, {package}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


FOR_A_PURPOSE = ("safetensors", "onnx", "onnxruntime", "ai_edge_litert", "tensorflow", "PIL", "scipy", "sklearn", "click", "rich")
"""Packages that building a model and loading weights into it must not need: other backends run without them."""


def test_what_builds_models_needs_no_package_of_a_single_purpose() -> None:
    code = f"""
import sys
for name in {FOR_A_PURPOSE}:
    sys.modules[name] = None  # an import of it fails
import mhmodels.network, mhmodels.complexity, mhmodels.weights.importing, mhmodels.weights.stated, mhmodels.preprocessing.layer
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
