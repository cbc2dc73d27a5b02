"""From a model to verified files on disk: the stages of an export in order."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import ExportError
from mhmodels.export.file_manifest import compose_manifest
from mhmodels.export.graph.rewrite import normalise_in_graph
from mhmodels.export.job import ExportJob, ProgressCallback, no_progress
from mhmodels.export.options import ExportOptions
from mhmodels.export.quantisation.scheme import QuantisedGraph, Range
from mhmodels.export.quantised_files import quantised_graph, uncalibrated
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.reading.model_request import ModelRequest, ResolvedModel, resolve_model
from mhmodels.export.reading.open_model import ModelLike, open_model
from mhmodels.export.reading.pictures import InputPictures, fit_preprocessing, pixels_of, read_pictures
from mhmodels.export.reading.reading_check import check_reading
from mhmodels.export.reading.source import ExportSource
from mhmodels.export.targets import target_paths
from mhmodels.export.tolerances import PARITY_PICTURES, tolerance_of
from mhmodels.export.verification.export_check import check_float_file, check_quantised_file
from mhmodels.export.verification.parity import Parity
from mhmodels.export.writing.labels import labels_of_weights
from mhmodels.export.writing.manifest import Calibration, Manifest, manifest_path
from mhmodels.export.writing.metadata import MetadataWriter, describe
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.system.files import published
from mhmodels.tflite.format import FileFormat

_FLOAT_ENGINE = "`engine=tensorflow` writes such a model as float32 and float16, if TensorFlow's converter takes it"

FormatFailed: TypeAlias = Callable[[FileFormat, MhmodelsError], None]
"""Is told a format that could not be exported, and why."""


class Exported(NamedTuple):
    """An exported file.

    Attributes:
        path: of the file; its manifest lies beside it.
        manifest: what the file is, what it was made from and how it was checked.
        notes: what a user should know of how it was made, in words.
    """

    path: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()


def export_model(model: ModelLike, options: ExportOptions, progress: ProgressCallback = no_progress) -> tuple[Exported, ...]:
    """Exports a model to TFLite files and verifies each of them on pictures.

    Args:
        model: name of the zoo, NAME@WIDTH, path of an architecture file or of a `.keras` file, an architecture, a
            `ModelRequest` that also states weights and changes, or a functional or sequential Keras model.
        options: folder, formats and the rest.
        progress: is told each stage, in words, as it begins.

    Returns:
        The files in the order of `options.formats`.

    Raises:
        ExportError: a file exists already, cannot be written, or fails its verification; nothing half-made is left.
        MhmodelsError: the model cannot be opened (see `mhmodels.export.reading.open_model.open_model`).

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
    """Exports a model in every wanted format, file by file; each file is verified before it gets its name.

    Args:
        model: as `export_model`, or resolved or opened already.
        options: formats and the rest.
        progress: is told each stage as it begins.
        taken: paths of files exported before in the same call; the new ones are added.
        metadata: a writer to share between models; it takes seconds to start.
        failed: is called with a format and its error where one cannot be exported; the other formats go on. Without it the
            first error is raised.

    Yields:
        Each file as soon as it stands.

    Raises:
        ExportError: a file exists already, cannot be written, or fails its verification; nothing half-made is left.
        PictureError: no readable calibration pictures.
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
    yield from _export(_prepare(source, architecture, pictures, options, progress), paths, metadata, failed)


def export_source(
    source: ExportSource,
    pictures: InputPictures,
    options: ExportOptions,
    progress: ProgressCallback = no_progress,
    *,
    folder_field: str = "calibration",
) -> Iterator[Exported]:
    """Exports a network with pictures that are there already.

    Args:
        source: the network.
        pictures: normalised as the network expects, for calibration and parity.
        options: formats and the rest; `calibration` has no effect.
        progress: is told each stage as it begins.
        folder_field: the caller's field that gives a folder of pictures, for messages.

    Yields:
        Each file as soon as it stands.

    Raises:
        ExportError: as `export_files`.
    """
    options.check()
    architecture = _exported_architecture(source, options)
    for error in uncalibrated(architecture, source, pictures, options.formats, folder_field).values():
        raise error
    paths = target_paths(architecture, options, set())
    yield from _export(_prepare(source, architecture, pictures, options, progress), paths, None, None)


def _export(
    job: ExportJob, paths: Mapping[FileFormat, Path], metadata: MetadataWriter | None, failed: FormatFailed | None
) -> Iterator[Exported]:
    """Writes the files of a job, one format after the other."""
    with contextlib.ExitStack() as stack:
        writer = _metadata_writer(job, metadata, stack)
        ranges: dict[str, Range] = {}
        for fmt, path in paths.items():
            quantised, calibration = None, None
            try:
                if fmt == "int8" or fmt == "uint8":
                    quantised, calibration = quantised_graph(job, fmt, ranges)
                exported = _export_file(job, fmt, path, quantised, calibration, writer)
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


def _prepare(
    source: ExportSource,
    architecture: Architecture,
    pictures: InputPictures,
    options: ExportOptions,
    progress: ProgressCallback,
) -> ExportJob:
    """Checks that the network can be written as wanted, and computes what the files are compared with."""
    source.check_ending(options.writer.features)
    graph = source.graph
    if graph is None and options.engine == "direct":
        raise ExportError(source.missing if "`engine=tensorflow`" in source.missing else f"{source.missing}; {_FLOAT_ENGINE}")
    feed, images = pictures.images, pictures.images[:PARITY_PICTURES]
    if graph is not None:
        progress(f"comparing {architecture.name} with its Keras model")
        check_reading(source, images)
    expected = source.expected(images, options.writer)
    if graph is not None:
        graph = graph._replace(architecture=msgspec.structs.replace(graph.architecture, preprocessing=architecture.preprocessing))
        if options.normalise_in_model:
            graph, feed = normalise_in_graph(graph), pixels_of(feed, architecture.preprocessing)
    labels = options.labels
    if not labels.names and not options.writer.features:
        labels = labels_of_weights(source.labels)
        labels.check(architecture.classes)
    return ExportJob(source, architecture, graph, feed, expected, labels, pictures.calibration, options, progress)


def _check_heads(source: ExportSource, options: ExportOptions) -> None:
    """Refuses class names for a network of several outputs: they name the classes of one.

    Raises:
        ExportError: the message names the field and the outputs.
    """
    names = output_names(source.model)
    given = {"`labels`": bool(options.labels.names), "`metadata`": bool(options.metadata)}
    for field, wanted in given.items():
        if wanted and len(names) > 1 and not options.writer.features:
            raise ExportError(
                f"{field}: model '{source.model.name}' has {len(names)} outputs ({', '.join(names)}), and labels and metadata "
                f"describe the classes of one: leave {field} out"
            )


def _metadata_writer(job: ExportJob, shared: MetadataWriter | None, stack: contextlib.ExitStack) -> MetadataWriter | None:
    """Returns the writer of metadata, or None where the files get none."""
    wanted = bool(job.labels.names) if job.options.metadata is None else job.options.metadata
    if not wanted or not job.source.rule_known:  # metadata without mean and deviation would state wrong ones
        return None
    reason = MetadataWriter.unavailable()
    if reason is None:
        return shared or stack.enter_context(MetadataWriter())
    if job.options.metadata:
        raise ExportError(f"`metadata`: {reason}")
    job.progress(f"no metadata in the files: {reason}")
    return None


def _export_file(
    job: ExportJob,
    fmt: FileFormat,
    path: Path,
    quantised: QuantisedGraph | None,
    calibration: Calibration | None,
    metadata: MetadataWriter | None,
) -> Exported:
    """Writes one file under a temporary name, verifies it, and gives it and its manifest their names."""
    job.progress(f"writing {path.name}")
    content = _content(job, quantised, fmt)
    if metadata is not None:
        description = describe(job.architecture, job.file_preprocessing, job.labels, fmt, job.source.label)
        content = metadata.attach(content, description)
    targets = path, manifest_path(path)
    with _target_errors(path), published(*targets, overwrite=job.options.overwrite) as (partial, partial_manifest):
        partial.write_bytes(content)
        job.progress(f"verifying {path.name}")
        with _verification_errors(partial, path):
            parity = _parity(job, fmt, partial, quantised)
        manifest = compose_manifest(job, path, content, parity, fmt, quantised, calibration, metadata=metadata is not None)
        partial_manifest.write_bytes(manifest.to_json())
    return Exported(path, manifest, job.notes())


def _content(job: ExportJob, quantised: QuantisedGraph | None, fmt: FileFormat) -> bytes:
    """Returns the bytes of a file, without metadata."""
    options = job.options
    io = options.io if fmt == "int8" else "uint8"
    if options.engine == "direct":
        if quantised is not None:
            return write_quantised(quantised, io=io, options=options.writer)
        assert job.graph is not None
        return write_float(job.graph, fmt="float16" if fmt == "float16" else "float32", options=options.writer)
    from mhmodels.export.writing.converter import convert_float, convert_quantised

    if quantised is not None:
        return convert_quantised(quantised, io=io)
    return convert_float(job.source.file_model, float16=fmt == "float16", size=job.architecture.input_size)


def _parity(job: ExportJob, fmt: FileFormat, file: Path, quantised: QuantisedGraph | None) -> Parity:
    """Compares a file with its network.

    Raises:
        ParityError: it departs further than allowed.
    """
    images = job.feed[:PARITY_PICTURES]
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
            f"{error.filename}: another process wrote it meanwhile; give `overwrite` to replace it, or another folder with "
            "`directory`"
        ) from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); nothing is left behind") from error
