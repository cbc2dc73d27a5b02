"""Contained child processes, as far as their users' own tests do not run them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mhmodels.system.child import Child, run_contained

PROGRAM = """
import os, resource, sys
print(sys.argv[1:], resource.getrlimit(resource.RLIMIT_CORE), sys.stdin.read() == "", len(os.sched_getaffinity(0)))
sys.exit(3)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(PROGRAM)
    return path


def test_a_contained_run_has_its_limits_and_arguments(script: Path) -> None:
    done = run_contained(script, ["one", "two"], timeout_s=30, cores=[0])
    assert (done.returncode, done.stderr) == (3, b"")
    assert done.stdout.decode().strip() == "['one', 'two'] (0, 0) True 1"


def test_a_contained_run_is_killed_at_its_time(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        run_contained(script, timeout_s=0.5)


def test_a_child_that_ends_without_an_answer_says_so(script: Path) -> None:
    child = Child(script, ["x"])
    with pytest.raises(EOFError):
        child.line(deadline=time.monotonic() + 30)
    assert child.wait() == 3
    child.end()


def test_the_system_layer_imports_the_standard_library_only(tmp_path: Path) -> None:
    code = (
        "import sys, mhmodels.errors\nbefore = set(sys.modules)\n"
        "import mhmodels.system.child, mhmodels.system.databases, mhmodels.system.files, mhmodels.system.locks\n"
        "import mhmodels.system.places, mhmodels.system.quiet, mhmodels.system.text, mhmodels.system.addresses\n"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(tops - set(sys.stdlib_module_names) - {'mhmodels'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
