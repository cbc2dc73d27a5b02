"""Assembles a quantisation-aware Keras model, or its float twin, from operations and the float layers that hold the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import msgspec

from mhmodels.architecture import Architecture
from mhmodels.builder import ACTIVATIONS, op_layer
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Range
from mhmodels.export.quantisation.aware_layers import FoldedConvolution, Grid, Quantise, QuantisedImage
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat, input_quantisation, representable
from mhmodels.export.quantisation.scheme import SHARING, fixed_range, pre_activation, separate_activation
from mhmodels.export.reading.keras_model.reader import ReadModel
from mhmodels.network import IMAGE, LOGITS, Op, lower

_DROPPING = (
    keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianDropout, keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
)  # fmt: skip
_SHAPING = (keras.layers.Flatten, keras.layers.Reshape)


class AwareRecord(NamedTuple):
    """The network and the scheme that a quantisation-aware model was made for.

    Attributes:
        architecture: The network; of a model with a head of the user's own, its name, sizes and preprocessing.
        format, granularity: The scheme.
        own: The operations of a model with a head of the user's own; empty where `architecture` says them.
    """

    architecture: Architecture
    format: QuantisedFormat
    granularity: Granularity
    own: tuple[Op, ...] = ()

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operations in execution order."""
        return self.own or lower(self.architecture).ops

    def record(self) -> dict[str, object]:
        """Returns the record as plain data, which is saved with the model."""
        plain = {
            "architecture": msgspec.json.decode(self.architecture.to_json()),
            "format": self.format,
            "granularity": self.granularity,
        }
        return plain | ({"operations": msgspec.to_builtins(self.own)} if self.own else {})

    @staticmethod
    def from_record(record: Mapping[str, Any], source: str) -> AwareRecord:
        """Returns the record of plain data that `record` gave."""
        architecture = Architecture.from_json(msgspec.json.encode(record["architecture"]), source=source)
        own = msgspec.convert(record.get("operations", ()), tuple[Op, ...])
        return AwareRecord(architecture, record["format"], record["granularity"], own)


class AwareLayers(NamedTuple):
    """The Keras layers that a model is made of.

    Attributes:
        weighted: Convolutions and dense layers by operation, and `NAME_bn` for the batch normalisation of NAME.
        plain: Layers without weights that are used again, by name; others are made anew.
        dropouts: Layers that act in training only, by the operation whose output they change.
    """

    weighted: Mapping[str, keras.layers.Layer]
    plain: Mapping[str, keras.layers.Layer]
    dropouts: Mapping[str, Sequence[keras.layers.Layer]]


def built_layers(model: keras.Model) -> AwareLayers:
    """Returns the layers of a model of `create_model`, which have the names of its operations."""
    named = {layer.name: layer for layer in model.layers}
    before = model.get_layer(LOGITS).input._keras_history.operation if LOGITS in named else None
    dropouts = {} if not isinstance(before, _DROPPING) else {LOGITS: [before]}
    return AwareLayers(named, named, dropouts)


def read_layers(read: ReadModel) -> AwareLayers:
    """Returns the layers of a model whose operations were read from its layers."""
    dropouts: dict[str, list[keras.layers.Layer]] = {}
    for name, tensor in read.tensors.items():
        while tensor is not None:
            history = tensor._keras_history  # not `layer.input`: a layer of two models has several
            layer = history.operation
            if isinstance(layer, _DROPPING):
                dropouts.setdefault(name, []).insert(0, layer)
            elif not isinstance(layer, _SHAPING):
                break
            tensor = layer._inbound_nodes[history.node_index].input_tensors[0]
    readers = {source: op.name for op in read.ops for source in op.inputs}
    return AwareLayers(read.layers, {}, {readers[name]: layers for name, layers in dropouts.items() if name in readers})


class Assembly:
    """A model under construction: float layers with roundings between them, or without roundings for the float twin.

    Args:
        image: What the first operation reads, as a Keras tensor.
        made: Network and scheme.
        layers: The float layers.
        freeze_after, ema: As `quantize_aware` takes them.
        rounded: Whether to round.
    """

    def __init__(
        self,
        image: keras.KerasTensor,
        made: AwareRecord,
        layers: AwareLayers,
        freeze_after: int,
        ema: float,
        *,
        rounded: bool = True,
    ) -> None:
        self.made, self.layers, self.freeze_after, self.ema, self.rounded = made, layers, freeze_after, ema, rounded
        grid: Grid = "asymmetric" if made.format == "uint8" else made.granularity
        self.grid: Grid = grid if rounded else "none"
        self.roundings: dict[str, Quantise] = {}
        self.tensors: dict[str, keras.KerasTensor] = {IMAGE: self._image(image) if rounded else image}

    def output(self) -> keras.KerasTensor:
        """Applies every operation and returns the output of the last one."""
        for op in self.made.ops:
            inputs = [self.tensors[name] for name in op.inputs]
            for layer in self.layers.dropouts.get(op.name, ()):
                inputs[0] = layer(inputs[0])
            if op.kind in ("conv", "depthwise"):
                self.tensors[op.name] = self._convolution(op, inputs[0])
            else:
                x = self._plain(op)(inputs if len(inputs) > 1 else inputs[0])
                if op.activation != "linear":
                    x = self._activation(op)(x)  # an addition's, which a file computes with it
                self.tensors[op.name] = self._shared(op, x) if op.kind in SHARING else self._own(op, x)
        return self.tensors[op.name]

    def _image(self, image: keras.KerasTensor) -> keras.KerasTensor:
        made = self.made
        bounds = representable(input_quantisation(made.architecture.preprocessing, made.format), made.format)
        return QuantisedImage(made.record(), tensor=IMAGE, fixed=bounds, name="quantised_image")(image)

    def _convolution(self, op: Op, x: keras.KerasTensor) -> keras.KerasTensor:
        norm = self._weighted(f"{op.name}_bn") if op.batch_norm else None
        # A rounded hard-sigmoid's slope and offset are in the weights; its clipping is the rounding's.
        gate = self.rounded and op.activation == "hard_sigmoid"
        layer = self._weighted(op.name)
        padding = None if getattr(layer, "padding", op.padding) == op.padding or op.kernel == 1 else op.padding
        x = FoldedConvolution(layer, norm, self.grid, gate, self.freeze_after, padding, name=op.name)(x)
        if self.rounded and separate_activation(op):
            x = self._rounding(pre_activation(op), None)(x)
        if op.activation != "linear" and not gate:
            x = self._activation(op)(x)
        return self._own(op, x)

    def _own(self, op: Op, x: keras.KerasTensor) -> keras.KerasTensor:
        """Returns a tensor rounded to a grid of its own. A softmax is not rounded: the loss would have no gradient."""
        return x if op.kind == "softmax" or not self.rounded else self._rounding(op.name, fixed_range(op))(x)

    def _shared(self, op: Op, x: keras.KerasTensor) -> keras.KerasTensor:
        """Returns a tensor rounded to the grid of the operation's input; reshaping and zeros change no number."""
        if not self.rounded:
            return x
        known = self.roundings.get(op.inputs[0])
        if known is not None:  # the picture has a rounding of its own kind
            self.roundings[op.name] = known
        return x if known is None or op.kind in ("pad", "reshape") else known(x, observe=False)

    def _rounding(self, tensor: str, fixed: Range | None) -> Quantise:
        layer = Quantise(tensor, self.ema, fixed, name=f"{tensor.replace('/', '_')}_range")
        self.roundings[tensor] = layer
        return layer

    def _plain(self, op: Op) -> keras.layers.Layer:
        known = self.layers.plain.get(op.name)
        if known is not None:
            return known
        return keras.layers.Softmax(name=op.name, dtype="float32") if op.kind == "softmax" else op_layer(op)

    def _activation(self, op: Op) -> keras.layers.Layer:
        name = f"{op.name}_act"
        known = self.layers.plain.get(name)
        return ACTIVATIONS[op.activation](name) if known is None else known

    def _weighted(self, name: str) -> keras.layers.Layer:
        if name not in self.layers.weighted:
            raise ExportError(f"the model has no layer '{name}': it was not built from this architecture")
        return self.layers.weighted[name]
