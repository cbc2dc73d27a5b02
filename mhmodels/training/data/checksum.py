"""CRC-32C (Castagnoli), which TFRecord files carry, with NumPy: no library that is installed anyway computes it.

A CRC that begins at 0 is linear: zeros before the data do not change it, and that of two parts is that of the first, moved
on by as many zero bytes as the second has, xor that of the second. So the data are cut into lanes, which go byte by byte side by
side, and the lanes' checksums are joined pair by pair.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_CASTAGNOLI = 0x82F63B78
_LANE = 128
"""Bytes of a lane. A picture of 100 kB then takes two milliseconds."""


def masked_crc32c(data: bytes) -> int:
    """The checksum of the TFRecord format: CRC-32C, rotated and shifted."""
    crc = (_of_bytes(data) if len(data) < _LANE else _of_lanes(data)) ^ 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _of_bytes(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _plain_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


@functools.cache
def _plain_table() -> tuple[int, ...]:
    return tuple(_table().tolist())


def _of_lanes(data: bytes) -> int:
    lanes: NDArray[np.uint8] = np.zeros(-(-len(data) // _LANE) * _LANE, np.uint8)
    lanes[-len(data) :] = np.frombuffer(data, np.uint8)
    lanes[-len(data) :][:4] ^= 0xFF  # the same as to begin at 0xFFFFFFFF
    crcs: Words = np.zeros(len(lanes) // _LANE, np.uint32)
    for column in np.ascontiguousarray(lanes.reshape(-1, _LANE).T):
        crcs = _table()[(crcs ^ column) & 0xFF] ^ (crcs >> 8)
    level = 0
    while len(crcs) > 1:
        crcs = np.concatenate([np.zeros(len(crcs) % 2, np.uint32), crcs])
        crcs = _moved(crcs[::2], level) ^ crcs[1::2]
        level += 1
    return int(crcs[0])


def _moved(crcs: Words, level: int) -> Words:
    """Checksums after `2**level` lanes of zeros more."""
    tables = _move_tables(level)
    moved: Words = tables[0][crcs & 0xFF] ^ tables[1][crcs >> 8 & 0xFF] ^ tables[2][crcs >> 16 & 0xFF] ^ tables[3][crcs >> 24]
    return moved


@functools.cache
def _move_tables(level: int) -> Words:
    """What becomes of each byte of a checksum, uint32 (4, 256): from what becomes of each of its bits."""
    bits: Words = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if level:
        bits = _moved(_moved(bits, level - 1), level - 1)
    else:
        for _ in range(_LANE):
            bits = _table()[bits & 0xFF] ^ (bits >> 8)
    chosen = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.uint32)
    tables: Words = np.bitwise_xor.reduce(chosen * bits.reshape(4, 1, 8), axis=2)
    return tables


@functools.cache
def _table() -> Words:
    """What becomes of a checksum's lowest byte when the next byte comes."""
    table: Words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1 == 1, np.uint32(_CASTAGNOLI), np.uint32(0))
    return table
