"""From an architecture and weights to verified files on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from export.graph import ExportError, Floats
from export.manifest import Calibration, InputSpec, Manifest, manifest_path, tool_versions
from export.quantisation.calibration import calibrate
from export.quantisation.scheme import Granularity, QuantisedGraph, Range, quantise, takes_pixels
from export.source import Source, load_source
from export.verify import Parity, parity_of_float, parity_of_quantised
from export.writer import IO, WriterOptions, write_float, write_quantised
from mhmodels.architecture import Architecture
from mhmodels.complexity import complexity
from mhmodels.preprocessing import load_pictures, sample_pictures
from mhmodels.tflite_file import TFLiteFile, read_tflite

Format: TypeAlias = Literal["float32", "float16", "int8", "uint8"]
Engine: TypeAlias = Literal["direct", "tensorflow"]

FORMATS: tuple[Format, ...] = ("float32", "float16", "int8", "uint8")
CALIBRATION_PICTURES = 64
PARITY_PICTURES = 26
# float16 stores weights with 11 significant bits; through a deep network their roundings add up.
FLOAT16_TOLERANCE = 0.1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to export besides the network.

    Attributes:
        io: element type of input and output of int8 files; uint8 files always have uint8, float files float32.
        weights: a `.weights.h5` file; None for seeded random weights.
        calibration: folder of pictures; None for the bundled photographs.
        granularity: of int8 weights' scales.
    """

    directory: Path
    formats: tuple[Format, ...] = ("float32",)
    io: IO = "uint8"
    weights: Path | None = None
    calibration: Path | None = None
    granularity: Granularity | None = None
    writer: WriterOptions = WriterOptions()
    engine: Engine = "direct"
    overwrite: bool = False


class Exported(NamedTuple):
    """A file on disk, and its manifest's content."""

    path: Path
    manifest: Manifest


class Pictures(NamedTuple):
    """Normalised pictures, and where they come from."""

    images: Floats
    calibration: Calibration


def export_model(
    architecture: Architecture, options: Options, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Exported]:
    """Exports one network in every wanted format; each file is verified before it gets its name.

    Args:
        architecture: at the wanted width, input size and class count.
        options: formats and the rest.
        progress: told each stage as it begins.

    Yields:
        Each file as soon as it stands.

    Raises:
        ExportError: a file exists already, cannot be written, or fails its verification; nothing half-made is left.
        PictureError: no readable calibration pictures.
    """
    paths = {fmt: options.directory / file_name(architecture, fmt, options) for fmt in options.formats}
    _check_targets(list(paths.values()), options.overwrite)
    progress("reading pictures")
    pictures = read_pictures(options.calibration, architecture)
    progress(f"building {architecture.name}")
    source = load_source(architecture, options.weights, pictures.images)
    images = pictures.images[:PARITY_PICTURES]
    logits = source.logits(images)
    ranges: dict[str, Range] = {}
    for fmt, path in paths.items():
        quantised = None
        if fmt in ("int8", "uint8"):
            if not ranges:
                progress(f"calibrating on {len(pictures.images)} pictures")
                ranges = calibrate(source.graph, pictures.images)
            quantised = quantise(
                source.graph, ranges, "int8" if fmt == "int8" else "uint8", options.granularity if fmt == "int8" else None
            )
        progress(f"writing {path.name}")
        data = _write(source, quantised, fmt, options)
        with _partial(path, data) as partial:
            progress(f"verifying {path.name}")
            parity = _verify(partial, quantised, fmt, images, logits)
            manifest = _manifest(path.name, partial, architecture, source, pictures, parity, fmt, options)
            with _partial(manifest_path(path), manifest.to_json()) as partial_manifest:
                partial.replace(path)
                partial_manifest.replace(manifest_path(path))
        yield Exported(path, manifest)


def file_name(architecture: Architecture, fmt: str, options: Options) -> str:
    """NAME_wW_SIZE_FORMAT[-feat][-avgpool][-pt][-nosm].tflite."""
    height, width = architecture.input_size
    size = f"{height}" if height == width else f"{height}x{width}"
    marks = [
        ("-feat", options.writer.features),
        ("-avgpool", options.writer.pooling == "avgpool"),
        ("-pt", fmt == "int8" and options.granularity == "tensor"),
        ("-nosm", not options.writer.softmax),
    ]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in architecture.name)
    return f"{name}_w{architecture.width_multiplier:g}_{size}_{fmt}{''.join(mark for mark, on in marks if on)}.tflite"


def read_pictures(folder: Path | None, architecture: Architecture) -> Pictures:
    """Calibration pictures: of a folder, or the bundled photographs.

    Raises:
        PictureError: no such folder, or nothing readable in it.
        ExportError: the network does not take colour pictures.
    """
    if architecture.input_channels != 3:
        raise ExportError(f"'{architecture.name}' takes {architecture.input_channels} channels; pictures for calibration have 3")
    if folder is None:
        images = sample_pictures(CALIBRATION_PICTURES, architecture.input_size, architecture.preprocessing)
        return Pictures(images, Calibration(source="bundled photographs", pictures=len(images)))
    images, report = load_pictures(folder, architecture.input_size, architecture.preprocessing, limit=CALIBRATION_PICTURES * 8)
    skipped = tuple(f"{picture.path}: {picture.reason}" for picture in report.skipped)
    return Pictures(images, Calibration(source=str(folder), pictures=len(images), skipped=skipped))


def _check_targets(paths: list[Path], overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise ExportError(f"{path}: exists already; give --overwrite to replace it, or another folder with -o")
    directory = paths[0].parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{directory}: cannot be made a folder for the files ({error.strerror})") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ExportError(f"{directory}: cannot be written to (permission denied); give another folder with -o")


def _write(source: Source, quantised: QuantisedGraph | None, fmt: Format, options: Options) -> bytes:
    if options.engine == "direct":
        if quantised is not None:
            return write_quantised(quantised, io=options.io if fmt == "int8" else "uint8", options=options.writer)
        return write_float(source.graph, fmt="float16" if fmt == "float16" else "float32", options=options.writer)
    if options.writer != WriterOptions():
        raise ExportError("--pooling, --no-softmax and --features are the direct engine's; leave out --engine tensorflow")
    from export.converter import convert_float, convert_quantised

    if quantised is not None:
        return convert_quantised(quantised, io=options.io if fmt == "int8" else "uint8")
    return convert_float(source.model, float16=fmt == "float16")


def _verify(partial: Path, quantised: QuantisedGraph | None, fmt: Format, images: Floats, logits: Floats) -> Parity:
    if quantised is not None:
        return parity_of_quantised(partial, quantised, images, logits)
    return parity_of_float(partial, images, logits, *([FLOAT16_TOLERANCE] if fmt == "float16" else []))


@contextlib.contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    """A file under a temporary name beside its place; gone afterwards unless it was moved there."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_bytes(data)
        except OSError as error:
            raise ExportError(f"{path}: cannot be written ({error.strerror}); nothing is left behind") from error
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _manifest(
    name: str,
    file: Path,
    architecture: Architecture,
    source: Source,
    pictures: Pictures,
    parity: Parity,
    fmt: Format,
    options: Options,
) -> Manifest:
    data, parsed, counts = file.read_bytes(), read_tflite(file), complexity(architecture)
    integer = fmt in ("int8", "uint8")
    return Manifest(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        precision=fmt,
        engine=options.engine,
        granularity={"int8": options.granularity or "channel", "uint8": "tensor"}.get(fmt),
        pooling=options.writer.pooling,
        softmax=options.writer.softmax,
        architecture=msgspec.json.decode(architecture.to_json()),
        architecture_id=architecture.architecture_id,
        weights=source.label,
        input=_input_spec(parsed, architecture),
        calibration=pictures.calibration if integer else None,
        params=counts.params,
        params_total=counts.params_total,
        madds=counts.madds,
        operators=dict(sorted(Counter(operator.kind for operator in parsed.operators).items())),
        parity=parity,
        tools=tool_versions(),
    )


def _input_spec(file: TFLiteFile, architecture: Architecture) -> InputSpec:
    entry, preprocessing = file.tensors[file.inputs[0]], architecture.preprocessing
    quantised = len(entry.scale) > 0
    return InputSpec(
        dtype=entry.dtype,
        shape=entry.shape,
        scale=float(entry.scale[0]) if quantised else None,
        zero_point=int(entry.zero_point[0]) if quantised else None,
        takes_pixels=quantised and takes_pixels(preprocessing),
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_fraction=preprocessing.crop_fraction,
        interpolation=preprocessing.interpolation,
    )
