"""The description that a weights file carries: network, labels, source, licence and claimed accuracy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Padding, Preprocessing, decode_json
from mhmodels.errors import WeightsError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import control_character
from mhmodels.weights.sources.source import VariableRole

FORMAT: Literal["mhmodels.weights/1"] = "mhmodels.weights/1"

Background: TypeAlias = Literal["none", "first", "last", "unknown"]
Arrays: TypeAlias = dict[tuple[str, VariableRole], NDArray[np.float32]]
"""Arrays by (Keras layer name, role)."""


NO_LINE_ENDS = "\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029"
"""White space that a class name may have inside. Only \\n, \\r\\n and \\r end a line of a labels file."""


class Labels(Checked, frozen=True, kw_only=True):
    """Meaning of a classifier's outputs.

    Attributes:
        name: Name of the label set, for example `imagenet-1k`; empty if it is unknown.
        names: Class names in order, without background; empty if the file does not carry them.
        background: Output that is no class of the set: `none`; the `first` output (slim: labels start at 1); the `last` output
            (TuNAS: an output that is never trained); or `unknown`.

    Raises:
        WeightsError: A name is blank, or has control characters or line ends.

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
        """Output number of class 0."""
        return 1 if self.background == "first" else 0

    def check(self, outputs: int) -> None:
        """Checks the number of names against a classifier's number of outputs.

        Args:
            outputs: Number of outputs, the background output included.

        Raises:
            WeightsError: There are more or fewer names than classes.
        """
        classes = outputs - (self.background in ("first", "last"))
        if self.names and self.background != "unknown" and len(self.names) != classes:
            raise WeightsError(
                f"labels: {len(self.names)} names for {outputs} outputs with background '{self.background}', expected {classes}; "
                "give other names, or say where the background output is"
            )


class Claim(Checked, frozen=True, kw_only=True):
    """Accuracy that somebody states for weights.

    Attributes:
        top1: Top-1 accuracy in percent.
        dataset: Data that it was measured on.
        source: Who states it.

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
        format: `int8` or `uint8`: the format that the weights were trained for.
        granularity: Scales of the weights: one per output `channel`, or one per `tensor`.
        steps: Number of steps of quantisation-aware training.
        ranges: (low, high) by tensor name, in real values, as the exporter calibrates them.

    Raises:
        WeightsError: A range is not two finite ascending numbers.

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
    """Description of a weights file, which the file itself carries.

    Attributes:
        sha256: Hash of the arrays (`content_hash`), as 64 hexadecimal digits.
        architecture_id: Identity of the network at its width, input size and number of classes.
        architecture: The network, as an architecture file has it.
        holds: `the whole network`, or the part that is missing.
        labels: Meaning of the outputs.
        source: Origin of the weights, in words.
        licence: Licence of the weights, as an SPDX name where there is one; None if nobody stated it.
        accuracy: Accuracies that are claimed for them.
        step: Number of training steps, if it is known.
        learned: Ranges of quantisation-aware training; None after training in floating point.
        padding: Padding that the weights were trained with, as `Architecture.padding` names it; scores differ from those in
            training where it is another one than the network's.
        created_by: Program and version that wrote the file.

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
    padding: Padding = "same"
    created_by: str = ""

    def network(self, source: str = "weights file") -> Architecture:
        """Returns the embedded architecture, with the preprocessing that the weights expect.

        Args:
            source: Name of the file, for messages.

        Raises:
            FileFormatError: The field does not hold an architecture.
            WeightsError: The architecture does not have the stated id.
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
        """Preprocessing that the weights expect of their pictures."""
        return self.network().preprocessing

    def to_json(self) -> bytes:
        """Returns the description as the file stores it."""
        return msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)})

    @staticmethod
    def from_json(data: bytes, source: str) -> WeightsInfo:
        """Reads a stored description.

        Args:
            data: Content of the description.
            source: Name of the file, for messages.

        Raises:
            FileFormatError: The description is of another format or has a wrong field.
        """
        return decode_json(data, WeightsInfo, FORMAT, source)


def content_hash(arrays: Mapping[tuple[str, VariableRole], NDArray[np.generic]]) -> str:
    """Hashes weights independently of the file that holds them.

    The sha256 runs over every array in the order of `layer/role`: that name, dtype (little-endian, as `float32`) and shape as one
    line of text, then the values in C order.

    Args:
        arrays: Arrays by (layer name, role).

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import numpy as np
        >>> from mhmodels.weights import content_hash
        >>> content_hash({("stem_conv", "kernel"): np.zeros((3, 3, 3, 32), np.float32)})[:8]
        '0f53b80e'
    """
    digest = hashlib.sha256()
    for layer, role in sorted(arrays):
        array = arrays[layer, role]
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        shape = "x".join(str(side) for side in array.shape)
        digest.update(f"{layer}/{role} {array.dtype.name} {shape}\n".encode())
        digest.update(little.data)
    return digest.hexdigest()
