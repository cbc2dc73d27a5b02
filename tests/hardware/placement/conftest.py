"""An environment of the tool whose compiler is a shell script, and the real one where it is installed."""

from __future__ import annotations

import os
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from mhmodels.hardware.tools import environment
from mhmodels.hardware.tools.catalogue import QUALCOMM

RECORDED = Path(__file__).parent / "recorded"
_HOME = os.environ.get("MHMODELS_HOME")
_REASON = environment.missing(QUALCOMM)

StandIn = Callable[..., None]


def printed(name: str) -> tuple[str, str]:
    """Standard output and standard error of a run of the real compiler."""
    return (RECORDED / f"{name}.out.txt").read_text(), (RECORDED / f"{name}.err.txt").read_text()


@pytest.fixture(scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the two packages in which the compiler and its libraries are."""
    folder = tmp_path_factory.mktemp("tool") / "qualcomm"
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for name in ("ai_edge_litert", "onnxruntime_qnn"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").touch()
    (packages / "ai_edge_litert" / "tools").mkdir()
    (folder / environment._PINS).write_text(environment._pins_hash(QUALCOMM) + "\n")
    return folder


@pytest.fixture
def stand_in(_environment: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Installs a compiler: it prints a recorded text, writes a file, and does what a line of shell says.

    The line knows `$output`, the path of the compiled file.
    """

    def install(name: str = "", compiled: Path | None = None, then: str = "exit 0") -> None:
        monkeypatch.setattr(environment, "environment_path", lambda _: _environment)
        (program,) = _environment.glob("lib/python3*/site-packages/ai_edge_litert/tools")
        program /= "apply_plugin_main"
        show = f"cat '{RECORDED / name}.out.txt'; cat '{RECORDED / name}.err.txt' >&2" if name else ":"
        copy = f"cp '{compiled}' \"$output\"" if compiled else ":"
        find = 'for word in "$@"; do case "$word" in --o=*) output="${word#--o=}";; esac; done'
        program.write_text(f"#!/bin/sh\n{find}\n{show}\n{copy}\n{then}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool of the user who runs the tests; without one the test is skipped."""
    if _REASON:
        pytest.skip(_REASON)
    monkeypatch.setattr(environment, "tools_path", lambda: _tools())


def _tools() -> Path:
    from mhmodels.system import places

    if _HOME is not None:
        return Path(_HOME) / "tools"
    saved = os.environ.pop("MHMODELS_HOME", None)
    try:
        return places.data_path() / "tools"
    finally:
        if saved is not None:
            os.environ["MHMODELS_HOME"] = saved
