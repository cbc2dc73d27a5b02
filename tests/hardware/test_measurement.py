"""What a row may be."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import Measurement

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
