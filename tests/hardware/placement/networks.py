"""Networks that a SoC's NPU takes or refuses, and files as the compiler leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers

from tests.hardware.tiny import CUSTOM, TinyModel

ATAN2 = 156
SHAPE = (1, 8, 8, 8)


def around(path: Path, kind: str, code: int, inputs: int = 1, custom: bytes = b"") -> Path:
    """A convolution `conv0`, an operator that writes `middle`, and a convolution `conv1`."""
    model = TinyModel(kind)
    model.custom = custom
    source = model.tensor("input", SHAPE, kind)
    first = model.conv(source, "conv0", 8, 8)
    middle = model.tensor("middle", SHAPE, kind)
    model.operator(code, [first] * inputs, [middle])
    return model.save(path, [source], [model.conv(middle, "conv1", 8, 8)])


def compiled(path: Path, kind: str, *tensors: str, left: dict[str, int] | None = None, code_bytes: int = 1) -> Path:
    """A compiled file that computes one tensor after the other from `input`, those of `left` by operators of the given codes.

    The code of its partitions, of so many bytes, begins with the file.
    """
    model = TinyModel(kind)
    model.custom = b"DISPATCH_OP"
    source = at = model.tensor("input", SHAPE, kind)
    for name in tensors:
        output = model.tensor(name, SHAPE, kind)
        model.operator((left or {}).get(name, CUSTOM), [at], [output])
        model.operators[-1].customOptions = np.frombuffer(
            flexbuffers.Dumps({"bytecode_offset": 0, "bytecode_size": code_bytes}), np.uint8
        )
        at = output
    return model.save(path, [source], [at])
