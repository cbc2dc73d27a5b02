"""Timings in turns with a reference network: what they are worth on a machine that changes its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import Measurement, get_hardware, measure, prepare
from mhmodels.hardware.host.turns import Turns, common_reference_speed, steady_ms, uncertainty
from mhmodels.hardware.measuring import answer
from mhmodels.store import VERSION, Store

Files = dict[str, Path]
ELASTICITY = 0.8


def row(turns: Turns | None, **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "model_hash": "a", "model": "net", "hardware": "cpu", "format": "int8", "kind": "measured", "file_bytes": 1,
        "device": "cpu", "time": "2026-01-01", "median_ms": float(np.median(turns.own_ms)) if turns else 5.0, "turns": turns,
    }  # fmt: skip
    return Measurement(**{**fields, **changes})


def timed(ms: float, random: np.random.Generator, n: int = 50, reference: str = "ref") -> Turns:
    """A network of `ms` on a machine that is slow for stretches of time, of all of a row at worst."""
    slow = np.repeat(random.random(n // 5) < random.random(), 5) * 0.25 + random.uniform(0, 0.05)
    spread = random.normal(0, 0.01, (2, n))
    own = ms * np.exp(ELASTICITY * slow + spread[0])
    beside = 10 * np.exp(slow + spread[1])
    return Turns(model=reference, model_hash=reference, own_ms=tuple(own), reference_ms=tuple(beside))


def test_a_machine_that_changes_its_speed_does_not_change_a_latency() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(5, 50, 200)
    rows = [row(timed(float(ms), random)) for ms in true]
    pace = common_reference_speed(rows)
    assert pace is not None
    assert pace.elasticity == pytest.approx(ELASTICITY, abs=0.06)
    assert pace.ms == pytest.approx(10, rel=0.03)
    steady = np.array([steady_ms(one, pace) for one in rows]) / true
    medians = np.array([one.median_ms for one in rows]) / true
    assert np.std(steady) / np.mean(steady) < 0.012
    assert np.std(medians) / np.mean(medians) > 0.05
    assert steady.mean() == pytest.approx(1, abs=0.03)


def test_rows_without_a_reference_are_their_medians_and_a_missing_latency_stays_missing() -> None:
    alone, missing = row(None), row(None, median_ms=None, reason="too large")
    assert common_reference_speed([alone, missing]) is None
    assert (steady_ms(alone, None), steady_ms(missing, None)) == (5.0, None)
    random = np.random.default_rng(1)
    pace = common_reference_speed([row(timed(5, random)), missing])
    assert pace is not None
    assert steady_ms(missing, pace) is None


@pytest.mark.parametrize("other", [None, "another"])
def test_rows_of_different_references_do_not_go_together(other: str | None) -> None:
    random = np.random.default_rng(2)
    rows = [row(timed(5, random)), row(timed(6, random, reference=other) if other else None)]
    with pytest.raises(MeasurementError, match=rf"different references.*{other or 'none'}.*argument 'store'"):
        common_reference_speed(rows)


@pytest.mark.parametrize(
    ("own", "beside", "message"),
    [
        ((), (), "as many of both"),
        ((1.0,), (1.0, 2.0), "as many of both"),
        ((1.0,), (float("nan"),), "nan ms"),
        ((0.0,), (1.0,), "0.0 ms"),
    ],
)
def test_turns_that_cannot_be(own: tuple[float, ...], beside: tuple[float, ...], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        Turns(model="ref", model_hash="ref", own_ms=own, reference_ms=beside)


def test_uncertainty_shrinks_with_more_turns() -> None:
    few, many = (np.mean([uncertainty(timed(5, np.random.default_rng(seed), n)) for seed in range(20)]) for n in (20, 320))
    assert few / many == pytest.approx(4, rel=0.3)


def test_the_host_times_a_file_in_turns_and_the_store_keeps_them(tiny_tflite: Files, tmp_path: Path) -> None:
    reference = prepare(tiny_tflite["int8"], label="ref")
    job = prepare(tiny_tflite["int8"], label="net", architecture_id="cafe", runs=20, reference=reference)
    with Store(tmp_path / "r.db") as store:
        found = answer(job, *get_hardware("host-cpu-int8"), store=store).measurement
        (kept,) = store
    assert found.turns is not None
    assert (found.turns.model, found.turns.model_hash) == ("ref", reference.model_hash)
    assert len(found.turns.own_ms) == found.runs
    assert found.runs in (20, 40, 60)
    assert found.median_ms == pytest.approx(float(np.median(found.turns.own_ms)))
    assert found.noisy == (uncertainty(found.turns) > 0.02)
    assert kept == found
    # The same file beside itself.
    assert steady_ms(found, common_reference_speed([found])) == pytest.approx(float(np.median(found.turns.reference_ms)), rel=0.5)


def test_hardware_that_cannot_refuses(tiny_tflite: Files) -> None:
    reference = prepare(tiny_tflite["int8"], label="ref")
    job = prepare(tiny_tflite["int8"], label="net", reference=reference)
    with pytest.raises(MeasurementError, match="ethos-u55-128 cannot time a reference network in turns"):
        answer(job, *get_hardware("ethos-u55-128"))


def test_a_store_of_the_version_before_is_taken_over(tiny_tflite: Files, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "r.db"
    with Store(path) as store:
        before = measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
    with sqlite3.connect(path) as connection:
        document = msgspec.json.decode(connection.execute("SELECT document FROM measurements").fetchone()[0])
        del document["turns"]
        connection.execute("UPDATE measurements SET document = ?", (msgspec.json.encode(document).decode(),))
        connection.execute("PRAGMA user_version = 1")
    with Store(path) as store:
        assert list(store) == [before]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSION


def test_rows_of_different_conditions_have_no_common_pace() -> None:
    random = np.random.default_rng(3)
    rows = [row(timed(5, random), configuration={"mode": mode}) for mode in ("burst", "sustained")]
    with pytest.raises(MeasurementError, match=r"configuration\.mode.*'burst'.*'sustained'"):
        common_reference_speed(rows)
