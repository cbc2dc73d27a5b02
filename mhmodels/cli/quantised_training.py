"""Connects training with the exporter for `mhmodels train --quantize-aware`; the two packages do not import each other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.export.quantisation.aware import aware_transform
from mhmodels.export.quantisation.aware_layers import EMA
from mhmodels.export.quantisation.aware_model import block_outputs, hold_kernels, learned, step_sizes
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
from mhmodels.export.quantisation.scheme import check_granularity
from mhmodels.preprocessing.decoding import PictureError
from mhmodels.preprocessing.pictures import fit_picture, preprocess
from mhmodels.training.distillation import StudentAccess
from mhmodels.training.errors import DataError
from mhmodels.training.session import TrainingRequest, with_preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mhmodels.architecture import Architecture
    from mhmodels.training.data.sources import Source

DISTILLATION_EMA = 0.999
"""Share of its range that a tensor keeps in each step of a distillation, whose weights, and so ranges, change little."""

PICTURES = 256
"""Number of training pictures, evenly spaced, that initialise the activation ranges."""


def quantise_aware(
    request: TrainingRequest, fmt: QuantisedFormat, granularity: Granularity | None, freeze_after: int | None
) -> TrainingRequest:
    """Returns a request for quantisation-aware training.

    Args:
        request: Request for float training from trained weights.
        fmt: Format of the file whose rounding is simulated.
        granularity: Weight scales per output channel or per tensor; None for the default of `fmt`.
        freeze_after: Step after which batch normalisation uses frozen moving statistics; None for half of the run, or with
            distillation for the beginning.

    Raises:
        ExportError: `fmt` is uint8 and `granularity` is channel.
        DataError: The data have no training pictures, or none of them can be read.
    """
    check_granularity(fmt, granularity)
    if request.data.train is None:
        raise DataError("quantisation-aware training: only pictures to test on, expected some to train on")
    recipe = request.recipe
    distilled = request.distillation is not None
    if freeze_after is None:
        freeze_after = 0 if distilled else recipe.epochs * (len(request.data.train) // recipe.batch_size) // 2
    architecture = with_preprocessing(request.architecture, recipe)
    granularity = granularity or ("channel" if fmt == "int8" else "tensor")
    aware = aware_transform(
        _pictures(request.data.train, architecture),
        fmt,
        architecture,
        granularity=granularity,
        freeze_after=freeze_after,
        ema=DISTILLATION_EMA if distilled else EMA,
    )
    return request._replace(
        transform=(lambda model: hold_kernels(aware(model))) if distilled else aware,
        transform_name=f"quantisation-aware, {fmt} per {granularity}, statistics frozen after {freeze_after} steps",
        learned=learned,
        student=StudentAccess(block_outputs, step_sizes) if distilled else None,
    )


def _pictures(source: Source, architecture: Architecture) -> NDArray[np.float32]:
    """Returns normalised pictures, float32, (n, height, width, 3). Unreadable pictures are skipped; training counts them."""
    fitted = []
    for index in np.unique(np.linspace(0, len(source) - 1, PICTURES).astype(int)).tolist():
        with contextlib.suppress(PictureError, OSError):
            picture = source.read(index, 0)[0]
            fitted.append(fit_picture(picture, architecture.input_size, architecture.preprocessing))
    if not fitted:
        raise DataError(f"{source.name}: none of {PICTURES} pictures can be read, so that nothing tells the activations' ranges")
    return preprocess(np.stack(fitted), architecture.preprocessing)
