"""What `mhmodels search run` is asked for, as data: kept in the log, so that `search resume` needs nothing else."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.formats.numbers import decimal
from mhmodels.search.cost_model.latencies.baselines import BASELINE
from mhmodels.search.cost_model.latencies.rows import encoding_of
from mhmodels.search.cost_model.model import CostModel, load_cost_model, naming
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import Method
from mhmodels.search.objective.benchmark_tables import table_of
from mhmodels.search.objective.evaluators import CallableAccuracy, Evaluator, PredictedAccuracy, TableAccuracy, TableLatency
from mhmodels.search.objective.measured_tables import is_collected, measured_latencies
from mhmodels.search.objective.objective import LatencySource, Objective
from mhmodels.search.objective.rewards import Aggregate, Reward, RewardKind
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import Space
from mhmodels.search.space.tabular import Table
from mhmodels.search.space.template import ArchitectureSpace

MEDIAN = "median"
_FILES = (".npz", ".csv", ".jsonl")
T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search.

    Attributes:
        space: its name.
        method: with its settings.
        evaluator: of accuracy: FILE.npz[:COLUMN] or FILE.csv, a published table; FILE.jsonl, lines of encoding and
            accuracy that a predictor is trained on; MODULE:FUNCTION, called with the space and encodings.
        seed: of all chance.
        cost_models: files, one a hardware.
        latencies, hardware: a published table or one that `search collect` wrote, and its columns, in the place of cost models.
        limits: profiles or hardware that networks must run on.
        references: C in ms by hardware; of hardware that is not named, `reference`.
        reference: a network whose latencies, measured or predicted, are the C, or `median` of a table; None for what fits.
        kind, aggregate, beta, target, weights: of the reward.
        force: whether to go by cost models that `CostModel.doubts` warns of.
        options: of a super-network (`mhmodels.search.supernet`): preset, data.
    """

    space: str
    method: Method
    evaluator: str
    seed: int = 0
    cost_models: tuple[str, ...] = ()
    latencies: str = ""
    hardware: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    references: dict[str, float] = {}
    reference: str | None = None
    kind: RewardKind = "absolute"
    aggregate: Aggregate = "avg"
    beta: float = -0.07
    target: float = 1.0
    weights: dict[str, float] = {}
    force: bool = False
    options: dict[str, Any] = {}


def load_request(log_path: Path) -> Request:
    """What a log's search was asked for on the command line.

    Raises:
        SearchError: no such file, or a search that was begun otherwise.
        StoreError: the file is something else.
    """
    from mhmodels.search.run.log import SearchLog

    if not log_path.is_file():
        raise SearchError(f"{log_path}: no such file, expected the log of a search (`mhmodels search run --log`)")
    with SearchLog(log_path) as log:
        document = log.request()
    if document is None:
        raise SearchError(f"{log_path}: holds no search that was begun from the command line")
    return logged(document, Request, log_path)


def logged(document: Any, kind: type[T], log_path: Path) -> T:
    """A part of what a log keeps, as this version knows it.

    Raises:
        SearchError: another version's.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise SearchError(f"{log_path}: the search in it was begun by another version ({error})") from error


def make_objective(request: Request) -> Objective:
    """Space, latencies and reward of a request.

    Raises:
        MhmodelsError: a file or name that is not there, cost models that do not fit the space, no reference.
    """
    from mhmodels.search.cli import spaces as space_cli

    space, _ = space_cli.restricted(get_space(request.space), space_cli.profiles(request.limits, False))
    if bool(request.cost_models) == bool(request.latencies):
        raise SearchError(
            "latencies come from --cost-model files or from a table (--latencies with --hardware): give one of both"
        )
    sources, references = _cost_models(request, space) if request.cost_models else _table(request, space)
    unknown = next((name for name in request.references if name not in sources), None)
    if unknown is not None:
        raise SearchError(f"reference for '{unknown}', of which no latencies are given; hardware: {', '.join(sources)}")
    if request.reference is not None and set(sources) <= set(request.references):
        raise SearchError(f"reference '{request.reference}' has no effect: every hardware has a latency of its own (ID=MS)")
    references = {hardware: request.references.get(hardware, references.get(hardware, 0.0)) for hardware in sources}
    reward = Reward(
        references=references,
        kind=request.kind,
        aggregate=request.aggregate,
        beta=request.beta,
        target=request.target,
        weights=request.weights,
    )
    return Objective(space, sources, reward)


def make_evaluator(request: Request, space: Space) -> Evaluator:
    """Where accuracies come from.

    Raises:
        MhmodelsError: no such file or function, or a table of another space.
    """
    path, column = _file_and_column(request.evaluator)
    if path.suffix in (".npz", ".csv"):
        table, identity = _checked_table(path, space, "accuracies")
        column = column or next(iter(table.columns))
        if column not in table.columns:
            raise SearchError(f"{path}: no column '{column}', expected one of {', '.join(table.columns)}")
        return TableAccuracy(table, column, f"{identity}:{column}")
    if path.suffix == ".jsonl":
        if column:
            raise SearchError(
                f"evaluator '{request.evaluator}': a file of encodings and accuracies has no columns, found '{column}'"
            )
        return _predictor(path, space)
    name = str(path) if column else ""
    if not name or not column.isidentifier():
        raise SearchError(f"evaluator '{request.evaluator}': expected FILE.npz[:COLUMN], FILE.csv, FILE.jsonl or MODULE:FUNCTION")
    return CallableAccuracy(space, _function(name, column), request.evaluator)


def names_function(evaluator: str) -> bool:
    """Whether an evaluator is MODULE:FUNCTION, which runs code, and not a file."""
    return bool(evaluator) and _file_and_column(evaluator)[0].suffix not in _FILES


def module_place(evaluator: str) -> str:
    """Where Python would find the module of MODULE:FUNCTION, without importing anything; "nowhere" if it would not."""
    top = evaluator.rpartition(":")[0].partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(top, [*sys.path, str(Path.cwd())]) if top else None
    places = [found.origin, *(found.submodule_search_locations or ())] if found is not None else []
    return next((place for place in places if place), "nowhere")


def _file_and_column(evaluator: str) -> tuple[Path, str]:
    """FILE and COLUMN of FILE[:COLUMN], or MODULE and FUNCTION."""
    if Path(evaluator).suffix in _FILES:
        return Path(evaluator), ""
    name, _, column = evaluator.rpartition(":")
    return (Path(name), column) if name else (Path(evaluator), "")


def reference_latencies(models: Mapping[str, CostModel], reference: str) -> dict[str, float]:
    """C by hardware: what a network took where a cost model's data come from, else what the model predicts for it.

    Raises:
        SearchError: a model that cannot predict it.
    """
    from mhmodels.registry import resolve

    architecture = resolve(reference)
    try:
        return {
            hardware: model.measured_ms(architecture) or float(model.predict([architecture])[0])
            for hardware, model in models.items()
        }
    except ValueError as error:
        raise SearchError(
            f"reference '{reference}': {error}; give latencies (--reference ID=MS for every hardware), or fit structural "
            "cost models, which predict any network"
        ) from error


def guessed_references(request: Request, models: Iterable[CostModel]) -> list[str]:
    """Hardware on which C is what a cost model says of a network unlike those that it was fitted to.

    Args:
        request: of the search.
        models: its cost models.

    Raises:
        MhmodelsError: a reference that cannot be read.
    """
    from mhmodels.registry import resolve

    reference, space = resolve(request.reference or BASELINE), get_space(request.space)
    if not isinstance(space, ArchitectureSpace) or space.contains(reference):
        return []
    wanted = [model for model in models if not request.hardware or model.hardware in request.hardware]
    return [model.hardware for model in wanted if model.hardware not in request.references and not model.measured_ms(reference)]


def _cost_models(request: Request, space: Space) -> tuple[dict[str, LatencySource], dict[str, float]]:
    loaded = [load_cost_model(path) for path in request.cost_models]
    models = {model.hardware: model for model in loaded}
    paths = {model.hardware: path for model, path in zip(loaded, request.cost_models, strict=True)}
    if len(models) < len(loaded):
        names = ", ".join(model.hardware for model in loaded)
        raise SearchError(f"two cost models are for one hardware ({names}), expected one each")
    if request.hardware and set(request.hardware) - set(models):
        raise SearchError(
            f"no cost model for {', '.join(sorted(set(request.hardware) - set(models)))}; there is {', '.join(models)}"
        )
    models = {name: models[name] for name in request.hardware or models}
    sources: dict[str, LatencySource] = {}
    for hardware, model in models.items():
        with naming(paths[hardware]):
            if not request.force:
                model.check_trust()
            sources[hardware] = model.bind(space)
    missing = {hardware: model for hardware, model in models.items() if hardware not in request.references}
    return sources, reference_latencies(missing, request.reference or BASELINE) if missing else {}


def _table(request: Request, space: Space) -> tuple[dict[str, LatencySource], dict[str, float]]:
    path = Path(request.latencies)
    if request.reference not in (None, MEDIAN):
        raise SearchError(f"a table's references are its medians or given (--reference ID=MS), not '{request.reference}'")
    if is_collected(path):
        measured = measured_latencies(path, space, request.hardware)
        return dict(measured.sources), measured.medians
    table, identity = _checked_table(path, space, "latencies")
    hardware = request.hardware or tuple(table.columns)
    unknown = next((name for name in hardware if name not in table.columns), None)
    if unknown is not None:
        raise SearchError(f"{path}: no complete column '{unknown}', expected some of {', '.join(table.columns)}")
    sources: dict[str, LatencySource] = {name: TableLatency(table, name, f"{identity}:{name}") for name in hardware}
    return sources, {name: float(np.median(table.columns[name])) for name in hardware}


def _checked_table(path: Path, space: Space, quantity: str) -> tuple[Table, str]:
    """A published table of a space, with accuracies or latencies as they are wanted."""
    table, identity = table_of(path)
    if table.space.schema != space.schema:
        raise SearchError(f"{path}: a table of space '{table.space.name}', not of '{space.name}'")
    if table.quantity not in ("", quantity):
        option = {"accuracies": "--evaluator", "latencies": "--latencies"}[table.quantity]
        raise SearchError(f"{path}: has {table.quantity}, expected {quantity}; {table.quantity} are given with {option}")
    return table, identity


def _predictor(path: Path, space: Space) -> PredictedAccuracy:
    rows, values = [], []
    for number, line in enumerate(read_bytes(path, limit=1 << 30).splitlines(), 1):
        if line.strip():
            try:
                row = msgspec.json.decode(line, type=dict[str, Any])
                values.append(_accuracy(row["accuracy"]))
            except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
                raise FileFormatError(
                    f"{path}: line {number} is not an object with encoding and accuracy ({error!r}), expected "
                    '{"encoding": "SPACE:0:1:…", "accuracy": 0.9}'
                ) from error
            rows.append(encoding_of(row, space, f"{path}: line {number}"))
    if not rows:
        raise FileFormatError(f"{path}: no lines, expected encodings with accuracies")
    return PredictedAccuracy(space, np.array(rows), values)


def _accuracy(value: Any) -> float:
    """The number in a line of accuracies; ValueError for others."""
    if isinstance(value, str):
        return decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"accuracy is {str(value)[:40]!r}")
    return float(value)


def _function(module: str, name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Last, so that a file of the user's shadows none of ours; for good, since functions import when they are called.
        sys.path.append(folder)
    try:
        with redirect_stdout(sys.stderr):
            function = getattr(importlib.import_module(module), name, None)
    except (ImportError, SyntaxError, TypeError, ValueError) as error:  # a path in the place of a module is no ImportError
        raise SearchError(f"evaluator '{module}:{name}': {error}; expected MODULE:FUNCTION, found by Python") from error
    if not callable(function):
        raise SearchError(f"evaluator '{module}:{name}': module {module} has no function '{name}'")
    try:
        signature = inspect.signature(function)
    except ValueError:
        return function  # not written in Python: it does not say what it takes
    try:
        signature.bind("space", "encodings")
    except TypeError as error:
        raise SearchError(
            f"evaluator '{module}:{name}': {error}; it is called with two arguments, the space and encodings (n, decisions)"
        ) from error
    return function
