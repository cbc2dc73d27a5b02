"""What is installed is imported as `mhmodels.…` alone, and a user's own modules of the same short names change nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import COMMAND

ROOT = Path(__file__).parents[1]
LINKED = ("android_bench", "export", "search")
SCRIPT = """
import export, search
import mhmodels.android_bench, mhmodels.export.quantisation.scheme, mhmodels.search.space
from mhmodels.cli.main import COMMANDS
assert export.WHOSE == search.WHOSE == "the user's"
assert "android_bench" not in __import__("sys").modules
print(mhmodels.export.quantisation.scheme.__name__, len(COMMANDS) > 9)
"""


SAME_EVERYWHERE = {"Floats"}
"""Aliases that mean the same in every module that defines them."""


def test_a_public_class_or_alias_has_a_name_of_its_own() -> None:
    modules: dict[str, set[str]] = {}
    for folder in ("mhmodels", *LINKED):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", ())
                names = (
                    [node.name] if isinstance(node, ast.ClassDef) else [each.id for each in targets if isinstance(each, ast.Name)]
                )
                for name in names:
                    if name[0].isupper() and not name.isupper() and name not in SAME_EVERYWHERE:
                        modules.setdefault(name, set()).add(str(path.resolve().relative_to(ROOT)))
    assert not {name: found for name, found in modules.items() if len(found) > 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules of the user's beside a script."""
    for name in ("search", "export"):
        (tmp_path / f"{name}.py").write_text("WHOSE = \"the user's\"\nprint('imported', __name__)\n")
    (tmp_path / "android_bench").mkdir()
    (tmp_path / "android_bench" / "__init__.py").write_text("raise RuntimeError('nobody asked for this module')")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.parametrize("name", LINKED)
def test_a_bare_name_is_refused(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"ImportError: this package is imported as mhmodels.{name}" in done.stderr


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"]], ids=["script", "module"])
def test_own_modules_beside_a_script(how: list[str], folder: Path) -> None:
    done = subprocess.run([sys.executable, *how], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["imported export", "imported search", "mhmodels.export.quantisation.scheme True"]


@pytest.mark.parametrize("command", [[str(COMMAND)], [sys.executable, "-m", "mhmodels"]], ids=["installed", "module"])
@pytest.mark.parametrize("arguments", [["search", "--help"], ["export", "--help"], ["devices", "--help"], ["list"]], ids=" ".join)
def test_own_modules_beside_the_command_line(command: list[str], arguments: list[str], folder: Path) -> None:
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stdout


@pytest.mark.slow
@pytest.mark.tensorflow
def test_quantisation_aware_training_beside_an_own_export(folder: Path) -> None:
    (folder / "train.py").write_text(
        "from mhmodels import create_model\n"
        "from mhmodels.export.quantisation.aware import quantize_aware\n"
        "model = create_model('multi_max@0.25', weights='digits64', input_shape=(64, 64, 3), classes=10)\n"
        "print(quantize_aware(model).name)\n"
    )
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stdout
