"""Writes metadata into files: asks the child process that holds tflite-support, and attaches what it composed."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
import tempfile
import time
from types import TracebackType
from typing import IO

import msgspec

from mhmodels.export.errors import ExportError
from mhmodels.export.writing.attach import attach_buffer, attach_files
from mhmodels.export.writing.metadata.description import LABELS_FILE, MetadataDescription
from mhmodels.system.child import Child, last_line
from mhmodels.system.temporary import temporary_folder

FIELD = "TFLITE_METADATA"
TIMEOUT_S = 300.0
"""How long one file may take, the child's imports included."""
_CHILD = "mhmodels.export.writing.metadata.child"


class MetadataWriter:
    """Writes metadata into files; a context manager, whose child process starts with the first file and serves all."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._errors: IO[bytes] | None = None

    @staticmethod
    def unavailable() -> str | None:
        """Returns why metadata cannot be written in this installation; None if it can."""
        if importlib.util.find_spec("tensorflow_lite_support") is None:
            later = sys.version_info >= (3, 12)
            remedy = "it has no wheels after Python 3.11; export there" if later else "pip install tflite-support"
            return f"tflite-support is not installed ({remedy})"
        return None

    def __enter__(self) -> MetadataWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def attach(self, content: bytes, description: MetadataDescription) -> bytes:
        """Returns a TFLite file with metadata and, if there are labels, the labels file packed behind it.

        Raises:
            ExportError: Tflite-support refuses, or its process dies.
        """
        buffer = self._compose(content, description)
        described = attach_buffer(content, FIELD, buffer)
        if not description.labels:
            return described
        return attach_files(described, {LABELS_FILE: ("\n".join(description.labels) + "\n").encode()})

    def _compose(self, content: bytes, description: MetadataDescription) -> bytes:
        with temporary_folder("metadata") as folder:
            file = folder / "model.tflite"
            file.write_bytes(content)
            said = self._ask({"file": str(file), **msgspec.to_builtins(description)})
        if "error" in said:
            raise ExportError(f"metadata: tflite-support refuses the file ({said['error']})")
        return base64.b64decode(said["metadata"])

    def _ask(self, request: dict[str, object]) -> dict[str, str]:
        """Returns the answer of the child process. A child that gives none is ended, and the next file starts another."""
        if self._child is None or not self._child.alive:
            self._start()
        assert self._child is not None
        try:
            answer: dict[str, str] = json.loads(self._child.ask(request, time.monotonic() + TIMEOUT_S))
        except EOFError:
            reason = f"died ({self._last_words()})"
        except TimeoutError:
            reason = f"did not answer within {TIMEOUT_S:g} s"
        except (ValueError, OverflowError):
            reason = "answered something else than JSON"
        else:
            return answer
        self._end()
        raise ExportError(f"metadata: tflite-support's process {reason}")

    def _start(self) -> None:
        self._end()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        self._child = Child(_CHILD, errors=self._errors, environment=environment)

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        if self._errors is not None:
            self._errors.close()
        self._child = self._errors = None

    def _last_words(self) -> str:
        if self._errors is None:
            return "no message"
        self._errors.seek(0)
        return last_line(self._errors.read()) or "no message"
