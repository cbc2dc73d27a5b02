"""Asks a vendor's tool one question, in a child process of the tool's own environment."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.tools.catalogue import VendorTool
from mhmodels.hardware.tools.environment import interpreter, missing
from mhmodels.system.child import Child


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
        MeasurementError: The tool is not installed, crashes, hangs, or answers something else than JSON. The message ends with
            the tool's last words.
    """
    reason = missing(tool)
    if reason:
        raise MeasurementError(f"{program.name} {reason}")
    with tempfile.TemporaryFile() as output:
        environment = {**os.environ, **(variables or {})}
        child = Child(program, errors=output, environment=environment, python=interpreter(tool))
        try:
            line = child.ask(request, time.monotonic() + timeout_s)
            answer = json.loads(line)
        except EOFError:
            raise MeasurementError(f"{tool.name}: {_end(child.wait())}{_last_words(output)}") from None
        except TimeoutError:
            raise MeasurementError(f"{tool.name}: no answer within {timeout_s:g} s{_last_words(output)}") from None
        except (ValueError, OverflowError):
            raise MeasurementError(f"{tool.name}: it answered something else than JSON{_last_words(output)}") from None
        finally:
            child.end()
        return ToolAnswer(answer.get("answer"), answer.get("refusal", ""), _text(output))


def _end(code: int) -> str:
    return f"the tool ended with exit code {code}" if code >= 0 else f"the tool was ended by {signal.Signals(-code).name}"


def _text(output: Any) -> str:
    output.seek(0)
    text: str = output.read().decode(errors="replace")
    return text


def _last_words(output: Any) -> str:
    lines = [line.strip() for line in _text(output).splitlines() if line.strip()]
    return f" ({lines[-1][:300]})" if lines else ""
