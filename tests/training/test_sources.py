"""What --data means, and what is said of data that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mhmodels.preprocessing.decoding import PictureError
from mhmodels.training.data.folders import FolderSource
from mhmodels.training.data.sources import open_data
from mhmodels.training.errors import DataError

from .tiny import write_folder


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, {"blue": 3, "amber": 2})
    (tmp_path / "amber" / "notes.txt").write_text("no picture")
    (tmp_path / "readme.txt").write_text("no class")
    (tmp_path / ".hidden").mkdir()
    source = FolderSource(tmp_path)
    assert (len(source), source.labels, source.classes) == (5, ("amber", "blue"), 2)
    assert [source.read(index, 0)[1] for index in range(5)] == [0, 0, 1, 1, 1]
    assert [Path(source.where(index)).name for index in range(5)] == ["00.png", "01.png", "00.png", "01.png", "02.png"]
    shifted = FolderSource(tmp_path, label_offset=1)
    assert (shifted.classes, shifted.read(0, 0)[1]) == (3, 1)
    assert shifted.fingerprint() != source.fingerprint()


def test_the_fingerprint_changes_with_the_list(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    before = FolderSource(tmp_path).fingerprint()
    assert FolderSource(tmp_path).fingerprint() == before
    (tmp_path / "a" / "00.png").rename(tmp_path / "b" / "99.png")
    assert FolderSource(tmp_path).fingerprint() != before


def test_train_and_validation_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b": 2})
    write_folder(tmp_path / "val", {"a": 1, "b": 1})
    data = open_data(str(tmp_path))
    assert data.train is not None
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (5, 2)
    alone = open_data(str(tmp_path / "train"), test=str(tmp_path / "val"))
    assert alone.test is not None
    assert len(alone.test) == 2
    (tmp_path / "val" / "b").rename(tmp_path / "val" / "c")
    with pytest.raises(DataError, match=r"val: its 2 class folders are not those of .*train \(2\); only in one of them: b, c"):
        open_data(str(tmp_path))


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"production": 2, "test": 2})
    data = open_data(str(tmp_path))
    assert data.train is not None
    assert data.train.labels == ("production", "test")
    assert data.test is None


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bus": 2, "train": 2})
    data = open_data(str(tmp_path))
    assert data.train is not None
    assert (data.train.labels, data.test) == (("bus", "train"), None)
    (tmp_path / "bus").rename(tmp_path / "val")  # loose pictures in both: no classes at all
    with pytest.raises(DataError, match=r"train: 0 folders in it, expected one a class"):
        open_data(str(tmp_path))


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"bilder\xfc")
    write_folder(root, {"a": 2, "b": 2})
    before = FolderSource(root).fingerprint()
    (root / "a" / "00.png").rename(root / "a" / os.fsdecode(b"\xe9.png"))
    source = FolderSource(root)
    assert source.fingerprint() != before
    assert source.read(1, 0)[1] == 0
    for text in (source.name, source.label_set, source.where(1)):
        assert "\ufffd" in text
        text.encode()
    (root / "b").rename(root / os.fsdecode(b"\xe9"))
    with pytest.raises(DataError, match="class folders with names that are not UTF-8 \\(\ufffd\\); rename them"):
        FolderSource(root)


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 0, "c": 1, "d": 0})
    with pytest.raises(DataError, match="2 of 4 class folders hold no picture: b, d; add pictures"):
        open_data(str(tmp_path))


def test_what_is_no_data_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder or files; expected digits64, digits64-hard, TFRecord"):
        open_data("nowhere")
    with pytest.raises(DataError, match="0 folders in it, expected one a class"):
        open_data(str(tmp_path))
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file: not a folder"):
        open_data(str(tmp_path / "file"))
    with pytest.raises(DataError, match="label offset is 1, expected 0"):
        open_data("digits64", label_offset=1)
    with pytest.raises(DataError, match="test data is 'elsewhere', expected none: it has a fixed test set"):
        open_data("digits64", test="elsewhere")


def test_a_broken_picture_is_one_pictures_error(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 1})
    (tmp_path / "a" / "01.png").write_bytes(b"not a picture")
    source = FolderSource(tmp_path)
    with pytest.raises(PictureError):
        source.read(1, 0)
    assert source.read(0, 0)[1] == 0


def test_digits() -> None:
    data = open_data("digits64-hard")
    assert data.train is not None
    assert data.test is not None
    assert (len(data.train), len(data.test), data.train.classes) == (8622, 1800, 10)
    image, label = data.train.read(17, 3)
    again, _ = data.train.read(17, 3)
    later, _ = data.train.read(17, 4)
    assert image.size == (64, 64)
    assert 0 <= label < 10
    assert np.array_equal(np.asarray(image), np.asarray(again))
    assert not np.array_equal(np.asarray(image), np.asarray(later))
