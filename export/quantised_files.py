"""The integers of a job's files: which formats can be calibrated, and from what their ranges come."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Range
from mhmodels.export.graph.rewrite import NORMALISE, normalised_range
from mhmodels.export.job import ExportJob
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import INTEGER_FORMATS
from mhmodels.export.quantisation.calibration import METHODS, calibrate_by
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
from mhmodels.export.quantisation.scheme import QuantisedGraph, quantise
from mhmodels.export.reading.pictures import BUNDLED, Calibration, InputPictures
from mhmodels.tflite.format import FileFormat


def uncalibrated(
    architecture: Architecture,
    source: ExportSource,
    pictures: InputPictures,
    formats: Collection[FileFormat],
    folder_field: str,
) -> dict[FileFormat, ExportError]:
    """Returns why formats cannot be calibrated, by format: integer files need pictures of the kind that the network takes.

    Photographs in three colours do not stand for other channels.

    Args:
        architecture: Architecture of the network.
        source: The network.
        pictures: Pictures for calibration.
        formats: Requested formats.
        folder_field: The caller's field that gives a folder of pictures, for messages.
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
            f"calibrate it: give argument '{folder_field}=FOLDER' with .npy arrays of shape {shape}, "
            "uint8 (pixels) or float32 (normalised)"
        )
        return dict.fromkeys((fmt for fmt in formats if fmt in integer - learned), error)
    return {}


def quantised_graph(job: ExportJob, fmt: QuantisedFormat, ranges: dict[str, Range]) -> tuple[QuantisedGraph, Calibration]:
    """Computes the integers of a format from ranges that training left, else from the calibration pictures.

    Args:
        job: With a graph.
        fmt: The format.
        ranges: Ranges computed from the calibration pictures. The first call fills them, later calls use them.

    Raises:
        ExportError: The network has no list of operations, or its pictures give no ranges.
    """
    if job.graph is None:
        raise ExportError(
            f"{job.source.missing}, so its integers cannot be computed; argument 'formats=float32' and float16 can be had"
        )
    granularity: Granularity | None = job.options.granularity if fmt == "int8" else None
    learned, calibration, used = job.source.learned, job.calibration, ranges
    if learned is not None and learned.format == fmt and granularity in (None, learned.granularity):
        used, granularity = dict(learned.ranges), learned.granularity if fmt == "int8" else None
        calibration = Calibration(source="quantisation-aware training", pictures=0, method="learned")
    else:
        words = method = job.options.calibration_method or METHODS[0]
        if not ranges or method == "auto":  # which is another for each format
            job.progress(f"calibrating on {len(job.feed)} pictures")
            found = calibrate_by(job.graph, job.feed, method, fmt, granularity)
            ranges.update(found.ranges)
            words = found.method
        calibration = msgspec.structs.replace(calibration, method=words)
    if job.options.normalise_in_model:
        used[NORMALISE] = normalised_range(job.graph)
    return quantise(job.graph, used, fmt, granularity), calibration
