"""Writes small IDX data sets."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def idx_bytes(values: NDArray[np.uint8], *, code: int = 0x08) -> bytes:
    """An IDX file of unsigned bytes, or one whose header states another type."""
    return bytes((0, 0, code, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, train: int = 12, test: int = 6, *, classes: int = 3, side: int = 28, first: int = 0) -> Path:
    """A data set whose training files are compressed and whose test files are not; brightness tells the class of a picture.

    Picture i has the label `first + i % classes`, and its noise differs between the parts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, count, suffix) in enumerate((("train", train, ".gz"), ("t10k", test, ""))):
        labels = np.arange(count) % classes
        noise = np.random.default_rng(seed).integers(0, 60, (count, side, side))
        pixels = (noise + labels[:, None, None] * (180 // classes)).astype(np.uint8)
        pack = gzip.compress if suffix else bytes
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(pixels)))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes((labels + first).astype(np.uint8))))
    return folder
