"""A search request as data: what `run_search` is given, and what a log keeps so that the search can be resumed.

Values are checked here as far as they can be without opening a file; `mhmodels.search.run.resolving` opens what a request names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from mhmodels.errors import WrongUsageError
from mhmodels.formats.checked import Checked
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import ControllerSettings
from mhmodels.search.methods.strategies import Method, Reinforce
from mhmodels.search.objective.rewards import Aggregate, RewardKind
from mhmodels.search.supernet.presets import Preset

MEDIAN = "median"
"""Value of `SearchRequest.reference` for the medians of a table of latencies."""
LARGEST_SEED = 2**32 - 1
DistributionStrategy: TypeAlias = Literal["none", "mirrored", "multi_worker", "tpu"]
DEFAULT_METHOD = Reinforce(
    controller=ControllerSettings(steps=20_000, learning_rate=4.8e-3, delay=0.25, operation_warm_up=0.0, width_warm_up=0.0)
)
"""The controller with a refinement by evolution; nothing is warmed up, because no weights are trained."""


class RequestError(SearchError, WrongUsageError):
    """A field of a search request has an invalid value, or fields of a request do not go together.

    The message names fields as `argument 'NAME'`; the command line puts its options in their place.

    Example:
        >>> from mhmodels.search import RequestError, SearchRequest
        >>> try:
        ...     SearchRequest(space="multi_hardware", seed=-1)
        ... except RequestError as error:
        ...     print(error)
        search request: field 'seed' is -1, expected a whole number from 0 to 4294967295
    """


class WeightSharing(Checked, frozen=True, kw_only=True):
    """A super-network as the source of accuracies.

    Attributes:
        preset: Training of the shared weights and of the controller, for example `PRESETS["quick"]`.
        data: Pictures: `digits64`, `digits64-hard`, a folder with a folder for each class, `idx:DIR` with the folder of IDX
            files, or TFRecord files (`gs://bucket/train-*`).
        label_offset: Number added to the labels of TFRecords; None for 0.
        classes: Number of classes, at least 1; None for the number in the data.
        strategy: Distribution of the training: `none` (one device), `mirrored` (several GPUs), `multi_worker` or `tpu`.
        recompute: Whether the backward pass computes activations again: less memory, about a third more time.

    Raises:
        RequestError: A field has an invalid value.

    Example:
        >>> from mhmodels.search import SearchRequest, WeightSharing, load_preset
        >>> sharing = WeightSharing(preset=load_preset("quick"), data="digits64")
        >>> request = SearchRequest(space="multi_hardware", cost_models=("ethos-u55-128",), weight_sharing=sharing)
        >>> request.can_write_front
        True
    """

    field_error: ClassVar = RequestError
    preset: Preset
    data: str
    label_offset: int | None = None
    classes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    strategy: DistributionStrategy = "none"
    recompute: bool = False


class SearchRequest(Checked, frozen=True, kw_only=True):
    """A search for the network of the highest reward: accuracy and latency on several hardware (equations 4 to 8 of the paper).

    Accuracies come from `evaluator` or from `weight_sharing`; latencies from `cost_models` or from the table `latencies`.

    Attributes:
        space: Name of a search space, for example `multi_hardware`, or the file of a reduced one; see `load_space`.
        method: Search method with its settings: `Reinforce`, `Evolution`, `NonDominated`, `FrontEvolution` or `Random`.
        evaluator: Source of accuracies: `FILE.npz[:COLUMN]` or `FILE.csv`, a published table; `FILE.jsonl`, lines of encoding
            and accuracy that a predictor is trained on; `MODULE:FUNCTION`, which is called with the space and encodings
            (n, decisions) and returns fractions (n,). Empty if another source is given.
        seed: Random seed of the search, 0 to 2**32 - 1.
        cost_models: Cost models, one for each hardware: files, or ids of models that come with the package (`ethos-u55-128`).
        latencies: Table of latencies in place of cost models: a published one, a file that `search collect -o` wrote, or the
            name of a collection that comes with the package (`nas_bench_macro`). Empty for cost models.
        hardware: Ids of the hardware that counts; empty for all that have latencies.
        limits: Ids of capability profiles or hardware; only networks that all of them run are searched.
        references: Reference latencies in ms by hardware (C in equations 4 and 5), above 0 and finite.
        reference: Reference for hardware that `references` does not name: a model whose measured or predicted latency is C, or
            `median` of a table. None for `mobilenet_v1`, or for the medians of a table.
        kind: Form of the reward.
        aggregate: Aggregation of normalised latencies over hardware: their mean or their maximum.
        beta: Exponent or factor of latency in the reward, below 0.
        target: Target of the aggregated normalised latency, above 0; 1 is the latency of the reference.
        weights: Weights of the hardware by id, finite and at least 0; 1 for hardware that is not named. Hardware with weight 0 is
            only reported.
        force: Whether to use cost models that their files mark as doubtful (`CostModel.doubts`).
        weight_sharing: Super-network that gives accuracies in place of an evaluator; None for an evaluator.

    Raises:
        RequestError: A field has an invalid value, or both sources of accuracies are given.

    Example:
        >>> from mhmodels.search import Random, SearchRequest
        >>> request = SearchRequest(space="nas_bench_macro", latencies="nas_bench_macro", method=Random(evaluations=20))
        >>> request.aggregate, request.target
        ('avg', 1.0)
    """

    field_error: ClassVar = RequestError
    space: str
    method: Method = DEFAULT_METHOD
    evaluator: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEED)] = 0
    cost_models: tuple[str, ...] = ()
    latencies: str = ""
    hardware: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    references: dict[str, float] = msgspec.field(default_factory=dict)
    reference: str | None = None
    kind: RewardKind = "absolute"
    aggregate: Aggregate = "avg"
    beta: float = -0.07
    target: float = 1.0
    weights: dict[str, float] = msgspec.field(default_factory=dict)
    force: bool = False
    weight_sharing: WeightSharing | None = msgspec.field(default=None, name="options")

    def __post_init__(self) -> None:
        for hardware, ms in self.references.items():
            if _is_number(ms) and not 0 < ms < math.inf:
                raise RequestError(
                    f"argument 'references' has '{hardware}={ms:g}', expected a finite number above 0, in ms (a weight of 0 "
                    "leaves a hardware out)"
                )
        for hardware, weight in self.weights.items():
            if _is_number(weight) and not 0 <= weight < math.inf:
                raise RequestError(f"argument 'weights' has '{hardware}={weight:g}', expected a finite number of at least 0")
        super().__post_init__()
        if self.evaluator and self.weight_sharing is not None:
            raise RequestError(
                "accuracies come from argument 'evaluator' or from a super-network (argument 'weight_sharing'): give one of both"
            )

    @property
    def can_write_front(self) -> bool:
        """Whether the search ends with several networks that were evaluated with the same weights, which a Pareto front needs."""
        return self.weight_sharing is None or self.weight_sharing.preset.finalists > 0

    def files(self) -> Iterator[Path]:
        """Paths that the search may read, to which nothing may be written; some of them may not exist."""
        yield Path(self.space)
        yield from map(Path, self.cost_models)
        if self.latencies:
            yield from (Path(self.latencies), Path(self.latencies).with_suffix(".json"))
        yield from (Path(self.evaluator), Path(self.evaluator.rpartition(":")[0]))
        if self.reference is not None:
            yield Path(self.reference)

    def check_front(self) -> None:
        """Refuses the Pareto front of a super-network whose search ends with a single network.

        Networks on the way were judged with other weights each, which makes no front.

        Raises:
            RequestError: The preset judges one network at its end.
        """
        if not self.can_write_front and self.weight_sharing is not None:
            raise RequestError(
                "argument 'front' needs networks that were judged by the same weights: the preset "
                f"'{self.weight_sharing.preset.name}' judges one at its end (field 'finalists' is 0)"
            )

    def check_texts(self) -> None:
        """Refuses names of files that a log and a result cannot contain.

        Raises:
            SearchError: A name is not UTF-8.
        """
        try:
            msgspec.json.encode(self)
        except UnicodeEncodeError as error:
            raise SearchError(
                f"{error.object}: not UTF-8, but a search keeps the names of what it reads in its log and its result; rename it, "
                "or give a link to it with another name"
            ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def request_document(request: SearchRequest) -> dict[str, object]:
    """A request as plain values: what a log keeps, and `load_request` reads."""
    document: dict[str, object] = msgspec.to_builtins(request)
    return document | {"options": document["options"] or {}}


def load_request(log_path: Path) -> SearchRequest:
    """Reads the request of a search from its log.

    Args:
        log_path: Log of the search, `FILE.db`.

    Raises:
        SearchError: There is no such file, the search was begun without a request, or by another version.
        StoreError: The file is something else.
    """
    from mhmodels.search.run.log import SearchLog

    if not log_path.is_file():
        raise SearchError(f"{log_path}: no such file, expected the log of a search (`mhmodels search run --log`)")
    with SearchLog(log_path) as log:
        document = log.request()
    if document is None:
        raise SearchError(f"{log_path}: holds no search that was begun from the command line")
    return _decoded(document, log_path)


def _decoded(document: Mapping[str, object], log_path: Path) -> SearchRequest:
    try:
        return msgspec.convert({**document, "options": document.get("options") or None}, SearchRequest)
    except msgspec.ValidationError as error:
        raise SearchError(f"{log_path}: the search in it was begun by another version ({error})") from error
