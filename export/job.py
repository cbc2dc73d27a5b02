"""One network that is being exported: what is written, what it is compared with, and what a user should know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.options import ExportOptions
from mhmodels.export.reading.source import ExportSource
from mhmodels.export.writing.labels import OutputLabels
from mhmodels.export.writing.manifest import Calibration

ProgressCallback: TypeAlias = Callable[[str], None]
"""Is told each stage, in words, as it begins."""


def no_progress(_: str) -> None:
    """Ignores the stages of an export."""


class ExportJob(NamedTuple):
    """A network that is being exported.

    Attributes:
        source: the network with its weights.
        architecture: with the preprocessing that the exported files state.
        graph: what is written: the graph of the source, or that with the normalisation in front. None where the network
            has no list of operations, which TensorFlow's engine alone can write.
        feed: float32 (n, height, width, channels), pictures as the files take them, for calibration and parity.
        expected: outputs of the Keras model on the first `PARITY_PICTURES` of them, by name.
        labels: what the scores mean.
        calibration: where the pictures come from.
        options: formats and the rest.
        progress: is told each stage as it begins.
    """

    source: ExportSource
    architecture: Architecture
    graph: Graph | None
    feed: Float32Array
    expected: Mapping[str, Float32Array]
    labels: OutputLabels
    calibration: Calibration
    options: ExportOptions
    progress: ProgressCallback

    @property
    def file_preprocessing(self) -> Preprocessing:
        """The way from a picture to the input of the files, with mean 0 and deviation 1 where they take raw pixels."""
        return (self.architecture if self.graph is None else self.graph.architecture).preprocessing

    def notes(self) -> tuple[str, ...]:
        """Returns what a user should know of the files, in words."""
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
