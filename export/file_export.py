"""Writes one file of a job, verifies it, and gives it and its manifest their names."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from mhmodels.export.errors import ExportError
from mhmodels.export.file_manifest import compose_manifest
from mhmodels.export.formats import ExportFormat, is_onnx, number_format
from mhmodels.export.job import ExportJob
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.reading.pictures import Calibration
from mhmodels.export.tolerances import PARITY_PICTURES, tolerance_of
from mhmodels.export.verification.export_check import check_float_file, check_quantised_file
from mhmodels.export.writing.aot import AotFiles, aot_path, compile_ahead
from mhmodels.export.writing.manifest import Manifest, Parity, manifest_path
from mhmodels.export.writing.metadata.description import describe
from mhmodels.export.writing.metadata.writer import MetadataWriter
from mhmodels.export.writing.writer import InterfaceType, write_float, write_quantised
from mhmodels.hardware.placement.socs import get_placement_socs
from mhmodels.system.files import replaced_together


class Exported(NamedTuple):
    """An exported file.

    Attributes:
        path: Path of the file; its manifest lies beside it.
        manifest: Content, origin and parity of the file.
        notes: Remarks for the user on how the file was made.

    Example:
        >>> import tempfile
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=Path(tempfile.mkdtemp())))
        >>> exported.path.name
        'mobilenet_v1_w0.25_64_float32.tflite'
    """

    path: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()


def export_file(
    job: ExportJob,
    fmt: ExportFormat,
    path: Path,
    quantised: QuantisedGraph | None,
    calibration: Calibration | None,
    metadata: MetadataWriter | None,
) -> Exported:
    """Writes one file under a temporary name, verifies it, and gives it, its manifest and its compiled files their names.

    Args:
        job: The network.
        fmt: Format of the file.
        path: Path of the file.
        quantised, calibration: Integers of an integer file, and the source of their ranges; None for a float file.
        metadata: Writes tflite-support's metadata into the file. None for none.

    Raises:
        ExportError: The file exists already, cannot be written, or does not agree with its network; nothing is left behind.
    """
    job.progress(f"writing {path.name}")
    content = _content(job, quantised, fmt)
    if metadata is not None:
        description = describe(job.architecture, job.file_preprocessing, job.labels, fmt, job.source.label)
        content = metadata.attach(content, description)
    aot = _compiled(job, fmt, path, content)
    targets = path, manifest_path(path), *(target for target, _ in aot.contents)
    with _target_errors(path), replaced_together(*targets, overwrite=job.options.overwrite) as partials:
        partial, partial_manifest, *partial_compiled = partials
        partial.write_bytes(content)
        job.progress(f"verifying {path.name}")
        with _verification_errors(partial, path):
            parity = _parity(job, fmt, partial, quantised)
        manifest = compose_manifest(job, path, content, parity, fmt, quantised, calibration, metadata=metadata is not None)
        manifest = msgspec.structs.replace(manifest, aot=aot.records)
        partial_manifest.write_bytes(manifest.to_json())
        for beside, (_, compiled) in zip(partial_compiled, aot.contents, strict=True):
            beside.write_bytes(compiled)
    _remove_outdated(job, path, aot)
    return Exported(path, manifest, job.notes())


def _compiled(job: ExportJob, fmt: ExportFormat, path: Path, content: bytes) -> AotFiles:
    """Compiles a file for the SoCs that were asked for; ONNX files for none."""
    socs = () if is_onnx(fmt) else get_placement_socs(job.options.aot)
    return compile_ahead(content, path, socs, job.progress)


def _remove_outdated(job: ExportJob, path: Path, aot: AotFiles) -> None:
    """Removes compiled files of a replaced file, for SoCs that were asked for and do not run the new one."""
    for soc, record in zip(get_placement_socs(job.options.aot), aot.records, strict=False):
        if record.file is None:
            aot_path(path, soc).unlink(missing_ok=True)


def _content(job: ExportJob, quantised: QuantisedGraph | None, fmt: ExportFormat) -> bytes:
    """Returns the bytes of a file, without metadata."""
    options, io = job.options, _io(job, fmt)
    if is_onnx(fmt):
        from mhmodels.export.writing.onnx.writer import write_onnx_float, write_onnx_quantised

        assert job.graph is not None
        return (
            write_onnx_float(job.graph, options.writer)
            if quantised is None
            else write_onnx_quantised(quantised, io, options.writer)
        )
    if options.engine == "direct":
        if quantised is not None:
            return write_quantised(quantised, io=io, options=options.writer)
        assert job.graph is not None
        return write_float(job.graph, fmt="float16" if fmt == "float16" else "float32", options=options.writer)
    from mhmodels.export.writing.converter import convert_float, convert_quantised

    if quantised is not None:
        return convert_quantised(quantised, io=io)
    return convert_float(job.source.file_model, float16=fmt == "float16", size=job.architecture.input_size)


def _io(job: ExportJob, fmt: ExportFormat) -> InterfaceType:
    """Returns the element type of the input and outputs of an integer file."""
    return job.options.io if number_format(fmt) == "int8" else "uint8"


def _parity(job: ExportJob, fmt: ExportFormat, file: Path, quantised: QuantisedGraph | None) -> Parity:
    """Compares a file with its network.

    Raises:
        ParityError: It departs further than allowed.
    """
    images = job.feed[:PARITY_PICTURES]
    if is_onnx(fmt):
        from mhmodels.export.verification.onnx_check import check_onnx_float_file, check_onnx_quantised_file

        assert job.graph is not None
        if quantised is not None:
            return check_onnx_quantised_file(file, quantised, _io(job, fmt), images, job.expected, job.options.writer)
        return check_onnx_float_file(file, job.graph, images, job.expected, job.options.writer)
    if quantised is not None:
        return check_quantised_file(file, quantised, images, job.expected, job.options.writer)
    tolerance = tolerance_of(fmt)
    assert tolerance is not None
    return check_float_file(file, images, job.expected, tolerance, before_softmax=job.graph is not None)


@contextlib.contextmanager
def _verification_errors(partial: Path, path: Path) -> Iterator[None]:
    """Makes errors of a verification name the file that is verified, and temporary files by their folder."""
    try:
        yield
    except ExportError as error:
        raise type(error)(str(error).replace(str(partial), str(path))) from error
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be verified, because a file in the folder for temporary files, {tempfile.gettempdir()}, cannot be "
            f"written ({error.strerror}): make room there, or set TMPDIR to another folder; nothing is left behind"
        ) from error


@contextlib.contextmanager
def _target_errors(path: Path) -> Iterator[None]:
    """Makes errors of writing a file name the file that was asked for."""
    try:
        yield
    except FileExistsError as error:
        raise ExportError(
            f"{error.filename}: another process wrote it meanwhile; give argument 'overwrite' to replace it, or another folder "
            "with argument 'directory'"
        ) from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); nothing is left behind") from error
