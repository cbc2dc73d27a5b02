"""Networks in pieces: the blocks that a search exchanges, as the operations that they become."""

from __future__ import annotations

from typing import NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.network import IMAGE, LOGITS, Op, lower

_CLASSIFIER = (LOGITS, "flatten", "predictions")


class Piece(NamedTuple):
    """A block at its place, or pooling, or classifier and softmax.

    Attributes:
        ops: as lowered; those that read no other of the piece read the map that enters.
        size: (height, width) of the map that enters.
    """

    ops: tuple[Op, ...]
    size: tuple[int, int]

    def read_size(self, op: Op) -> tuple[int, int]:
        """(height, width) of the map that an operation of this piece reads first."""
        for other in self.ops:
            if other.name == op.inputs[0]:
                return _known(other.size)
        return self.size


def pieces_of(architecture: Architecture) -> list[Piece]:
    """The pieces of a whole network in order; together they are all its operations."""
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
