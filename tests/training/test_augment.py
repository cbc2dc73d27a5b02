"""Random crops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mhmodels.training.data.augment import _random_box, random_crop
from mhmodels.training.recipes import Augmentation


@settings(max_examples=200)
@given(width=st.integers(1, 600), height=st.integers(1, 600), seed=st.integers(0, 2**31))
def test_boxes_are_inside_and_of_the_stated_shape(width: int, height: int, seed: int) -> None:
    box = _random_box(width, height, Augmentation(), np.random.default_rng(seed))
    if box is None:
        return
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # Half a pixel of rounding on each side.
    assert 3 / 4 * (bottom - top) - 0.5 <= right - left <= 4 / 3 * (bottom - top) + 0.5
    assert (right - left) * (bottom - top) >= 0.08 * width * height


def test_a_long_strip_falls_back_to_its_centre() -> None:
    strip = np.zeros((10, 1000, 3), np.uint8)
    strip[:, 490:510] = 255
    augmentation = Augmentation(area=(0.9, 1.0))
    found = random_crop(Image.fromarray(strip), (32, 32), augmentation, np.random.default_rng(0))
    assert found.mean() > 250


def test_crops_vary_and_half_are_mirrored() -> None:
    ramp = Image.fromarray(np.repeat(np.linspace(0, 255, 100, dtype=np.uint8)[None, :, None], 100, 0).repeat(3, 2))
    crops = [random_crop(ramp, (16, 24), Augmentation(), np.random.default_rng(seed)) for seed in range(400)]
    assert all(crop.shape == (16, 24, 3) for crop in crops)
    mirrored = sum(crop[0, 0, 0] > crop[0, -1, 0] for crop in crops)
    assert 150 < mirrored < 250
    assert len({crop.tobytes() for crop in crops}) > 350
    never = [random_crop(ramp, (16, 24), Augmentation(flip=False), np.random.default_rng(seed)) for seed in range(50)]
    assert all(crop[0, 0, 0] < crop[0, -1, 0] for crop in never)
