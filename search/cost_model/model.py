"""Cost models as files: what was fitted, to what, how well, and where it applies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, TypeGuard

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.architecture import Architecture, decode_json, read_bytes
from mhmodels.formats.checked import Checked
from mhmodels.hardware.measurement import Environment, Kind
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.statistics import Statistics
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.pieces import Piece, pieces_of
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace, gather

FORMAT = "mhmodels.cost_model/1"
SHORTEST_MS, LONGEST_MS = 1e-9, 1e12
"""Beyond them no latency lies, and the squares of relative errors leave what floating point can hold."""
LEAST_SPEARMAN = 0.9
"""Rank correlation with held-out latencies below which a search would go by chance."""
Floats: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["structural", "coupled", "pairwise"]


class CurvePoint(Checked, frozen=True, kw_only=True):
    """Held-out statistics of a fit to the first n samples."""

    field_error: ClassVar = CostModelError
    n: int
    statistics: Statistics


class CostModel(Checked, frozen=True, kw_only=True):
    """Latency in ms on one hardware, as a sum over the parts of a network.

    Attributes:
        form: `structural`: features of the operations, tied over the network, and deviations of single blocks; predicts any
            architecture. `coupled`: TuNAS', a weight for each operation at each place and pair of widths. `pairwise`: for
            tabular spaces, a weight for each choice and each pair of choices.
        space, schema: what it was fitted on; encodings of another schema are refused.
        input_sizes: sides in pixels that it knows; empty for tabular spaces.
        features_version: of the structural features.
        hardware, file_format, kind, environment: of the latencies and the files that were timed; `kind` says how they came about.
        intercept_ms: of every network.
        floor_ms: no prediction is lower: a tenth of the lowest latency in training.
        weights: ms for a unit of each structural feature that occurred in training, 0 included.
        deviations: ms by block signature, beside its features.
        row_index, row_weights: ms by row of the space's table; rows that no sample touched are left out.
        strength, deviation_scale: the penalty that cross-validation chose, and how far deviations may go relative to a
            block's own cost.
        error: which squared error was made least.
        nonnegative: whether weights below 0 were ruled out.
        n: architectures trained on.
        held_out: statistics of this very model on architectures that it has not seen.
        by_distribution: the same for each distribution that they were drawn from.
        learning_curve: the same for fits to fewer samples.
        data_sha256: of encodings and latencies, canonical and sorted.
        trained_on: a short hash of every encoding that it was fitted to, so that a validation can leave them out.
        baselines: networks outside of the data whose latencies are known; rewards may be stated in them.
        warnings: why no search should go by it; `doubts` has them for files of earlier versions too.
        created: UTC, ISO 8601.
        mhmodels_version: that fitted it.
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
    kind: Kind = "measured"
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
        field, found = ("weights", self.weights) if self.form == "structural" else ("row_index", self.row_index)
        if not found:
            raise CostModelError(f"cost model: field '{field}' is missing or empty, expected the weights of a {self.form} model")
        unknown = set(self.weights) - set(features.NAMES)
        if self.features_version != features.VERSION or unknown:
            raise CostModelError(
                f"cost model: structural features of version {self.features_version}, expected {features.VERSION}"
                f"{f' (unknown: {min(unknown)})' if unknown else ''}; fit it again"
            )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why no search should go by this model; empty if nothing is known against it."""
        rank = rank_doubt(self.held_out)
        return self.warnings if not rank or rank in self.warnings else (*self.warnings, rank)

    def check_trust(self) -> None:
        """Refuses a model that a search should not go by.

        Raises:
            CostModelError: with every reason.
        """
        if self.doubts:
            raise CostModelError(
                f"the cost model of '{self.hardware}' is not to be relied on: {'; '.join(self.doubts)}; measure again what `fit` "
                "points out (`mhmodels search collect`) and fit again, or search with it all the same (--force)"
            )

    def bind(self, space: Space) -> Predictor:
        """The model ready to predict a space's encodings; making it costs a moment, using it little.

        Raises:
            CostModelError: the space has another schema or other input sizes.
        """
        self.check(space=space)
        return Predictor(self, space)

    def check(self, *, space: Space | None = None, hardware: str | None = None) -> None:
        """Refuses what the model was not fitted for.

        Raises:
            CostModelError: the space's schema or input sizes, or the hardware, is another, or the form is not for such spaces.
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
        """Milliseconds of architectures; a structural model takes any, others take members of their space only.

        Raises:
            CostModelError: another input size, or a form that cannot predict this architecture.
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
        if not _builds(space):
            raise CostModelError(f"the cost model is of tabular space '{self.space}', which has no architectures")
        for one in listed:
            if one.classes != space.template.classes:
                raise CostModelError(
                    f"'{one.name}' has {one.classes} classes; a {self.form} cost model of '{self.space}' knows "
                    f"{space.template.classes} only, a structural one any"
                )
        return self.bind(space).predict(np.array([space.encode(one) for one in listed]))

    def measured_ms(self, architecture: Architecture) -> float | None:
        """What a network took where the data come from; None unless it is among the baselines."""
        known = {one.architecture_id: one.ms for one in self.baselines}
        return known.get(architecture.architecture_id)

    def unseen(self, architecture: Architecture) -> tuple[str, ...]:
        """Kinds of kernels in a network of which a structural model saw none in training, so that it ignores them."""
        seen = {name.partition(".")[0] for name in self.weights}
        total = np.sum([features.structural(piece) for piece in pieces_of(architecture)], axis=0)
        kinds = dict.fromkeys(name.partition(".")[0] for name, value in zip(features.NAMES, total, strict=True) if value)
        return tuple(kind for kind in kinds if kind not in seen) if self.form == "structural" else ()

    def piece_ms(self, piece: Piece) -> float:
        """What a block costs at its place, by the structural form."""
        return float(features.structural(piece) @ self._vector()) + self.deviations.get(features.signature(piece), 0.0)

    def _structural(self, pieces: Sequence[Piece]) -> float:
        return self.intercept_ms + sum(self.piece_ms(piece) for piece in pieces)

    def _vector(self) -> Floats:
        return np.array([self.weights.get(name, 0.0) for name in features.NAMES])

    def to_json(self) -> bytes:
        """The model file."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=1) + b"\n"

    @staticmethod
    def from_json(data: bytes | str, source: str = "cost model") -> CostModel:
        """Reads what `to_json` wrote.

        Raises:
            FileFormatError: not JSON, another format, or a wrong field.
            CostModelError: weights that cannot be.
        """
        return decode_json(data, CostModel, FORMAT, source)


class Predictor:
    """A cost model bound to a space: vectorised over encodings."""

    def __init__(self, model: CostModel, space: Space) -> None:
        """Works out what every row of the space's table costs; see `CostModel.bind`."""
        self.model, self.space = model, space
        self.table = _row_table(model, space)

    def predict(self, encodings: ArrayLike) -> Floats:
        """Milliseconds (n,) of encodings (n, decisions).

        Raises:
            SpaceError: not members of the space.
        """
        rows = self.space.check(encodings)
        total = gather(self.table, form_rows(self.space, rows, self.model.form))
        return np.maximum(total + self.model.intercept_ms, self.model.floor_ms)


def rank_doubt(report: Statistics) -> str:
    """That held-out networks are ranked too badly to search by, or ""."""
    if report.spearman is None or report.spearman >= LEAST_SPEARMAN:
        return ""
    return (
        f"held-out networks are ranked with a Spearman correlation of {report.spearman:.3f}, expected at least {LEAST_SPEARMAN:g}"
    )


def check_form(form: Form, space: Space) -> None:
    """Refuses a form that a space cannot have: pairs are of tables, structure is of architectures.

    Raises:
        CostModelError: it cannot.
    """
    if (form == "pairwise") != space.tabular and form != "coupled":
        raise CostModelError(f"space '{space.name}' {'is' if space.tabular else 'is not'} tabular: a {form} model is not for it")


def form_rows(space: Space, encodings: Encodings, form: Form) -> NDArray[np.int32]:
    """The weights that each network touches, as indices (n, k): rows of a template's table, or one-hot places."""
    if _builds(space):
        # A structural model does not mind the order of interchangeable blocks, a coupled one sees places.
        return space.rows(space.canonical(encodings) if form == "coupled" else encodings)
    starts = np.concatenate([[0], np.cumsum(space.cardinalities)[:-1]]).astype(np.int32)
    single = encodings.astype(np.int32) + starts
    if form != "pairwise":
        return single
    columns, offset = [single], int(space.cardinalities.sum())
    for i in range(len(space.decisions)):
        for j in range(i):
            count = int(space.cardinalities[j])
            columns.append((offset + encodings[:, [i]].astype(np.int32) * count + encodings[:, [j]]).astype(np.int32))
            offset += int(space.cardinalities[i]) * count
    return np.concatenate(columns, axis=1)


def form_row_count(space: Space, form: Form) -> int:
    """How many different indices `form_rows` gives."""
    if _builds(space):
        return space.row_count
    cards = space.cardinalities
    pairs = sum(int(cards[i]) * int(cards[j]) for i in range(len(cards)) for j in range(i))
    return int(cards.sum()) + (pairs if form == "pairwise" else 0)


def encoding_hashes(space: Space, encodings: Encodings) -> list[str]:
    """A short hash of each canonical encoding (8 hex digits)."""
    return [hashlib.sha256(row.astype("<i2").tobytes()).hexdigest()[:8] for row in space.canonical(encodings)]


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the name of a model's file before what is refused in a block."""
    try:
        yield
    except CostModelError as error:
        raise CostModelError(f"{path}: {error}") from error


def load_cost_model(path: str | os.PathLike[str]) -> CostModel:
    """Reads a model file; errors as `CostModel.from_json`, and FileFormatError if it cannot be read."""
    return CostModel.from_json(read_bytes(path, limit=256 << 20), source=str(Path(path)))


def _row_table(model: CostModel, space: Space) -> Floats:
    if model.form != "structural":
        table = np.zeros(form_row_count(space, model.form))
        if model.row_index and not 0 <= min(model.row_index) <= max(model.row_index) < len(table):
            raise CostModelError(f"cost model: row_index reaches {max(model.row_index)}, expected less than {len(table)}")
        table[list(model.row_index)] = model.row_weights
        return table
    if not _builds(space):
        raise CostModelError(f"space '{space.name}' is tabular and has no structure: fit a pairwise model to it")
    table = space.table(features.structural, len(features.NAMES)) @ model._vector()
    if model.deviations:
        table = table + np.array(
            [model.deviations.get(features.signature(piece), 0.0) if piece is not None else 0.0 for piece in space.pieces()]
        )
    return table


def _builds(space: Space) -> TypeGuard[ArchitectureSpace]:
    return isinstance(space, ArchitectureSpace)
