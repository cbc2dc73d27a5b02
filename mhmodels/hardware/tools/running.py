"""Asks a vendor's tool one question, in a child process of the tool's own environment."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.tools.catalogue import VendorTool
from mhmodels.hardware.tools.environment import interpreter, missing, tool_variables
from mhmodels.system.child import Child, ending, last_line

LEAST_FREE_BYTES = 100 << 20
"""Free space for temporary files below which a refusal may come from a full disk."""
FULL_BYTES = 1 << 20
"""Free space below which files that the tool wrote may be cut off: LiteRT's compiler then ends as if they were complete."""

_NO_RESOURCES = (
    "No space left", "quota exceeded", "failed when saving model", "Cannot allocate memory", "bad_alloc", "MemoryError",
    "Too many open files",
)  # fmt: skip
"""Parts of messages of libraries that lack space, memory or descriptors."""


class ToolAnswer(NamedTuple):
    """What a tool answered.

    Attributes:
        answer: The answer, JSON values; None if the tool refused.
        refusal: Why the tool refused; "" if it answered.
        said: What the tool and its libraries printed.
    """

    answer: dict[str, Any] | None
    refusal: str
    said: str


def ask_tool(
    tool: VendorTool,
    program: Path,
    request: Mapping[str, object],
    *,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
) -> ToolAnswer:
    """Runs a program in the environment of a tool and asks it one question.

    The process ends with this one, has no more memory than the machine, and is killed when its time is over.

    Args:
        tool: The tool.
        program: A script that calls `serve` of `serve.py`.
        request: The question, JSON values only.
        timeout_s: Seconds that the answer may take, imports included.
        variables: Environment variables to set, beside those of this process.

    Raises:
        MeasurementError: The tool is not installed, cannot be started, crashes, hangs, answers something else than JSON, or
            answers on a machine without space or memory. The message has the tool's last words.
    """
    reason = missing(tool)
    if reason:
        raise MeasurementError(f"this {reason}")
    with tempfile.TemporaryFile() as output:
        environment = {**tool_variables(), **(variables or {})}
        try:
            child = Child(program, errors=output, environment=environment, python=interpreter(tool))
        except OSError as error:
            raise MeasurementError(
                f"{tool.name}: {interpreter(tool)} cannot be started ({error.strerror}); {_reinstall(tool)}"
            ) from error
        try:
            line = child.ask(request, time.monotonic() + timeout_s)
            answer = json.loads(line)
        except EOFError:
            how = f"the tool ended {ending(child.wait())}{_last_words(output)}"
            raise MeasurementError(f"{tool.name}: {how}; {missing(tool) or _reinstall(tool)}") from None
        except TimeoutError:
            raise MeasurementError(f"{tool.name}: no answer within {timeout_s:g} s{_last_words(output)}") from None
        except (ValueError, OverflowError):
            raise MeasurementError(f"{tool.name}: it answered something else than JSON{_last_words(output)}") from None
        finally:
            child.end()
        _check_trust(tool, answer.get("refusal", ""))
        return ToolAnswer(answer.get("answer"), answer.get("refusal", ""), _text(output))


def _check_trust(tool: VendorTool, refusal: str) -> None:
    """Keeps a lack of space or memory, or the removal of the tool, from being taken for a property of a file.

    Args:
        tool: The tool.
        refusal: Why it refused; "" if it answered.

    Raises:
        MeasurementError: The machine or the tool may be the reason of the refusal, or what the tool wrote may be cut off.
    """
    reason = missing(tool) if refusal else ""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if any(words in refusal for words in _NO_RESOURCES):
        reason = f"make room in {folder} or close other programs, and run the command again"
    elif free < (LEAST_FREE_BYTES if refusal else FULL_BYTES):
        reason = f"only {free / 1e6:.0f} MB are free in {folder}: make room there or set TMPDIR, and run the command again"
    if reason:
        raise MeasurementError(f"{tool.name}: no usable answer{f' ({refusal})' if refusal else ''}; {reason}")


def _reinstall(tool: VendorTool) -> str:
    command = "mhmodels hardware"
    return f"if it fails for other networks too: `{command} uninstall {tool.name}`, then `{command} install {tool.name}`"


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _last_words(output: IO[bytes]) -> str:
    words = last_line(_text(output))
    return f" ({words})" if words else ""
