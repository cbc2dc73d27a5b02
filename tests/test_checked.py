"""A struct made in Python has the limits of one that is read from JSON, and sizes are told before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from mhmodels import create_model, get_architecture
from mhmodels.architecture import (
    Architecture,
    Block,
    Conv,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    Rounding,
    SqueezeExcite,
)
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError, FieldError, MhmodelsError
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.writing.manifest import Manifest, TensorSpec
from mhmodels.formats.checked import Checked
from mhmodels.hardware import Hardware
from mhmodels.hardware.capabilities import Capabilities
from mhmodels.published import PublishedTables
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource
from mhmodels.search.cost_model.data import AdaptationSource
from mhmodels.search.cost_model.features import NAMES
from mhmodels.search.cost_model.model import CostModel
from mhmodels.search.run.results import TabularNetwork
from mhmodels.search.supernet.presets import Preset
from mhmodels.training.errors import RecipeError
from mhmodels.training.recipes import Adam, Recipe
from mhmodels.training.run.run_folder import Metrics, Setup
from mhmodels.weights.downloading.registered import RegisteredWeights
from mhmodels.weights.info import WeightsInfo

VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 31, 32, 64, 65, 99, 256, 257, 65536, 65537, 10**30, 0.5, 2.0, -0.5, 1e-300, math.nan, math.inf, -math.inf),
    *(True, None, "relu", "foo", "", "conv", "always", [1, 2], [], {}, {"ratio": 1.0}),
)
FORMATS: tuple[type[msgspec.Struct], ...] = (
    Architecture, Recipe, Setup, Metrics, PublishedTables, WeightsInfo, RegisteredWeights, Preset, CostModel, TabularNetwork,
    Manifest, Hardware, Capabilities,
)  # fmt: skip
"""What is read from files and tables. The structs in them are found from here."""

OWN_LIMITS = {"Parity", "OutputParity", "Environment"}
"""Structs in files that state their limits themselves, because some of their numbers may be infinite or many are read."""

REGRESSION = KernelSource(encodings=("0:1",), dual=(1.0,), centre=0.0, lowest=0.0, highest=1.0)

EXAMPLES: dict[str, dict[str, Any]] = {
    **{kind.__name__: {"filters": 8, "expansion": 2.0} for kind in get_args(Block)},
    **{kind.__name__: {"filters": 8} for kind in (Conv, InvertedBottleneck)},
    "Architecture": {"stem": (Conv(filters=8),)},
    "RegisteredWeights": {"file": "file.h5", "sha256": "0" * 64},
    "CostModel": {"form": "structural", "weights": {NAMES[0]: 1.0}, "input_sizes": (32,)},
    "CostModelData": {"form": "structural", "weights": {NAMES[0]: 1.0}, "input_sizes": (32,)},
    "KernelSource": {"encodings": ("0:1",), "dual": (1.0,), "lowest": 0.0, "highest": 1.0},
    "AdaptationSource": {"regression": REGRESSION},
    "Adaptation": {
        "sources": (AdaptationSource(hardware="x", centre=0.0, scale=1.0, regression=REGRESSION),),
        "encodings": ("0:1",),
        "ms": (1.0,),
        "precision": (1.0,),
        "feature_centre": (0.0,),
        "feature_scale": (1.0,),
        "variances": {"sources": 1.0},
    },
    "ControllerSettings": {"steps": 10},
}
"""Fields that a struct needs beyond what its annotations say."""


def structs(kind: inspect.Type, outer: tuple[type[msgspec.Struct], ...] = ()) -> Iterator[type[msgspec.Struct]]:
    """All structs that a type is made of, itself included; a struct may be a part of itself (`outer`: those around the type)."""
    if isinstance(kind, inspect.StructType) and kind.cls not in outer:
        yield kind.cls
        for field in kind.fields:
            yield from structs(field.type, (*outer, kind.cls))
    for part in (getattr(kind, name, None) for name in ("item_type", "value_type")):
        if part is not None:
            yield from structs(part, outer)
    for part in (*getattr(kind, "types", ()), *getattr(kind, "item_types", ())):
        yield from structs(part, outer)


ALL = sorted({one for kind in FORMATS for one in structs(inspect.type_info(kind))}, key=lambda kind: kind.__name__)
CHECKED = [kind for kind in ALL if issubclass(kind, Checked)]


def example(kind: inspect.Type) -> Any:
    """A value that a type allows."""
    match kind:
        case inspect.IntType(ge=least):
            return max(1, least or 0)
        case inspect.FloatType(ge=least, gt=above):
            return max(0.5, least or 0, above or 0)
        case inspect.StrType():
            return "x"
        case inspect.BoolType():
            return False
        case inspect.LiteralType(values=(first, *_)):
            return first
        case inspect.StructType(cls=cls):
            return cls(**fields_of(cls))
        case inspect.UnionType(types=types, includes_none=optional):
            return None if optional else example(types[0])
        case inspect.TupleType(item_types=items):
            return tuple(map(example, items))
        case inspect.VarTupleType():
            return ()
    assert isinstance(kind, inspect.DictType)
    return {}


def fields_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Values for the required fields of a struct, and for those that it needs beyond."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    extra = {name: value for name, value in EXAMPLES.get(kind.__name__, {}).items() if name in kind.__struct_fields__}
    return {field.name: example(field.type) for field in info.fields if field.required} | extra


def test_every_struct_of_a_file_checks_itself() -> None:
    assert {kind.__name__ for kind in ALL if not issubclass(kind, Checked)} <= OWN_LIMITS


def test_errors_are_ones_that_msgspec_passes_on() -> None:
    assert all(issubclass(kind.field_error, ValueError) for kind in CHECKED)


@pytest.mark.parametrize("kind", CHECKED, ids=lambda kind: kind.__name__)
def test_python_refuses_what_json_refuses(kind: type[Checked]) -> None:
    smallest = fields_of(kind)
    assert kind(**smallest) == kind(**smallest)
    for field in kind.__struct_fields__:
        for value in VALUES:
            given = {**smallest, field: value}
            try:
                # What JSON cannot say is no value of it either.
                read = msgspec.convert(msgspec.to_builtins(given) if finite(value) else msgspec.UNSET, kind)
            except msgspec.ValidationError:
                with pytest.raises(MhmodelsError):
                    kind(**given)
            else:
                assert kind(**{**given, field: getattr(read, field)}) == read


def finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv(filters=8, kernel=99),
        lambda: Conv(filters=8, activation="foo"),  # type: ignore[arg-type]
        lambda: InvertedBottleneck(filters=8, expansion=math.nan),
        lambda: InvertedBottleneck(filters=8, squeeze_excite={"ratio": 1.0}),  # type: ignore[arg-type]
        lambda: SqueezeExcite(divisor=0),
        lambda: Rounding(divisor=0),
        lambda: get_architecture("multi_max").at(classes=2_000_000),
        lambda: Architecture(name="x", stem=(Conv(filters=8),), stages=[]),  # type: ignore[arg-type]
        lambda: Architecture(name="x", stem=(Conv(filters=8),) * 5000, stages=()),
    ],
)
def test_what_json_refuses_python_refuses(make: Any) -> None:
    with pytest.raises(ArchitectureError, match=r"expected|field"):
        make()


def test_each_package_raises_its_own_error() -> None:
    with pytest.raises(RecipeError, match=r"adam: field 'beta_1' is 1.0, expected a finite number of at least 0 and below 1"):
        Adam(beta_1=1.0)
    with pytest.raises(FieldError, match=r"tensor spec: field 'zero_point' is 0.5, expected a whole number"):
        TensorSpec(scale=0.1, zero_point=0.5)  # type: ignore[arg-type]


def test_a_small_description_of_a_huge_network_is_refused_before_anything_is_allocated() -> None:
    wide = (FusedInvertedBottleneck(filters=60_000, expansion=4.0),) * 2
    network = Architecture(name="huge", stem=(Conv(filters=60_000, kernel=3),), stages=(wide,), width_multiplier=16.0)
    assert complexity(network).params > 10**12  # is counted, not built
    large = Architecture(name="large", stem=(Conv(filters=65536),), stages=(), input_size=(4096, 4096), classes=2)
    for one in (network, large):
        with pytest.raises(ArchitectureError, match=r"has (a feature map of )?[0-9,]+ (parameters|elements), expected at most"):
            create_model(one)
        with pytest.raises(ArchitectureError, match="expected at most"):
            random_graph(one)
