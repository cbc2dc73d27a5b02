"""Removes zeros around maps that a convolution's own padding can put there.

keras.applications pads in a layer of its own before a stride, at most sizes with the very zeros of SAME. Some drivers run no
operator that pads; every driver runs a convolution with padding SAME.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mhmodels.blocks import same_pads
from mhmodels.network import Op


def without_paddings_of_same(
    ops: tuple[Op, ...], sizes: Mapping[str, tuple[int, int]], outputs: Collection[str]
) -> tuple[Op, ...]:
    """Returns operations of which no `pad` can be left to the convolutions that read it.

    Args:
        ops: In execution order, of known sizes.
        sizes: (height, width) of what is read besides the outputs of operations: the picture.
        outputs: Operations that are outputs of the model, which stay.
    """
    named = {op.name: op for op in ops}
    readers: dict[str, list[Op]] = {}
    for op in ops:
        for source in op.inputs:
            readers.setdefault(source, []).append(op)
    removed = {
        op.name: op.inputs[0]
        for op in ops
        if op.kind == "pad"
        and op.name in readers
        and op.name not in outputs
        and all(_pads_as_same(op, reader, named, sizes) for reader in readers[op.name])
    }
    return tuple(
        op._replace(inputs=(removed[op.inputs[0]],), padding="same") if op.inputs[0] in removed else op
        for op in ops
        if op.name not in removed
    )


def _pads_as_same(pad: Op, reader: Op, named: Mapping[str, Op], sizes: Mapping[str, tuple[int, int]]) -> bool:
    """Returns whether a convolution with padding SAME, which reads what a `pad` reads, gives the same."""
    if reader.kind not in ("conv", "depthwise") or reader.padding != "valid":
        return False
    source = pad.inputs[0]
    read = named[source].size if source in named else sizes[source]
    return all(
        side is not None and pads == same_pads(side, reader.window, reader.stride)
        for side, pads in zip(read, (pad.pads[:2], pad.pads[2:]), strict=True)
    )
