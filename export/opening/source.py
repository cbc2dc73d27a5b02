"""A network with weights that can be exported and compared with files: its Keras model and its folded graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import msgspec
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.outputs import SCORES, WriterOptions, compared_ops, flat_scores
from mhmodels.export.reading.input_rule import InputRule, input_rule
from mhmodels.export.reading.keras_model.operation_list import Front
from mhmodels.export.reading.keras_model.precision import keras_outputs, single_precision
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.network import IMAGE, lower
from mhmodels.weights.info import Labels, Learned


class ExportSource(NamedTuple):
    """A network with weights that can be exported and compared with files.

    Attributes:
        model: The Keras model.
        architecture: Name, width, input and preprocessing of the network; the whole network if `whole` is True.
        graph: The model's operations with folded weights; None if a layer of a user's model has no operation.
        missing: Reason why there is no graph.
        label: Origin of the weights.
        tensors: Keras tensors to compare with, by the name of the operation.
        labels: Class names in the weights file.
        learned: Ranges of quantisation-aware training in the weights file.
        backbone: NAME@WIDTH of the network that a user's model was built on, if it was recognised.
        outputs: Operations that compute the model's outputs; empty if the last operation is the only output.
        front: Layers before the first operation, which become part of the file's preprocessing; None if there are none.
        rule: The preprocessing of a user's model, as far as it is known; None for a network of the zoo.
        notes: Remarks for the user on how the model was read.
    """

    model: keras.Model
    architecture: Architecture
    graph: Graph | None
    label: str
    tensors: Mapping[str, keras.KerasTensor]
    missing: str = ""
    labels: Labels = Labels()
    learned: Learned | None = None
    backbone: str | None = None
    outputs: tuple[str, ...] = ()
    front: Front | None = None
    rule: InputRule | None = None
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> Graph:
        """The graph, for networks that have one.

        Raises:
            ExportError: There is none; the message names the layer.
        """
        if self.graph is None:
            raise ExportError(self.missing)
        return self.graph

    @property
    def whole(self) -> bool:
        """Whether `architecture` describes the whole network, and not only its backbone."""
        return self.graph is not None and lower(self.architecture).ops == self.graph.ops

    def stated(self, rule: StatedRule | None) -> ExportSource:
        """Returns the source with the preprocessing that a user states.

        Raises:
            ExportError: It is stated for another number of channels.
        """
        if rule is None:
            return self
        if self.rule is None:
            known = self.architecture.preprocessing
            return self._replace(architecture=msgspec.structs.replace(self.architecture, preprocessing=rule.over(known)))
        front = self.front or Front(self.architecture.input_channels)
        return self.with_rule(input_rule(self.model.name, front, rule))

    def with_rule(self, rule: InputRule) -> ExportSource:
        """Returns the source with what is known of the way from a picture to its input."""
        known = rule.preprocessing or self.architecture.preprocessing
        return self._replace(architecture=msgspec.structs.replace(self.architecture, preprocessing=known), rule=rule)

    @property
    def rule_known(self) -> bool:
        """Whether the way from a picture to the input of the network is known."""
        return self.rule is None or self.rule.preprocessing is not None

    def check_rule(self) -> None:
        """Rejects a model whose preprocessing is unknown, because ranges and stated numbers would depend on it.

        Raises:
            ExportError: See above; the message says what to state.
        """
        if self.rule is not None and self.rule.preprocessing is None:
            raise ExportError(f"{self.rule.missing}; without it only float files can be exported")

    @property
    def file_model(self) -> keras.Model:
        """The Keras model from the input of a file on: behind the inverse of layers that became preprocessing."""
        if self.front is None or not self.front.changes:
            return self.model
        with single_precision():
            image = keras.Input((*self.architecture.input_size, self.architecture.input_channels), name=IMAGE)
            scale, offset = 1.0 / self.front.scale, -self.front.offset / self.front.scale
            inverse = keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="to_pixels")
            return keras.Model(image, self.model(inverse(image)), name=self.model.name)

    def outputs_of(self, images: Float32Array) -> list[Float32Array]:
        """Returns the outputs of the Keras model for inputs of a file: one float32 array an output, after its activation."""
        return keras_outputs(self.model, self._entering(images))

    def _entering(self, images: Float32Array) -> Float32Array:
        return images if self.front is None else self.front.model_input(images)

    def check_ending(self, features: bool) -> None:
        """Rejects a network that does not end in what the file is to give: scores, or with `features` feature maps.

        Raises:
            ExportError: Maps where scores are wanted, or scores where maps are; the message names them.
        """
        if features:
            self._check_maps()
            return
        maps = [len(output.shape) == 4 for output in self.model.outputs]
        if len(maps) > 1 and all(maps):
            names = ", ".join(f"'{name}'" for name in output_names(self.model))
            raise ExportError(f"model '{self.model.name}' gives {len(maps)} maps ({names}), not scores: give argument 'features'")
        if len(maps) == 1 and self.graph is not None and self.graph.ops[-1].size != (1, 1):
            last = self.graph.ops[-1].name
            raise ExportError(f"layer '{last}' gives a map, not scores: give argument 'features', or a model with a classifier")

    def _check_maps(self) -> None:
        pairs = zip(output_names(self.model), self.model.outputs, strict=True)
        scores = [name for name, output in pairs if len(output.shape) == 2]
        if len(self.model.outputs) > 1 and scores:
            raise ExportError(
                f"model '{self.model.name}': output '{scores[0]}' is scores, not a map: leave argument 'features' out"
            )

    def expected(self, images: Float32Array, options: WriterOptions) -> dict[str, Float32Array]:
        """Returns what a file of this network must give on pictures, by the names of the outputs of the file.

        Args:
            images: float32 (n, height, width, channels), normalised as a file takes them.
            options: Options with which the file is written.

        Returns:
            Float32 arrays, batch first. With a graph, scores are those before their softmax; without one every output is
            as the model gives it, after its activation.
        """
        if self.graph is None:
            names = output_names(self.model)
            return self.compute(images, names if len(names) > 1 else (SCORES,))
        places = compared_ops(self.graph, options)
        computed = self.compute(images, tuple(places.values()))
        return {name: flat_scores(computed[op]) if name == SCORES else computed[op] for name, op in places.items()}

    def compute(self, images: Float32Array, names: Sequence[str]) -> dict[str, Float32Array]:
        """Computes operations of the Keras model on pictures.

        Args:
            images: float32 (n, height, width, channels), normalised as a file takes them.
            names: Operations; with no graph one name for each of the model's outputs, whatever it is.

        Returns:
            Float32 arrays by name, batch first.
        """
        known = dict(zip(names, self.model.outputs, strict=False)) if self.graph is None else self.tensors
        wanted = {name: known[name] for name in names}
        try:
            outputs = keras.Model(self.model.inputs[0], wanted)
        except ValueError as error:  # Keras: the tensor belongs to a model that is used as a layer
            raise ExportError(
                f"{', '.join(names)}: inside a model that is used as a layer, so not to be compared with"
            ) from error
        # Called directly, not through `predict`, which compiles a function for a handful of pictures.
        images = self._entering(images)
        with single_precision():
            parts = [outputs(images[i : i + 8], training=False) for i in range(0, len(images), 8)]
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in names}
