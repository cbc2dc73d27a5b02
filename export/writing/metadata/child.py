"""The process that composes metadata with tflite-support, run by `mhmodels.system.child`: one JSON request and answer a line.

Importing tflite-support loads TensorFlow where it is installed, only to open remote files, so TensorFlow is hidden from it. It
also needs libusb, which the wheel of `libusb-package` carries.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from mhmodels.export.writing.metadata.description import LABELS_FILE
from mhmodels.system.temporary import temporary_folder


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
