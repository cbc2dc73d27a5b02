"""From pictures to a network's input: decoding, central crop, resize and normalisation.

The names load on first use, so that models are built without Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names

if TYPE_CHECKING:
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

_MODULE_OF = {
    "PictureError": "decoding",
    "SkippedPicture": "decoding",
    "decode_picture": "decoding",
    "open_picture": "decoding",
    "picture_files": "decoding",
    "PictureReport": "pictures",
    "fit_picture": "pictures",
    "load_pictures": "pictures",
    "load_pixels": "pictures",
    "preprocess": "pictures",
    "sample_pictures": "pictures",
    "sample_pixels": "pictures",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)

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
