"""Verifies a TFLite file on disk: against its manifest, and against a model or another file on pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError, NoEffectError, ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import SCORES, WriterOptions
from mhmodels.export.quantisation.equalisation import equalise, exponents_of
from mhmodels.export.tolerances import QUANTISED_CORRELATION, tolerance_of
from mhmodels.export.verification.facts import operator_counts
from mhmodels.export.verification.file_graph import compared_tensors, encode_input, file_outputs, steps
from mhmodels.export.verification.layers import LayerReport, against_file, against_network, not_compared, saturation
from mhmodels.export.verification.parity import compare_outputs
from mhmodels.export.verification.runtimes.differences import runtime_differences
from mhmodels.export.verification.verified_file import (
    VerifiedFile,
    most_pictures,
    read_with_manifest,
    with_pictures,
)
from mhmodels.export.writing.manifest import Parity
from mhmodels.formats.json_files import plain_text
from mhmodels.tflite.file import TFLiteFile
from mhmodels.tflite.format import compute_format

if TYPE_CHECKING:
    import keras

    from mhmodels.export.opening.source import ExportSource

Against: TypeAlias = "str | Path | Architecture | keras.Model | ExportSource"
"""What a file can be compared with: a MODEL or FILE as on the command line, or an object in memory."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the verification of a file.

    Attributes:
        file: Path of the file.
        sha256: Hash of the file, as hexadecimal digits.
        precision: Number format of the operators with weights: `float32`, `int8`, …, or both formats if activations and
            weights have different ones.
        operators: Number of operators of each kind.
        pictures: Number of pictures that the file ran on.
        manifest: `agrees` or `absent`.
        runtimes_differ: Largest difference of the outputs between LiteRT with and without XNNPACK, in `runtimes_unit`.
        gpu_differs: The same between LiteRT's GPU accelerator, which took the whole network, and LiteRT without XNNPACK; None
            without `gpu`.
        runtimes_unit: `lsb` (steps of an integer output) or `spread` (standard deviations of a float output).
        saturation: Share of the values at an end of the range, for each integer tensor, the largest first.
        against: Comparison of the outputs; None without `against`.
        layers: Comparison layer by layer; None without `against`.

    Example:
        >>> import tempfile
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model, verify
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=Path(tempfile.mkdtemp())))
        >>> report = verify(exported.path)
        >>> report.manifest, report.precision
        ('agrees', 'float32')
    """

    file: str
    sha256: str
    precision: str
    operators: dict[str, int]
    pictures: int
    manifest: str
    runtimes_differ: float
    gpu_differs: float | None
    runtimes_unit: str
    saturation: Mapping[str, float]
    against: Parity | None
    layers: LayerReport | None


def verify(
    file: str | Path,
    against: Against | None = None,
    *,
    images: str | Path | None = None,
    weights: str | Path | None = None,
    tolerance: float | None = None,
    gpu: bool = False,
) -> FileReport:
    """Checks that a TFLite file is complete, belongs to its manifest, and agrees with a model or with another file.

    Args:
        file: Path of the TFLite file. If there is a manifest beside the file, the manifest is checked too.
        against: Model to compare the file with: a zoo name, an architecture, the path of an architecture file, of a `.keras`
            file or of another TFLite file, a Keras model, or an opened model. None to check the file alone.
        images: Folder of pictures to run the file on. None for the bundled photographs.
        weights: Weights file or registered name for the network in `against`. None for the seeded random weights that an
            export uses.
        tolerance: Largest allowed difference of the outputs, as a share of their standard deviation. None for 0.001 between
            float32 networks and 0.1 if one has float16 weights. If one computes in integers, None requires a correlation of at
            least 0.95 instead.
        gpu: Whether to run the file on LiteRT's GPU accelerator too; the file then has one output.

    Returns:
        Report on the file, if all checks passed.

    Raises:
        ParityError: The file contradicts its manifest, has outputs that are not finite, or differs by more than is allowed.
        FileFormatError: A file is damaged or of another kind.
        ExportError: With `gpu`, there is no Vulkan driver, or the accelerator does not take the whole network.
        NoEffectError: `weights` is given without a network that could take the weights.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.export import ExportOptions, ModelRequest, export_model, verify
        >>> folder = Path(tempfile.mkdtemp())
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> (exported,) = export_model(request, ExportOptions(directory=folder))
        >>> verify(exported.path).precision
        'float32'
    """
    path = Path(file)
    other_path = Path(against) if isinstance(against, (str, Path)) and str(against).endswith(".tflite") else None
    if weights is not None and (against is None or other_path is not None):
        reason = "there is no model" if against is None else "a file has its own"
        raise NoEffectError(f"argument 'weights': {reason}; give argument 'against=MODEL'")
    folder = None if images is None else Path(images)
    this = read_with_manifest(path)
    parsed, manifest = this.parsed, this.manifest
    other = None if other_path is None else read_with_manifest(other_path)
    most = most_pictures(this, other)
    subject = with_pictures(this, folder, most, None if other is None else other.rule())
    encoded = encode_input(parsed, subject.images)
    differences = runtime_differences(subject, encoded, gpu=gpu)
    parity, layers = None, None
    if other is not None:
        parity, layers = _against_file(subject, encoded, with_pictures(other, folder, most, this.rule()), tolerance)
    elif against is not None:
        parity, layers = _against_model(subject, encoded, against, weights, tolerance)
    return FileReport(
        file=plain_text(str(path)),
        sha256=hashlib.sha256(this.data).hexdigest(),
        precision=compute_format(parsed),
        operators=operator_counts(parsed),
        pictures=len(subject.images),
        manifest="absent" if manifest is None else "agrees",
        runtimes_differ=differences.xnnpack,
        gpu_differs=differences.gpu,
        runtimes_unit=differences.unit,
        saturation=saturation(path, parsed, encoded),
        against=parity,
        layers=layers,
    )


def _against_file(
    subject: VerifiedFile, encoded: NDArray[np.generic], other: VerifiedFile, tolerance: float | None
) -> tuple[Parity, LayerReport]:
    """Compares two files on the same pictures, each preprocessed as its own manifest states."""
    name = str(other.path)
    found, expected = (file_outputs(side.path, side.images) for side in (subject, other))
    inputs = (encoded, encode_input(other.file, other.images))
    if dict(subject.equalisation) == dict(other.equalisation):
        layers = against_file(subject.path, subject.file, other.path, other.file, inputs)
    else:
        layers = not_compared("the channels of one of the files were equalised, so that its layers have other scales")
    parity = compare_outputs(found, expected, name, steps(compared_tensors(subject.file)))
    _judge(subject, parity, _departing(layers), compute_format(other.file), name, tolerance)
    return parity, layers


def _against_model(
    subject: VerifiedFile,
    encoded: NDArray[np.generic],
    against: Against,
    weights: str | Path | None,
    tolerance: float | None,
) -> tuple[Parity, LayerReport]:
    """Compares a file with a model."""
    source = _source(subject, against, weights)
    name = str(against) if isinstance(against, (str, Path)) else source.architecture.name
    # What is not read as operations is compared after its activation, which both the model and the file give.
    before_softmax = source.graph is not None
    found = file_outputs(subject.path, subject.images, before_softmax=before_softmax)
    expected, layers = _model_outputs(subject, encoded, source)
    remarks, made_from = _departing(layers), "random" if subject.manifest is None else subject.manifest.weights
    if source.label.startswith("random, seed") and not made_from.startswith("random"):
        remarks += f"; the file was made from '{made_from}', and without argument 'weights' the model has random ones"
    tensors = compared_tensors(subject.file, before_softmax=before_softmax)
    parity = compare_outputs(found, expected, name, steps(tensors))
    _judge(subject, parity, remarks, "float32", name, tolerance)
    return parity, layers


def _departing(layers: LayerReport) -> str:
    return "" if layers.first_departing is None else f"; the first layer that departs is '{layers.first_departing}'"


def _judge(subject: VerifiedFile, parity: Parity, remarks: str, other: str, against: str, tolerance: float | None) -> None:
    """Checks a comparison against the tolerance that was given, else against that of the two formats."""
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


def _model_outputs(
    subject: VerifiedFile, encoded: NDArray[np.generic], source: ExportSource
) -> tuple[dict[str, Float32Array], LayerReport]:
    """Returns the outputs of the model on the pictures, and the comparison of its layers with those of the file."""
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
    if subject.equalisation:
        try:
            graph = equalise(graph, exponents_of(subject.equalisation))
        except ExportError as error:
            return expected, not_compared(f"manifest, {error}")
    return expected, against_network(subject.path, subject.file, written_ops(graph, options), graph, encoded)


def _gives_maps(file: TFLiteFile) -> bool:
    """Returns whether every output of a file is a feature map."""
    return SCORES not in compared_tensors(file) and all(len(file.tensors[output].shape) == 4 for output in file.outputs)


def _source(subject: VerifiedFile, against: Against, weights: str | Path | None) -> ExportSource:
    """Opens the model that a file is compared with, at the size and with the outputs of the file."""
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.opening.source import ExportSource
    from mhmodels.registry import is_keras_file, zoo

    if isinstance(against, ExportSource):
        return against
    frame = subject.frame
    if not isinstance(against, (str, Path, Architecture)) or (isinstance(against, (str, Path)) and is_keras_file(str(against))):
        return open_model(ModelRequest(model=against, weights=weights, input_size=frame.input_size))
    network = None if subject.manifest is None else subject.manifest.network()
    named = network is not None and against in zoo()  # a plain name of the zoo means it at the file's own width
    scores = compared_tensors(subject.file).get(SCORES)
    classes = None if network is None else network.classes
    if scores is not None and min(scores.shape, default=0) > 0:
        classes = math.prod(scores.shape[1:])
    request = ModelRequest(
        model=against,
        weights=weights,
        width_multiplier=network.width_multiplier if network is not None and named else None,
        input_size=frame.input_size,
        input_channels=frame.input_channels,
        classes=classes,
    )
    return open_model(request)
