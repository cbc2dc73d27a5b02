"""Which network a source holds, and which of its variables goes where: by order, kind and shape.

Convolutions, depthwise convolutions and batch normalisations are three sequences; a network's lowered operations give
the same three. They match if each has the same length, the same variables and the same shapes, one by one. Width and
class count follow from the shapes.

Foreign names mean nothing here. Our own put the layers into our order first, because others store parallel branches in
another one: a bottleneck's shortcut may have just the shape of the convolution beside it. A network with such branches is
taken from a source with our names only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from mhmodels.architecture import Architecture, Head
from mhmodels.errors import WeightsError
from mhmodels.families.rows import ZooModel
from mhmodels.network import IMAGE, LOGITS, Op, lower
from mhmodels.registry import zoo
from mhmodels.weights.sources.pytorch.layout import tensor_name, tensor_shape
from mhmodels.weights.sources.pytorch.names import SCHEMES
from mhmodels.weights.sources.source import NORM_ROLES, Layer, LayerKind, Part, Variable, VariableRole, WeightsSource

COMMON_WIDTHS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.25, 1.3, 1.4, 1.5, 2.0)
"""Tried first: published multipliers. Several multipliers can round to one network; the first that fits is taken."""

WIDTH_STEPS = (20, 100, 1000)
"""Then multiples of 1/20, of 1/100 and of 1/1000, up to `LARGEST_WIDTH`."""
LARGEST_WIDTH = 4

KINDS: tuple[LayerKind, ...] = ("conv", "depthwise", "batch_norm")
KIND_NAMES = {"conv": "convolution", "depthwise": "depthwise convolution", "batch_norm": "batch normalisation"}


class Target(NamedTuple):
    """A layer of the network: its Keras name, and the shape of each of its variables."""

    kind: LayerKind
    name: str
    shapes: dict[VariableRole, tuple[int, ...]]


class Match(NamedTuple):
    """The network that was found in a source.

    Attributes:
        architecture: Network at the width, class count and input channels of the source.
        part: Model in the source.
        variables: Variables of the source by (layer, role) of the network: all of them, or all but the classifier's, or all but
            the top's.
        holds: Part of the network that the source has.
    """

    architecture: Architecture
    part: Part
    variables: dict[tuple[str, VariableRole], Variable]
    holds: str


class Extent(NamedTuple):
    """Part of a network that a source may hold."""

    name: str
    top: bool
    classifier: bool


EXTENTS = (
    Extent("the whole network", True, True),
    Extent("the network without its classifier", True, False),
    Extent("the network without its top", False, False),
)


def targets(architecture: Architecture, *, top: bool = True, classifier: bool = True) -> tuple[Target, ...]:
    """Returns the layers with variables of the Keras model of a network, in order."""
    return tuple(
        target for op in lower(architecture, top=top).ops if classifier or op.name != LOGITS for target in op_targets(op)
    )


@functools.lru_cache(maxsize=1 << 14)
def op_targets(op: Op) -> tuple[Target, ...]:
    """Returns the Keras layers with variables of one operation: a convolution, and its batch normalisation."""
    if op.kind == "conv":
        shapes: dict[VariableRole, tuple[int, ...]] = {"kernel": (op.kernel, op.kernel, op.in_channels // op.groups, op.channels)}
    elif op.kind == "depthwise":
        shapes = {"kernel": (op.kernel, op.kernel, op.channels, 1)}
    else:
        return ()
    if op.bias:
        shapes["bias"] = (op.channels,)
    convolution = Target(op.kind, op.name, shapes)
    if not op.batch_norm:
        return (convolution,)
    norm: dict[VariableRole, tuple[int, ...]] = dict.fromkeys(NORM_ROLES, (op.channels,))
    return (convolution, Target("batch_norm", f"{op.name}_bn", norm))


def match(source: WeightsSource, architecture: Architecture, *, width: float | None = None, classes: int | None = None) -> Match:
    """Finds a network in a source and maps every variable.

    Args:
        source: Layers and variables.
        architecture: Expected network, at any width.
        width: Required width multiplier; None derives it from the shapes.
        classes: Required number of classes; None derives it from the shapes.

    Raises:
        WeightsError: The source has no model, or one of another family, width or class count. The message says which, and which
            network of the zoo fits instead.
    """
    if not source.parts or not any(part.layers for part in source.parts):
        raise WeightsError(f"{source.path}: a {source.kind} with {len(source.variables)} variables, but no model in it")
    parts = sorted(source.parts, key=lambda part: -len(part.layers))
    for part in parts:
        found = fit(part, architecture, _widths() if width is None else (width,))
        if found is not None:
            if classes is not None and found.holds == EXTENTS[0].name and found.architecture.classes != classes:
                raise WeightsError(f"{source.path}: {found.architecture.classes} classes, expected {classes} as given")
            return found
    raise WeightsError(_explain(source, parts, architecture, width))


def fit(part: Part, architecture: Architecture, widths: Iterator[float] | tuple[float, ...]) -> Match | None:
    """Returns the first of the widths at which a network has exactly the layers of a part, or None."""
    named = _in_our_order(part, architecture)
    if named is None and second_branch(architecture):
        return None
    part = named or part
    shapes = {kind: [_shapes(layer) for layer in part.layers if layer.kind == kind] for kind in KINDS}
    extents = [extent for extent in EXTENTS if _counts(architecture, extent) == {k: len(v) for k, v in shapes.items()}]
    if not extents or any(layer.kind == "other" for layer in part.layers):
        return None
    first, last = shapes["conv"][0]["kernel"], shapes["conv"][-1]["kernel"]
    for width in widths:
        scaled = architecture.at(width_multiplier=width, input_channels=max(1, first[2]))
        if _stem_channels(scaled) != first[3]:
            continue
        for extent in extents:
            network = scaled.at(classes=max(1, last[3])) if extent.classifier else scaled
            wanted = targets(network, top=extent.top, classifier=extent.classifier)
            if all([t.shapes for t in wanted if t.kind == kind] == shapes[kind] for kind in KINDS):
                return Match(network, part, _assign(part, wanted), extent.name)
    return None


def _in_our_order(part: Part, architecture: Architecture) -> Part | None:
    """Returns a part with the names of this package, its layers in the network's order; None for other names."""
    places = {target.name: place for place, target in enumerate(targets(architecture))}
    if not {layer.name for layer in part.layers} <= places.keys():
        return None
    return part._replace(layers=tuple(sorted(part.layers, key=lambda layer: places[layer.name])))


def second_branch(architecture: Architecture) -> str:
    """Returns the first operation of a branch beside another one, such as a bottleneck's shortcut; "" for none."""
    before = IMAGE
    for op in lower(architecture).ops:
        if op.kind not in ("add", "multiply") and op.inputs[0] != before:
            return op.name
        before = op.name
    return ""


def same_network(one: Architecture, other: Architecture) -> bool:
    """Returns whether two architectures compute the same but for input size and class count.

    They are compared after lowering, because several width multipliers can round to one network.
    """
    size, classes = one.input_size, one.classes
    return (one.batch_norm_epsilon, one.padding) == (other.batch_norm_epsilon, other.padding) and (
        lower(one).ops == lower(other.at(input_size=size, classes=classes)).ops
    )


def takes(entry: ZooModel, origin: str) -> bool:
    """Returns whether an entry of the zoo takes the state dicts of a package; every entry takes those of TensorFlow and Keras."""
    packages = {scheme.origin for scheme in SCHEMES}
    return origin not in packages or any(counterpart.package == origin for counterpart in entry.counterparts)


def candidates(source: WeightsSource) -> list[str]:
    """Returns networks of the zoo that a source may hold, as NAME@WIDTH at the common widths.

    Variants come last; for a state dict of PyTorch they come first, because they pad as PyTorch does.
    """
    parts = sorted(source.parts, key=lambda part: -len(part.layers))
    found = []
    for name, entry in zoo().items():
        if not takes(entry, source.origin):
            continue
        fits = next((m for part in parts if (m := fit(part, entry.architecture, COMMON_WIDTHS)) is not None), None)
        if fits is not None:
            found.append(f"{name}@{fits.architecture.width_multiplier:g}")
    variants_last = source.origin in ("keras", "tf_model_garden")
    return sorted(found, key=lambda name: (("." in name.partition("@")[0]) == variants_last, name))


def _assign(part: Part, wanted: tuple[Target, ...]) -> dict[tuple[str, VariableRole], Variable]:
    pairs = (
        (target, layer)
        for kind in KINDS
        for target, layer in zip(
            [t for t in wanted if t.kind == kind], [found for found in part.layers if found.kind == kind], strict=True
        )
    )
    return {(target.name, role): layer.variables[role] for target, layer in pairs for role in target.shapes}


def _shapes(layer: Layer) -> dict[VariableRole, tuple[int, ...]]:
    """Returns the shapes of a layer as a convolution has them: a dense kernel (in, out) is a 1x1 one."""
    return {
        role: (1, 1, *variable.shape) if role == "kernel" and len(variable.shape) == 2 else variable.shape
        for role, variable in layer.variables.items()
    }


def _counts(architecture: Architecture, extent: Extent) -> dict[LayerKind, int]:
    kinds = [target.kind for target in targets(architecture, top=extent.top, classifier=extent.classifier)]
    return {kind: kinds.count(kind) for kind in KINDS}


def _stem_channels(architecture: Architecture) -> int:
    """Returns the output channels of the first convolution, which distinguish most widths at once."""
    alone = msgspec.structs.replace(architecture, stages=(), head=Head()) if architecture.stem else architecture
    return next(op.channels for op in lower(alone, top=False).ops if op.kind == "conv")


def _widths() -> Iterator[float]:
    yield from COMMON_WIDTHS
    for step in WIDTH_STEPS:
        yield from (i / step for i in range(1, LARGEST_WIDTH * step + 1))


def _explain(source: WeightsSource, parts: list[Part], architecture: Architecture, width: float | None) -> str:
    """Returns why nothing fits: another width than required, another family, or the first difference."""
    if width is not None:
        for part in parts:
            other = fit(part, architecture, _widths())
            if other is not None:
                actual = other.architecture.width_multiplier
                return (
                    f"{source.path}: holds {architecture.name} at width {actual:g}, expected {width:g} as given; leave the "
                    f"width out or give {actual:g}"
                )
    beside = second_branch(architecture)
    if beside and all(_in_our_order(part, architecture) is None for part in parts):
        return (
            f"{source.path}: its layers do not have the names of {architecture.name}'s, and order alone does not tell '{beside}' "
            "from the branch beside it; give weights that were saved from a model of create_model"
        )
    what = f"{source.path}: not {architecture.name}" + ("" if width is None else f" at width {width:g}")
    others = [name for name in candidates(source) if name.partition("@")[0] != architecture.name]
    hint = f"; it fits {', '.join(others[:4])}: name {others[0]} as the model (argument 'model')" if others else ""
    return f"{what}: {_difference(parts, architecture, width)}{hint}"


def _difference(parts: list[Part], architecture: Architecture, width: float | None) -> str:
    """Returns the counts that differ, or the first shape that does, at the width with the most equal layers."""
    part = parts[0]
    other = [layer.name for layer in part.layers if layer.kind == "other"]
    if other:
        return f"'{part.name}' has layers that no network here has ({', '.join(other[:3])})"
    counts = {kind: sum(layer.kind == kind for layer in part.layers) for kind in KINDS}
    extent = next((e for e in EXTENTS if _counts(architecture, e) == counts), None)
    if any(variable.stored for layer in part.layers for variable in layer.variables.values()):
        widths = COMMON_WIDTHS if width is None else (width,)
        return max(_first_tensor(part, architecture, extent or EXTENTS[0], w) for w in widths)[1]
    if extent is None:
        found = ", ".join(f"{counts[kind]} {KIND_NAMES[kind]}s" for kind in KINDS)
        wanted = _counts(architecture, EXTENTS[0])
        return f"it has {found}; expected " + ", ".join(f"{wanted[kind]}" for kind in KINDS)
    widths = COMMON_WIDTHS if width is None else (width,)
    return max(_first_difference(part, architecture, extent, w) for w in widths)[1]


def _first_difference(part: Part, architecture: Architecture, extent: Extent, width: float) -> tuple[int, str]:
    """Returns how many layers agree at a width, and the first that does not."""
    channels = next(layer.variables["kernel"].shape[-2] for layer in part.layers if layer.kind == "conv")
    scaled = architecture.at(width_multiplier=width, input_channels=max(1, channels))
    agreed = 0
    for kind in KINDS:
        layers = [layer for layer in part.layers if layer.kind == kind]
        wanted = [t for t in targets(scaled, top=extent.top, classifier=extent.classifier) if t.kind == kind]
        for i, (layer, target) in enumerate(zip(layers, wanted, strict=True), 1):
            shapes = _shapes(layer)
            if shapes != target.shapes and not (target.name == LOGITS and shapes.keys() == target.shapes.keys()):
                return agreed, (
                    f"{KIND_NAMES[kind]} {i} of {len(layers)} ({layer.name}) has {_text(shapes)}, expected "
                    f"{_text(target.shapes)} ({target.name} at width {width:g})"
                )
            agreed += 1
    return agreed, "its last convolution does not read what the network ends with"


def _first_tensor(part: Part, architecture: Architecture, extent: Extent, width: float) -> tuple[int, str]:
    """Returns how many layers of a state dict agree at a width, and the first tensor that does not, as PyTorch stores it."""
    channels = next((layer.variables["kernel"].shape[-2] for layer in part.layers if layer.kind == "conv"), 1)
    scaled = architecture.at(width_multiplier=width, input_channels=max(1, channels))
    wanted = targets(scaled, top=extent.top, classifier=extent.classifier)
    at = f"{architecture.name} at width {width:g}"
    for i, (layer, target) in enumerate(zip(part.layers, wanted, strict=False)):
        dense = any(variable.stored is not None and len(variable.stored) == 2 for variable in layer.variables.values())
        if layer.kind != target.kind:
            shape = list(tensor_shape(layer.kind, "kernel", next(iter(layer.variables.values())).shape, dense=dense))
            expected = f"a {KIND_NAMES[target.kind]} ({target.name} of {at})"
            return i, f"'{layer.name}' is a {KIND_NAMES[layer.kind]} {shape}, expected {expected}"
        for role in sorted(layer.variables.keys() | target.shapes.keys(), key=lambda role: (role != "kernel", role)):
            shapes = layer.variables[role].shape if role in layer.variables else None, target.shapes.get(role)
            if shapes[0] == shapes[1] or (target.name == LOGITS and None not in shapes):
                continue
            texts = [
                "missing" if shape is None else str(list(tensor_shape(layer.kind, role, shape, dense=dense))) for shape in shapes
            ]
            name = f"{layer.name}.{tensor_name(layer.kind, role)}"
            return i, f"tensor '{name}' is {texts[0]}, expected {texts[1].replace('missing', 'none')} ({target.name} of {at})"
    more, fewer = len(part.layers) - len(wanted), len(wanted) - len(part.layers)
    if more > 0:
        surplus = ", ".join(f"'{layer.name}'" for layer in part.layers[len(wanted) : len(wanted) + 3])
        return len(wanted), f"it has {more} more layers than {at}: {surplus}"
    return len(
        part.layers
    ), f"it ends with '{part.layers[-1].name}', expected {fewer} more layers ({wanted[len(part.layers)].name} of {at})"


def _text(shapes: dict[VariableRole, tuple[int, ...]]) -> str:
    return " and ".join(f"{role} {list(shape)}" for role, shape in shapes.items())
