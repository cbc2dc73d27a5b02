"""Cost models as data: the weights of a fit, how well it predicts, and to which spaces and hardware it applies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
import numpy as np

from mhmodels.architecture import Architecture, decode_json, read_bytes
from mhmodels.formats.checked import Checked
from mhmodels.hardware.measurement import Environment, MeasurementKind
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource
from mhmodels.search.cost_model.forms import Form, builds, check_form
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.statistics import Statistics, rank_doubt
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.pieces import Piece, pieces_of
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.system.files import write_atomically

if TYPE_CHECKING:
    from mhmodels.search.cost_model.predictor import Predictor

FORMAT = "mhmodels.cost_model/1"
SHORTEST_MS, LONGEST_MS = 1e-9, 1e12
"""Range of possible latencies in ms. The squares of relative errors within it fit into floating point."""


class AdaptationSource(Checked, frozen=True, kw_only=True):
    """A hardware whose latencies are the prior of an adapted model: a regression of its latencies, or a cost model.

    Attributes:
        hardware: Hardware id, or the name of the file of its latencies.
        centre: Mean of its log latencies (ms) over random networks of the space.
        scale: Their standard deviation.
        regression: Fit to a table of latencies; None if `cost_model` is given.
        cost_model: Cost model; None if `regression` is given.
    """

    field_error: ClassVar = CostModelError
    hardware: str
    centre: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    regression: KernelSource | None = None
    cost_model: CostModel | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.regression is None) == (self.cost_model is None):
            raise CostModelError(f"cost model: source '{self.hardware}' needs either a regression or a cost model")


class Adaptation(Checked, frozen=True, kw_only=True):
    """What an adapted model consists of: sources, measurements of the target, and the variances that were fitted to them.

    Attributes:
        decision: `adapted`: the model learned deviations from the sources. `rescaled`: it has the ranking of one source, because
            cross-validation found every adaptation worse.
        sources: The sources.
        feature_centre, feature_scale: Mean and spread of the features of networks in the space.
        variances: Variance of each group of kernels, in units of the spread of the sources' log latencies.
        noise: Variance of measurement errors, in the same unit.
        encodings: Measured networks, as `3:0:1`.
        ms: Their latencies on the target.
        precision: Precision of each measurement relative to `noise`; 0 for one that was set aside.
        clock_ms: Step of the clock that the latencies were read from; 0 if it is negligible.
    """

    field_error: ClassVar = CostModelError
    decision: Literal["adapted", "rescaled"]
    sources: Annotated[tuple[AdaptationSource, ...], msgspec.Meta(min_length=1)]
    feature_centre: tuple[float, ...]
    feature_scale: tuple[float, ...]
    variances: dict[str, float]
    noise: Annotated[float, msgspec.Meta(gt=0)]
    encodings: tuple[str, ...]
    ms: tuple[Annotated[float, msgspec.Meta(gt=0)], ...]
    precision: tuple[Annotated[float, msgspec.Meta(ge=0)], ...]
    clock_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.encodings) == len(self.ms) == len(self.precision) or not any(self.precision):
            raise CostModelError(
                f"cost model: an adaptation has {len(self.encodings)} encodings, {len(self.ms)} latencies and "
                f"{len(self.precision)} precisions, expected equal numbers and a precision above 0"
            )


class CurvePoint(Checked, frozen=True, kw_only=True):
    """A point of a learning curve: held-out statistics of a fit to the first n samples."""

    field_error: ClassVar = CostModelError
    n: int
    statistics: Statistics


class CostModel(Checked, frozen=True, kw_only=True):
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

    field_error: ClassVar = CostModelError
    form: Form
    space: str
    schema: str
    input_sizes: tuple[int, ...]
    hardware: str
    intercept_ms: float
    floor_ms: float
    n: int
    held_out: Statistics
    data_sha256: str
    created: str
    mhmodels_version: str
    kind: MeasurementKind = "measured"
    file_format: str = ""
    environment: Environment | None = None
    features_version: int = features.VERSION
    weights: dict[str, float] = msgspec.field(default_factory=dict)
    deviations: dict[str, float] = msgspec.field(default_factory=dict)
    row_index: tuple[int, ...] = ()
    row_weights: tuple[float, ...] = ()
    strength: float = 0.0
    deviation_scale: float = 0.0
    error: Literal["relative", "absolute"] = "relative"
    nonnegative: bool = False
    by_distribution: dict[str, Statistics] = msgspec.field(default_factory=dict)
    learning_curve: tuple[CurvePoint, ...] = ()
    trained_on: tuple[str, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    warnings: tuple[str, ...] = ()
    adaptation: Adaptation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = [self.intercept_ms, self.floor_ms, *self.weights.values(), *self.deviations.values(), *self.row_weights]
        numbers += [one.ms for one in self.baselines]
        wild = next((one for one in numbers if not abs(one) <= LONGEST_MS), None)
        if wild is not None:
            raise CostModelError(
                f"cost model: a weight or latency is {wild}, expected finite numbers of at most {LONGEST_MS:g}: it is damaged"
            )
        if self.floor_ms <= 0:
            raise CostModelError(f"cost model: field 'floor_ms' is {self.floor_ms}, expected more than 0")
        wrong = next((one for one in self.baselines if one.ms <= 0), None)
        if wrong is not None:
            raise CostModelError(f"cost model: baseline '{wrong.model}' took {wrong.ms} ms, expected more than 0")
        if len(self.row_index) != len(self.row_weights):
            raise CostModelError(f"cost model: {len(self.row_index)} row_index and {len(self.row_weights)} row_weights")
        needed = {"structural": "weights", "adapted": "adaptation"}
        field = needed.get(self.form, "row_index")
        if not getattr(self, field):
            raise CostModelError(f"cost model: field '{field}' is missing or empty, expected the weights of a {self.form} model")
        unknown = set(self.weights) - set(features.NAMES)
        if self.features_version != features.VERSION or unknown:
            raise CostModelError(
                f"cost model: structural features of version {self.features_version}, expected {features.VERSION}"
                f"{f' (unknown: {min(unknown)})' if unknown else ''}; fit it again"
            )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons against using this model in a search; empty if there are none."""
        rank = rank_doubt(self.held_out)
        return self.warnings if not rank or rank in self.warnings else (*self.warnings, rank)

    def check_trust(self) -> None:
        """Refuses a model that a search should not use.

        Raises:
            CostModelError: There are `doubts`; the message has all of them.
        """
        if self.doubts:
            raise CostModelError(
                f"the cost model of '{self.hardware}' is not to be relied on: {'; '.join(self.doubts)}; measure again what `fit` "
                "points out (`mhmodels search collect`) and fit again, or search with it all the same "
                "(argument 'force')"
            )

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
        from mhmodels.search.cost_model.adapted.predictor import AdaptedPredictor
        from mhmodels.search.cost_model.predictor import LinearPredictor

        self.check(space=space)
        return LinearPredictor(self, space) if self.adaptation is None else AdaptedPredictor(self, space)

    def check(self, *, space: SearchSpace | None = None, hardware: str | None = None) -> None:
        """Refuses spaces and hardware that the model was not fitted for.

        Args:
            space: Space to predict in; None to skip the check.
            hardware: Hardware id; None to skip the check.

        Raises:
            CostModelError: The hardware, the space's schema or its input sizes differ, or the space cannot have the form.
        """
        if hardware is not None and hardware != self.hardware:
            raise CostModelError(
                f"the cost model is for hardware '{self.hardware}', not '{hardware}': fit one for it (`mhmodels search fit`)"
            )
        if space is None:
            return
        sizes = space.input_sizes if isinstance(space, ArchitectureSpace) else ()
        if not set(sizes) <= set(self.input_sizes):
            raise CostModelError(f"the cost model knows input sizes {self.input_sizes}, space '{space.name}' has {sizes}")
        if space.schema != self.schema:
            raise CostModelError(
                f"the cost model is for encodings of space '{self.space}' with schema {self.schema}, "
                f"not for '{space.name}' with {space.schema}"
            )
        check_form(self.form, space)

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

    def vector(self) -> Floats:
        """(features,), weights of all structural features in the order of `features.NAMES`, in ms."""
        return np.array([self.weights.get(name, 0.0) for name in features.NAMES])

    def to_json(self) -> bytes:
        """The model as a file (JSON)."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=1) + b"\n"

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
