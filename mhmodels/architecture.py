"""A network as data: what the zoo, the search, the exporter and the benchmarks exchange.

Everything here is frozen, hashable and free of heavy imports. Blocks state their widths at width multiplier 1.0. The
architecture's own `Rounding` decides what a width multiplier makes of them, because published definitions differ: TF Model
Garden rounds to multiples of 8 with a 10 % guard, TuNAS half up to multiples of 32.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from mhmodels.block_types import Activation as Activation  # re-exported: a network's description in one place
from mhmodels.block_types import Block as Block
from mhmodels.block_types import Bottleneck as Bottleneck
from mhmodels.block_types import Conv as Conv
from mhmodels.block_types import FusedInvertedBottleneck as FusedInvertedBottleneck
from mhmodels.block_types import Gate as Gate
from mhmodels.block_types import InvertedBottleneck as InvertedBottleneck
from mhmodels.block_types import MaxPool as MaxPool
from mhmodels.block_types import Padding as Padding
from mhmodels.block_types import Scaling as Scaling
from mhmodels.block_types import Separable as Separable
from mhmodels.block_types import SqueezeExcite as SqueezeExcite
from mhmodels.block_types import UniversalInvertedBottleneck as UniversalInvertedBottleneck
from mhmodels.errors import ArchitectureError
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import decode_json as decode_json  # re-exported: other file formats read themselves with these
from mhmodels.formats.json_files import read_bytes as read_bytes

FORMAT: Literal["mhmodels.architecture/1"] = "mhmodels.architecture/1"

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
# Beyond these bounds float32 does not hold the pixels' differences any more.
Mean: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Std: TypeAlias = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]

MIN_INPUT, MAX_INPUT = 32, 4096
MAX_WIDTH = 16.0
MAX_BLOCKS = 4096


class Head(Checked, frozen=True, kw_only=True):
    """The layers after the stages: convolutions on the last map, global average pooling, convolutions on the 1x1 result.

    The classifier, a 1x1 convolution with bias to `classes`, follows them and is not listed.

    Attributes:
        features: Convolutions on the last feature map.
        hidden: Convolutions after global average pooling.
    """

    field_error: ClassVar = ArchitectureError
    features: tuple[Conv, ...] = ()
    hidden: tuple[Conv, ...] = ()


class Rounding(Checked, frozen=True, kw_only=True, cache_hash=True):
    """The rule by which a scaled width becomes a whole number of channels.

    Attributes:
        divisor: Every width is a multiple of this number, from 1 to 256.
        minimum: Smallest width in channels, a multiple of `divisor`.
        mode: `guarded` takes the nearest multiple (half up), and the next one where that would lose more than 10 % (TF Model
            Garden). `half_up` takes the nearest multiple without a guard (TuNAS). `floor` rounds down (keras.applications'
            MobileNetV1).
        whole_blocks: Whether a block's scaled width is cut to whole channels before it is rounded. Widths of plain convolutions
            are not (keras.applications' MobileNetV2).
    """

    field_error: ClassVar = ArchitectureError
    divisor: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    minimum: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    mode: Literal["guarded", "half_up", "floor"] = "guarded"
    whole_blocks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum % self.divisor:
            raise ArchitectureError(f"rounding: field 'minimum' is {self.minimum}, expected a multiple of divisor {self.divisor}")

    def __call__(self, value: float) -> int:
        """Rounds a width in channels."""
        d = self.divisor
        if self.mode == "floor":
            return max(self.minimum, int(value) // d * d)
        if self.mode == "half_up":
            return max(self.minimum, d * math.floor(value / d + 0.5))
        rounded = max(self.minimum, int(value + d / 2) // d * d)
        return rounded + d if rounded < 0.9 * value else rounded


class Preprocessing(Checked, frozen=True, kw_only=True):
    """The steps from a picture to the network's input: central crop, resize, then (pixel - mean) / std for each channel.

    Attributes:
        mean: One value a channel in pixel units (0 to 255), from -1e6 to 1e6.
        std: One value a channel in pixel units, from 1e-6 to 1e6.
        crop_fraction: Share of the picture's shorter side that the central square crop keeps, above 0 and at most 1.
        interpolation: Method that resizes the crop: `bilinear` or `bicubic`.
    """

    field_error: ClassVar = ArchitectureError
    mean: tuple[Mean, ...] = (127.5, 127.5, 127.5)
    std: tuple[Std, ...] = (127.5, 127.5, 127.5)
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.875
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != len(self.std) or not self.mean:
            raise ArchitectureError(
                f"preprocessing: 'mean' has {len(self.mean)} values and 'std' {len(self.std)}, expected the same"
            )


class Architecture(Checked, frozen=True, kw_only=True, cache_hash=True):
    """A whole network: stem, stages, head, and the rule by which widths scale.

    Attributes:
        name: Name in the zoo or given by the user; not part of the identity.
        stem: Blocks before the stages.
        stages: Blocks of each stage.
        head: Convolutions after the stages.
        rounding: Rule by which scaled widths are rounded.
        width_multiplier: Factor above 0 and at most 16 that scales the widths.
        input_size: (height, width) in pixels, each from 32 to 4096.
        input_channels: Number of channels of the input, from 1 to 65,536.
        classes: Number of classes of the classifier, from 1 to 1,000,000.
        batch_norm_epsilon: Epsilon of every batch normalisation, above 0 and below 1.
        padding: Zeros around the map that a window with a stride reads. `same` pads as TensorFlow's SAME: at even sides one row
            and column less in front than behind. `symmetric` pads (kernel - 1) / 2 on every side (PyTorch). `trailing` pads
            one row and one column behind before a depthwise convolution, and as SAME before others
            (keras.applications.MobileNet). Windows without a stride always pad as SAME.
        preprocessing: Preprocessing that the trained network expects of its pictures; not part of the identity.

    Raises:
        ArchitectureError: A field is outside its limits; the message names the field.

    Example:
        >>> from mhmodels import get_architecture
        >>> network = get_architecture("multi_max").at(width_multiplier=0.5, input_size=128)
        >>> network.input_size, len(network.stages), network.architecture_id
        ((128, 128), 5, '5cddf6f3d36ade9c')
        >>> from mhmodels import Architecture
        >>> Architecture.from_json(network.to_json()) == network
        True
    """

    field_error: ClassVar = ArchitectureError
    name: str
    stem: tuple[Block, ...]
    stages: tuple[tuple[Block, ...], ...]
    head: Head = Head()
    rounding: Rounding = Rounding()
    width_multiplier: float = 1.0
    input_size: tuple[int, int] = (224, 224)
    input_channels: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 3
    classes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    batch_norm_epsilon: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-3
    padding: Padding = "same"
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        check_width_multiplier(self.width_multiplier)
        for size in self.input_size if isinstance(self.input_size, tuple) else ():
            check_input_size(size)
        super().__post_init__()
        parts = len(self.stem) + len(self.stages) + sum(map(len, self.stages)) + len(self.head.features) + len(self.head.hidden)
        if parts > MAX_BLOCKS:
            raise ArchitectureError(f"fields 'stem', 'stages' and 'head' have {parts} blocks, expected at most {MAX_BLOCKS}")
        if not self.name or not self.name.isprintable():
            raise ArchitectureError(f"field 'name' is {self.name!r}, expected printable text")
        if not self.stem and not any(self.stages):
            raise ArchitectureError("fields 'stem' and 'stages' are both empty: a network needs at least one block")

    @property
    def architecture_id(self) -> str:
        """Hash of the content (16 hex digits): equal for equal networks, whatever their name or preprocessing."""
        return _architecture_id(self)

    def at(
        self,
        *,
        width_multiplier: float | None = None,
        input_size: int | tuple[int, int] | None = None,
        input_channels: int | None = None,
        classes: int | None = None,
        name: str | None = None,
    ) -> Architecture:
        """Returns the same network at another width, input size or number of classes; None keeps a field as it is.

        Args:
            width_multiplier: Factor above 0 and at most 16.
            input_size: Side in pixels, or (height, width).
            input_channels: Number of channels of the input.
            classes: Number of classes.
            name: Name of the result.

        Raises:
            ArchitectureError: A value is out of range; the message names it.
        """
        if isinstance(input_size, int):
            input_size = (input_size, input_size)
        changes = {
            "width_multiplier": None if width_multiplier is None else check_width_multiplier(width_multiplier),
            "input_size": None if input_size is None else tuple(input_size),
            "input_channels": input_channels,
            "classes": classes,
            "name": name,
        }
        given = {key: value for key, value in changes.items() if value is not None}
        return msgspec.structs.replace(self, **given) if given else self

    def to_json(self) -> bytes:
        """Returns the content of an architecture file: indented JSON with its format version, defaults left out."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **_plain(self)}), indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes | str, source: str = "architecture") -> Architecture:
        """Reads what `to_json` wrote. The `provenance` that a search writes beside the network is ignored.

        Args:
            data: Content of the file.
            source: Name of the file, for messages.

        Raises:
            FileFormatError: Not JSON, another format, or a wrong field; the message has `source` and the path of the field.
        """
        return decode_json(data, Architecture, FORMAT, source, beside=("provenance",))


def load_architecture(path: str | os.PathLike[str]) -> Architecture:
    """Reads an architecture file.

    Args:
        path: JSON file of format `mhmodels.architecture/1`, at most 8 MiB.

    Returns:
        The architecture.

    Raises:
        FileFormatError: The file cannot be read or is not an architecture; the message names the file and the field.

    Example:
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture, load_architecture
        >>> _ = Path("mine.json").write_bytes(get_architecture("multi_avg").to_json())
        >>> load_architecture("mine.json").name
        'multi_avg'
    """
    return Architecture.from_json(read_bytes(path, limit=8 << 20), source=str(path))


def check_width_multiplier(value: object) -> float:
    """Returns a width multiplier as float.

    Raises:
        ArchitectureError: Not a number in (0, 16].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_WIDTH:
        raise ArchitectureError(f"width multiplier is {value!r}, expected a number above 0 and at most {MAX_WIDTH:g}")
    return float(value)


def check_input_size(value: object) -> int:
    """Returns one side of the input in pixels.

    Raises:
        ArchitectureError: Not a whole number in 32..4096.
    """
    if type(value) is not int or not MIN_INPUT <= value <= MAX_INPUT:
        raise ArchitectureError(f"input size is {value!r}, expected a whole number from {MIN_INPUT} to {MAX_INPUT} (pixels)")
    return value


@functools.lru_cache(maxsize=1 << 14)
def _architecture_id(architecture: Architecture) -> str:
    content = _plain(architecture)
    content.pop("name")
    content.pop("preprocessing", None)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A struct's fields; msgspec evaluates all annotations anew on every call, which takes a millisecond."""
    return msgspec.structs.fields(kind)


def _plain(value: object) -> Any:
    """Structs as dicts without fields at their defaults, so that a field added later does not change an identity."""
    if isinstance(value, msgspec.Struct):
        config, content = value.__struct_config__, {}
        if config.tag is not None:
            content[config.tag_field] = config.tag
        for field in _fields(type(value)):
            item = getattr(value, field.name)
            if field.default is msgspec.NODEFAULT or item != field.default:
                content[field.name] = _plain(item)
        return content
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    # 6 and 6.0 are one ratio: JSON would print them differently.
    return int(value) if isinstance(value, float) and value.is_integer() else value
