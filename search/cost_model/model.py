"""Cost models, which predict the latency of networks on one hardware, and their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mhmodels.architecture import Architecture, decode_json, read_bytes
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.adapted.predictor import bound_to
from mhmodels.search.cost_model.data import FORMAT, CostModelData
from mhmodels.search.cost_model.forms import builds
from mhmodels.search.cost_model.predictor import Predictor
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.pieces import Piece, pieces_of
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.system.files import write_atomically


class CostModel(CostModelData, frozen=True, kw_only=True):
    """Predicts the latency of a network on one hardware, in ms, as a sum over the parts of the network.

    Attributes:
        form: Form of the model, see `mhmodels.search.cost_model.forms`.
        space: Name of the space that it was fitted on.
        schema: Schema of the space's encodings; encodings of another schema are refused.
        input_sizes: Sides of the input in pixels that the model knows; empty for tabular spaces.
        features_version: Version of the structural features.
        hardware: Hardware id of the latencies.
        file_format: Format of the measured files (`float32`, `int8`, …), "" if unknown.
        kind: Kind of the latencies, as in `Measurement`.
        environment: Device, runtime and configuration of the latencies; None if unknown.
        intercept_ms: Ms of every network.
        floor_ms: Smallest prediction in ms: a tenth of the lowest latency in training.
        weights: Ms for one unit of each structural feature that occurred in training, 0 included.
        deviations: Ms by block signature, in addition to its features.
        row_index, row_weights: Ms by row of the space's table; rows that no sample touched are left out.
        strength: Penalty that leave-one-out prediction chose, as in `Ridge`.
        deviation_scale: Scale of the deviations, relative to the latency that a block's features predict.
        error: Error whose square the fit minimised, relative or absolute.
        nonnegative: Whether weights below 0 were excluded.
        n: Number of networks trained on.
        held_out: Statistics of this very model on networks that it has not seen.
        by_distribution: The same by the distribution that the networks were drawn from.
        learning_curve: The same for fits to fewer samples.
        data_sha256: Hash of encodings and latencies, canonical and sorted.
        trained_on: Short hash of each training encoding, so that a validation can leave these networks out.
        baselines: Networks outside of the data with known latencies; rewards may use them as references.
        warnings: Reasons against using the model in a search; `doubts` has them for files of earlier versions as well.
        created: Time of the fit, UTC, ISO 8601.
        mhmodels_version: Version that fitted the model.
        adaptation: Sources and measurements of an adapted model; None for the other forms.

    Raises:
        CostModelError: A weight or latency is not finite, a field contradicts another, or the features are of another version.

    Example:
        >>> from mhmodels.registry import get_architecture
        >>> from mhmodels.search import shipped_model
        >>> model = shipped_model("multi_hardware", "ethos-u55-128")
        >>> predicted_ms = model.predict([get_architecture("multi_max")])
        >>> predicted_ms.shape, bool(predicted_ms[0] > 0)
        ((1,), True)
    """

    def bind(self, space: SearchSpace) -> Predictor:
        """Prepares the model to predict encodings of a space quickly. Preparing takes up to a few seconds.

        Raises:
            CostModelError: The space has another schema or other input sizes.

        Example:
            >>> from mhmodels.search import get_space, sample, shipped_model
            >>> space = get_space("multi_hardware")
            >>> predictor = shipped_model(space, "ethos-u55-128").bind(space)
            >>> predictor.predict(sample(space, 100).encodings).shape
            (100,)
        """
        return bound_to(self, space)

    def predict(self, architectures: Iterable[Architecture]) -> Floats:
        """Predicts latencies of architectures. A structural model predicts any architecture, others members of their space.

        Args:
            architectures: N architectures.

        Returns:
            (n,), float64, ms.

        Raises:
            CostModelError: An architecture has another input size or number of classes, or the form cannot predict it.
            SpaceError: An architecture is not a member of the space, and the form is not structural.
        """
        listed = list(architectures)
        for one in listed:
            if one.input_size[0] != one.input_size[1] or one.input_size[0] not in self.input_sizes:
                sizes = ", ".join(map(str, self.input_sizes)) or "none (it is of a tabular space)"
                raise CostModelError(f"the cost model knows input sizes {sizes}, '{one.name}' has {one.input_size}")
        if self.form == "structural":
            return np.maximum(np.array([self._structural(pieces_of(one)) for one in listed]), self.floor_ms)
        from mhmodels.search.space.catalogue import get_space

        space = get_space(self.space)
        if not builds(space):
            raise CostModelError(f"the cost model is of tabular space '{self.space}', which has no architectures")
        for one in listed:
            if one.classes != space.template.classes:
                raise CostModelError(
                    f"'{one.name}' has {one.classes} classes; a {self.form} cost model of '{self.space}' knows "
                    f"{space.template.classes} only, a structural one any"
                )
        return self.bind(space).predict(np.array([space.encode(one) for one in listed]))

    def measured_ms(self, architecture: Architecture) -> float | None:
        """Latency in ms that was measured for a baseline; None for any other architecture."""
        known = {one.architecture_id: one.ms for one in self.baselines}
        return known.get(architecture.architecture_id)

    def unseen(self, architecture: Architecture) -> tuple[str, ...]:
        """Kinds of kernels in a network that did not occur in training. A structural model counts them as 0 ms."""
        seen = {name.partition(".")[0] for name in self.weights}
        total = np.sum([features.structural(piece) for piece in pieces_of(architecture)], axis=0)
        kinds = dict.fromkeys(name.partition(".")[0] for name, value in zip(features.NAMES, total, strict=True) if value)
        return tuple(kind for kind in kinds if kind not in seen) if self.form == "structural" else ()

    def piece_ms(self, piece: Piece) -> float:
        """Latency in ms of a block at its position, by the structural form."""
        return float(features.structural(piece) @ self.vector()) + self.deviations.get(features.signature(piece), 0.0)

    def _structural(self, pieces: Sequence[Piece]) -> float:
        return self.intercept_ms + sum(self.piece_ms(piece) for piece in pieces)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a file, which appears complete or not at all; `load_cost_model` reads it.

        Raises:
            OSError: The file cannot be written.
        """
        write_atomically(Path(path), self.to_json())

    @staticmethod
    def from_json(data: bytes | str, source: str = "cost model") -> CostModel:
        """Reads a model that `to_json` wrote.

        Args:
            data: Content of the file.
            source: Name of the file, for messages.

        Raises:
            FileFormatError: The data are not JSON, or of another format, or have a wrong field.
            CostModelError: The weights are damaged.
        """
        return decode_json(data, CostModel, FORMAT, source)


def encoding_hashes(space: SearchSpace, encodings: Encodings) -> list[str]:
    """A short hash of each canonical encoding (8 hex digits)."""
    return [hashlib.sha256(row.astype("<i2").tobytes()).hexdigest()[:8] for row in space.canonical(encodings)]


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the path of a model's file to cost model errors of a block."""
    try:
        yield
    except CostModelError as error:
        raise CostModelError(f"{path}: {error}") from error


def load_cost_model(path: str | os.PathLike[str]) -> CostModel:
    """Reads a model file.

    Args:
        path: File that `CostModel.save` or `mhmodels search fit` wrote.

    Raises:
        FileFormatError: The file cannot be read, is of another format, or has a wrong field.
        CostModelError: The weights are damaged.

    Example:
        >>> import tempfile
        >>> from mhmodels.search import load_cost_model, shipped_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shipped_model("multi_hardware", "ethos-u55-128").save(f"{folder}/model.json")
        ...     model = load_cost_model(f"{folder}/model.json")
        >>> model.hardware
        'ethos-u55-128'
    """
    return CostModel.from_json(read_bytes(path, limit=256 << 20), source=str(Path(path)))
