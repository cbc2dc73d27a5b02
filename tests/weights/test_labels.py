"""Scores to names, pixels to inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mhmodels
from mhmodels.architecture import Preprocessing
from mhmodels.errors import FileFormatError, MhmodelsError, WeightsError
from mhmodels.export.writing.labels import labels_from_file
from mhmodels.inference import preprocessing_of
from mhmodels.preprocessing.decoding import PictureError
from mhmodels.preprocessing.pictures import preprocess
from mhmodels.registry import resolve
from mhmodels.weights import Labels, write_weights
from mhmodels.weights.labels import Prediction, read_labels
from tests.weights.helpers import random_arrays

SCORES = np.array([[0.1, 0.5, 0.15, 0.25], [0.7, 0.0, 0.2, 0.1]])


def labels_of(predictions: list[list[Prediction]]) -> list[list[tuple[int, str]]]:
    return [[(p.class_index, p.label) for p in row] for row in predictions]


def test_the_background_is_first_last_or_absent() -> None:
    decode = mhmodels.decode_predictions
    assert labels_of(decode(SCORES, top=2)) == [[(1, "1"), (3, "3")], [(0, "0"), (2, "2")]]
    assert labels_of(decode(SCORES, list("abcd"), top=1)) == [[(1, "b")], [(0, "a")]]
    first = Labels(names=("a", "b", "c"), background="first")
    assert labels_of(decode(SCORES, first, top=2)) == [[(0, "a"), (2, "c")], [(-1, "background"), (1, "b")]]
    last = Labels(names=("a", "b", "c"), background="last")
    assert labels_of(decode(SCORES, last, top=2)) == [[(1, "b"), (-1, "background")], [(0, "a"), (2, "c")]]


def test_labels_from_a_file_and_from_weights(tmp_path: Path) -> None:
    names = tmp_path / "labels.txt"
    names.write_text("a\nb\n c \nd\n\n")
    assert read_labels(names) == ("a", "b", "c", "d")
    assert labels_of(mhmodels.decode_predictions(SCORES[0], names, top=1)) == [[(1, "b")]]
    architecture = resolve("mobilenet_v1@0.25").at(classes=4)
    path = tmp_path / "x.weights.h5"
    write_weights(path, architecture, random_arrays(architecture), labels=Labels(names=("a", "b", "c"), background="first"))
    assert labels_of(mhmodels.decode_predictions(SCORES, path, top=1)) == [[(0, "a")], [(-1, "background")]]
    write_weights(path, architecture, random_arrays(architecture), labels=Labels(background="unknown"))
    with pytest.raises(WeightsError, match=r"which of the 4 outputs is the background is unknown.*\(first or last\)"):
        mhmodels.decode_predictions(SCORES, path)


@pytest.mark.parametrize(
    ("dtype", "row"), [(np.uint8, [0, 3, 255, 128]), (np.int8, [-128, 3, 127, 0]), (np.uint16, [0, 7, 9, 8])]
)
def test_scores_of_quantised_files_rank_as_numbers(dtype: Any, row: list[int]) -> None:
    (best,) = mhmodels.decode_predictions(np.array(row, dtype), top=4)
    assert [p.score for p in best] == sorted(row, reverse=True)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(1, 25))
def test_the_best_come_first_and_none_twice(scores: list[float], top: int) -> None:
    (best,) = mhmodels.decode_predictions(scores, top=top)
    assert [p.score for p in best] == sorted(scores, reverse=True)[:top]
    assert len({p.class_index for p in best}) == min(top, len(scores))
    assert all(scores[p.class_index] == p.score for p in best)


@pytest.mark.parametrize(
    ("scores", "labels", "top", "message"),
    [
        (SCORES, ["a", "b", "c"], 5, r"3 names for 4 outputs with background 'none', expected 4"),
        (SCORES[None], None, 5, r"expected numbers of shape \(pictures, outputs\)"),
        (["a"], None, 5, r"expected numbers"),
        (SCORES, None, 0, r"top is 0, expected at least 1"),
    ],
)
def test_what_does_not_fit(scores: Any, labels: Any, top: int, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        mhmodels.decode_predictions(scores, labels, top)


def test_labels_files_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for content, message in ((b"", "line 1 is empty"), (b"a\n\nb\n", "line 2 is empty"), (b"\xff\xfe\x00", "not a text file")):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_labels(path)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_labels(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\t", "\xa0", "\u3000"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_feeds_and_carriage_returns_end_a_label(mark: str, end: str, tmp_path: Path) -> None:
    names = (f"daisy{mark}common", "dandelion", "tulips")
    (tmp_path / "labels.txt").write_bytes(end.join((*names, "")).encode())
    assert read_labels(tmp_path / "labels.txt") == names
    # The file that goes into an export has one line for each output, whoever splits it.
    lines = labels_from_file(tmp_path / "labels.txt", offset=1).lines()
    assert len("\n".join(lines).splitlines()) == 4
    assert Labels(names=names).names == names


@pytest.mark.parametrize("mark", ["\n", "\r", "\0", "\x1b", "\x07", "\x7f", "\x9b"])
def test_labels_with_control_characters_are_refused(mark: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"labels: name 1 is 'b.*x' with the character '.*', expected one line") as told:
        Labels(names=("a", f"b{mark}x", "c"))
    assert str(told.value).isprintable()
    with pytest.raises(WeightsError, match=r"labels: name 1 is ' ', expected one line"):
        Labels(names=("a", " "))
    if mark not in "\r\n":
        (tmp_path / "labels.txt").write_text(f"a\nb{mark}x\n")
        with pytest.raises(WeightsError, match=r"labels\.txt: line 2 has the control character"):
            read_labels(tmp_path / "labels.txt")


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)


def test_pixels_are_normalised_as_the_network_says(tmp_path: Path) -> None:
    symmetric = mhmodels.preprocess_input(PIXELS, "mobilenet_v2")
    np.testing.assert_allclose(symmetric, PIXELS / 127.5 - 1, atol=1e-6)
    imagenet = mhmodels.preprocess_input(PIXELS, resolve("multi_max"))
    np.testing.assert_array_equal(imagenet, preprocess(PIXELS, resolve("multi_max").preprocessing))
    np.testing.assert_array_equal(mhmodels.preprocess_input(PIXELS.astype(np.float64), resolve("multi_max")), imagenet)
    grey = Preprocessing(mean=(100.0,), std=(50.0,))
    np.testing.assert_allclose(mhmodels.preprocess_input(PIXELS[..., :1], grey), (PIXELS[..., :1] - 100.0) / 50.0, atol=1e-6)
    architecture = resolve("multi_max@0.25").at(classes=2)
    write_weights(tmp_path / "x.weights.h5", architecture, random_arrays(architecture))
    assert preprocessing_of(tmp_path / "x.weights.h5") == architecture.preprocessing


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS / 127.5 - 1, r"expected 0 to 255: are they normalised already\?"),
        (np.full((4, 4, 3), np.nan), r"expected 0 to 255"),
        (PIXELS.astype(np.int32), r"pixels are int32"),
        (PIXELS[0, 0, :, 0].astype(float), r"pixels are float64 of shape \(7,\)"),
        (PIXELS[..., :2].astype(float), r"2 channels, the model's preprocessing 3"),
    ],
)
def test_pixels_that_are_none(pixels: Any, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        mhmodels.preprocess_input(pixels, "multi_max")


def test_a_name_of_the_zoo_that_ends_like_a_file(tmp_path: Path) -> None:
    assert preprocessing_of("mobilenet_v2.keras") == resolve("mobilenet_v2.keras").preprocessing
    with pytest.raises(WeightsError, match=r"mine\.keras: cannot be read"):
        preprocessing_of(tmp_path / "mine.keras")


def test_models_that_say_nothing() -> None:
    with pytest.raises(PictureError, match="carries no preprocessing"):
        preprocessing_of(object())
    with pytest.raises(MhmodelsError, match="unknown model"):
        preprocessing_of("multi_maxx")


@pytest.mark.tensorflow
def test_a_model_expects_what_its_weights_expect(tmp_path: Path) -> None:
    import msgspec

    plain = resolve("mobilenet_v1@0.25").at(classes=2)
    architecture = msgspec.structs.replace(plain, preprocessing=resolve("multi_max").preprocessing)
    write_weights(tmp_path / "x.weights.h5", architecture, random_arrays(architecture))
    arguments = {"width_multiplier": 0.25, "classes": 2, "input_shape": (32, 32, 3)}
    assert preprocessing_of(mhmodels.create_model("mobilenet_v1", **arguments)) == plain.preprocessing
    model = mhmodels.create_model("mobilenet_v1", weights=str(tmp_path / "x.weights.h5"), **arguments)
    assert preprocessing_of(model) == architecture.preprocessing
