"""ImageNet-style TFRecords, read by index: `image/encoded` (JPEG or PNG bytes) and `image/class/label` (a whole number).

A record is: length (8 bytes, little-endian), masked CRC-32C of the length (4), the data, masked CRC-32C of the data (4).
One pass over the lengths finds every record, and every truncated or foreign file before the first step is trained; the data's
checksum is verified when a record is read.
"""

from __future__ import annotations

import glob
import hashlib
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import plain_text
from mhmodels.preprocessing.decoding import MAX_FILE_BYTES, PictureError, decode_picture
from mhmodels.system.addresses import without_secrets
from mhmodels.system.files import open_regular
from mhmodels.training.data.checksum import masked_crc32c
from mhmodels.training.errors import DataError

_NAME = re.compile(r"\.tfrecords?$|\.tfrec$|-\d{5}-of-\d{5}$")
_HEADER = struct.Struct("<QI")
_FRAME = _HEADER.size + 4
LARGEST_RECORD = MAX_FILE_BYTES + (1 << 20)
"""Bytes of a record: one picture and its labels; it is read at once."""


def record_files(data: str) -> list[str]:
    """The TFRecord files that a folder, a pattern or a single name means, sorted; none if there are none.

    Files are known by their names: `.tfrecord`, `.tfrecords`, `.tfrec`, or `-00000-of-01024` at the end.
    """
    if "://" in data:
        import tensorflow as tf

        listed = tf.io.gfile.glob([data, f"{data.rstrip('/')}/*"])
    elif Path(data).is_dir():
        listed = [str(entry) for entry in Path(data).iterdir() if entry.is_file()]
    else:
        listed = glob.glob(data)  # noqa: PTH207 (patterns may be absolute, which Path.glob refuses)
    return sorted(file for file in listed if _NAME.search(file))


class RecordSource:
    """Pictures of TFRecord files.

    Args:
        name: For messages.
        files: In the order in which pictures are numbered.
        label_offset: Added to the stored label to give the network's.

    Raises:
        DataError: A file is truncated, damaged or no TFRecord file, or there are no records at all.
    """

    def __init__(self, name: str, files: Sequence[str], label_offset: int) -> None:
        self.name = without_secrets(plain_text(name))
        self.classes: int | None = None
        self.labels: tuple[str, ...] = ()
        self.label_set = ""
        self._files = list(files)
        self._label_offset = label_offset
        found = [scan(file) for file in files]
        self._starts = np.cumsum([0, *(len(records) for records in found)])
        self._records = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
        if not len(self._records):
            raise DataError(f"{name}: {len(self._files)} TFRecord files, but no record in them")

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int, epoch: int) -> tuple[Image.Image, int]:
        """Decodes one record, whose checksum must be right: damage inside a picture may well decode to another picture."""
        file, offset, length = self._place(index)
        with _open(file) as stream:
            stream.seek(offset)
            record = stream.read(length + 4)
        if masked_crc32c(record[:length]) != int.from_bytes(record[length:], "little"):
            raise PictureError("its checksum does not fit: the record is damaged, copy the file again")
        encoded, label = _parse(record[:length], self.where(index))
        return decode_picture(encoded), label + self._label_offset

    def where(self, index: int) -> str:
        file, offset, _ = self._place(index)
        record = index - int(self._starts[self._files.index(file)])
        return f"{plain_text(file)}, record {record} (byte {offset - _HEADER.size})"

    def fingerprint(self) -> str:
        names = "\n".join(Path(file).name for file in self._files)
        listed = f"{self._label_offset}\n{names}\n".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(listed + self._records.tobytes())
        return f"{len(self)} records, {digest.hexdigest()[:16]}"

    def _place(self, index: int) -> tuple[str, int, int]:
        offset, length = self._records[index].tolist()
        return self._files[int(np.searchsorted(self._starts, index, side="right")) - 1], offset, length


def scan(file: str) -> NDArray[np.int64]:
    """Where a TFRecord file's data lie.

    Returns:
        Int64 of shape (records, 2): offset and length in bytes.

    Raises:
        DataError: The file cannot be read, is truncated, or is not a TFRecord file; the message has the byte.
    """
    places: list[tuple[int, int]] = []
    try:
        with _open(file) as stream:
            size = stream.seek(0, 2) or stream.tell()
            offset = 0
            while offset < size:
                stream.seek(offset)
                header = stream.read(_HEADER.size)
                length, checksum = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, -1)
                if checksum != masked_crc32c(header[:8]):
                    what = "damaged or not a TFRecord file" if places else "not a TFRecord file, or compressed"
                    raise DataError(f"{file}: record {len(places)} at byte {offset} has no valid length: {what}")
                if offset + _FRAME + length > size:
                    raise DataError(
                        f"{file}: record {len(places)} at byte {offset} has {length} bytes of data, "
                        f"but the file ends at byte {size}: it is truncated; copy it again"
                    )
                if length > LARGEST_RECORD:
                    raise DataError(
                        f"{file}: record {len(places)} at byte {offset} has {length} bytes of data, expected one picture of at "
                        f"most {LARGEST_RECORD}"
                    )
                places.append((offset + _HEADER.size, length))
                offset += _FRAME + length
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    return np.array(places, np.int64).reshape(-1, 2)


def _open(file: str) -> IO[bytes]:
    """A local file, or one of the file systems that TensorFlow knows (gs://)."""
    if "://" in file:
        import tensorflow as tf

        opened: IO[bytes] = tf.io.gfile.GFile(file, "rb")
        return opened
    try:
        return open_regular(file)
    except FileFormatError as error:
        raise DataError(str(error)) from error


def _parse(record: bytes, where: str) -> tuple[bytes, int]:
    import tensorflow as tf

    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise PictureError(f"not a tf.train.Example ({error})") from error
    encoded, labels = features["image/encoded"].bytes_list.value, features["image/class/label"].int64_list.value
    if len(encoded) != 1 or len(labels) != 1:
        have = ", ".join(sorted(key for key, value in features.items() if value.WhichOneof("kind"))) or "none"
        raise DataError(f"{where}: features are {have}; expected one value each of image/encoded and image/class/label")
    return encoded[0], int(labels[0])
