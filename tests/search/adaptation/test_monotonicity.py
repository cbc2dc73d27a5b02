"""Decisions between reusing, adapting and measuring more, for two devices and for tables of devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.errors import FieldError
from mhmodels.search import CostModelError, MonotonicityMatrix, monotonicity, monotonicity_matrix
from mhmodels.search.adaptation.monotonicity import MOST_NEEDED, networks_needed, three_decimals
from mhmodels.search.adaptation.rank_interval import rank_interval

DATA = Path(__file__).parents[4] / "shared" / "data"
NAN = float("nan")


def devices(n: int, noise: float, seed: int = 0) -> tuple[Any, Any]:
    """Latencies of the same networks, whose logarithms differ by normal noise."""
    random = np.random.default_rng(seed)
    first = random.normal(size=n)
    return np.exp(first), np.exp(first + noise * random.normal(size=n))


def test_the_limits_of_the_interval_decide() -> None:
    alike, unlike = monotonicity(*devices(50, 0.1)), monotonicity(*devices(50, 1.5))
    assert (alike.decision, alike.needed) == ("reuse", None)
    assert alike.low >= 0.9
    assert (unlike.decision, unlike.needed) == ("adapt", None)
    assert unlike.high < 0.9
    between = monotonicity(*devices(20, 0.4))
    assert between.decision == "measure more"
    assert between.low < 0.9 <= between.high
    interval = rank_interval(*devices(20, 0.4))
    assert (between.n, between.spearman, between.low, between.high) == (20, interval.spearman, interval.low, interval.high)


def test_a_sample_above_the_threshold_is_not_reused_on_its_own() -> None:
    """Ten networks with a correlation of 0.95: the paper's rule reuses, the interval does not."""
    first, second = np.arange(1.0, 11), np.array([1.0, 3, 2, 4, 6, 5, 7, 9, 8, 10])
    found = monotonicity(first, second)
    assert found.spearman > 0.95
    assert found.decision == "measure more"


def test_threshold_and_confidence_move_the_decision() -> None:
    first, second = devices(20, 0.4)
    found = monotonicity(first, second)
    assert monotonicity(first, second, threshold=found.low).decision == "reuse"
    assert monotonicity(first, second, threshold=np.nextafter(found.low, 1)).decision == "measure more"
    assert monotonicity(first, second, threshold=found.high).decision == "measure more"
    assert monotonicity(first, second, threshold=np.nextafter(found.high, 1)).decision == "adapt"
    wider = monotonicity(first, second, confidence=0.99)
    assert wider.low < found.low < found.high < wider.high


@pytest.mark.parametrize(("noise", "decision"), [(0.3, "reuse"), (0.4, "reuse"), (0.6, "adapt"), (0.8, "adapt")])
def test_about_the_number_of_networks_that_is_asked_for_decides(noise: float, decision: str) -> None:
    """Where the correlation stays as it is on average, some of the samples of that size decide, and none the other way."""
    population = rank_interval(*devices(50_000, noise, 99))
    sample = population._replace(n=10, jackknife_error=population.jackknife_error * np.sqrt(50_000 / 10))
    needed = networks_needed(sample, 0.9, 0.9)
    assert needed is not None
    decided = [monotonicity(*devices(needed, noise, seed)).decision for seed in range(50)]
    assert 10 <= decided.count(decision) <= 35  # type: ignore[arg-type]
    assert decided.count("measure more") == 50 - decided.count(decision)  # type: ignore[arg-type]


def test_the_number_of_networks_is_told_and_above_that_of_the_sample() -> None:
    found = monotonicity(*devices(20, 0.4))
    assert found.needed is not None
    assert 20 < found.needed <= MOST_NEEDED
    assert f"about {found.needed} networks in total would decide if the correlation stays" in found.reason


def test_no_number_is_asked_for_where_the_correlation_lies_on_the_threshold() -> None:
    first, second = devices(200, 0.5)
    found = monotonicity(first, second, threshold=monotonicity(first, second).spearman - 1e-4)
    assert (found.decision, found.needed) == ("measure more", None)
    assert "1000 networks do not decide; adapt, or choose another threshold" in found.reason


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.8999, "0.899"), (0.9, "0.900"), (0.90001, "0.900"), (0.9869, "0.986"), (1.0, "1.000"), (-0.0004, "-0.001")],
)
def test_numbers_are_shown_on_their_side_of_a_threshold(value: float, shown: str) -> None:
    assert three_decimals(value) == shown


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([1.0, 2, 3, 4], r"^4 networks .* expected at least 5: measure more networks"),
        ([2.0] * 6, r"argument 'first_ms': the latencies of all 6 networks are 2 ms, expected different"),
        ([1.0, 2, NAN, 4, 5, NAN], r"argument 'first_ms': 2 of 6 latencies are NaN; .* monotonicity_matrix"),
        ([1.0, 2, -3, 4, 0, 6], r"2 of 6 latencies are not finite numbers above 0, the first is -3 at index 2"),
        ([0.0, 2, 3, 4, 5, 6], r"1 of 6 .* is 0 at index 0"),
        ([1.0, 2, 3, 4, 5, np.inf], r"1 of 6 .* is inf at index 5"),
        (["a"] * 6, "argument 'first_ms' is not an array of numbers"),
        (np.ones((2, 3)), r"argument 'first_ms' has shape \(2, 3\), expected \(n,\)"),
    ],
)
def test_latencies_that_cannot_be_ranked_are_refused(first: Any, message: str) -> None:
    second = np.linspace(1, 2, len(first)) if np.ndim(first) == 1 else np.linspace(1, 2, 6)
    with pytest.raises(CostModelError, match=message):
        monotonicity(first, second)
    with pytest.raises(CostModelError, match=message.replace("first_ms", "second_ms")):
        monotonicity(second, first)


def test_latencies_of_different_networks_are_refused() -> None:
    with pytest.raises(CostModelError, match="have 6 and 7 latencies, expected those of the same networks"):
        monotonicity(np.arange(1, 7), np.arange(1, 8))


@pytest.mark.parametrize("option", ["threshold", "confidence"])
@pytest.mark.parametrize("value", [0, 1, -0.5, 1.5, NAN])
def test_options_outside_of_their_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(CostModelError, match=f"argument '{option}' is {value}, expected a number above 0 and below 1"):
        monotonicity(*devices(10, 0.1), **{option: value})
    with pytest.raises(CostModelError, match=f"argument '{option}'"):
        monotonicity_matrix(dict(zip("ab", devices(10, 0.1), strict=True)), **{option: value})


def table() -> dict[str, Any]:
    """Four devices of 30 networks: c has every third network, d has the first four."""
    first, second = devices(30, 0.2)
    sparse, short = np.full(30, NAN), np.full(30, NAN)
    sparse[::3] = devices(30, 1.0, 1)[1][::3]
    short[:4] = 1.0, 2, 3, 4
    return {"a": first, "b": second, "c": sparse, "d": short}


def test_devices_are_compared_on_the_networks_that_both_have() -> None:
    columns = table()
    found = monotonicity_matrix(columns)
    assert found.hardware == ("a", "b", "c", "d")
    by_names = {(pair.first, pair.second): pair for pair in found.pairs}
    assert list(by_names) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert [pair.n for pair in found.pairs] == [30, 10, 4, 10, 4, 2]
    alone = monotonicity(columns["a"][::3], columns["c"][::3])
    pair = by_names["a", "c"]
    assert (pair.spearman, pair.low, pair.high, pair.decision) == (alone.spearman, alone.low, alone.high, alone.decision)


def test_the_matrix_is_symmetric_with_ones_and_null_where_there_are_too_few() -> None:
    found = monotonicity_matrix(table())
    matrix = found.matrix
    assert all(matrix[i][j] == matrix[j][i] for i in range(4) for j in range(4))
    assert all(matrix[i][i] == 1 for i in range(4))
    assert matrix[3][:3] == (None, None, None)
    last = found.pairs[-1]
    assert (last.spearman, last.low, last.high, last.decision, last.needed) == (None,) * 5
    assert last.reason.startswith("2 networks have a latency on both devices, expected at least 5")


def test_a_device_with_equal_latencies_does_not_hide_the_others() -> None:
    found = monotonicity_matrix(table() | {"d": np.full(30, 7.0)})
    assert [pair.decision is None for pair in found.pairs] == [False, False, True, False, True, True]
    assert "d: the latencies of all 30 networks are 7 ms" in found.pairs[2].reason


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "has 0 devices, expected at least two"),
        ({"a": [1.0, 2]}, "has 1 devices"),
        ({"a": [1.0, 2], "b": [1.0]}, r"numbers of networks differ \(\{'a': 2, 'b': 1\}\)"),
        ({"a": [1.0, 2], "b": [1.0, -1]}, r"argument 'latencies_ms\['b'\]': 1 of 2 latencies .* is -1 at index 1"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(CostModelError, match=message):
        monotonicity_matrix(columns)


def test_results_become_json_and_come_back() -> None:
    found = monotonicity_matrix(table())
    text = msgspec.json.encode(found)
    assert msgspec.json.decode(text, type=MonotonicityMatrix) == found
    assert json.loads(text)["matrix"][3] == [None, None, None, 1.0]
    with pytest.raises(FieldError, match="field 'low' is 2"):
        msgspec.structs.replace(monotonicity(*devices(10, 0.1)), low=2.0).__post_init__()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the latency tables are not here ({DATA})")
def test_published_correlations_are_reproduced() -> None:
    """Correlations of NAS-Bench-201 with Myriad VPU as in facts/proxy_and_blocks.md 1.4; entries of -1 are masked."""
    with np.load(DATA / "nasbench201_latency.npz", allow_pickle=False) as stored:
        ms, names = stored["latency_ms"].astype(np.float64), stored["devices"].tolist()
    ms[~(ms > 0)] = NAN
    columns = {name: ms[:, names.index(name)] for name in ("myriadvpu_openvino19r2", "edgegpu_tx2", "edgetpu_hwnas", "pixel3")}
    found = monotonicity_matrix(columns)
    assert found.matrix[0][1:] == pytest.approx((0.758, 0.897, 0.611), abs=0.002)
    assert [pair.decision for pair in found.pairs[:3]] == ["adapt", "measure more", "adapt"]
    assert found.pairs[1].n == 1740
