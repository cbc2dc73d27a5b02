"""What a weights file says of itself, as JSON inside the HDF5 file: whose weights, of which network, for which labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Preprocessing, decode_json
from mhmodels.errors import WeightsError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import control_character
from mhmodels.weights.sources.source import Role

FORMAT: Literal["mhmodels.weights/1"] = "mhmodels.weights/1"

Background: TypeAlias = Literal["none", "first", "last", "unknown"]
Arrays: TypeAlias = dict[tuple[str, Role], NDArray[np.float32]]
"""Arrays by (Keras layer name, role)."""


NO_LINE_ENDS = "\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029"
"""White space that a class name may have inside. Only \\n, \\r\\n and \\r end a line of a labels file."""


class Labels(Checked, frozen=True, kw_only=True):
    """What a classifier's outputs mean.

    Attributes:
        name: of the label set, for example `imagenet-1k`; empty if nobody said.
        names: of the classes in order, without background; empty if the file does not carry them.
        background: the output that is no class of the set: `none`, the `first` (slim: labels from 1), the `last`
            (TuNAS: an output that is never trained), or `unknown`.

    Example:
        >>> from mhmodels.weights import Labels
        >>> Labels(name="pets", names=("cat", "dog"), background="first").offset
        1
    """

    field_error: ClassVar = WeightsError
    name: str = ""
    names: tuple[str, ...] = ()
    background: Background = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, name in enumerate(self.names):
            mark = control_character(name, NO_LINE_ENDS)
            if mark is not None or not name.strip():
                what = "" if mark is None else f" with the character {mark!r}"
                raise WeightsError(
                    f"labels: name {number} is {name[:80]!r}{what}, expected one line of text without control characters; give "
                    "other names"
                )

    @property
    def offset(self) -> int:
        """Output of class 0."""
        return 1 if self.background == "first" else 0

    def check(self, outputs: int) -> None:
        """Checks the names against a classifier's number of outputs.

        Raises:
            WeightsError: more or fewer names than classes.
        """
        classes = outputs - (self.background in ("first", "last"))
        if self.names and self.background != "unknown" and len(self.names) != classes:
            raise WeightsError(
                f"labels: {len(self.names)} names for {outputs} outputs with background '{self.background}', expected {classes}; "
                "give other names, or say where the background output is"
            )


class Claim(Checked, frozen=True, kw_only=True):
    """An accuracy that somebody states for the weights: top-1 in percent, on which data, by whom.

    Example:
        >>> from mhmodels.weights import Claim
        >>> Claim(top1=75.2, dataset="ImageNet", source="our training of May").top1
        75.2
    """

    field_error: ClassVar = WeightsError
    top1: float
    dataset: str
    source: str


class Learned(Checked, frozen=True, kw_only=True):
    """What quantisation-aware training learned besides the weights.

    Attributes:
        format: `int8` or `uint8`: the scheme that the weights were trained for.
        granularity: of the weights' scales.
        steps: of quantisation-aware training.
        ranges: (low, high) by tensor name, as the exporter calibrates them.

    Example:
        >>> from mhmodels.weights import Learned
        >>> Learned(format="int8", granularity="channel", steps=100, ranges={"stem": (0.0, 6.0)}).ranges["stem"]
        (0.0, 6.0)
    """

    field_error: ClassVar = WeightsError
    format: Literal["int8", "uint8"]
    granularity: Literal["channel", "tensor"]
    steps: int
    ranges: dict[str, tuple[float, float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in self.ranges.items():
            if not -math.inf < low < high < math.inf:
                raise WeightsError(f"range of tensor '{name}' is ({low}, {high}), expected two finite ascending numbers")


class WeightsInfo(Checked, frozen=True, kw_only=True):
    """A weights file's own description.

    Attributes:
        sha256: of the content, see `content_hash`.
        architecture_id: of the network, its width, input size and class count included.
        architecture: the network itself, as an architecture file has it.
        holds: `the whole network`, or what is missing.
        labels: what the outputs mean.
        source: where the weights come from, in words.
        licence: of the weights, as an SPDX name where there is one; None if nobody said.
        accuracy: what is claimed for them.
        step: training steps behind them, if known.
        learned: ranges of quantisation-aware training; None for float training.
        padding: before strided convolutions where the weights were trained: `same` as this package pads, or `bottom_right`,
            ((0, 1), (0, 1)), as keras.applications.MobileNet does.
        created_by: the program and version that wrote the file.

    Example:
        >>> from mhmodels import resolve
        >>> from mhmodels.weights import locate, read_info
        >>> info = read_info(locate("digits64", resolve("multi_max@0.25")))
        >>> info.holds, info.labels.names[:3]
        ('the whole network', ('0', '1', '2'))
    """

    field_error: ClassVar = WeightsError
    sha256: str
    architecture_id: str
    architecture: dict[str, Any]
    holds: str = "the whole network"
    labels: Labels = Labels()
    source: str = ""
    licence: str | None = None
    accuracy: tuple[Claim, ...] = ()
    step: int | None = None
    learned: Learned | None = None
    padding: Literal["same", "bottom_right"] = "same"
    created_by: str = ""

    def network(self, source: str = "weights file") -> Architecture:
        """The embedded architecture, with the preprocessing that the weights expect.

        Raises:
            FileFormatError: it is not one.
            WeightsError: it does not have the stated id.
        """
        architecture = Architecture.from_json(msgspec.json.encode(self.architecture), f"{source}: field 'architecture'")
        if architecture.architecture_id != self.architecture_id:
            raise WeightsError(
                f"{source}: field 'architecture_id' is {self.architecture_id}, but the architecture beside it has "
                f"{architecture.architecture_id}: the file was altered; get it anew"
            )
        return architecture

    @property
    def preprocessing(self) -> Preprocessing:
        """What the weights expect of their pictures."""
        return self.network().preprocessing

    def to_json(self) -> bytes:
        """The description as it is stored."""
        return msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)})

    @staticmethod
    def from_json(data: bytes, source: str) -> WeightsInfo:
        """Decodes a stored description.

        Raises:
            FileFormatError: another format, or a wrong field.
        """
        return decode_json(data, WeightsInfo, FORMAT, source)


def content_hash(arrays: Mapping[tuple[str, Role], NDArray[Any]]) -> str:
    """sha256 of weights, whatever file holds them.

    Over every array in the order of `layer/role`: that name, dtype (little-endian, as `float32`) and shape as one line of
    text, then the values in C order.

    Returns:
        64 hex digits.

    Example:
        >>> import numpy as np
        >>> from mhmodels.weights import content_hash
        >>> content_hash({("stem_conv", "kernel"): np.zeros((3, 3, 3, 32), np.float32)})[:8]
        '0f53b80e'
    """
    digest = hashlib.sha256()
    for (layer, role), array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        shape = "x".join(str(side) for side in array.shape)
        digest.update(f"{layer}/{role} {array.dtype.name} {shape}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()
