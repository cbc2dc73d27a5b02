"""What formats are compared on: a network, and pictures for calibration and for the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture
from mhmodels.export.opening.model_request import ModelRequest, ResolvedModel, resolve_model
from mhmodels.export.opening.open_model import ModelLike, open_model
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.reading.pictures import Calibration, InputPictures, fit_preprocessing, photographs, read_pictures
from mhmodels.preprocessing.pictures import preprocess

COMPARED_PHOTOGRAPHS = 130
COMPARED_CANVASES = 360
_CALIBRATION_CANVASES = 256


class ConsistencySubject(NamedTuple):
    """A network, and the pictures that its formats are compared on.

    Attributes:
        source: The network.
        calibration: Pictures that give the ranges of integer formats, normalised.
        pictures: Pictures that every format runs on, normalised.
        classes: int (n,), classes of the pictures. None where they are not known.
    """

    source: ExportSource
    calibration: InputPictures
    pictures: InputPictures
    classes: NDArray[np.int32] | None


def consistency_subject(model: ModelLike, folder: Path | None) -> ConsistencySubject:
    """Opens a model, and reads the pictures to compare it on.

    Args:
        model: As `open_model` takes it.
        folder: Folder of pictures. None for the test set of the weights, if they are registered with one, else for the bundled
            photographs.

    Raises:
        MhmodelsError: The model cannot be opened, its preprocessing is unknown, or the folder has no readable picture.
    """
    if isinstance(model, (str, Path, Architecture)):
        model = ModelRequest(model=model)
    resolved = resolve_model(model) if isinstance(model, ModelRequest) else model
    if isinstance(resolved, ResolvedModel) and resolved.architecture is not None:
        calibration = read_pictures(None, resolved.architecture)
        source = open_model(resolved, calibration.images)
        architecture = resolved.architecture
    else:
        source = open_model(resolved)
        source.check_rule()
        architecture = fit_preprocessing(source.architecture)
        calibration = read_pictures(None, architecture)
    if folder is not None:
        pictures = read_pictures(folder, architecture)
        # The bundled photographs are of three channels; for a network of others the folder calibrates too.
        return ConsistencySubject(source, calibration if architecture.input_channels == 3 else pictures, pictures, None)
    weights = resolved.request.weights if isinstance(resolved, ResolvedModel) else None
    known = _test_set(weights, architecture)
    if known is not None:
        return ConsistencySubject(source, *known)
    pictures = calibration._replace(images=photographs(COMPARED_PHOTOGRAPHS, architecture))
    return ConsistencySubject(source, calibration, pictures, None)


def _test_set(
    weights: str | Path | None, architecture: Architecture
) -> tuple[InputPictures, InputPictures, NDArray[np.int32]] | None:
    """Returns calibration pictures, test pictures and classes of the data set that registered weights were trained on."""
    from mhmodels.training.data.digits64 import CLASSES, SETTINGS, SIDE, test_set, validation_set

    if weights not in SETTINGS or architecture.input_size != (SIDE, SIDE) or architecture.classes != CLASSES:
        return None
    sets = []
    for name, data, count in (("validation", validation_set, _CALIBRATION_CANVASES), ("test", test_set, COMPARED_CANVASES)):
        drawn = data(SETTINGS[str(weights)])
        every = slice(None, None, max(1, len(drawn.pixels) // count))
        images = preprocess(drawn.pixels[every], architecture.preprocessing)
        origin = Calibration(source=f"{weights} {name} canvases", pictures=len(images))
        sets.append((InputPictures(images, origin), drawn.labels[every]))
    (calibration, _), (pictures, classes) = sets
    return calibration, pictures, classes
