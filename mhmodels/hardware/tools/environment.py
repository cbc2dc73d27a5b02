"""Installs, checks and removes the Python environment of a vendor's tool.

An environment is made beside its place and renamed when it is complete and its modules can be imported. An installation that is
cut off, by kill -9 too, leaves nothing that counts as installed; the next one removes what it left.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from mhmodels.errors import MeasurementError
from mhmodels.hardware.tools.catalogue import VendorTool
from mhmodels.system.addresses import without_secrets
from mhmodels.system.child import last_line, run_contained
from mhmodels.system.files import nearest_folder
from mhmodels.system.locks import LockFileError, file_lock
from mhmodels.system.places import data_path

PIP_TIMEOUT_S = 3600.0
IMPORT_TIMEOUT_S = 300.0
_PINS = "requirements.sha256"
"""File in an environment, written last: the hash of the requirements that it was installed from."""


def tools_path() -> Path:
    """Returns the folder of all environments."""
    return data_path() / "tools"


def environment_path(tool: VendorTool) -> Path:
    """Returns the folder of a tool's environment, whether it exists or not."""
    return tools_path() / tool.name


def interpreter(tool: VendorTool) -> Path:
    """Returns the path of the Python interpreter of a tool's environment."""
    return environment_path(tool) / "bin" / "python"


def tool_variables() -> dict[str, str]:
    """Returns the environment variables of this process for a tool: without other packages, and without telemetry.

    The packages of PYTHONPATH would stand before the pinned ones. ONNX Runtime 1.32, which Qualcomm's tool contains, otherwise
    sends usage data to Microsoft and leaves files in the home folder and in that of temporary files.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "ORT_DISABLE_TELEMETRY": "1"}


def unsuitable(tool: VendorTool) -> str:
    """Says why a tool cannot run on this machine; "" if it can."""
    system, machine, python = platform.system(), platform.machine(), f"{sys.version_info.major}.{sys.version_info.minor}"
    if system != "Linux" or machine != "x86_64":
        return f"{tool.name} runs on Linux on x86_64; this is {system} on {machine}"
    if python not in tool.pythons:
        return f"{tool.name} has packages for Python {', '.join(tool.pythons)}; this is {python}"
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if name == "glibc" and len(numbers) == 2 and numbers < tool.glibc:
        return f"{tool.name} needs glibc {'.'.join(map(str, tool.glibc))} or later; this is {version}"
    return ""


def missing(tool: VendorTool) -> str:
    """Says why a tool is not ready for use, with the command that helps; "" if it is installed.

    Example:
        >>> from mhmodels.hardware.tools.catalogue import get_tool
        >>> isinstance(missing(get_tool("qualcomm")), str)
        True
    """
    command = f"`mhmodels hardware install {tool.name}`"
    pins = environment_path(tool) / _PINS
    try:
        found = pins.read_text().strip()
    except OSError:
        reason = unsuitable(tool)
        return f"needs the tool {tool.name}, " + (f"and {reason}" if reason else f"which is not installed: {command}")
    if found != _pins_hash(tool):
        return f"needs the tool {tool.name} in the versions of this release of mhmodels; others are installed: {command}"
    if not os.access(interpreter(tool), os.X_OK) or not interpreter(tool).is_file():
        return f"needs the tool {tool.name}, which was installed for a Python that is gone: {command}"
    return ""


def install(tool: VendorTool, tell: Callable[[str], None] = lambda _: None) -> Path:
    """Installs the environment of a tool, or leaves it as it is if it is complete.

    Args:
        tool: The tool.
        tell: Called with one line for every step.

    Returns:
        Folder of the environment.

    Raises:
        MeasurementError: The tool does not run on this machine, there is too little space, pip cannot get the packages, or what
            it installed cannot be imported. Nothing is installed then.
    """
    place = environment_path(tool)
    reason = unsuitable(tool)
    if reason:
        raise MeasurementError(reason)
    try:
        with file_lock(place.with_name(f".{tool.name}.lock"), timeout_s=math.inf, waiting=_waiting(tool, tell)):
            if missing(tool):
                _remove_part(place, tell)
                _check_space(tool, place)
                _install(tool, place, tell)
    except (OSError, LockFileError) as error:
        why = getattr(error, "strerror", None) or error
        raise MeasurementError(f"{place}: cannot be installed ({why}); free space or set MHMODELS_HOME") from error
    return place


def uninstall(tool: VendorTool, tell: Callable[[str], None] = lambda _: None) -> bool:
    """Removes the environment of a tool and what a broken installation left.

    Args:
        tool: The tool.
        tell: Called with one line if another process is installing the tool, whose end is awaited.

    Returns:
        Whether there was anything.

    Raises:
        MeasurementError: It cannot be removed.
    """
    place = environment_path(tool)
    if not place.parent.is_dir():
        return False
    try:
        with file_lock(place.with_name(f".{tool.name}.lock"), timeout_s=math.inf, waiting=_waiting(tool, tell)):
            there = [path for path in (place, _part(place)) if path.exists()]
            for path in there:
                (path / _PINS).unlink(missing_ok=True)
                shutil.rmtree(path)
    except (OSError, LockFileError) as error:
        raise MeasurementError(f"{place}: cannot be removed ({getattr(error, 'strerror', None) or error})") from error
    return bool(there)


def _install(tool: VendorTool, place: Path, tell: Callable[[str], None]) -> None:
    part = _part(place)
    try:
        venv.create(part, symlinks=True, with_pip=False)
        tell(f"downloading and installing about {tool.download_mb} MB")
        _pip(tool, part)
        tell("testing the installation")
        _import(tool, part)
        (part / _PINS).write_text(_pins_hash(tool) + "\n")
        if place.exists():
            shutil.rmtree(place)
        part.replace(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_part(place: Path, tell: Callable[[str], None]) -> None:
    """Removes what an installation that was cut off left, before the free space is checked."""
    part = _part(place)
    if part.exists():
        tell(f"removing what an installation that was cut off left in {part}")
        shutil.rmtree(part)


def _pip(tool: VendorTool, part: Path) -> None:
    quiet = ("--no-input", "--disable-pip-version-check", "--quiet", "--no-cache-dir")
    checked = ("--no-deps", "--only-binary=:all:", "--require-hashes")
    arguments = ("install", *checked, *quiet, "--requirement", str(tool.requirements))
    found = importlib.util.find_spec("pip")
    if found is None or found.origin is None:
        raise MeasurementError(f"{tool.name}: installing it needs pip in this Python environment: {sys.executable} -m ensurepip")
    # The other interpreter runs the pip of this environment. `pip --python` would do so in a process of its own, which would
    # survive this one and write into the next installation.
    own = part.absolute() / ".pip"
    (own / "tmp").mkdir(parents=True)
    (own / "pip").symlink_to(Path(found.origin).parent)
    variables = {**tool_variables(), "PYTHONPATH": str(own), "TMPDIR": str(own / "tmp")}
    try:
        done = run_contained("pip", arguments, timeout_s=PIP_TIMEOUT_S, environment=variables, python=part / "bin" / "python")
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{tool.name}: pip did not finish in {PIP_TIMEOUT_S:g} s; run the command again") from None
    if done.returncode:
        said = _pip_words(done.stderr)
        raise MeasurementError(f"{tool.name}: pip could not install it ({said}); nothing is installed: offline, or no space?")
    shutil.rmtree(own)


def _import(tool: VendorTool, part: Path) -> None:
    command = [str(part / "bin" / "python"), "-P", "-c", f"import {', '.join(tool.modules)}"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=IMPORT_TIMEOUT_S,
            env=tool_variables(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{tool.name}: importing it took over {IMPORT_TIMEOUT_S:g} s; nothing is installed") from None
    if done.returncode:
        raise MeasurementError(f"{tool.name}: cannot be imported ({last_line(done.stderr) or 'no output'}); nothing is installed")


def _check_space(tool: VendorTool, place: Path) -> None:
    needed = (tool.installed_mb + tool.download_mb) * 10**6
    free = shutil.disk_usage(nearest_folder(place)).free
    if free < needed:
        raise MeasurementError(
            f"{place}: {free / 1e6:.0f} MB are free, {tool.name} needs {needed / 1e6:.0f} MB; free space or set MHMODELS_HOME"
        )


def _waiting(tool: VendorTool, tell: Callable[[str], None]) -> Callable[[str, float], None]:
    told: list[str] = []

    def wait(holder: str, _waited_s: float) -> None:
        if not told:
            told.append(holder)
            tell(f"{holder} is installing {tool.name}; waiting")

    return wait


def _part(place: Path) -> Path:
    return place.with_name(f".{place.name}.partial")


def _pins_hash(tool: VendorTool) -> str:
    return hashlib.sha256(tool.requirements.read_bytes()).hexdigest()


def _pip_words(output: bytes) -> str:
    """Returns pip's last error, or its last line."""
    text = output.decode(errors="replace")
    errors = "\n".join(line for line in text.splitlines() if line.strip().startswith("ERROR"))
    return without_secrets(last_line(errors) or last_line(text) or "no output").removeprefix("ERROR: ")
