"""Equations 4 and 5 and the latency table: properties, missing values, refusals."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mhmodels.errors import UnknownNameError
from mhmodels.hardware.measurement import Measurement, Turns
from mhmodels.metrics import LatencyTable, MetricsError, f_avg, f_max

NAN, INF = math.nan, math.inf

times = st.floats(1e-3, 1e4)
positive = hnp.arrays(np.float64, st.integers(1, 8), elements=times)


@st.composite
def latencies_and_reference(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    models, hardware = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    grid = draw(hnp.arrays(np.float64, (models, hardware), elements=times))
    return grid, draw(hnp.arrays(np.float64, hardware, elements=times))


def test_by_hand() -> None:
    latency, c = [[10.0, 30.0], [20.0, 5.0]], [10.0, 20.0]
    np.testing.assert_allclose(f_avg(latency, c), [1.25, 1.125])
    np.testing.assert_allclose(f_max(latency, c), [1.5, 2.0])
    np.testing.assert_allclose(f_avg(latency, c, [3, 1]), [(3 * 1 + 1.5) / 4, (3 * 2 + 0.25) / 4])
    np.testing.assert_allclose(f_max(latency, c, [3, 1]), [1.0, 2.0])
    assert f_avg([10.0, 30.0], c) == pytest.approx(1.25)


@given(latencies_and_reference())
def test_maximum_is_at_least_average(data: tuple[np.ndarray, np.ndarray]) -> None:
    assert (f_max(*data) >= f_avg(*data) * (1 - 1e-12)).all()


@given(latencies_and_reference(), st.floats(1e-3, 1e3))
def test_units_do_not_matter_and_slower_scales(data: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    latency, c = data
    for norm in (f_avg, f_max):
        np.testing.assert_allclose(norm(latency * factor, c * factor), norm(latency, c), rtol=1e-9)
        np.testing.assert_allclose(norm(latency * factor, c), norm(latency, c) * factor, rtol=1e-9)


@given(latencies_and_reference(), st.randoms(use_true_random=False))
def test_order_of_hardware_does_not_matter(data: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    latency, c = data
    order = list(range(c.size))
    random.shuffle(order)
    for norm in (f_avg, f_max):
        np.testing.assert_allclose(norm(latency[:, order], c[order]), norm(latency, c), rtol=1e-9)


@given(positive, st.data())
def test_reference_scores_one_whatever_the_weights(c: np.ndarray, data: st.DataObject) -> None:
    weights = data.draw(hnp.arrays(np.float64, c.shape, elements=st.floats(0, 100)).filter(lambda w: w.max() > 1e-6))
    assert f_avg(c, c, weights) == pytest.approx(1)
    assert f_max(c, c, weights) == pytest.approx(1)


@given(latencies_and_reference(), st.floats(1e-3, 1e3))
def test_equal_weights_change_nothing(data: tuple[np.ndarray, np.ndarray], weight: float) -> None:
    latency, c = data
    for norm in (f_avg, f_max):
        np.testing.assert_allclose(norm(latency, c, np.full(c.size, weight)), norm(latency, c), rtol=1e-9)


@given(latencies_and_reference(), st.data())
def test_removed_hardware_is_as_if_it_had_never_been_there(data: tuple[np.ndarray, np.ndarray], draw: st.DataObject) -> None:
    latency, c = data
    out = draw.draw(st.integers(0, c.size))
    infinite = np.insert(c, out, INF)
    weights = np.insert(np.ones(c.size), out, 0.0)
    for value in (5.0, NAN):
        wider = np.insert(latency, out, value, axis=1)
        for norm in (f_avg, f_max):
            expected = norm(latency, c)
            np.testing.assert_allclose(norm(wider, infinite), expected)
            np.testing.assert_allclose(norm(wider, np.insert(c, out, 1.0), weights), expected)


@given(latencies_and_reference())
def test_weight_to_zero_is_removal_and_weight_to_infinity_is_that_hardware_alone(data: tuple[np.ndarray, np.ndarray]) -> None:
    latency, c = data
    for norm in (f_avg, f_max):
        weights = np.ones(c.size)
        weights[0] = 1e-14
        if c.size > 1:
            np.testing.assert_allclose(norm(latency, c, weights), norm(latency[:, 1:], c[1:]), rtol=1e-4)
        weights[0] = 1e18
        np.testing.assert_allclose(norm(latency, c, weights), latency[:, 0] / c[0], rtol=1e-3)


def test_missing_latency_gives_no_norm() -> None:
    latency, c = [[1.0, NAN], [1.0, 2.0]], [1.0, 1.0]
    for norm in (f_avg, f_max):
        assert np.isnan(norm(latency, c)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("latency", "reference", "weights", "message"),
    [
        ([1.0, 0.0], [1, 1], None, "latency at index 1 is 0.0, expected a finite latency above 0"),
        ([[1.0, 1.0], [1.0, -2.0]], [1, 1], None, "latency at index 1, 1 is -2.0"),
        ([1.0, INF], [1, 1], None, "latency at index 1 is inf"),
        ([1.0, 1.0], [1, 0], None, "reference latency at index 1 is 0.0"),
        ([1.0, 1.0], [-1, 1], None, "reference latency at index 0 is -1.0"),
        ([1.0, 1.0], [NAN, 1], None, "reference latency at index 0 is nan"),
        ([1.0, 1.0], [INF, INF], None, "all 2 hardware are removed"),
        ([1.0, 1.0], [1, 1], [0, 0], "all 2 hardware are removed"),
        ([1.0, 1.0], [1, INF], [0, 1], "all 2 hardware are removed"),
        ([1.0, 1.0], [1, 1], [1, -1], "weight at index 1 is -1.0"),
        ([1.0, 1.0], [1, 1], [1, NAN], "weight at index 1 is nan"),
        ([1.0, 1.0], [1, 1], [1], "weights have shape"),
        ([1.0, 1.0], [1, 1, 1], None, "latencies have shape"),
        ([], [], None, "latencies have shape"),
    ],
)
def test_refusals(latency: Any, reference: Any, weights: Any, message: str) -> None:
    for norm in (f_avg, f_max):
        with pytest.raises(MetricsError, match=message.replace("(", r"\(")):
            norm(latency, reference, weights)


def table() -> LatencyTable:
    return LatencyTable(["a", "b", "c"], ["x", "y"], [[1.0, 2.0], [3.0, NAN], [2.0, 2.0]], "measured")


def test_table_reference_by_model_mapping_and_values() -> None:
    by_model = table().norms("a")
    np.testing.assert_allclose(by_model.average, [1.0, NAN, 1.5])
    np.testing.assert_allclose(by_model.maximum, [1.0, NAN, 2.0])
    for reference in ({"y": 2.0, "x": 1.0, "unused": 5.0}, [1.0, 2.0], np.array([1.0, 2.0])):
        np.testing.assert_array_equal(table().norms(reference).average, by_model.average)
    with pytest.raises(UnknownNameError, match="unknown model 'z'"):
        table().norms("z")
    with pytest.raises(UnknownNameError, match="hardware 'y'"):
        table().norms({"x": 1.0})
    with pytest.raises(MetricsError, match="reference has shape"):
        table().norms([1.0])


def test_reference_that_did_not_run_gives_no_norms_unless_removed() -> None:
    assert np.isnan(table().norms("b").average).all()
    assert np.isnan(table().norms("b").maximum).all()
    np.testing.assert_allclose(table().norms("b", [1, 0]).average, [1 / 3, 1, 2 / 3])
    with pytest.raises(MetricsError, match="weights have shape"):
        table().norms("a", [1, 1, 1])


def test_table_select_lookup_and_immutability() -> None:
    part = table().select(["c", "a"], ["y"])
    assert part.models == ("c", "a")
    np.testing.assert_array_equal(part.latency_ms, [[2.0], [2.0]])
    assert table().latency("b", "x") == 3.0
    assert table().kind("b", "x") == "measured"
    with pytest.raises(ValueError, match="read-only"):
        table().latency_ms[0, 0] = 5.0
    with pytest.raises(UnknownNameError, match="unknown hardware 'z'"):
        table().select(hardware=["z"])
    assert LatencyTable([], ["x"], [], "measured").latency_ms.shape == (0, 1)


@pytest.mark.parametrize(
    ("latency", "kinds", "message"),
    [
        ([[0.0, 1.0]], "measured", "'a' on 'x' is 0.0 ms"),
        ([[1.0, -1.0]], "measured", "'a' on 'y' is -1.0 ms"),
        ([[1.0, INF]], "measured", "'a' on 'y' is inf ms"),
        ([[1.0, 2.0]], [["measured", None]], "'a' on 'y' has kind None, expected one of measured, estimated"),
        ([[1.0, 2.0]], "guessed", "'a' on 'x' has kind 'guessed'"),
        ([[1.0, 2.0]], [["measured"]], "shape"),
        ([[1.0, 2.0], [1.0, 2.0]], "measured", "shape"),
        ([1.0, 2.0], "measured", "shape"),
    ],
)
def test_table_refusals(latency: Any, kinds: Any, message: str) -> None:
    with pytest.raises(MetricsError, match=message):
        LatencyTable(["a"], ["x", "y"], latency, kinds)


def test_names_only_once() -> None:
    with pytest.raises(MetricsError, match="model 'a' is there twice"):
        LatencyTable(["a", "a"], ["x"], [[1.0], [2.0]], "measured")
    with pytest.raises(MetricsError, match="hardware 'x' is there twice"):
        LatencyTable(["a"], ["x", "x"], [[1.0, 2.0]], "measured")


def measurement(model: str, hardware: str, ms: float | None, time: str = "2025-01-01T00:00:00Z", **fields: Any) -> Measurement:
    defaults = {"kind": "measured", "format": "float32", "device": "cpu one", "reason": "" if ms else "operators left"}
    rest = {"model_hash": "0", "file_bytes": 1, "time": time, "median_ms": ms}
    return Measurement(model=model, hardware=hardware, **(rest | defaults | fields))


def test_table_from_measurements() -> None:
    rows = [
        measurement("a", "x", 1.0),
        measurement("a", "y", 2.0, kind="estimated", device="npu"),
        measurement("b", "x", None),
        measurement("a", "x", 1.5, time="2025-02-01T00:00:00Z"),
    ]
    result = LatencyTable.from_measurements(rows)
    assert (result.models, result.hardware) == (("a", "b"), ("x", "y"))
    np.testing.assert_array_equal(result.latency_ms, [[1.5, 2.0], [NAN, NAN]])
    assert result.kinds == (("measured", "estimated"), ("measured", None))
    assert LatencyTable.from_measurements(rows, ["b", "c"], ["y"]).latency_ms.shape == (2, 1)
    assert LatencyTable.from_measurements(reversed(rows), ["a"], ["x"]).latency("a", "x") == 1.5


@pytest.mark.parametrize(
    ("noisy", "reference", "weights", "marks"),
    [
        ((), "a", None, (False, False, False)),
        ((("b", "x"),), "a", None, (False, True, False)),
        ((("a", "y"),), "a", None, (True, True, True)),
        ((("a", "y"),), {"x": 1.0, "y": 1.0}, None, (True, False, False)),
        ((("a", "y"),), "a", (1.0, 0.0), (False, False, False)),
        ((("b", "y"),), {"x": 1.0, "y": math.inf}, None, (False, False, False)),
        ((("b", "y"), ("c", "x")), (1.0, 1.0), None, (False, True, True)),
    ],
)
def test_norms_carry_the_mark_of_their_parts(noisy: Any, reference: Any, weights: Any, marks: tuple[bool, ...]) -> None:
    """Of the model and of the reference, on hardware that counts."""
    rows = [measurement(model, place, 1.0, noisy=(model, place) in noisy) for model in "abc" for place in "xy"]
    result = LatencyTable.from_measurements(rows)
    assert tuple(result.noisy_norms(reference, weights)) == marks
    assert tuple(result.select(["c", "b"]).noisy[:, 1]) == (("c", "y") in noisy, ("b", "y") in noisy)


def test_marks_have_the_shape_of_the_table() -> None:
    with pytest.raises(MetricsError, match="3 marks of noise, expected one for each of"):
        LatencyTable(["a"], ["x", "y"], [[1.0, 2.0]], "measured", [[True, False, True]])


@pytest.mark.parametrize("field", ["device", "format", "threads", "runtime", "kind"])
def test_latencies_of_different_places_never_share_a_column(field: str) -> None:
    other: Any = {"threads": 2, "kind": "simulated"}.get(field, "another")
    rows = [measurement("a", "x", 1.0), measurement("b", "x", 2.0, **{field: other})]
    with pytest.raises(MetricsError, match=f"'x' do not compare: field '{field}' is .* for 'a' and .* for 'b'"):
        LatencyTable.from_measurements(rows)
    rows[1] = measurement("b", "x", 2.0, kind="predicted", device="cost model")
    assert LatencyTable.from_measurements(rows).kind("b", "x") == "predicted"


def test_metrics_import_is_light() -> None:
    code = "import sys, mhmodels.metrics, mhmodels.published; print({'tensorflow', 'keras', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_burst_and_sustained_rows_of_a_phone_never_share_a_column() -> None:
    rows = [
        measurement(name, "phone/gpu", 1.0, configuration={"mode": mode}) for name, mode in (("a", "burst"), ("b", "sustained"))
    ]
    with pytest.raises(MetricsError, match=r"field 'configuration\.mode' is 'burst' for 'a' and 'sustained' for 'b'"):
        LatencyTable.from_measurements(rows)
    turns = Turns(model="r", model_hash="r" * 64, own_ms=(1.0,), reference_ms=(1.0,))
    with pytest.raises(MetricsError, match=r"field 'turns\.model_hash' is missing for 'a'"):
        LatencyTable.from_measurements([measurement("a", "x", 1.0), measurement("b", "x", 1.0, turns=turns)])
