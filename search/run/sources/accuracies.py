"""From the name of a source of accuracies (`SearchRequest.evaluator`) to the evaluator: tables, predictors, functions."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.formats.numbers import decimal
from mhmodels.search.cost_model.latencies.rows import encoding_of
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.evaluators import CallableAccuracy, Evaluator, PredictedAccuracy, TableAccuracy
from mhmodels.search.run.sources.published import published_table
from mhmodels.search.space.search_space import Encodings, SearchSpace

AccuracyFunction: TypeAlias = Callable[[SearchSpace, Encodings], "ArrayLike | Iterator[float]"]
"""Called with the space and encodings (n, decisions); returns n fractions from 0 to 1, or an iterator of them."""
_FILES = (".npz", ".csv", ".jsonl")


class EvaluatorName(NamedTuple):
    """The two parts of an evaluator's name: FILE and COLUMN, or MODULE and FUNCTION.

    Attributes:
        path: File, or the name of a module.
        part: Column or function; empty if the name has none.
    """

    path: Path
    part: str

    @classmethod
    def parse(cls, evaluator: str) -> EvaluatorName:
        """Splits `FILE[:COLUMN]` or `MODULE:FUNCTION`; a colon inside a file's name stays there."""
        if Path(evaluator).suffix in _FILES:
            return cls(Path(evaluator), "")
        name, _, part = evaluator.rpartition(":")
        return cls(Path(name), part) if name else cls(Path(evaluator), "")

    @property
    def is_file(self) -> bool:
        """Whether the name is of a file, and not of a function."""
        return self.path.suffix in _FILES


def make_evaluator(evaluator: str, space: SearchSpace) -> Evaluator:
    """Opens a source of accuracies.

    Args:
        evaluator: As `SearchRequest.evaluator`.
        space: Space of the search.

    Raises:
        MhmodelsError: There is no such file or function, or the file is of another space.
    """
    name = EvaluatorName.parse(evaluator)
    if name.path.suffix in (".npz", ".csv"):
        table, identity = published_table(name.path, space, "accuracies")
        column = name.part or next(iter(table.columns))
        if column not in table.columns:
            raise SearchError(f"{name.path}: no column '{column}', expected one of {', '.join(table.columns)}")
        return TableAccuracy(table, column, f"{identity}:{column}")
    if name.path.suffix == ".jsonl":
        if name.part:
            raise SearchError(f"evaluator '{evaluator}': a file of encodings and accuracies has no columns, found '{name.part}'")
        return read_predictor(name.path, space)
    if not name.part.isidentifier():
        raise SearchError(f"evaluator '{evaluator}': expected FILE.npz[:COLUMN], FILE.csv, FILE.jsonl or MODULE:FUNCTION")
    return CallableAccuracy(space, _function(str(name.path), name.part), evaluator)


def function_evaluator(function: AccuracyFunction, space: SearchSpace) -> Evaluator:
    """A Python function as a source of accuracies; its module and name become the identity in log and result."""
    identity = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
    return CallableAccuracy(space, function, identity)


def names_function(evaluator: str) -> bool:
    """Whether an evaluator is MODULE:FUNCTION, which runs code, and not a file."""
    return bool(evaluator) and not EvaluatorName.parse(evaluator).is_file


def module_file(evaluator: str) -> str:
    """The file in which Python would find the module of MODULE:FUNCTION, without importing it; "nowhere" if there is none."""
    top = evaluator.rpartition(":")[0].partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(top, [*sys.path, str(Path.cwd())]) if top else None
    files = [found.origin, *(found.submodule_search_locations or ())] if found is not None else []
    return next((file for file in files if file), "nowhere")


def absolute_evaluator(evaluator: str) -> str:
    """The same evaluator with the absolute name of its file, so that a search can be resumed from another folder."""
    name = EvaluatorName.parse(evaluator)
    if not name.is_file:
        return evaluator
    return f"{name.path.absolute()}{':' if name.part else ''}{name.part}"


def read_predictor(path: Path, space: SearchSpace) -> PredictedAccuracy:
    """Trains a predictor of accuracy on the lines of a file.

    Args:
        path: JSON lines of encoding and accuracy: `{"encoding": "SPACE:0:1:…", "accuracy": 0.9}`.
        space: Space of the encodings. Lines of networks that a restriction removed count too.

    Raises:
        FileFormatError: The file cannot be read, or a line is no such object.
        MhmodelsError: An encoding is no member of the space, or there are fewer than ten different networks.
    """
    rows, values, whole = [], [], space.unrestricted()
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
            rows.append(encoding_of(row, whole, f"{path}: line {number}"))
    if not rows:
        raise FileFormatError(f"{path}: no lines, expected encodings with accuracies")
    return PredictedAccuracy(whole, np.array(rows), values)


def _accuracy(value: object) -> float:
    """The accuracy in a line, as a number or as text; ValueError for anything else."""
    if isinstance(value, str):
        return decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"accuracy is {str(value)[:40]!r}")
    return float(value)


def _function(module: str, name: str) -> AccuracyFunction:
    """Imports MODULE:FUNCTION and checks that it takes two arguments."""
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
    called: AccuracyFunction = function
    try:
        signature = inspect.signature(called)
    except ValueError:
        return called  # a function that is not written in Python may have no signature
    try:
        signature.bind("space", "encodings")
    except TypeError as error:
        raise SearchError(
            f"evaluator '{module}:{name}': {error}; it is called with two arguments, the space and encodings (n, decisions)"
        ) from error
    return called
