"""The content of cost model files: the weights of a fit, how well it predicts, and to which spaces and hardware it applies.

Nothing here predicts: predictors are made from this content, and `mhmodels.search.cost_model.model` makes the predictors.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
import numpy as np

from mhmodels.formats.checked import Checked
from mhmodels.hardware.measurement import Environment, MeasurementKind
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model import features
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource, LogMs
from mhmodels.search.cost_model.forms import Form, check_form
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.statistics import Statistics, rank_doubt
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

FORMAT = "mhmodels.cost_model/1"
SHORTEST_MS, LONGEST_MS = 1e-9, 1e12
"""Range of possible latencies in ms. The squares of relative errors within it fit into floating point."""
_NESTED = 4
"""Most adapted models within each other: an adapted model as a source of another one."""
_LEAST_SCALE = 1e-12
"""Smallest spread of a feature that is not equal in all networks."""
Variance: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
"""Variance of log latencies; no hardware comes near the limit."""
Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=SHORTEST_MS, le=LONGEST_MS)]
FeatureCentre: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]
FeatureScale: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e18)]


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
    centre: LogMs
    scale: Annotated[float, msgspec.Meta(ge=1e-9, le=100)]
    regression: KernelSource | None = None
    cost_model: CostModelData | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.regression is None) == (self.cost_model is None):
            raise CostModelError(f"cost model: source '{self.hardware}' needs either a regression or a cost model")
        if _nesting(self.cost_model) > _NESTED:
            raise CostModelError(
                f"cost model: source '{self.hardware}' is an adapted model of an adapted model and so on, over {_NESTED} times: "
                "adapt from the latencies of the hardware itself"
            )


def _nesting(model: CostModelData | None) -> int:
    """How many adapted models are within each other, the model itself included."""
    if model is None or model.adaptation is None:
        return 0
    return 1 + max(_nesting(source.cost_model) for source in model.adaptation.sources)


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
        relative: Whether features of networks are in relation to the latency that the sources expect.
    """

    field_error: ClassVar = CostModelError
    decision: Literal["adapted", "rescaled"]
    sources: Annotated[tuple[AdaptationSource, ...], msgspec.Meta(min_length=1)]
    feature_centre: tuple[FeatureCentre, ...]
    feature_scale: tuple[FeatureScale, ...]
    variances: dict[str, Variance]
    noise: Annotated[float, msgspec.Meta(ge=1e-9, le=1e6)]
    encodings: tuple[str, ...]
    ms: tuple[Milliseconds, ...]
    precision: tuple[Annotated[float, msgspec.Meta(ge=0, le=1e3)], ...]
    clock_ms: Annotated[float, msgspec.Meta(ge=0, le=1e3)] = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.encodings) == len(self.ms) == len(self.precision) or not any(self.precision):
            raise CostModelError(
                f"cost model: an adaptation has {len(self.encodings)} encodings, {len(self.ms)} latencies and "
                f"{len(self.precision)} precisions, expected equal numbers and a precision above 0"
            )
        if not self.variances:
            raise CostModelError("cost model: field 'variances' is empty, expected the variance of at least one group of kernels")
        tiny = next((one for one in self.feature_scale if 0 < one < _LEAST_SCALE), None)
        if tiny is not None:
            raise CostModelError(
                f"cost model: field 'feature_scale' has {tiny:g}, expected 0 or at least {_LEAST_SCALE:g}: it is damaged"
            )


class CurvePoint(Checked, frozen=True, kw_only=True):
    """A point of a learning curve: held-out statistics of a fit to the first n samples."""

    field_error: ClassVar = CostModelError
    n: int
    statistics: Statistics


class CostModelData(Checked, frozen=True, kw_only=True):
    """The content of a cost model file; `CostModel` describes the fields and predicts."""

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
        needed = {"structural": ("weights", "the weights"), "adapted": ("adaptation", "the sources and measurements")}
        field, content = needed.get(self.form, ("row_index", "the weights"))
        if not getattr(self, field):
            raise CostModelError(
                f"cost model: field '{field}' is missing or empty, expected {content} of a model of form {self.form}"
            )
        if self.adaptation is not None and self.form != "adapted":
            raise CostModelError(f"cost model: field 'adaptation' is of form adapted, field 'form' is {self.form}: it is damaged")
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

    def vector(self) -> Floats:
        """(features,), weights of all structural features in the order of `features.NAMES`, in ms."""
        return np.array([self.weights.get(name, 0.0) for name in features.NAMES])

    def to_json(self) -> bytes:
        """The model as a file (JSON)."""
        return msgspec.json.format(msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}), indent=1) + b"\n"
