"""The stages of an export in order, from a model to verified files on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import ExportError
from mhmodels.export.file_export import Exported, export_file
from mhmodels.export.formats import ExportFormat, is_onnx, number_format
from mhmodels.export.job import ExportJob, ProgressCallback, no_progress, prepare_job
from mhmodels.export.opening.model_request import ModelRequest, ResolvedModel, resolve_model
from mhmodels.export.opening.open_model import ModelLike, open_model
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import ExportOptions
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.quantised_files import quantised_graph, uncalibrated
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.reading.pictures import Calibration, InputPictures, fit_preprocessing, read_pictures
from mhmodels.export.targets import target_paths
from mhmodels.export.writing.metadata.writer import MetadataWriter

FormatFailed: TypeAlias = Callable[[ExportFormat, MhmodelsError], None]
"""Called with a format that could not be exported and its error."""


def export_model(model: ModelLike, options: ExportOptions, progress: ProgressCallback = no_progress) -> tuple[Exported, ...]:
    """Exports a model to TFLite and ONNX files and verifies each of them on pictures.

    Args:
        model: Zoo name, NAME@WIDTH, path of an architecture file or of a `.keras` file, an architecture, a `ModelRequest` that
            also states weights and changes, or a functional or sequential Keras model.
        options: Folder, formats and all other options.
        progress: Called with a description of each stage as it begins.

    Returns:
        The files in the order of `options.formats`.

    Raises:
        ExportError: A file exists already, cannot be written, or fails its verification; no partial file is left.
        MhmodelsError: The model cannot be opened (see `open_model`).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model
        >>> folder = Path(tempfile.mkdtemp())
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=folder, formats=("int8",)))
        >>> exported.path.name
        'mobilenet_v1_w0.25_64_int8.tflite'
        >>> exported.manifest.parity.worst_layer_lsb <= 1.0
        True
    """
    return tuple(export_files(model, options, progress))


def export_files(
    model: ModelLike,
    options: ExportOptions,
    progress: ProgressCallback = no_progress,
    *,
    taken: set[Path] | None = None,
    metadata: MetadataWriter | None = None,
    failed: FormatFailed | None = None,
) -> Iterator[Exported]:
    """Exports a model in every requested format, file by file. Each file is verified before it appears under its name.

    Args:
        model: Any model that `export_model` takes, or a resolved or opened model.
        options: Formats and all other options.
        progress: Called with a description of each stage as it begins.
        taken: Paths of files exported before in the same call; the paths of the new files are added.
        metadata: Writer of metadata that several models share, because it takes seconds to start.
        failed: Called with a format that cannot be exported and its error; the other formats are still exported. None to raise
            the first error.

    Yields:
        Each file as soon as it is written and verified.

    Raises:
        ExportError: A file exists already, cannot be written, or fails its verification; no partial file is left.
        PictureError: No readable calibration pictures.
    """
    options.check()
    resolved = _resolved(model, options)
    architecture = _exported_architecture(resolved, options)
    paths = target_paths(architecture, options, set() if taken is None else taken)
    if isinstance(resolved, ExportSource):
        _check_heads(resolved, options)
    options.labels.check(architecture.classes)
    progress("reading pictures")
    pictures = read_pictures(options.calibration, architecture)
    if isinstance(resolved, ExportSource):
        source = resolved
    else:
        progress(f"building {architecture.name}")
        # Random weights are those of the bundled photographs whatever calibrates, so that `mhmodels verify` has them again.
        source = open_model(resolved, pictures.images if options.calibration is None else None)
    refused = uncalibrated(architecture, source, pictures, options.formats, "calibration")
    for fmt, error in refused.items():
        if failed is None or refused.keys() == set(options.formats):
            raise error
        failed(fmt, error)
    paths = {fmt: path for fmt, path in paths.items() if fmt not in refused}
    yield from _export(prepare_job(source, architecture, pictures, options, progress), paths, metadata, failed)


def export_source(
    source: ExportSource,
    pictures: InputPictures,
    options: ExportOptions,
    progress: ProgressCallback = no_progress,
    *,
    folder_field: str = "calibration",
) -> Iterator[Exported]:
    """Exports a network with pictures that were read before.

    Args:
        source: The network.
        pictures: Pictures for calibration and parity, normalised as the network expects.
        options: Formats and all other options; `calibration` has no effect.
        progress: Called with a description of each stage as it begins.
        folder_field: The caller's field that states a folder of pictures, for messages.

    Yields:
        Each file as soon as it is written and verified.

    Raises:
        ExportError: See `export_files`.
    """
    options.check()
    architecture = _exported_architecture(source, options)
    for error in uncalibrated(architecture, source, pictures, options.formats, folder_field).values():
        raise error
    paths = target_paths(architecture, options, set())
    yield from _export(prepare_job(source, architecture, pictures, options, progress), paths, None, None)


def _export(
    job: ExportJob, paths: Mapping[ExportFormat, Path], metadata: MetadataWriter | None, failed: FormatFailed | None
) -> Iterator[Exported]:
    """Writes the files of a job, one format after the other."""
    with contextlib.ExitStack() as stack:
        writer = _metadata_writer(job, metadata, stack)
        integers: dict[str, tuple[QuantisedGraph, Calibration]] = {}  # a TFLite and an ONNX file hold the same
        for fmt, path in paths.items():
            quantised, calibration, numbers = None, None, number_format(fmt)
            try:
                if numbers == "int8" or numbers == "uint8":
                    if numbers not in integers:
                        integers[numbers] = quantised_graph(job, numbers)
                    quantised, calibration = integers[numbers]
                exported = export_file(job, fmt, path, quantised, calibration, None if is_onnx(fmt) else writer)
            except MhmodelsError as error:
                if failed is None:
                    raise
                failed(fmt, error)
            else:
                yield exported


def _resolved(model: ModelLike, options: ExportOptions) -> ResolvedModel | ExportSource:
    """Returns a network that is still to be built as resolved, anything else opened."""
    if isinstance(model, (str, Path, Architecture)):
        model = ModelRequest(model=model)
    if isinstance(model, ModelRequest):
        model = resolve_model(model, top=not options.writer.features)
    return model if isinstance(model, ResolvedModel) and model.architecture is not None else open_model(model)


def _exported_architecture(model: ResolvedModel | ExportSource, options: ExportOptions) -> Architecture:
    """Returns the network as it will be exported: with the preprocessing that its weights expect, one mean a channel."""
    if isinstance(model, ExportSource):
        # A float file computes what its model does whatever it is fed; everything else depends on the pictures.
        if options.normalise_in_model or options.metadata:
            model.check_rule()
        return fit_preprocessing(model.architecture)
    assert model.architecture is not None
    return model.architecture


def _check_heads(source: ExportSource, options: ExportOptions) -> None:
    """Refuses class names for a network of several outputs: they name the classes of one.

    Raises:
        ExportError: The message names the field and the outputs.
    """
    names = output_names(source.model)
    given = {"argument 'labels'": bool(options.labels.names), "argument 'metadata'": bool(options.metadata)}
    for field, wanted in given.items():
        if wanted and len(names) > 1 and not options.writer.features:
            raise ExportError(
                f"{field}: model '{source.model.name}' has {len(names)} outputs ({', '.join(names)}), and labels and metadata "
                f"describe the classes of one: leave {field} out"
            )


def _metadata_writer(job: ExportJob, shared: MetadataWriter | None, stack: contextlib.ExitStack) -> MetadataWriter | None:
    """Returns the writer of metadata, or None where the files get none."""
    wanted = bool(job.labels.names) if job.options.metadata is None else job.options.metadata
    if (
        not wanted or not job.source.rule_known or all(map(is_onnx, job.options.formats))
    ):  # metadata without mean and deviation would state wrong ones
        return None
    reason = MetadataWriter.unavailable()
    if reason is None:
        return shared or stack.enter_context(MetadataWriter())
    if job.options.metadata:
        raise ExportError(f"argument 'metadata': {reason}")
    job.progress(f"no metadata in the files: {reason}")
    return None
