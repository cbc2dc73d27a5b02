"""Names of exported files, and whether they can be written before anything is built."""

from __future__ import annotations

from pathlib import Path

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.formats import ExportFormat, file_suffix, is_onnx, number_format
from mhmodels.export.options import ExportOptions
from mhmodels.export.writing.aot import aot_path
from mhmodels.export.writing.manifest import manifest_path
from mhmodels.hardware.placement.socs import get_placement_socs
from mhmodels.system.files import try_place


def file_name(architecture: Architecture, fmt: ExportFormat, options: ExportOptions) -> str:
    """Returns NAME_wW_SIZE_FORMAT[-feat][-avgpool][-pt][-nosm].tflite, or .onnx.

    Args:
        architecture: Network at its width and input size.
        fmt: Format of the file.
        options: Options of the export; some of them add a suffix to the name.
    """
    height, width = architecture.input_size
    size = f"{height}" if height == width else f"{height}x{width}"
    marks = [
        ("-feat", options.writer.features),
        ("-avgpool", options.writer.pooling == "avgpool"),
        ("-pt", number_format(fmt) == "int8" and options.granularity == "tensor"),
        ("-nosm", not options.writer.softmax),
    ]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in architecture.name)
    return f"{name}_w{architecture.width_multiplier:g}_{size}_{fmt}{''.join(mark for mark, on in marks if on)}{file_suffix(fmt)}"


def target_paths(architecture: Architecture, options: ExportOptions, taken: set[Path]) -> dict[ExportFormat, Path]:
    """Returns where the files of a network go, by format, after trying whether they can be written there.

    Args:
        architecture: Network at its width and input size.
        options: Formats, folder, whether files may be replaced.
        taken: Paths of networks exported before in the same call; the new ones are added.

    Raises:
        ExportError: A file, its manifest or a compiled file exists already, would overwrite one of this call, or the folder
            cannot be written to.
    """
    paths = {fmt: options.directory / file_name(architecture, fmt, options) for fmt in options.formats}
    for fmt, path in paths.items():
        if path in taken:
            raise ExportError(f"{path}: two of the networks would be written to this file; export them to different folders")
        beside = [] if is_onnx(fmt) else [aot_path(path, soc) for soc in get_placement_socs(options.aot)]
        existing = next((one for one in (path, manifest_path(path), *beside) if one.exists()), None)
        if existing is not None and not options.overwrite:
            # The name carries neither the io type, the classes nor normalise_in_model, so this may well be another file.
            raise ExportError(
                f"{existing}: exists already; give argument 'overwrite' to replace it, or another folder with "
                "argument 'directory'"
            )
        _check_writable(max((manifest_path(path), *beside), key=lambda one: len(one.name)))
    taken.update(paths.values())
    return paths


def _check_writable(path: Path) -> None:
    try:
        try_place(path)
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be written ({error.strerror}); give another folder with argument 'directory'"
        ) from error
