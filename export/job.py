"""One network that is being exported: the graph to write, the expected outputs, and remarks for the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.rewrite import normalise_in_graph
from mhmodels.export.opening.reading_check import check_reading
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import ExportOptions
from mhmodels.export.quantisation.post_training import ObservedPictures
from mhmodels.export.reading.pictures import Calibration, InputPictures, pixels_of
from mhmodels.export.tolerances import PARITY_PICTURES
from mhmodels.export.writing.labels import OutputLabels, labels_of_weights

ProgressCallback: TypeAlias = Callable[[str], None]
"""Called with a description of each stage as it begins."""


_FLOAT_ENGINE = "argument 'engine=tensorflow' writes such a model as float32 and float16, if TensorFlow's converter takes it"


def no_progress(_: str) -> None:
    """Ignores the stages of an export."""


class ExportJob(NamedTuple):
    """A network that is being exported.

    Attributes:
        source: The network with its weights.
        architecture: The network, with the preprocessing that the exported files state.
        graph: Graph to write: the graph of the source, possibly preceded by the normalisation. None for a network without a
            list of operations, which only TensorFlow's engine can write.
        feed: float32 (n, height, width, channels), pictures as the files take them, for calibration and parity.
        observed: The graph with these pictures, whose integer formats share what the float network gives on them. None without
            a graph.
        expected: Outputs of the Keras model on the first `PARITY_PICTURES` pictures of `feed`, by name.
        labels: Class names of the outputs.
        calibration: Origin of the pictures.
        options: Formats and all other options.
        progress: Called with a description of each stage as it begins.
    """

    source: ExportSource
    architecture: Architecture
    graph: Graph | None
    feed: Float32Array
    observed: ObservedPictures | None
    expected: Mapping[str, Float32Array]
    labels: OutputLabels
    calibration: Calibration
    options: ExportOptions
    progress: ProgressCallback

    @property
    def file_preprocessing(self) -> Preprocessing:
        """Preprocessing from a picture to the input of the files; mean 0 and std 1 for files that take raw pixels."""
        return (self.architecture if self.graph is None else self.graph.architecture).preprocessing

    def notes(self) -> tuple[str, ...]:
        """Returns remarks for the user on the files."""
        return (*self.source.notes, *self._unknown_rule(), *self._constant())

    def _unknown_rule(self) -> tuple[str, ...]:
        if self.source.rule is None or self.source.rule_known:
            return ()
        return (
            f"the preprocessing of its pictures is unknown, so that manifest and file state none: {self.source.rule.missing}",
        )

    def _constant(self) -> tuple[str, ...]:
        if self.graph is None or self.options.writer.features or not self.options.writer.softmax:
            return ()
        last = self.graph.ops[-1]
        if last.kind != "softmax" or last.channels > 1:
            return ()
        return (f"'{last.name}' is a softmax over one class, whose score is 1 whatever the picture; one score needs a sigmoid",)


def prepare_job(
    source: ExportSource,
    architecture: Architecture,
    pictures: InputPictures,
    options: ExportOptions,
    progress: ProgressCallback,
) -> ExportJob:
    """Checks that the network can be written as requested, and computes the outputs that the files are compared with.

    Args:
        source: The network.
        architecture: The network, with the preprocessing that the files state.
        pictures: Pictures, normalised as the network expects.
        options: Formats and all other options.
        progress: Called with a description of each stage as it begins.

    Raises:
        ExportError: The network has no list of operations, or does not end in the requested kind of output.
        ParityError: The operations give other outputs than the Keras model.
    """
    source.check_ending(options.writer.features)
    graph = source.graph
    if graph is None and options.engine == "direct":
        raise ExportError(
            source.missing if "argument 'engine=tensorflow'" in source.missing else f"{source.missing}; {_FLOAT_ENGINE}"
        )
    feed, images = pictures.images, pictures.images[:PARITY_PICTURES]
    if graph is not None:
        progress(f"comparing {architecture.name} with its Keras model")
        check_reading(source, images)
    expected = source.expected(images, options.writer)
    if graph is not None:
        graph = graph._replace(architecture=msgspec.structs.replace(graph.architecture, preprocessing=architecture.preprocessing))
        if options.normalise_in_model:
            graph, feed = normalise_in_graph(graph), pixels_of(feed, architecture.preprocessing)
    labels = options.labels
    if not labels.names and not options.writer.features:
        labels = labels_of_weights(source.labels)
        labels.check(architecture.classes)
    observed = None if graph is None else ObservedPictures(graph, feed)
    return ExportJob(source, architecture, graph, feed, observed, expected, labels, pictures.calibration, options, progress)
