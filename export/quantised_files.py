"""The integers of a job's files: which formats can be calibrated, and from what their ranges come."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.formats import INTEGER_FORMATS, ExportFormat, number_format
from mhmodels.export.graph.outputs import compared_ops, graph_outputs
from mhmodels.export.graph.rewrite import NORMALISE, normalised_range
from mhmodels.export.job import ExportJob
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.quantisation.equalisation import exponent_texts
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
from mhmodels.export.quantisation.post_training import Corrections, quantise_on_pictures
from mhmodels.export.quantisation.scheme import QuantisedGraph, quantise
from mhmodels.export.reading.pictures import BUNDLED, Calibration, InputPictures


def uncalibrated(
    architecture: Architecture,
    source: ExportSource,
    pictures: InputPictures,
    formats: Collection[ExportFormat],
    folder_field: str,
) -> dict[ExportFormat, ExportError]:
    """Returns why formats cannot be calibrated, by format: integer files need pictures of the kind that the network takes.

    Photographs in three colours do not stand for other channels.

    Args:
        architecture: Architecture of the network.
        source: The network.
        pictures: Pictures for calibration.
        formats: Requested formats.
        folder_field: The caller's field that gives a folder of pictures, for messages.
    """
    integer = [fmt for fmt in formats if number_format(fmt) in INTEGER_FORMATS]
    try:
        source.check_rule()
    except ExportError as unknown:
        return dict.fromkeys(integer, unknown)
    learned = None if source.learned is None else source.learned.format
    calibrated = [fmt for fmt in integer if number_format(fmt) != learned]
    if architecture.input_channels != 3 and pictures.calibration.source == BUNDLED and calibrated:
        shape = (*architecture.input_size, architecture.input_channels)
        error = ExportError(
            f"'{architecture.name}' takes {architecture.input_channels} channels, so the bundled photographs cannot "
            f"calibrate it: give argument '{folder_field}=FOLDER' with .npy arrays of shape {shape}, "
            "uint8 (pixels) or float32 (normalised)"
        )
        return dict.fromkeys(calibrated, error)
    return {}


def quantised_graph(job: ExportJob, fmt: QuantisedFormat) -> tuple[QuantisedGraph, Calibration]:
    """Computes the integers of a format from ranges that training left, else from the calibration pictures.

    Args:
        job: With a graph.
        fmt: The format.

    Raises:
        ExportError: The network has no list of operations, or its pictures give no ranges.
    """
    if job.graph is None or job.observed is None:
        raise ExportError(
            f"{job.source.missing}, so its integers cannot be computed; argument 'formats=float32' and float16 can be had"
        )
    options, learned = job.options, job.source.learned
    granularity: Granularity | None = options.granularity if fmt == "int8" else None
    fixed = {NORMALISE: normalised_range(job.graph)} if options.normalise_in_model else {}
    corrections = Corrections(options.equalise, options.bias_correction, options.rounding)
    if learned is not None and learned.format == fmt and granularity in (None, learned.granularity):
        if corrections.stated():
            raise ExportError(
                f"{', '.join(corrections.stated())}: quantisation-aware training already fitted weights and ranges of {fmt} to "
                "each other, so there is nothing to correct: leave it out"
            )
        calibration = Calibration(source="quantisation-aware training", pictures=0, method="learned")
        granularity = learned.granularity if fmt == "int8" else None
        return quantise(job.graph, dict(learned.ranges) | fixed, fmt, granularity), calibration
    method = options.method_for(len(job.feed))
    job.progress(f"calibrating on {len(job.feed)} pictures" + (", choosing what loses least" if method == "auto" else ""))
    given = {*graph_outputs(job.graph, options.writer).values(), *compared_ops(job.graph, options.writer).values()}
    found = quantise_on_pictures(
        job.observed,
        method,
        fmt,
        granularity,
        corrections=corrections,
        outputs=given,
        fixed=fixed,
    )
    return found.quantised, msgspec.structs.replace(
        job.calibration,
        method=found.method,
        equalisation=exponent_texts(found.equalisation),
        bias_correction=found.bias,
        rounding=found.rounding,
    )
