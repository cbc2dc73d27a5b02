"""Architectures as data: files round-trip, identities are stable, wrong values are named, widths round as published."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mhmodels import Architecture, get_architecture, list_models, load_architecture
from mhmodels.architecture import (
    Conv,
    Head,
    InvertedBottleneck,
    Preprocessing,
    Rounding,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.errors import ArchitectureError, FileFormatError, MhmodelsError
from mhmodels.preprocessing.pictures import preprocess
from tests.zoo_strategies import ARCHITECTURES, ROUNDINGS


@given(ARCHITECTURES)
def test_json_round_trip(architecture: Architecture) -> None:
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert again.architecture_id == architecture.architecture_id
    assert again.to_json() == architecture.to_json()


@given(ARCHITECTURES, st.text(st.characters(whitelist_categories=("L",)), min_size=1), st.sampled_from([0.5, 0.9]))
def test_identity_is_of_the_content(architecture: Architecture, name: str, crop: float) -> None:
    renamed = msgspec.structs.replace(architecture, name=name, preprocessing=Preprocessing(crop_fraction=crop))
    assert renamed.architecture_id == architecture.architecture_id
    assert architecture.at(classes=architecture.classes + 1).architecture_id != architecture.architecture_id
    assert architecture.at(input_size=31 + sum(architecture.input_size)).architecture_id != architecture.architecture_id


def test_whole_numbers_and_floats_are_one_identity() -> None:
    def network(ratio: float, width: float) -> Architecture:
        return Architecture(
            name="x",
            stem=(Conv(filters=8),),
            stages=((InvertedBottleneck(filters=8, expansion=ratio),),),
            width_multiplier=width,
        )

    assert network(6, 1).architecture_id == network(6.0, 1.0).architecture_id
    assert network(6, 1) == network(6.0, 1.0)
    assert network(6.5, 1).architecture_id != network(6, 1).architecture_id


def test_identities_of_the_zoo_are_distinct_and_equal_in_another_process() -> None:
    identities = {name: get_architecture(name).architecture_id for name in list_models()}
    # Equal networks have two names only where pictures are prepared in two ways.
    prepared = [(identity, get_architecture(name).preprocessing) for name, identity in identities.items()]
    assert len(set(prepared)) == len(prepared)
    program = (
        "import json, mhmodels; "
        "print(json.dumps({name: mhmodels.get_architecture(name).architecture_id for name in mhmodels.list_models()}))"
    )
    environment = {"PYTHONHASHSEED": "1"}
    output = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    assert json.loads(output) == identities


def test_identities_do_not_change() -> None:
    """Measurements and weights refer to them: a change here orphans every stored one."""
    known = {
        "multi_max": "2dc3a6682aaf08f0",
        "multi_avg.tunas": "1685a6deeebeb6a5",
        "mobilenet_v1": "d9bf6e5353c5bfd5",
        "mobilenet_v3_large": "7faff132b1969a08",
        "mobilenet_edgetpu": "274434622de095a4",
    }
    assert {name: get_architecture(name).architecture_id for name in known} == known


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("stages", 1, 0, "kernel"), 0, ["stages[1][0].kernel", "found '0'", "inverted_bottleneck"]),
        (("stages", 1, 0, "kernel"), "3", ["stages[1][0].kernel", "Expected `int`", "inverted_bottleneck"]),
        (("stages", 0, 0, "filters"), 10**9, ["stages[0][0].filters", "65536"]),
        (("stages", 1, 0, "colour"), "red", ["stages[1][0]", "colour"]),
        (("stages", 1, 0, "type"), "transformer", ["stages[1][0]", "transformer"]),
        (("stages", 1, 0, "expanded_filters"), 64, ["stages[1][0]", "inverted_bottleneck", "expanded_filters"]),
        (("stem", 0, "groups"), 5, ["stem[0]", "conv", "groups", "5"]),
        (("stem", 0, "groups"), 10**400, ["stem[0]"]),
        (("stem", 0, "groups"), 10**9, ["stem[0].groups", "65536"]),
        (("stages", 1, 0, "groups"), 10**9, ["stages[1][0].groups", "65536"]),
        (("stages", 1, 0, "squeeze_excite"), {"divisor": 10**9}, ["stages[1][0].squeeze_excite.divisor", "65536"]),
        (("rounding",), {"divisor": 0}, ["rounding.divisor", "found '0'"]),
        (("rounding",), {"divisor": 32, "minimum": 8}, ["rounding", "minimum", "multiple of divisor 32"]),
        (("width_multiplier",), 0, ["width multiplier"]),
        (("width_multiplier",), 1e9, ["width multiplier"]),
        (("input_size",), [224, 31], ["input size", "31"]),
        (("input_size",), [224], ["input_size"]),
        (("classes",), 0, ["classes"]),
        (("name",), "", ["name"]),
        (("preprocessing",), {"std": [1, 0, 1]}, ["preprocessing", "std"]),
        (("preprocessing",), {"mean": [1.0]}, ["preprocessing", "mean"]),
    ],
)
def test_wrong_fields_are_named(path: tuple[str | int, ...], value: object, expected: list[str]) -> None:
    document = json.loads(get_architecture("multi_max").to_json())
    node = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(FileFormatError) as caught:
        Architecture.from_json(json.dumps(document), source="found.json")
    message = str(caught.value)
    assert message.startswith("found.json: ")
    assert all(part in message for part in expected), message


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b'{"format": "mhmodels.architecture/2"}', b"\xff\xfe", b"[" * 9999]
)
def test_files_of_another_kind(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(damage)
    with pytest.raises(FileFormatError, match=r"broken\.json"):
        load_architecture(path)


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    whole = get_architecture("multi_avg").to_json()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"half\.json: not a JSON file"):
        load_architecture(path)
    with pytest.raises(FileFormatError, match=r"none\.json: cannot be read"):
        load_architecture(tmp_path / "none.json")
    with pytest.raises(FileFormatError, match="cannot be read"):
        load_architecture(tmp_path)


def test_wrong_values_in_python() -> None:
    with pytest.raises(ArchitectureError, match="conv: field 'kernel' is True"):
        Conv(filters=8, kernel=True)
    with pytest.raises(ArchitectureError, match="inverted_bottleneck: field 'stride' is 0"):
        InvertedBottleneck(filters=8, stride=0)
    with pytest.raises(ArchitectureError, match="field 'stride' is 2 but both depthwise kernels are 0"):
        UniversalInvertedBottleneck(filters=8, expansion=2, stride=2)
    with pytest.raises(ArchitectureError, match="both empty"):
        Architecture(name="x", stem=(), stages=())
    with pytest.raises(ArchitectureError, match="width multiplier is nan"):
        get_architecture("multi_max").at(width_multiplier=math.nan)
    with pytest.raises(ArchitectureError, match=r"input size is 224\.0"):
        get_architecture("multi_max").at(input_size=(224, 224.0))  # type: ignore[arg-type]


def test_defaults_stay_out_of_the_file() -> None:
    """So that a field which is added later changes no identity."""
    text = Architecture(name="x", stem=(Conv(filters=8),), stages=(), head=Head()).to_json().decode()
    assert json.loads(text) == {
        "format": "mhmodels.architecture/1",
        "name": "x",
        "stem": [{"type": "conv", "filters": 8}],
        "stages": [],
    }
    assert "expansion" not in text


WIDE = st.floats(0.01, 5000, allow_nan=False)


@given(ROUNDINGS, WIDE)
def test_rounded_widths_are_whole_multiples_above_the_minimum(rounding: Rounding, value: float) -> None:
    rounded = rounding(value)
    assert rounded >= rounding.minimum
    assert rounded % rounding.divisor == 0


@given(ROUNDINGS, WIDE, WIDE)
def test_rounding_is_monotone(rounding: Rounding, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert rounding(low) <= rounding(high)


@given(st.sampled_from([1, 8, 32]), WIDE)
def test_guard_loses_at_most_ten_percent(divisor: int, value: float) -> None:
    rounded = Rounding(divisor=divisor, minimum=divisor)(value)
    assert rounded >= 0.9 * value
    assert rounded <= max(divisor, value + divisor)


@given(st.sampled_from([1, 8, 32]), WIDE)
def test_half_up_is_the_nearest_multiple(divisor: int, value: float) -> None:
    rounded = Rounding(divisor=divisor, minimum=divisor, mode="half_up")(value)
    assert rounded == divisor or abs(rounded - value) <= divisor / 2


@given(WIDE)
def test_floor_cuts_off(value: float) -> None:
    assert Rounding(divisor=1, minimum=1, mode="floor")(value) == max(1, int(value))


def test_multiples_of_the_divisor_stay() -> None:
    for mode in ("guarded", "half_up", "floor"):
        assert [Rounding(mode=mode)(value) for value in (8, 16, 96, 1280)] == [8, 16, 96, 1280]


def test_squeeze_excite_defaults_are_mobilenet_v3s() -> None:
    assert SqueezeExcite() == SqueezeExcite(ratio=0.25, of="expanded", divisor=8, activation="relu", gate="hard_sigmoid")


@pytest.mark.parametrize("value", [1e-60, 5e-39, 1e-7, 0.0, -1.0, 1e7, 1e300, math.inf, math.nan])
def test_a_std_that_float32_cannot_divide_by(value: float) -> None:
    with pytest.raises(ArchitectureError, match=r"preprocessing: field 'std' is .*, expected .* from 1e-06 to 1000000"):
        Preprocessing(std=(1.0, value, 1.0))
    if not math.isfinite(value):
        return
    document = json.loads(get_architecture("multi_max").to_json())
    document["preprocessing"]["std"] = [value] * 3
    with pytest.raises(MhmodelsError, match=r"preprocessing\.std\[0\]"):
        Architecture.from_json(json.dumps(document))


@pytest.mark.parametrize("value", [1e300, -3e38, 1e7, -math.inf, math.nan])
def test_a_mean_that_is_no_pixel(value: float) -> None:
    with pytest.raises(ArchitectureError, match=r"preprocessing: field 'mean' is .*, expected .* from -1000000"):
        Preprocessing(mean=(value, 0.0, 0.0))


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, math.nan])
def test_a_crop_that_is_no_share(value: float) -> None:
    with pytest.raises(ArchitectureError, match=r"preprocessing: field 'crop_fraction' is .* above 0 and at most 1"):
        Preprocessing(crop_fraction=value)


def test_unusual_preprocessing_is_fine() -> None:
    for mean, std in ((0.0, 1.0), (0.0, 255.0), (-128.0, 1.0), (0.0, 1 / 257), (32768.0, 65535.0)):
        rule = Preprocessing(mean=(mean,) * 3, std=(std,) * 3)
        assert np.isfinite(preprocess(np.full((1, 2, 2, 3), 255, np.uint8), rule)).all()
