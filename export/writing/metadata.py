"""tflite-support's metadata in our files: what an app's generated code and task libraries read.

tflite-support composes the metadata in a child process: its import loads TensorFlow where it is installed, for seconds and
only to open remote files, so the child hides TensorFlow from it; and it needs libusb, which the wheel of `libusb-package`
carries. What it composed is put into the file here, because its own populator writes
the whole file anew and so moves the weights off the 16-byte boundaries that runtimes rely on.
As a program (run by `mhmodels.system.child`) this module is that child: one JSON request a line, one answer a line.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, TypedDict

import msgspec

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.writing.attach import attach_buffer, attach_files
from mhmodels.export.writing.labels import OutputLabels
from mhmodels.system.child import Child
from mhmodels.system.temporary import temporary_folder

FIELD = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
AUTHOR = "mhmodels"
TIMEOUT_S = 300.0
"""How long one file may take, the child's imports included."""


class MetadataDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What the metadata of a file states.

    Attributes:
        mean, std: Normalisation of the input, in pixel units: (pixel - mean) / std.
        labels: One line for each output; empty without labels.
        colour: Whether the input is an RGB picture.
    """

    name: str
    version: str
    description: str
    author: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    colour: bool


def describe(
    architecture: Architecture, preprocessing: Preprocessing, labels: OutputLabels, fmt: str, weights: str
) -> MetadataDescription:
    """Returns the description of an exported file.

    Args:
        architecture: Architecture of the network.
        preprocessing: What the file's input takes; mean 0 and std 1 for raw pixels.
        labels: Labels of its outputs.
        fmt: Its format.
        weights: Where they come from, in words.
    """
    from mhmodels.version import __version__

    height, width = architecture.input_size
    crop = f"central crop of {preprocessing.crop_fraction:.1%}, {preprocessing.interpolation} resizing"
    return MetadataDescription(
        name=f"{architecture.name} (width {architecture.width_multiplier:g}, {fmt})",
        version=__version__,
        description=f"{architecture.classes} scores for a picture of {width} x {height} pixels ({crop}). Weights: {weights}",
        author=AUTHOR,
        mean=preprocessing.mean,
        std=preprocessing.std,
        labels=labels.lines() if labels.names else (),
        colour=architecture.input_channels == 3,
    )


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
        self._child = Child("mhmodels.export.writing.metadata", errors=self._errors, environment=environment)

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
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "no message"


def _serve(channel: int) -> None:
    """Answers requests until the channel ends."""
    compose = _composer()
    with open(channel, encoding="utf-8", closefd=False) as requests:
        for line in requests:
            try:
                said = {"metadata": base64.b64encode(compose(json.loads(line))).decode()}
            except Exception as error:  # whatever tflite-support trips over is one file's trouble
                said = {"error": f"{type(error).__name__}: {error}"}
            with open(channel, "w", encoding="utf-8", closefd=False) as answers:
                answers.write(json.dumps(said) + "\n")


class _Request(TypedDict):
    """A description of metadata with its file, as the child receives it."""

    file: str
    name: str
    version: str
    description: str
    author: str
    mean: list[float]
    std: list[float]
    labels: list[str]
    colour: bool


def _composer() -> Callable[[_Request], bytes]:
    import ctypes

    import libusb_package

    # tflite-support's import wants libusb-1.0, whatever is done with it; the wheel's copy serves.
    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    # Where TensorFlow cannot be imported, tflite-support opens files with Python's own functions.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    # Not `import tflite_support`: its package loads the task library.
    from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema
    from tensorflow_lite_support.metadata.python import metadata
    from tensorflow_lite_support.metadata.python.metadata_writers import metadata_info, metadata_writer, writer_utils

    def compose(request: _Request) -> bytes:
        """Returns the metadata buffer of a file."""
        model = bytearray(Path(request["file"]).read_bytes())
        general = metadata_info.GeneralMd(
            name=request["name"], version=request["version"], description=request["description"], author=request["author"]
        )
        picture = metadata_info.InputImageTensorMd(
            name="image",
            description="Picture to be classified.",
            norm_mean=request["mean"],
            norm_std=request["std"],
            color_space_type=schema.ColorSpaceType.RGB if request["colour"] else schema.ColorSpaceType.UNKNOWN,
            tensor_type=writer_utils.get_input_tensor_types(model)[0],
        )
        with temporary_folder("metadata") as folder:
            labels = []
            if request["labels"]:
                path = folder / LABELS_FILE
                path.write_text("\n".join(request["labels"]) + "\n")
                labels.append(metadata_info.LabelFileMd(file_path=str(path)))
            names, types = writer_utils.get_output_tensor_names(model), writer_utils.get_output_tensor_types(model)
            single = len(names) == 1
            outputs = [
                metadata_info.ClassificationTensorMd(
                    name="probability" if single else name,
                    description="Score of each class." if single else "Feature map.",
                    label_files=labels if single else [],
                    tensor_type=kind,
                )
                for name, kind in zip(names, types, strict=True)
            ]
            writer = metadata_writer.MetadataWriter.create_from_metadata_info(
                model, general, [picture], outputs, [file.file_path for file in labels] if single else []
            )
            populated = metadata.MetadataDisplayer.with_model_buffer(writer.populate())
            return bytes(populated.get_metadata_buffer())

    return compose


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
