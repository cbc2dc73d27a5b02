"""Random crops of pictures, from a generator that the caller seeds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mhmodels.architecture import Preprocessing
from mhmodels.preprocessing.pictures import fit_picture
from mhmodels.training.recipes import Augmentation

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def random_crop(
    image: Image.Image, size: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cuts out a random part of a picture and resizes it, perhaps mirrored (the distorted crop of Inception's training).

    Args:
        image: RGB picture.
        size: (height, width) of the result in pixels.
        augmentation: Ranges of area and aspect ratio.
        rng: Only source of randomness.

    Returns:
        Uint8 of shape (height, width, 3).
    """
    box = _random_box(image.width, image.height, augmentation, rng)
    flip = augmentation.flip and rng.random() < 0.5
    if box is None:
        return fit_picture(image, size, Preprocessing(interpolation=augmentation.interpolation), mirror=flip)
    height, width = size
    # Cut first: a resize with box= would also read pixels beyond the part.
    part = image.crop(box).resize((width, height), _RESAMPLE[augmentation.interpolation])
    return np.asarray(ImageOps.mirror(part) if flip else part, np.uint8)


def _random_box(
    width: int, height: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom), or None where no draw fits into the picture."""
    for _ in range(augmentation.attempts):
        aspect = rng.uniform(*augmentation.aspect)
        least, most = (math.sqrt(width * height * share / aspect) for share in augmentation.area)
        most = min(most, height, width / aspect)
        if least > most:
            continue
        # As TensorFlow's sample_distorted_bounding_box: the height is uniform, not the area.
        crop_height = round(rng.uniform(least, most))
        crop_width = round(crop_height * aspect)
        large_enough = crop_width * crop_height >= augmentation.area[0] * width * height
        if large_enough and crop_width <= width and crop_height <= height:
            left, top = int(rng.integers(width - crop_width + 1)), int(rng.integers(height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    return None
