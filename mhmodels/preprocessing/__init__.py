"""From pictures to a network's input: decoding, central crop, resize and normalisation."""

from mhmodels.preprocessing.decoding import PictureError, SkippedPicture, decode_picture, open_picture, picture_files
from mhmodels.preprocessing.pictures import (
    PictureReport,
    fit_picture,
    load_pictures,
    load_pixels,
    preprocess,
    sample_pictures,
    sample_pixels,
)

__all__ = [
    "PictureError",
    "PictureReport",
    "SkippedPicture",
    "decode_picture",
    "fit_picture",
    "load_pictures",
    "load_pixels",
    "open_picture",
    "picture_files",
    "preprocess",
    "sample_pictures",
    "sample_pixels",
]
