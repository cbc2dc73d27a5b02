"""From an architecture or a model and weights to verified files on disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.complexity import layer_complexity
from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.rewrite import NORMALISE, normalise_in_graph, normalised_range
from mhmodels.export.options import INTEGER_FORMATS, ExportOptions, target_paths
from mhmodels.export.quantisation.calibration import METHODS, calibrate_by
from mhmodels.export.quantisation.scheme import Granularity, QuantisedGraph, Range, quantise, takes_pixels
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.reading.pictures import BUNDLED, InputPictures, fit_preprocessing, pixels_of, read_pictures
from mhmodels.export.reading.reading_check import check_reading
from mhmodels.export.reading.source import ExportSource, load_source, weights_rule
from mhmodels.export.tolerances import PARITY_PICTURES, tolerance_of
from mhmodels.export.verification.export_check import check_float_file, check_quantised_file
from mhmodels.export.verification.facts import input_facts, operator_counts, output_specs, quantisation_specs
from mhmodels.export.verification.parity import Parity
from mhmodels.export.writing.labels import OutputLabels, labels_of_weights
from mhmodels.export.writing.manifest import Calibration, InputSpec, Manifest, manifest_path, tool_versions
from mhmodels.export.writing.metadata import MetadataWriter, describe
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.system.files import published
from mhmodels.tflite.file import read_tflite
from mhmodels.tflite.format import FileFormat

_FLOAT_ENGINE = "--engine tensorflow writes such a model as float32 and float16, if TensorFlow's converter takes it"

FormatFailed: TypeAlias = Callable[[FileFormat, MhmodelsError], None]
"""Is told a format that could not be exported, and why."""


class Exported(NamedTuple):
    """A file on disk, its manifest's content, and what a user should know of how it was made."""

    path: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()


class _Job(NamedTuple):
    """A network that is being exported.

    Attributes:
        graph: what is written: the network's, or that with the normalisation in front; None with TensorFlow's engine only.
        feed: pictures as the file takes them, for calibration and parity.
        expected: the Keras model's outputs on the first `PARITY_PICTURES` of them, by name.
    """

    source: ExportSource
    architecture: Architecture
    graph: Graph | None
    feed: Float32Array
    expected: Mapping[str, Float32Array]
    labels: OutputLabels
    calibration: Calibration
    options: ExportOptions
    progress: Callable[[str], None]


def export_model(
    model: Architecture | ExportSource,
    options: ExportOptions,
    progress: Callable[[str], None] = lambda _: None,
    *,
    taken: set[Path] | None = None,
    metadata: MetadataWriter | None = None,
    failed: FormatFailed | None = None,
) -> Iterator[Exported]:
    """Exports one network in every wanted format; each file is verified before it gets its name.

    Args:
        model: an architecture at the wanted width, input size and class count, or a Keras model as a source.
        options: formats and the rest.
        progress: told each stage as it begins.
        taken: paths of files exported before in the same call; the new ones are added.
        metadata: a writer to share between networks; it takes seconds to start.
        failed: called with a format and its error where one cannot be exported; the other formats go on. Without it the
            first error is raised.

    Yields:
        Each file as soon as it stands.

    Raises:
        ExportError: a file exists already, cannot be written, or fails its verification; nothing half-made is left.
        PictureError: no readable calibration pictures.
    """
    options.check()
    if isinstance(model, ExportSource):
        model = model.stated(options.preprocessing)
    architecture = _architecture(model, options)
    paths = target_paths(architecture, options, set() if taken is None else taken)
    if isinstance(model, ExportSource):
        _check_heads(model, options)
    options.labels.check(architecture.classes)
    progress("reading pictures")
    pictures = read_pictures(options.calibration, architecture)
    if isinstance(model, ExportSource):
        source = model
    else:
        progress(f"building {architecture.name}")
        # Random weights are those of the bundled photographs whatever calibrates, so that `mhmodels verify` has them again.
        source = load_source(architecture, options.weights, pictures.images if options.calibration is None else None)
    uncalibrated = _uncalibrated(architecture, source, pictures, options.formats, "--calibration")
    if failed is None or uncalibrated.keys() == set(options.formats):
        for error in uncalibrated.values():
            raise error
    else:
        for fmt, error in uncalibrated.items():
            failed(fmt, error)
    paths = {fmt: path for fmt, path in paths.items() if fmt not in uncalibrated}
    yield from _export(_prepare(source, architecture, pictures, options, progress), paths, metadata, failed)


def export_source(
    source: ExportSource,
    pictures: InputPictures,
    options: ExportOptions,
    progress: Callable[[str], None] = lambda _: None,
    *,
    folder_option: str = "--calibration",
) -> Iterator[Exported]:
    """As `export_model`, with pictures that are already there.

    Args:
        source: the network.
        pictures: normalised as the network expects, for calibration and parity.
        options, progress: as `export_model`.
        folder_option: what gives the caller's own pictures, for messages.
    """
    options.check()
    source = source.stated(options.preprocessing)
    architecture = _architecture(source, options)
    for error in _uncalibrated(architecture, source, pictures, options.formats, folder_option).values():
        raise error
    paths = target_paths(architecture, options, set())
    yield from _export(_prepare(source, architecture, pictures, options, progress), paths, None, None)


def _export(
    job: _Job, paths: Mapping[FileFormat, Path], metadata: MetadataWriter | None, failed: FormatFailed | None
) -> Iterator[Exported]:
    with contextlib.ExitStack() as stack:
        writer = _metadata_writer(job, metadata, stack)
        ranges: dict[str, Range] = {}
        for fmt, path in paths.items():
            quantised, calibration = None, None
            try:
                if fmt in INTEGER_FORMATS:
                    quantised, calibration = _quantised(job, "int8" if fmt == "int8" else "uint8", ranges)
                exported = _export_file(job, fmt, path, quantised, calibration, writer)
            except MhmodelsError as error:
                if failed is None:
                    raise
                failed(fmt, error)
            else:
                yield exported


def _architecture(model: Architecture | ExportSource, options: ExportOptions) -> Architecture:
    """The network as it will be exported: with the preprocessing that its weights expect, one mean a channel."""
    if isinstance(model, ExportSource):
        # A float file computes what its model does whatever it is fed; everything else depends on the pictures.
        if options.normalise_in_model or options.metadata:
            model.check_rule()
        return fit_preprocessing(model.architecture)
    rule = weights_rule(options.weights, model) or model.preprocessing
    if options.preprocessing is not None:
        rule = options.preprocessing.over(rule)
    return fit_preprocessing(msgspec.structs.replace(model, preprocessing=rule))


def _prepare(
    source: ExportSource,
    architecture: Architecture,
    pictures: InputPictures,
    options: ExportOptions,
    progress: Callable[[str], None],
) -> _Job:
    source.check_ending(options.writer.features)
    graph = source.graph
    if graph is None and options.engine == "direct":
        raise ExportError(source.missing if "--engine tensorflow" in source.missing else f"{source.missing}; {_FLOAT_ENGINE}")
    feed, images = pictures.images, pictures.images[:PARITY_PICTURES]
    if graph is not None:
        progress(f"comparing {architecture.name} with its Keras model")
        check_reading(source, images)
    expected = source.expected(images, options.writer)
    if graph is not None:
        graph = graph._replace(architecture=msgspec.structs.replace(graph.architecture, preprocessing=architecture.preprocessing))
    if graph is not None and options.normalise_in_model:
        graph, feed = normalise_in_graph(graph), pixels_of(feed, architecture.preprocessing)
    labels = options.labels
    if not labels.names and not options.writer.features:
        labels = labels_of_weights(source.labels)
        labels.check(architecture.classes)
    return _Job(source, architecture, graph, feed, expected, labels, pictures.calibration, options, progress)


def _check_heads(source: ExportSource, options: ExportOptions) -> None:
    """Refuses class names for a network of several outputs: they name the classes of one.

    Raises:
        ExportError: the message names the option and the outputs.
    """
    names = output_names(source.model)
    given = {"--labels": bool(options.labels.names), "--metadata": bool(options.metadata)}
    for option, wanted in given.items():
        if wanted and len(names) > 1 and not options.writer.features:
            raise ExportError(
                f"{option}: model '{source.model.name}' has {len(names)} outputs ({', '.join(names)}), and labels and metadata "
                f"describe the classes of one: leave {option} out"
            )


def _uncalibrated(
    architecture: Architecture,
    source: ExportSource,
    pictures: InputPictures,
    formats: Collection[FileFormat],
    folder_option: str,
) -> dict[FileFormat, ExportError]:
    """Why formats cannot be calibrated: integer files need pictures of the network's own kind.

    Photographs in three colours do not stand for other channels.
    """
    integer = {fmt for fmt in formats if fmt in INTEGER_FORMATS}
    try:
        source.check_rule()
    except ExportError as unknown:
        return dict.fromkeys((fmt for fmt in formats if fmt in integer), unknown)
    learned = {source.learned.format} if source.learned is not None else set()
    if architecture.input_channels != 3 and pictures.calibration.source == BUNDLED and integer - learned:
        shape = (*architecture.input_size, architecture.input_channels)
        error = ExportError(
            f"'{architecture.name}' takes {architecture.input_channels} channels, so the bundled photographs cannot "
            f"calibrate it: give {folder_option} FOLDER with .npy arrays of shape {shape}, uint8 (pixels) or float32 (normalised)"
        )
        return dict.fromkeys((fmt for fmt in formats if fmt in integer - learned), error)
    return {}


def _metadata_writer(job: _Job, shared: MetadataWriter | None, stack: contextlib.ExitStack) -> MetadataWriter | None:
    wanted = bool(job.labels.names) if job.options.metadata is None else job.options.metadata
    if not wanted or not job.source.rule_known:  # metadata without mean and deviation would state wrong ones
        return None
    reason = MetadataWriter.unavailable()
    if reason is None:
        return shared or stack.enter_context(MetadataWriter())
    if job.options.metadata:
        raise ExportError(f"--metadata: {reason}")
    job.progress(f"no metadata in the files: {reason}")
    return None


def _quantised(job: _Job, fmt: str, ranges: dict[str, Range]) -> tuple[QuantisedGraph, Calibration]:
    """The integers of a format: from ranges that training left, else from the calibration pictures (once for all formats)."""
    if job.graph is None:
        raise ExportError(f"{job.source.missing}, so its integers cannot be computed; --format float32 and float16 can be had")
    granularity: Granularity | None = job.options.granularity if fmt == "int8" else None
    learned, calibration, used = job.source.learned, job.calibration, ranges
    if learned is not None and learned.format == fmt and granularity in (None, learned.granularity):
        used, granularity = dict(learned.ranges), learned.granularity if fmt == "int8" else None
        calibration = Calibration(source="quantisation-aware training", pictures=0, method="learned")
    else:
        words = method = job.options.calibration_method or METHODS[0]
        if not ranges or method == "auto":  # which is another for each format
            job.progress(f"calibrating on {len(job.feed)} pictures")
            found = calibrate_by(job.graph, job.feed, method, "int8" if fmt == "int8" else "uint8", granularity)
            ranges.update(found.ranges)
            words = found.method
        calibration = msgspec.structs.replace(calibration, method=words)
    if job.options.normalise_in_model:
        used[NORMALISE] = normalised_range(job.graph)
    return quantise(job.graph, used, "int8" if fmt == "int8" else "uint8", granularity), calibration


def _export_file(
    job: _Job,
    fmt: FileFormat,
    path: Path,
    quantised: QuantisedGraph | None,
    calibration: Calibration | None,
    metadata: MetadataWriter | None,
) -> Exported:
    job.progress(f"writing {path.name}")
    data = _write(job, quantised, fmt)
    if metadata is not None:
        preprocessing = (job.architecture if job.graph is None else job.graph.architecture).preprocessing
        data = metadata.attach(data, describe(job.architecture, preprocessing, job.labels, fmt, job.source.label))
    manifest_file = manifest_path(path)
    with _named(path), published(path, manifest_file, overwrite=job.options.overwrite) as (partial, partial_manifest):
        partial.write_bytes(data)
        job.progress(f"verifying {path.name}")
        with _renamed(partial, path):
            parity = _parity(job, fmt, partial, quantised)
        manifest = _manifest(job, path.name, partial, parity, fmt, quantised, calibration, metadata is not None)
        partial_manifest.write_bytes(manifest.to_json())
    return Exported(path, manifest, (*job.source.notes, *_unknown_rule(job), *_constant(job)))


def _unknown_rule(job: _Job) -> tuple[str, ...]:
    if job.source.rule is None or job.source.rule_known:
        return ()
    return (f"the preprocessing of its pictures is unknown, so that manifest and file state none: {job.source.rule.missing}",)


def _constant(job: _Job) -> tuple[str, ...]:
    if job.graph is None or job.options.writer.features or not job.options.writer.softmax:
        return ()
    last = job.graph.ops[-1]
    if last.kind != "softmax" or last.channels > 1:
        return ()
    return (f"'{last.name}' is a softmax over one class, whose score is 1 whatever the picture; one score needs a sigmoid",)


def _parity(job: _Job, fmt: FileFormat, file: Path, quantised: QuantisedGraph | None) -> Parity:
    images = job.feed[:PARITY_PICTURES]
    if quantised is not None:
        return check_quantised_file(file, quantised, images, job.expected, job.options.writer)
    tolerance = tolerance_of(fmt)
    assert tolerance is not None
    return check_float_file(file, images, job.expected, tolerance, before_softmax=job.graph is not None)


@contextlib.contextmanager
def _renamed(partial: Path, path: Path) -> Iterator[None]:
    """Messages about a file that has no name yet say the name that it was to get."""
    try:
        yield
    except ExportError as error:
        raise type(error)(str(error).replace(str(partial), str(path))) from error


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors are of the file that was asked for."""
    try:
        yield
    except FileExistsError as error:
        raise ExportError(
            f"{error.filename}: another process wrote it meanwhile; give --overwrite to replace it, or another folder with -o"
        ) from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); nothing is left behind") from error


def _write(job: _Job, quantised: QuantisedGraph | None, fmt: FileFormat) -> bytes:
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


def _manifest(
    job: _Job,
    name: str,
    file: Path,
    parity: Parity,
    fmt: FileFormat,
    quantised: QuantisedGraph | None,
    calibration: Calibration | None,
    metadata: bool,
) -> Manifest:
    data, parsed, options, whole = file.read_bytes(), read_tflite(file), job.options, job.source.whole
    counts = None if job.source.graph is None else [layer_complexity(op) for op in job.source.graph.ops]
    granularity = None
    if quantised is not None:
        # One scale a channel shows in any kernel of more than one channel.
        granularity = "channel" if any(len(kernel.quantisation.scale) > 1 for kernel in quantised.kernels.values()) else "tensor"
    return Manifest(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        precision=fmt,
        engine=options.engine,
        granularity=granularity,
        pooling=options.writer.pooling,
        softmax=options.writer.softmax,
        features=options.writer.features,
        normalise_in_model=options.normalise_in_model,
        architecture=msgspec.json.decode(job.architecture.to_json()) if whole else None,
        architecture_id=job.architecture.architecture_id if whole else None,
        backbone=None if whole else job.source.backbone,
        weights=job.source.label,
        input=_input_spec(job, input_facts(parsed)),
        outputs=output_specs(parsed),
        quantisation=quantisation_specs(parsed) if quantised is not None else {},
        calibration=calibration,
        labels=job.labels,
        metadata=metadata,
        params=None if counts is None else sum(layer.params for layer in counts),
        params_total=None if counts is None else sum(layer.params + layer.biases + layer.batch_norm for layer in counts),
        madds=None if counts is None else sum(layer.madds for layer in counts),
        operators=operator_counts(parsed),
        parity=parity,
        tools=tool_versions(),
    )


def _input_spec(job: _Job, facts: dict[str, object]) -> InputSpec:
    preprocessing = (job.architecture if job.graph is None else job.graph.architecture).preprocessing
    pixels = facts["scale"] is not None and takes_pixels(preprocessing)
    return msgspec.convert(
        {
            **facts,
            "takes_pixels": pixels or job.options.normalise_in_model,
            "mean": preprocessing.mean if job.source.rule_known else None,
            "std": preprocessing.std if job.source.rule_known else None,
            "crop_fraction": preprocessing.crop_fraction,
            "interpolation": preprocessing.interpolation,
        },
        InputSpec,
    )
