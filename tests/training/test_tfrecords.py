"""ImageNet-style TFRecords as TensorFlow writes them: read by index, label offset explicit, damage named."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhmodels.preprocessing.decoding import PictureError
from mhmodels.training.data import checksum, tfrecords
from mhmodels.training.data.sources import open_data
from mhmodels.training.data.tfrecords import RecordSource, record_files, scan
from mhmodels.training.errors import DataError

pytestmark = pytest.mark.tensorflow


def jpeg(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def write(path: Path, records: Sequence[tuple[bytes, int]], key: str = "image/class/label") -> Path:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for encoded, label in records:
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                key: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train-00000-of-00002", [(jpeg(10), 1), (jpeg(20), 2)])
    write(tmp_path / "train-00001-of-00002", [(jpeg(30), 3)])
    write(tmp_path / "validation-00000-of-00001", [(jpeg(40), 2)])
    return tmp_path


def test_reads_by_index_across_files(folder: Path) -> None:
    data = open_data(str(folder), label_offset=-1)
    assert data.train is not None
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (3, 1)
    read: list[tuple[Any, int]] = [data.train.read(index, 0) for index in (2, 0, 1)]
    assert [(round(np.asarray(image).mean()), label) for image, label in read] == [(30, 2), (10, 0), (20, 1)]
    assert data.train.where(2) == f"{folder / 'train-00001-of-00002'}, record 0 (byte 0)"


def test_the_label_offset_must_be_stated(folder: Path) -> None:
    with pytest.raises(DataError, match=r"state the label offset.*-1 for labels 1\.\.1000"):
        open_data(str(folder))


def test_patterns_and_test_files(folder: Path) -> None:
    pattern = str(folder / "train-*")
    assert [Path(file).name for file in record_files(pattern)] == ["train-00000-of-00002", "train-00001-of-00002"]
    data = open_data(pattern, label_offset=0, test=str(folder / "validation-*"))
    assert data.test is not None
    assert len(data.test) == 1
    only_test = open_data(str(folder / "validation-*"), label_offset=0)
    assert only_test.train is None
    with pytest.raises(DataError, match="no TFRecord files there to test on"):
        open_data(pattern, label_offset=0, test=str(folder / "none-*"))


def test_every_truncation_is_found_before_training(folder: Path) -> None:
    path = folder / "train-00000-of-00002"
    whole = path.read_bytes()
    second = 16 + int(scan(str(path))[0, 1])
    for size in (1, 11, 13, second - 1, second + 5, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"train-00000-of-00002: record {int(size > second)} at byte \d+"):
            scan(str(path))
    path.write_bytes(whole[:second])
    assert len(scan(str(path))) == 1


def test_damage_and_foreign_files(folder: Path) -> None:
    path = folder / "train-00000-of-00002"
    whole = bytearray(path.read_bytes())
    start = 16 + int(scan(str(path))[0, 1])
    whole[start] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match=rf"record 1 at byte {start} has no valid length: damaged"):
        scan(str(path))
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match="record 0 at byte 0 has no valid length: not a TFRecord file, or compressed"):
        open_data(str(folder), label_offset=0)
    path.write_bytes(b"")
    (folder / "train-00001-of-00002").write_bytes(b"")
    with pytest.raises(DataError, match="2 TFRecord files, but no record in them"):
        open_data(str(folder), label_offset=0)


def test_a_broken_picture_in_a_record(tmp_path: Path) -> None:
    source = RecordSource("records", [str(write(tmp_path / "a.tfrecord", [(jpeg(10)[:100], 0), (b"text", 0)]))], 0)
    for index, message in enumerate(("cannot be decoded", "not a picture")):
        with pytest.raises(PictureError, match=message):
            source.read(index, 0)


def test_damage_inside_a_picture_is_seen(folder: Path) -> None:
    path = folder / "train-00000-of-00002"
    offset, length = scan(str(path))[0].tolist()
    whole = bytearray(path.read_bytes())
    whole[offset + length // 2] ^= 1
    path.write_bytes(whole)
    source = RecordSource("records", [str(path)], 0)
    with pytest.raises(PictureError, match="checksum does not fit: the record is damaged"):
        source.read(0, 0)
    assert source.read(1, 0)[1] == 2


def test_checksums_of_any_length() -> None:
    assert checksum._of_bytes(b"123456789") ^ 0xFFFFFFFF == 0xE3069283  # the check value of CRC-32C
    data = np.random.default_rng(0).bytes(5000)
    for length in (128, 129, 255, 256, 257, 384, 1000, 5000):
        assert checksum._of_lanes(data[:length]) == checksum._of_bytes(data[:length])


def test_records_of_another_kind(tmp_path: Path) -> None:
    source = RecordSource("records", [str(write(tmp_path / "a.tfrecord", [(jpeg(10), 0)], key="label"))], 0)
    with pytest.raises(DataError, match=r"a\.tfrecord, record 0.*features are image/encoded, label; expected one value each"):
        source.read(0, 0)


def test_records_that_are_too_long_or_no_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecords, "LARGEST_RECORD", 300)
    with pytest.raises(DataError, match=r"record 0 at byte 0 has \d+ bytes of data, expected one picture of at most 300"):
        open_data(str(folder), label_offset=0)
    (folder / "x.tfrecord").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x\.tfrecord: cannot be read \(a device, expected a regular file\)"):
        open_data(str(folder / "x.tfrecord"), label_offset=0)
