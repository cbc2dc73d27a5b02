"""`mhmodels verify`: a file, its manifest, and a model or another file, on pictures."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import SCORES, WriterOptions
from mhmodels.export.tolerances import PARITY_PICTURES, QUANTISED_CORRELATION, tolerance_of
from mhmodels.export.verification.facts import contradictions, operator_counts
from mhmodels.export.verification.file_graph import compared_tensors, dequantise, encode_input, file_outputs, steps
from mhmodels.export.verification.layers import LayerReport, against_file, against_network, not_compared, saturation
from mhmodels.export.verification.parity import Parity, compare_outputs
from mhmodels.export.verification.runtime import run_file
from mhmodels.export.writing.manifest import Manifest, manifest_path, read_manifest
from mhmodels.formats.json_files import plain_text
from mhmodels.system.files import read_bytes
from mhmodels.tflite.file import MAX_BYTES, TFLiteFile, parse_tflite
from mhmodels.tflite.format import compute_format

if TYPE_CHECKING:
    from mhmodels.export.reading.pictures import Frame
    from mhmodels.export.reading.source import ExportSource

LARGEST_INPUT = 1 << 26
"""Values of all pictures together: a hostile file's input must not fill the memory."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `mhmodels verify` found of a file.

    Attributes:
        precision: the format that it computes in, as `mhmodels.tflite.format.compute_format` names it.
        operators: count by kind.
        manifest: `agrees` or `absent`.
        runtimes_differ: largest difference at the outputs between LiteRT with and without XNNPACK, in `runtimes_unit`:
            `lsb` (steps of an integer output) or `spread` (standard deviations of a float one).
        saturation: share of each integer tensor's values at an end of its range, the largest first.
        against: comparison at the outputs, where one was asked for.
        layers: comparison layer by layer, where one was asked for.
    """

    file: str
    sha256: str
    precision: str
    operators: dict[str, int]
    pictures: int
    manifest: str
    runtimes_differ: float
    runtimes_unit: str
    saturation: Mapping[str, float]
    against: Parity | None
    layers: LayerReport | None


class _File(msgspec.Struct, frozen=True):
    """A file, its content, and its manifest if it has one; they belong together."""

    path: Path
    data: bytes
    parsed: TFLiteFile
    manifest: Manifest | None

    def rule(self) -> Preprocessing | None:
        """From a picture to the input, if the manifest says."""
        return None if self.manifest is None else self.manifest.input.preprocessing()


class _Subject(msgspec.Struct, frozen=True):
    """A file that is being verified, and pictures as its network takes them."""

    path: Path
    file: TFLiteFile
    manifest: Manifest | None
    frame: Frame
    images: Float32Array


def verify_file(path: Path, against: str | None, images: Path | None, weights: str | None, tolerance: float | None) -> FileReport:
    """Checks a file; see `FileReport`.

    Args:
        path: the TFLite file.
        against: a zoo name, an architecture file, a `.keras` file, or another TFLite file; None to check the file alone.
        images: folder of pictures; None for the bundled photographs.
        weights: of the model in `against`; None for the seeded random weights that `mhmodels export` uses.
        tolerance: largest difference at the outputs as a share of their spread. Default: 1e-3 between float32 networks,
            0.1 where one has float16 weights; where one is quantised, a correlation of at least 0.95 instead.

    Raises:
        ParityError: the file contradicts its manifest, is not finite, or departs further than allowed.
        FileFormatError: a file is damaged or of another kind.
    """
    this = _read(path)
    file, manifest = this.parsed, this.manifest
    other = None if against is None or not against.endswith(".tflite") else _read(Path(against))
    most = LARGEST_INPUT // max(_values(one) for one in (this, other) if one is not None)
    subject = _subject(this, images, most, None if other is None else other.rule())
    encoded = encode_input(file, subject.images)
    difference, unit = _runtimes_differ(subject, encoded)
    parity, layers = None, None
    if other is not None:
        parity, layers = _against_file(subject, encoded, _subject(other, images, most, this.rule()), tolerance)
    elif against is not None:
        parity, layers = _against_model(subject, encoded, against, weights, tolerance)
    return FileReport(
        file=plain_text(str(path)),
        sha256=hashlib.sha256(this.data).hexdigest(),
        precision=compute_format(file),
        operators=operator_counts(file),
        pictures=len(subject.images),
        manifest="absent" if manifest is None else "agrees",
        runtimes_differ=difference,
        runtimes_unit=unit,
        saturation=saturation(path, file, encoded),
        against=parity,
        layers=layers,
    )


def _read(path: Path) -> _File:
    data, beside = read_bytes(path, MAX_BYTES), manifest_path(path)
    file = parse_tflite(data, source=str(path))
    manifest = read_manifest(beside) if os.path.lexists(beside) else None
    if manifest is not None:
        _check_manifest(path, contradictions(manifest, file, data))
    return _File(path, data, file, manifest)


def _check_manifest(path: Path, differing: Mapping[str, tuple[Any, Any]]) -> None:
    for field, (claimed, found) in differing.items():
        raise ParityError(
            f"{path}: the manifest's field '{field}' is {str(claimed)[:200]}, the file has {str(found)[:200]}: "
            f"they do not belong together{_also(differing, field)}"
        )


def _also(differing: Mapping[str, Any], first: str) -> str:
    others = [field for field in differing if field != first]
    return f" ({', '.join(others)} differ too)" if others else ""


def _values(file: _File) -> int:
    """How many values a picture has, as the file takes it."""
    shape = file.parsed.tensors[file.parsed.inputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ExportError(f"{file.path}: input is {shape}, expected one picture (1, height, width, channels)")
    one = shape[1] * shape[2] * shape[3]
    if one > LARGEST_INPUT:
        raise ExportError(f"{file.path}: input is {shape}, {one} values a picture, expected at most {LARGEST_INPUT}")
    return one


def _subject(file: _File, folder: Path | None, most: int, elsewhere: Preprocessing | None) -> _Subject:
    """At most so many pictures in the file's own size, preprocessed as its manifest says.

    Without a manifest they are preprocessed as `elsewhere`, or else by the default.
    """
    from mhmodels.export.reading.pictures import LARGEST_FOLDER, Frame, fit_preprocessing, photographs, read_pictures

    _, height, width, channels = file.parsed.tensors[file.parsed.inputs[0]].shape
    rule = file.rule() or elsewhere or Preprocessing()
    frame = fit_preprocessing(Frame(input_size=(height, width), input_channels=channels, preprocessing=rule))
    if folder is None:
        images = photographs(min(PARITY_PICTURES, most), frame)
    else:
        images = read_pictures(folder, frame, min(LARGEST_FOLDER, most)).images
    return _Subject(file.path, file.parsed, file.manifest, frame, images)


def _runtimes_differ(subject: _Subject, encoded: NDArray[Any]) -> tuple[float, str]:
    """Largest difference at the outputs between LiteRT with XNNPACK and without, and its unit (see `FileReport`)."""
    file = subject.file
    outputs = [file.tensors[position] for position in file.outputs]
    sides = [run_file(subject.path, encoded, list(file.outputs), kernels=kernels) for kernels in ("xnnpack", "builtin")]
    worst, unit = 0.0, "spread"
    for tensor, *pair in zip(outputs, *sides, strict=True):
        with_xnnpack, without = (dequantise(values, tensor) for values in pair)
        if not without.size or with_xnnpack.shape != without.shape or not (tensor.scale > 0).all():
            raise ParityError(
                f"{subject.path}: output '{tensor.name}' is {without.shape[1:]} with scales {tensor.scale.tolist()[:4]}, "
                "expected values, and steps above 0"
            )
        if not np.isfinite(with_xnnpack).all() or not np.isfinite(without).all():
            raise ParityError(f"{subject.path}: output '{tensor.name}' has NaN or infinite values on {len(encoded)} pictures")
        scale = float(tensor.scale[0]) if len(tensor.scale) else max(float(without.std()), 1e-30)
        unit = "lsb" if len(tensor.scale) else "spread"
        worst = max(worst, float(np.abs(with_xnnpack - without).max()) / scale)
    return worst, unit


def _against_file(
    subject: _Subject, encoded: NDArray[Any], other: _Subject, tolerance: float | None
) -> tuple[Parity, LayerReport]:
    """Both files on the same pictures, which each has as its own manifest says."""
    name = str(other.path)
    found, expected = (file_outputs(side.path, side.images) for side in (subject, other))
    inputs = (encoded, encode_input(other.file, other.images))
    layers = against_file(subject.path, subject.file, other.path, other.file, inputs)
    parity = compare_outputs(found, expected, name, steps(compared_tensors(subject.file)))
    _judge(subject, parity, _departing(layers), compute_format(other.file), name, tolerance)
    return parity, layers


def _against_model(
    subject: _Subject, encoded: NDArray[Any], against: str, weights: str | None, tolerance: float | None
) -> tuple[Parity, LayerReport]:
    source = _source(subject, against, weights)
    # What is not read as operations is compared after its activation, which both the model and the file give.
    before_softmax = source.graph is not None
    found = file_outputs(subject.path, subject.images, before_softmax=before_softmax)
    expected, layers = _model_outputs(subject, encoded, source)
    remarks, made_from = _departing(layers), "random" if subject.manifest is None else subject.manifest.weights
    if source.label.startswith("random, seed") and not made_from.startswith("random"):
        remarks += f"; the file was made from '{made_from}', and without --weights the model has random ones"
    tensors = compared_tensors(subject.file, before_softmax=before_softmax)
    parity = compare_outputs(found, expected, against, steps(tensors))
    _judge(subject, parity, remarks, "float32", against, tolerance)
    return parity, layers


def _departing(layers: LayerReport) -> str:
    return "" if layers.first_departing is None else f"; the first layer that departs is '{layers.first_departing}'"


def _judge(subject: _Subject, parity: Parity, remarks: str, other: str, against: str, tolerance: float | None) -> None:
    """Compares with the tolerance that was given, else with that of the two formats."""
    allowed = tolerance_of(compute_format(subject.file), other) if tolerance is None else tolerance
    if allowed is None:
        if not parity.correlation >= QUANTISED_CORRELATION:
            raise ParityError(
                f"{subject.path}: outputs correlate with {against} by {parity.correlation:.4f}, "
                f"expected at least {QUANTISED_CORRELATION}{remarks}"
            )
        return
    if not parity.max_error <= allowed:
        raise ParityError(
            f"{subject.path}: outputs depart from {against} by up to {parity.max_error:.2g} of their spread, "
            f"expected at most {allowed:g}{remarks}"
        )


def _model_outputs(subject: _Subject, encoded: NDArray[Any], source: ExportSource) -> tuple[dict[str, Float32Array], LayerReport]:
    """The model's outputs on the pictures, and the file's layers beside the model's."""
    from mhmodels.export.graph.outputs import written_ops
    from mhmodels.export.graph.rewrite import normalise_in_graph

    manifest, images = subject.manifest, subject.images
    options = WriterOptions(features=_gives_maps(subject.file), softmax=manifest is None or manifest.softmax)
    source.check_ending(options.features)
    normalised = manifest is not None and manifest.normalise_in_model
    if normalised:
        source.check_rule()
        rule = source.architecture.preprocessing
        images = ((images - np.asarray(rule.mean, np.float32)) / np.asarray(rule.std, np.float32)).astype(np.float32)
    expected, graph = source.expected(images, options), source.graph
    if graph is None:
        return expected, not_compared(source.missing)
    if normalised:
        graph = normalise_in_graph(graph)
    return expected, against_network(subject.path, subject.file, written_ops(graph, options), graph, encoded)


def _gives_maps(file: TFLiteFile) -> bool:
    """Whether every output of a file is a feature map."""
    return SCORES not in compared_tensors(file) and all(len(file.tensors[output].shape) == 4 for output in file.outputs)


def _source(subject: _Subject, against: str, weights: str | None) -> ExportSource:
    from mhmodels.export.reading.pictures import fit_preprocessing
    from mhmodels.export.reading.source import keras_source, load_source, weights_rule
    from mhmodels.registry import is_keras_file, resolve, zoo

    if is_keras_file(against):
        return keras_source(against, subject.frame.input_size)
    manifest, frame = subject.manifest, subject.frame
    network = None if manifest is None else manifest.network()
    named = network is not None and against in zoo()  # a plain name of the zoo means it at the file's own width
    width = network.width_multiplier if network is not None and named else None
    scores = compared_tensors(subject.file).get(SCORES)
    classes = None if network is None else network.classes
    if scores is not None and min(scores.shape, default=0) > 0:
        classes = math.prod(scores.shape[1:])
    architecture = resolve(against).at(
        input_size=frame.input_size, input_channels=frame.input_channels, classes=classes, width_multiplier=width
    )
    rule = weights_rule(weights, architecture) or architecture.preprocessing
    architecture = msgspec.structs.replace(architecture, preprocessing=rule)
    architecture = fit_preprocessing(architecture)
    return load_source(architecture, weights)
