"""Pieces of a network: the operations of each block that a search exchanges, of pooling and of the classifier."""

from __future__ import annotations

from typing import NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.network import IMAGE, LOGITS, Op, lower

_CLASSIFIER = (LOGITS, "flatten", "predictions")


class Piece(NamedTuple):
    """The operations of a block, of pooling, or of classifier and softmax, with the size of their input.

    Attributes:
        ops: Lowered operations. Those that read no other operation of the piece read its input.
        size: (height, width) of the input in pixels.
    """

    ops: tuple[Op, ...]
    size: tuple[int, int]

    def read_size(self, op: Op) -> tuple[int, int]:
        """(height, width) of the first input of an operation of this piece."""
        for other in self.ops:
            if other.name == op.inputs[0]:
                return _known(other.size)
        return self.size


def pieces_of(architecture: Architecture) -> list[Piece]:
    """Splits a network into pieces, in order; together they have all its operations."""
    sizes: dict[str, tuple[int, int]] = {IMAGE: architecture.input_size}
    pieces: list[Piece] = []
    open_name, ops = "", list[Op]()

    def close() -> None:
        if ops:
            pieces.append(Piece(tuple(ops), sizes[ops[0].inputs[0]]))
            ops.clear()

    for op in lower(architecture).ops:
        name = "classifier" if op.name in _CLASSIFIER else op.name if op.kind == "pool" and "_" not in op.name else _block(op)
        if name != open_name:
            close()
            open_name = name
        ops.append(op)
        sizes[op.name] = _known(op.size)
    close()
    return pieces


def _block(op: Op) -> str:
    return op.name.rpartition("_")[0]


def _known(size: tuple[int | None, int | None]) -> tuple[int, int]:
    height, width = size
    assert height is not None
    assert width is not None
    return height, width
