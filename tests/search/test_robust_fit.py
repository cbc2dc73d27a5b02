"""Fits to data of which some latencies are absurd, and what a model is worth that came of such."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from mhmodels.cli.main import cli
from mhmodels.search import CostModel, FitOptions, fit
from mhmodels.search.cost_model.fitting import Fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.units import unit_doubt
from mhmodels.search.cost_model.regression.robust import Resemblance
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.catalogue import get_space
from mhmodels.store import Store
from tests.search.test_cost_model_data import row_of

PLAIN = FitOptions(curve=False)
HARDWARE = "host-cpu-int8"
SHARE = 0.05


@pytest.fixture(scope="module")
def collection() -> tuple[Any, Any, Any]:
    """Space, encodings and measured ms of the collection that comes with the package."""
    space = get_space("multi_hardware")
    with (files("mhmodels.search") / "data/multi_hardware.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["hardware"] == HARDWARE][:300]
    return space, np.array([space.parse(row["encoding"]) for row in rows]), np.array([float(row["ms"]) for row in rows])


@pytest.fixture(scope="module")
def clean(collection: tuple[Any, Any, Any]) -> Fit:
    space, encodings, ms = collection
    return fit(space, encodings, ms, LatencyOrigin(HARDWARE), PLAIN)


def error(found: Fit, collection: tuple[Any, Any, Any]) -> float:
    """Mean relative error on the held-out networks' true latencies."""
    space, encodings, ms = collection
    return float(np.mean(np.abs(found.model.bind(space).predict(encodings[found.held_out]) / ms[found.held_out] - 1)))


@pytest.mark.parametrize("factor", [0.1, 10, 1 / 60, 0.001, 1000, 0.5, "mixed"])
def test_a_share_of_absurd_latencies_changes_the_error_by_at_most_a_quarter(
    factor: Any, collection: tuple[Any, Any, Any], clean: Fit
) -> None:
    space, encodings, ms = collection
    draw = np.random.default_rng(5)
    bad = draw.choice(len(ms), round(SHARE * len(ms)), replace=False)
    wrong = ms.copy()
    wrong[bad] *= draw.choice([0.001, 1 / 60, 0.1, 10, 1000], len(bad)) if factor == "mixed" else factor
    found = fit(space, encodings, wrong, LatencyOrigin(HARDWARE), PLAIN)
    assert error(found, collection) <= 1.25 * error(clean, collection)
    if factor == 0.5:
        return  # it does not carry the fit; only what is over three times off is pointed out
    assert set(np.flatnonzero(found.implausible)) == set(bad.tolist())
    assert any(f"{len(bad)} of 300 latencies are over 3 times" in warning for warning in found.warnings)
    assert found.model.held_out.set_aside == len(set(bad) & set(found.held_out))
    assert found.model.held_out.mape <= 1.25 * clean.model.held_out.mape
    assert found.model.warnings == ()


@pytest.mark.parametrize("factor", [1 / 1000, 1 / 60, 1 / 10, 10, 1000])
@pytest.mark.parametrize("n", [36, 60])
def test_one_absurd_latency_of_few_is_found_wherever_it_stands(n: int, factor: float, collection: tuple[Any, Any, Any]) -> None:
    space, encodings, ms = collection
    for place in (3, 17, 29):
        wrong = ms[:n].copy()
        wrong[place] *= factor
        found = fit(space, encodings[:n], wrong, LatencyOrigin(HARDWARE), PLAIN)
        assert np.flatnonzero(found.implausible).tolist() == [place]
        assert space.label(encodings[place]) in " ".join(found.warnings)


def test_good_latencies_are_not_pointed_out(clean: Fit) -> None:
    assert not clean.implausible.any()
    assert not any("times more or less" in warning for warning in clean.warnings)
    assert clean.model.doubts == ()


def test_a_fit_is_the_same_every_time(collection: tuple[Any, Any, Any], clean: Fit) -> None:
    space, encodings, ms = collection
    again = fit(space, encodings, ms, LatencyOrigin(HARDWARE), PLAIN).model
    assert msgspec.structs.replace(again, created="") == msgspec.structs.replace(clean.model, created="")


@pytest.fixture(scope="module")
def cells() -> tuple[Any, Any, Any, Any]:
    """Cells whose latency is a sum of operations, but next to nothing where no path leads from input to output."""
    space = get_space("nas_bench_201")
    rows = np.random.default_rng(0).permutation(np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), -1).reshape(-1, 6))[
        :2000
    ]
    on = rows > 0
    path = on[:, 3] | (on[:, 4] & on[:, 0]) | (on[:, 5] & (on[:, 1] | (on[:, 2] & on[:, 0])))
    noise = np.random.default_rng(1).lognormal(0, 0.03, len(rows))
    ms = np.where(path, 1 + np.array([0, 0.4, 3, 8, 2])[rows].sum(axis=1), 0.004) * noise
    return space, rows.astype(np.int16), ms, path


def test_cells_without_a_path_are_legitimate_and_absurd_latencies_are_not(cells: tuple[Any, Any, Any, Any]) -> None:
    space, rows, ms, path = cells
    whole = fit(space, rows[:900], ms[:900], LatencyOrigin("phone"), PLAIN)
    absolute = fit(space, rows[:900], ms[:900], LatencyOrigin("phone"), FitOptions(error="absolute", curve=False))
    ranks = [spearmanr(one.model.bind(space).predict(rows[900:]), ms[900:])[0] for one in (whole, absolute)]
    assert ranks[0] >= ranks[1] - 0.005
    assert ranks[0] >= 0.955
    assert whole.implausible[path[:900]].sum() == 0
    wrong = ms[:900].copy()
    bad = np.random.default_rng(2).choice(np.flatnonzero(path[:900]), 45, replace=False)
    wrong[bad] *= 0.001
    found = fit(space, rows[:900], wrong, LatencyOrigin("phone"), PLAIN)
    assert spearmanr(found.model.bind(space).predict(rows[900:]), ms[900:])[0] >= ranks[0] - 0.01
    assert found.implausible[bad].mean() > 0.9


@pytest.fixture(scope="module")
def poor(collection: tuple[Any, Any, Any]) -> CostModel:
    """A model of latencies that have nothing to do with the networks."""
    space, encodings, ms = collection
    return fit(space, encodings, np.random.default_rng(3).permutation(ms), LatencyOrigin(HARDWARE), PLAIN).model


def test_a_model_that_ranks_badly_says_so_in_its_file_and_is_refused(poor: CostModel, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(poor.to_json())
    assert b"Spearman correlation of" in path.read_bytes()
    with pytest.raises(CostModelError, match=r"not to be relied on: held-out networks .*expected at least 0\.9") as error:
        poor.check_trust()
    assert "argument 'force'" in str(error.value)
    search = ["search", "run", "--space", "multi_hardware", "--cost-model", str(path), "--evaluator", "json:dumps"]
    search += ["--method", "random", "--evaluations", "3"]
    refused = CliRunner().invoke(cli, search)
    assert refused.exit_code == 1
    assert "is not to be relied on" in str(refused.exception)
    assert "(--force)" in str(refused.exception)
    forced = CliRunner().invoke(cli, [*search, "--force"])
    assert "is not to be relied on" not in str(forced.exception)
    predicted = CliRunner().invoke(cli, ["search", "predict", "multi_max", "--cost-model", str(path)])
    assert predicted.exit_code == 0
    assert "warning" in predicted.stderr


def test_a_model_file_without_warnings_is_judged_by_its_statistics(poor: CostModel) -> None:
    """As files of earlier versions are."""
    document = {name: value for name, value in msgspec.json.decode(poor.to_json()).items() if name != "warnings"}
    old = CostModel.from_json(msgspec.json.encode(document))
    assert old.warnings == ()
    assert old.doubts == poor.doubts


def test_too_many_absurd_latencies_are_a_warning_in_the_file(collection: tuple[Any, Any, Any]) -> None:
    space, encodings, ms = collection
    wrong = ms.copy()
    wrong[np.random.default_rng(4).choice(300, 45, replace=False)] *= 1000
    assert "15% of the latencies are over 3 times" in " ".join(
        fit(space, encodings, wrong, LatencyOrigin("x"), PLAIN).model.doubts
    )


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, ""), (4, ""), (0.2, ""), (1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nano")]
)
@pytest.mark.parametrize("hardware", [HARDWARE, "my-phone"])
def test_a_whole_file_in_another_unit_is_told_by_shipped_models(
    collection: tuple[Any, Any, Any], factor: float, unit: str, hardware: str
) -> None:
    space, encodings, ms = collection
    doubt = unit_doubt(space, encodings[:50], ms[:50] * factor, hardware)
    assert f"probably in {unit}" in doubt if unit else doubt == ""


def test_a_whole_file_in_another_unit_is_told_by_rows_of_the_store(collection: tuple[Any, Any, Any], tmp_path: Path) -> None:
    space, encodings, ms = collection
    with Store(tmp_path / "r.db") as store:
        for row, value in zip(encodings[:5], ms[:5], strict=True):
            store.add(row_of(space.label(row), space.build(row).architecture_id, float(value) * 20, hardware="slow"))
        assert "rows of slow in" in unit_doubt(space, encodings[:9], ms[:9] * 0.02, "slow", store)
        assert unit_doubt(space, encodings[:9], ms[:9] * 20, "slow", store) == ""


def test_fit_warns_last_and_loudest(collection: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path))
    _, encodings, ms = collection
    lines = [f"{':'.join(map(str, row))},{value / 1000:.6g}" for row, value in zip(encodings[:60].tolist(), ms, strict=False)]
    (tmp_path / "s.csv").write_text("\n".join(["encoding,ms", *lines, ""]))
    words = ["search", "fit", "--data", str(tmp_path / "s.csv"), "--space", "multi_hardware", "--hardware", HARDWARE]
    done = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "m.json")])
    assert done.exit_code == 0
    assert "WARNING: the latencies are 0.001 times those of" in done.stderr
    assert done.stderr.rstrip().endswith("`search run` refuses it without --force")
    assert b"probably in seconds" in (tmp_path / "m.json").read_bytes()


def test_all_marks_share_one_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    design = np.hstack([np.ones((200, 1)), rng.random((200, 8))])
    calls = []
    decompose = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: calls.append(matrix.shape) or decompose(matrix))
    resemblance = Resemblance(design, np.ones(9))
    patterned, random = design[:, 3] > 0.9, rng.random(200) < 0.1
    assert not resemblance.predictable(np.zeros(200, bool)).any()
    assert not calls  # too few marks need no decomposition
    assert resemblance.predictable(patterned).sum() > patterned.sum() / 2
    assert not resemblance.predictable(random).any()
    assert calls == [(9, 9)]
