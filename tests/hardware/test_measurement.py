"""What a row may be."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import Measurement
from mhmodels.hardware.measurement import Turns
from mhmodels.hardware.mixing import mixture

FIELDS: dict[str, Any] = {
    "model_hash": "ab" * 32, "model": "net", "hardware": "host-cpu-int8", "format": "int8", "kind": "measured",
    "file_bytes": 10, "device": "cpu", "time": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize("latency", [0.0, -1.0, math.nan, math.inf, "3"])
def test_no_latency_of_that_value(latency: Any) -> None:
    with pytest.raises(MeasurementError, match="median_ms"):
        Measurement(**FIELDS, median_ms=latency)


@pytest.mark.parametrize("field", ["mean_ms", "min_ms", "max_ms", "std_ms", "p95_ms", "init_ms", "first_ms", "mad_ratio"])
def test_no_other_time_is_nan(field: str) -> None:
    with pytest.raises(MeasurementError, match=field):
        Measurement(**FIELDS, median_ms=1.0, **{field: math.nan})


def test_either_a_latency_or_a_reason() -> None:
    assert not Measurement(**FIELDS, reason="operators on the CPU").supported
    assert Measurement(**FIELDS, median_ms=1.0).supported
    with pytest.raises(MeasurementError, match="reason"):
        Measurement(**FIELDS)
    with pytest.raises(MeasurementError, match="reason"):
        Measurement(**FIELDS, median_ms=1.0, reason="but why")


def test_json_round_trip() -> None:
    row = Measurement(**FIELDS, median_ms=1.25, configuration={"kernels": "XNNPACK"}, device_state={"load": 0.5, "cores": [1]})
    assert msgspec.json.decode(msgspec.json.encode(row), type=Measurement) == row


def test_a_null_setting_is_the_same_as_an_absent_one() -> None:
    rows = [Measurement(**FIELDS, median_ms=1.0, configuration=settings) for settings in ({"a": None}, {})]
    assert rows[0].conditions() == rows[1].conditions()
    assert rows[0].environment == rows[1].environment
    assert rows[0].request() == rows[1].request()
    assert rows[0].configuration == {"a": None}  # the document stays as it came
    assert mixture(rows) is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("kind", {"kind": "estimated"}), ("device", {"device": "cpu 2"}), ("format", {"format": "uint8"}),
        ("threads", {"threads": 2}), ("batch", {"batch": 2}), ("runtime", {"runtime": "LiteRT 9"}), ("driver", {"driver": "x"}),
        ("compiler", {"compiler": "x"}), ("configuration.mode", {"configuration": {"mode": "sustained"}}),
        ("configuration.fixed_clocks", {"configuration": {"mode": "burst", "fixed_clocks": True}}),
        ("turns.model_hash", {"turns": Turns(model="r", model_hash="r" * 64, own_ms=(1.0,), reference_ms=(2.0,))}),
    ],
)  # fmt: skip
def test_rows_differ_by_every_condition(name: str, change: dict[str, Any]) -> None:
    one = Measurement(**FIELDS, median_ms=1.0, configuration={"mode": "burst"})
    other = msgspec.structs.replace(one, **change)
    found = mixture([one, other])
    assert found is not None
    assert [difference[0] for difference in found.differing] == [name]
    assert one.request() != other.request()
    # Where a network does not run, and where nothing ran, no conditions keep rows apart.
    assert mixture([one, msgspec.structs.replace(other, median_ms=None, reason="no", kind="measured")]) is None
    assert mixture([one, msgspec.structs.replace(other, kind="predicted")]) is None
