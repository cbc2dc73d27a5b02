"""digits64: handwritten digits on cluttered 64x64 canvases, the stand-in for ImageNet where none is at hand.

The 1,797 real digits are scikit-learn's (`sklearn.datasets.load_digits`, in its package, no download). Every canvas is a
function of its seed alone, so that accuracies compare across models, machines and interrupted runs.

A canvas: a random background and ink colour; fragments of train digits as clutter; one digit, 28 to 48 pixels large, on
top; Gaussian noise. The draws are made in one fixed order, documented at `canvas`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MhmodelsError

SIDE = 64
CLASSES = 10
TEST_DIGITS = 360
VALIDATION_DIGITS = 300
TEST_STREAM, EPOCH_STREAM, VALIDATION_STREAM = 2, 3, 4
TEST_CANVASES, EPOCH_CANVASES, VALIDATION_CANVASES = 5, 6, 5

_DIGIT_SIDES = (28, 48)
_CROP_SIDES = (8, 14)
_FRAGMENT_DRAWS = 8


class Setting(NamedTuple):
    """Difficulty of the canvases.

    Attributes:
        name: Name of the data set, `digits64` or `digits64-hard`.
        fragments: Number of pieces of other digits on a canvas.
        factor: Lowest and highest opacity of a fragment.
        noise: Standard deviation of the Gaussian noise, for pixel values from 0 to 1.
    """

    name: str
    fragments: int
    factor: tuple[float, float]
    noise: float


DIGITS64 = Setting("digits64", 8, (0.3, 0.7), 0.05)
DIGITS64_HARD = Setting("digits64-hard", 16, (0.6, 1.0), 0.15)
SETTINGS = {setting.name: setting for setting in (DIGITS64, DIGITS64_HARD)}


class Split(NamedTuple):
    """Indices into the 1,797 digits, each ascending; `train` contains `search_train` and `validation`."""

    test: NDArray[np.int64]
    train: NDArray[np.int64]
    search_train: NDArray[np.int64]
    validation: NDArray[np.int64]


class Pictures(NamedTuple):
    """Canvases, uint8 (n, 64, 64, 3), and their digits, int32 (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]


@functools.cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Returns the source digits, float32 (1797, 8, 8) from 0 to 1, and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int32)


@functools.cache
def split() -> Split:
    """Returns the fixed split by source digit: 360 test, 1,437 train, of which 300 validate a search; stratified by class."""
    labels = digits()[1]
    test, train = _stratified(np.arange(len(labels)), labels, TEST_DIGITS, np.random.default_rng(0))
    validation, search_train = _stratified(train, labels, VALIDATION_DIGITS, np.random.default_rng(1))
    return Split(test, train, search_train, validation)


def canvas(seed: Iterable[int], digit: int, setting: Setting = DIGITS64) -> NDArray[np.uint8]:
    """Draws one canvas.

    The generator is `numpy.random.default_rng(seed)`. First come uniform numbers in one call: background (3), ink (3),
    the digit's side, row and column, then for each fragment: source digit, its side, the crop's side, opacity, the
    crop's row and column, the fragment's row and column. Then the noise, one normal number a pixel, channel by channel.

    Args:
        seed: Seed of this canvas, for example (2, digit, k).
        digit: Index of the digit that is placed on top.
        setting: Clutter and noise.

    Returns:
        Uint8 of shape (64, 64, 3), RGB.
    """
    images, train = digits()[0], split().train
    rng = np.random.default_rng(list(seed))
    draws = rng.random(9 + setting.fragments * _FRAGMENT_DRAWS)
    background, ink = draws[:3] * 0.3, 0.7 + draws[3:6] * 0.3

    alpha = np.zeros((SIDE, SIDE), np.float32)
    for source, side, crop, factor, crop_row, crop_column, row, column in draws[9:].reshape(-1, _FRAGMENT_DRAWS).tolist():
        weights = _resize_weights(_whole(side, *_DIGIT_SIDES))
        size = _whole(crop, *_CROP_SIDES)
        rows, columns = (_whole(draw, 0, len(weights) - size) for draw in (crop_row, crop_column))
        image = images[train[_whole(source, 0, len(train) - 1)]]
        fragment = weights[rows : rows + size] @ image @ weights[columns : columns + size].T
        low, high = setting.factor
        _composite(alpha, fragment * np.float32(low + (high - low) * factor), row, column)
    weights = _resize_weights(_whole(draws[6], *_DIGIT_SIDES))
    _composite(alpha, weights @ images[digit] @ weights.T, draws[7], draws[8])

    # Planes, because numpy is several times slower where the innermost axis has only the three channels.
    picture = rng.standard_normal((3, SIDE * SIDE), np.float32)
    picture *= np.float32(setting.noise)
    picture += background.astype(np.float32)[:, None]
    picture += (ink - background).astype(np.float32)[:, None] * alpha.ravel()
    np.clip(picture, 0, 1, out=picture)
    picture *= 255
    picture += 0.5
    return np.ascontiguousarray(picture.astype(np.uint8).T).reshape(SIDE, SIDE, 3)


@functools.cache
def test_set(setting: Setting = DIGITS64) -> Pictures:  # noqa: PT028
    """Returns the 1,800 test canvases: five of each test digit, in the digits' order. Drawn once a process, read-only."""
    return _fixed_set(TEST_STREAM, split().test, TEST_CANVASES, setting)


@functools.cache
def validation_set(setting: Setting = DIGITS64) -> Pictures:
    """The 1,500 canvases by which a search compares networks: five of each validation digit.

    Drawn once a process and read-only.
    """
    return _fixed_set(VALIDATION_STREAM, split().validation, VALIDATION_CANVASES, setting)


def epoch_canvas(epoch: int, index: int, setting: Setting = DIGITS64, source: NDArray[np.int64] | None = None) -> Pictures:
    """One picture of a training epoch.

    Args:
        epoch: Epoch, from 0; every epoch has new canvases.
        index: 0 up to six times the number of digits; six canvases of one digit follow each other.
        setting: Clutter and noise.
        source: The digits to train on; all 1,437 by default, `split().search_train` in a search.

    Raises:
        MhmodelsError: `index` is out of range, or a test digit is among the source.
    """
    chosen = split().train if source is None else source
    if not 0 <= index < len(chosen) * EPOCH_CANVASES or epoch < 0:
        most = len(chosen) * EPOCH_CANVASES - 1
        raise MhmodelsError(f"digits64: epoch {epoch}, picture {index}; expected epoch 0 or later and picture 0 to {most}")
    place, k = divmod(index, EPOCH_CANVASES)
    digit = int(chosen[place])
    return Pictures(canvas((EPOCH_STREAM, epoch, digit, k), digit, setting), digits()[1][digit])


def epoch_set(epoch: int, setting: Setting = DIGITS64, source: NDArray[np.int64] | None = None) -> Pictures:
    """A whole training epoch in the digits' order (shuffle it): 8,622 canvases of the 1,437 train digits.

    Args: as `epoch_canvas`.
    """
    chosen = split().train if source is None else source
    drawn = [epoch_canvas(epoch, index, setting, chosen) for index in range(len(chosen) * EPOCH_CANVASES)]
    return Pictures(np.stack([one.pixels for one in drawn]), np.array([one.labels for one in drawn], np.int32))


def _fixed_set(stream: int, chosen: NDArray[np.int64], canvases: int, setting: Setting) -> Pictures:
    pixels = np.stack([canvas((stream, digit, k), digit, setting) for digit in chosen.tolist() for k in range(canvases)])
    drawn = Pictures(pixels, np.repeat(digits()[1][chosen], canvases))
    for array in drawn:
        array.setflags(write=False)
    return drawn


def _stratified(
    indices: NDArray[np.int64], labels: NDArray[np.int32], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draws `count` indices in proportion to their classes (largest remainders); returns them and the others."""
    shares = np.bincount(labels[indices], minlength=CLASSES) * (count / len(indices))
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: count - counts.sum()]] += 1
    chosen = np.concatenate([rng.permutation(indices[labels[indices] == label])[: counts[label]] for label in range(CLASSES)])
    return np.sort(chosen), np.setdiff1d(indices, chosen)


def _whole(draw: float, low: int, high: int) -> int:
    """A whole number in low..high, both possible, from a uniform one in [0, 1)."""
    return low + int(draw * (high - low + 1))


@functools.cache
def _resize_weights(side: int) -> NDArray[np.float32]:
    """The matrix (side, 8) of a bilinear resize with half-pixel centres; edges repeat."""
    centre = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(8))).astype(np.float32)
    return weights


def _composite(alpha: NDArray[np.float32], mask: NDArray[np.float32], row: float, column: float) -> None:
    """Puts a square mask somewhere wholly inside the canvas; the larger opacity wins."""
    side = len(mask)
    top, left = (_whole(draw, 0, SIDE - side) for draw in (row, column))
    part = alpha[top : top + side, left : left + side]
    np.maximum(part, mask, out=part)
