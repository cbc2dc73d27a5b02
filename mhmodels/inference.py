"""Preprocessing of pixels and decoding of scores as the weights of a model expect them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.preprocessing.decoding import PictureError
from mhmodels.preprocessing.layer import file_rule, model_rule
from mhmodels.preprocessing.pictures import preprocess
from mhmodels.registry import is_keras_file, resolve
from mhmodels.weights.labels import Prediction, decode_predictions
from mhmodels.weights.loading import ATTRIBUTE

if TYPE_CHECKING:
    import keras

Model: TypeAlias = "keras.Model | Architecture | Preprocessing | str | os.PathLike[str]"
"""What states a preprocessing."""

__all__ = ["Prediction", "decode_predictions", "preprocess_input", "preprocessing_of"]


def preprocessing_of(model: Model) -> Preprocessing:
    """Returns the crop, resizing and normalisation that a model expects.

    Args:
        model: A Keras model that `create_model` built (with loaded weights: what those expect), a model that is built upon one or
            read from a `.keras` file of either, an `Architecture`, a `Preprocessing`, the path of a weights file or of such a
            `.keras` file, or a zoo name.

    Raises:
        PictureError: The Keras model or file states no preprocessing.
        MhmodelsError: A name or path stands for none of these.
    """
    if isinstance(model, Preprocessing):
        return model
    if isinstance(model, Architecture):
        return model.preprocessing
    if isinstance(model, (str, os.PathLike)):
        return _preprocessing_at(os.fspath(model))
    architecture = getattr(model, ATTRIBUTE, None)
    if isinstance(architecture, Architecture):
        return architecture.preprocessing
    rule = model_rule(model)
    if rule is None:
        raise PictureError(
            f"model '{getattr(model, 'name', model)}' carries no preprocessing: no layer of it comes from create_model; give its "
            "architecture, its name, or its weights file instead"
        )
    return rule


def preprocess_input(pixels: ArrayLike, model: Model) -> NDArray[np.float32]:
    """Normalises pixels as a model expects them; arguments, result and errors as in `mhmodels.preprocess_input`."""
    rule = preprocessing_of(model)
    array: NDArray[np.generic] = np.asarray(pixels)
    if array.dtype == np.uint8:
        return preprocess(array.astype(np.uint8, copy=False), rule)
    if not np.issubdtype(array.dtype, np.floating) or array.ndim < 3:
        raise PictureError(
            f"pixels are {array.dtype} of shape {array.shape}, expected uint8 or floats of shape (…, height, width, channels)"
        )
    if array.size and not (array.min() >= 0 and array.max() <= 255):
        raise PictureError(f"pixels go from {array.min():g} to {array.max():g}, expected 0 to 255: are they normalised already?")
    if len(rule.mean) not in (1, array.shape[-1]):
        raise PictureError(f"pixels have {array.shape[-1]} channels, the model's preprocessing {len(rule.mean)}")
    return (array.astype(np.float32) - np.asarray(rule.mean, np.float32)) / np.asarray(rule.std, np.float32)


def _preprocessing_at(text: str) -> Preprocessing:
    if text.endswith(".h5") or is_keras_file(text):
        from mhmodels.weights.files import read_info

        info = read_info(text)
        rule = file_rule(text) if info is None else info.preprocessing
        if rule is None:
            raise PictureError(f"{text}: a plain Keras file, which says nothing of preprocessing; give the network's name")
        return rule
    return resolve(text).preprocessing
