"""The generator's rules, of which every accuracy on digits64 depends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.errors import MhmodelsError
from mhmodels.training.data import digits64
from mhmodels.training.data.digits64 import DIGITS64, DIGITS64_HARD, Setting

CLEAN = Setting("clean", 0, (0.0, 0.0), 0.0)


def test_split_sizes_and_disjointness() -> None:
    split = digits64.split()
    sizes = {name: len(part) for name, part in split._asdict().items()}
    assert sizes == {"test": 360, "train": 1437, "search_train": 1137, "validation": 300}
    assert sorted([*split.test, *split.train]) == list(range(1797))
    assert sorted([*split.search_train, *split.validation]) == split.train.tolist()


def test_split_is_stratified() -> None:
    labels = digits64.digits()[1]
    whole = np.bincount(labels) / len(labels)
    for part in digits64.split():
        # Largest remainders: no class is a whole digit away from its share.
        assert np.abs(np.bincount(labels[part]) - whole * len(part)).max() < 1


def test_source_digits_are_in_range() -> None:
    images, labels = digits64.digits()
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert set(labels.tolist()) == set(range(10))


def test_fixed_sets() -> None:
    pixels, labels = digits64.test_set()
    assert pixels.shape == (1800, 64, 64, 3)
    assert pixels.dtype == np.uint8
    assert labels.tolist() == np.repeat(digits64.digits()[1][digits64.split().test], 5).tolist()
    assert digits64.validation_set().pixels.shape == (1500, 64, 64, 3)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_streams_are_those_that_the_rules_name() -> None:
    split = digits64.split()
    digit = int(split.test[7])
    assert (digits64.test_set().pixels[7 * 5 + 3] == digits64.canvas((2, digit, 3), digit)).all()
    digit = int(split.validation[7])
    assert (digits64.validation_set().pixels[7 * 5 + 4] == digits64.canvas((4, digit, 4), digit)).all()
    digit = int(split.train[7])
    drawn = digits64.epoch_canvas(11, 7 * 6 + 2)
    assert (drawn.pixels == digits64.canvas((3, 11, digit, 2), digit)).all()
    assert drawn.labels == digits64.digits()[1][digit]


def test_an_epoch_is_six_canvases_of_each_digit() -> None:
    source = digits64.split().train[:3]
    epoch = digits64.epoch_set(0, source=source)
    assert epoch.pixels.shape == (18, 64, 64, 3)
    assert epoch.labels.tolist() == np.repeat(digits64.digits()[1][source], 6).tolist()
    assert len({picture.tobytes() for picture in epoch.pixels}) == 18
    other = digits64.epoch_set(1, source=source)
    assert not any((one == two).all() for one, two in zip(epoch.pixels, other.pixels, strict=True))
    for index in (-1, 8622):
        with pytest.raises(MhmodelsError, match="expected epoch 0 or later and picture 0 to 8621"):
            digits64.epoch_canvas(0, index)


def test_no_test_digit_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as the digit nor as clutter: with every test digit blanked, training canvases do not change."""
    train = digits64.split().train
    wanted = [digits64.epoch_canvas(0, index, DIGITS64_HARD).pixels for index in range(0, 8622, 100)]
    images, labels = digits64.digits()
    blanked = images.copy()
    blanked[digits64.split().test] = 0
    assert len(train) == 1437
    monkeypatch.setattr(digits64, "digits", lambda: (blanked, labels))
    found = [digits64.epoch_canvas(0, index, DIGITS64_HARD).pixels for index in range(0, 8622, 100)]
    assert all((one == two).all() for one, two in zip(wanted, found, strict=True))


@settings(max_examples=60)
@given(seed=st.lists(st.integers(0, 2**31), min_size=2, max_size=4), digit=st.integers(0, 1796))
def test_a_canvas_is_a_function_of_its_seed(seed: list[int], digit: int) -> None:
    for setting in (DIGITS64, DIGITS64_HARD):
        one = digits64.canvas(seed, digit, setting)
        assert (one == digits64.canvas(tuple(seed), digit, setting)).all()
        assert one.shape == (64, 64, 3)
        assert (one != digits64.canvas([*seed, 1], digit, setting)).any()


@settings(max_examples=100)
@given(seed=st.integers(0, 2**31), digit=st.integers(0, 1796))
def test_colours_size_and_place_without_clutter(seed: int, digit: int) -> None:
    """Without clutter and noise the canvas shows exactly one digit, whole, 28 to 48 pixels large, in the stated colours."""
    picture = digits64.canvas([seed], digit, CLEAN) / 255.0
    draws = np.random.default_rng([seed]).random(9)
    assert np.allclose(picture.min((0, 1)), draws[:3] * 0.3, atol=1 / 255)
    assert picture.max() <= 1
    alpha = (picture[..., 0] - draws[0] * 0.3) / (0.7 + draws[3] * 0.3 - draws[0] * 0.3)
    rows, columns = np.nonzero(alpha.max(1) > 0.02)[0], np.nonzero(alpha.max(0) > 0.02)[0]
    assert np.ptp(rows) < 48
    assert np.ptp(columns) < 48
    # The digit's ink, per pixel of its square, stays what it is in the 8x8 source, up to the resize: nothing was cut off.
    side = 28 + int(draws[6] * 21)
    source = digits64.digits()[0][digit]
    assert alpha.sum() / side**2 == pytest.approx(source.mean(), abs=0.03)


def test_clutter_and_noise_are_those_of_the_setting() -> None:
    quiet = Setting("no noise", 8, (0.3, 0.7), 0.0)
    noisy = DIGITS64
    digit = int(digits64.split().train[0])
    differences = []
    for k in range(20):
        plain, noise = (digits64.canvas((9, k), digit, setting).astype(float) for setting in (quiet, noisy))
        inside = (plain > 40) & (plain < 215)
        differences.append((noise - plain)[inside] / 255)
    assert np.concatenate(differences).std() == pytest.approx(0.05, abs=0.001)


def test_fragments_are_of_the_stated_size_and_opacity() -> None:
    """A blank digit leaves only one fragment on the canvas, and the largest fragment ever seen is full ink times 0.7."""
    blank = int(np.argmin(digits64.digits()[0].sum((1, 2))))
    images, labels = digits64.digits()
    images = images.copy()
    images[blank] = 0
    extents, peaks = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits64, "digits", lambda: (images, labels))
        for k in range(300):
            draws = np.random.default_rng([9, k]).random(6)
            picture = digits64.canvas((9, k), blank, Setting("one", 1, (0.3, 0.7), 0.0))[..., 0] / 255
            alpha = (picture - draws[0] * 0.3) / (0.7 + draws[3] * 0.3 - draws[0] * 0.3)
            marked = np.nonzero(alpha > 0.02)
            if len(marked[0]):
                extents.append(max(np.ptp(axis) + 1 for axis in marked))
                peaks.append(alpha.max())
    assert len(extents) > 200
    assert 8 <= np.median(extents) <= max(extents) <= 14
    assert 0.6 < max(peaks) < 0.71
