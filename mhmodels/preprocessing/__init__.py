"""From pictures to a network's input: decoding, central crop, resize and normalisation.

The names load on first use, so that models are built without Pillow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

_MODULES = {
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


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


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
