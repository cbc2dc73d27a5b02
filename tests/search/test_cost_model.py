"""Cost models: what they recover, what they say of themselves, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError
from mhmodels.hardware import get_hardware
from mhmodels.hardware.roofline import simulate
from mhmodels.network import lower
from mhmodels.registry import get_architecture, resolve
from mhmodels.search import FitOptions, fit, load_cost_model
from mhmodels.search.cost_model.features import NAMES, signature, structural
from mhmodels.search.cost_model.fitting import Fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.regression.ridge import ridge
from mhmodels.search.cost_model.statistics import statistics
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.catalogue.multi_hardware import multi_hardware
from mhmodels.search.space.pieces import pieces_of
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.template import ArchitectureSpace

HARDWARE = "roofline-31.2"


@pytest.fixture(scope="module")
def space() -> ArchitectureSpace:
    found = get_space("multi_hardware")
    assert isinstance(found, ArchitectureSpace)
    return found


@pytest.fixture(scope="module")
def data(space: ArchitectureSpace) -> tuple[NDArray[np.int16], NDArray[np.float64], tuple[str, ...]]:
    """Simulated latencies with 1 % of noise, which no model can predict."""
    drawn = sample(space, 260, 0)
    hardware, _ = get_hardware(HARDWARE)
    ms = np.array([simulate(one, hardware) for one in space.build_all(drawn.encodings)])
    return drawn.encodings, ms * np.exp(np.random.default_rng(0).normal(0, 0.01, len(ms))), drawn.distributions


@pytest.fixture(scope="module")
def fitted(space: ArchitectureSpace, data: Any) -> Fit:
    return fit(space, data[0], data[1], LatencyOrigin(HARDWARE, "simulated", "int8"), FitOptions(curve=True), data[2])


def test_a_structural_model_needs_few_samples(fitted: Fit) -> None:
    report = fitted.model.held_out
    assert report.n == 52
    assert report.mape < 0.02
    assert report.hit_rate_10 == 1.0
    assert report.spearman is not None
    assert report.spearman > 0.995


def test_the_report_is_of_networks_that_were_not_trained_on(space: ArchitectureSpace, data: Any, fitted: Fit) -> None:
    """Latencies of held-out networks do not reach the weights."""
    changed = data[1].copy()
    changed[fitted.held_out] *= 1.7
    again = fit(space, data[0], changed, LatencyOrigin(HARDWARE), FitOptions(curve=False))
    assert again.model.weights == fitted.model.weights
    assert again.model.deviations == fitted.model.deviations
    assert again.model.held_out.mape > 0.3
    expected = statistics(data[1][fitted.held_out], fitted.model.bind(space).predict(data[0][fitted.held_out]))
    assert fitted.model.held_out == expected


def test_statistics_by_distribution_and_learning_curve(fitted: Fit) -> None:
    model = fitted.model
    assert set(model.by_distribution) == {"depth-uniform", "window=0.5:2"}
    assert sum(report.n for report in model.by_distribution.values()) == 52
    assert [point.n for point in model.learning_curve] == [30, 100, 208]
    assert model.learning_curve[0].statistics.mape > model.learning_curve[-1].statistics.mape


def test_encodings_and_architectures_are_predicted_alike(space: ArchitectureSpace, fitted: Fit) -> None:
    rows = space.draw(30, np.random.default_rng(9))
    by_encoding = fitted.model.bind(space).predict(rows)
    by_architecture = fitted.model.predict(space.build_all(rows))
    assert by_encoding == pytest.approx(by_architecture, rel=1e-9)


def test_a_latency_in_another_unit_is_pointed_out(space: ArchitectureSpace, data: Any, fitted: Fit) -> None:
    assert fitted.warnings == ()
    ms = data[1].copy()
    ms[7] *= 1000
    (warning,) = fit(space, data[0], ms, LatencyOrigin(HARDWARE), FitOptions(curve=False)).warnings
    assert f"1 of {len(ms)} latencies are over 3 times more or less than predicted" in warning
    assert space.label(data[0][7]) in warning


def test_a_model_that_lost_its_weights_is_refused(fitted: Fit, tmp_path: Path) -> None:
    document = json.loads(fitted.model.to_json())
    del document["weights"]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"model.json: .*field 'weights' is missing or empty"):
        load_cost_model(path)


def test_coupled_models_see_places_and_ask_for_more_samples(space: ArchitectureSpace, data: Any, fitted: Fit) -> None:
    result = fit(space, data[0], data[1], LatencyOrigin(HARDWARE), FitOptions(form="coupled", curve=False))
    assert result.model.held_out.mape > 5 * fitted.model.held_out.mape
    (warning,) = result.warnings
    assert "208 architectures are fewer than the weights" in warning
    assert "of 3457 weights of the coupled form occur in them" in warning
    rows = space.draw(10, np.random.default_rng(9))
    assert result.model.bind(space).predict(rows) == pytest.approx(result.model.predict(space.build_all(rows)))
    with pytest.raises(CostModelError, match="has 10 classes; a coupled cost model"):
        result.model.predict([get_architecture("multi_max").at(classes=10)])
    with pytest.raises(SpaceError, match="stem"):
        result.model.predict([get_architecture("mobilenet_v3_large")])


def test_a_coupled_model_recovers_a_table_exactly() -> None:
    """The cost of a network is a sum over its layers, so enough samples give the table back."""
    found = get_space("fbnet")
    rng = np.random.default_rng(0)
    table = rng.uniform(0.1, 1.0, (22, 9))
    table[:, 8] = 0.0
    # Places 2 to 4 of a stage are interchangeable, and so they cost the same.
    for group in found.groups:
        table[list(group)] = table[group[0]]
    rows = sample(found, 600, 0, "uniform").encodings
    ms = 1.0 + table[np.arange(22), rows].sum(axis=1)
    result = fit(found, rows, ms, LatencyOrigin("a table"), FitOptions(form="coupled", curve=False))
    assert result.model.held_out.mape < 1e-4


@pytest.fixture(scope="module")
def nonnegative(space: ArchitectureSpace, data: Any) -> Fit:
    return fit(space, data[0], data[1], LatencyOrigin(HARDWARE), FitOptions(form="structural", nonnegative=True, curve=False))


def test_nonnegative_weights(space: ArchitectureSpace, data: Any, nonnegative: Fit) -> None:
    coupled = fit(space, data[0], data[1], LatencyOrigin(HARDWARE), FitOptions(form="coupled", nonnegative=True, curve=False))
    for model, bound in ((nonnegative.model, 0.03), (coupled.model, 0.4)):
        assert min([model.intercept_ms, *model.weights.values(), *model.deviations.values(), *model.row_weights]) >= 0
        assert model.held_out.mape < bound


def test_weights_that_come_out_as_0_are_of_kernels_that_were_seen(nonnegative: Fit, fitted: Fit) -> None:
    model = nonnegative.model
    assert 0.0 in model.weights.values()
    assert set(model.weights) == set(fitted.model.weights)
    assert model.unseen(get_architecture("multi_max")) == ()


def test_any_network_is_predicted_and_unseen_kernels_are_named(fitted: Fit) -> None:
    hardware, _ = get_hardware(HARDWARE)
    for name in ("multi_max", "multi_avg", "proxylessnas_mobile", "multi_max@0.75"):
        (value,) = fitted.model.predict([resolve(name)])
        assert value == pytest.approx(simulate(resolve(name), hardware), rel=0.15)
    assert fitted.model.unseen(get_architecture("multi_max")) == ()
    assert set(fitted.model.unseen(get_architecture("mobilenet_v3_large"))) == {"hard_swish", "multiply"}


def test_a_model_file_comes_back_whole(tmp_path: Path, space: ArchitectureSpace, fitted: Fit) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(fitted.model.to_json())
    loaded = load_cost_model(path)
    assert loaded == fitted.model
    rows = space.draw(50, np.random.default_rng(1))
    assert (loaded.bind(space).predict(rows) == fitted.model.bind(space).predict(rows)).all()
    assert (loaded.hardware, loaded.kind, loaded.file_format, loaded.n) == (HARDWARE, "simulated", "int8", 208)
    assert len(loaded.data_sha256) == 64
    assert len(set(loaded.trained_on)) == 208


def test_equal_data_in_another_order_has_the_same_hash(space: ArchitectureSpace, data: Any) -> None:
    rows, ms = data[0][:60], data[1][:60]
    one = fit(space, rows, ms, LatencyOrigin(HARDWARE), FitOptions(curve=False))
    assert one.model.data_sha256 == fit(space, rows, ms, LatencyOrigin(HARDWARE), FitOptions(curve=False)).model.data_sha256
    assert one.model.data_sha256 != fit(space, rows, 2 * ms, LatencyOrigin(HARDWARE), FitOptions(curve=False)).model.data_sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b'"mhmodels.cost_model/1"', b'"mhmodels.cost_model/9"'), "expected 'mhmodels.cost_model/1'"),
        (lambda text: text[: len(text) // 2], "not a JSON file"),
        (lambda text: text.replace(b'"intercept_ms"', b'"intercept"'), "intercept"),
        (lambda text: text.replace(b'"n": 208', b'"n": "many"'), "n"),
    ],
)
def test_damaged_model_files_are_refused(tmp_path: Path, fitted: Fit, change: Any, message: str) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(change(fitted.model.to_json()))
    with pytest.raises(FileFormatError, match=message):
        load_cost_model(path)


def test_another_schema_input_size_or_hardware_is_refused(fitted: Fit) -> None:
    model = fitted.model
    with pytest.raises(CostModelError, match=r"schema .* not for 'multi_hardware' with"):
        model.bind(multi_hardware(stem_kernels=(3, 5)))
    with pytest.raises(CostModelError, match=r"knows input sizes \(224,\), space 'multi_hardware' has \(192,\)"):
        model.bind(multi_hardware(input_size=192))
    with pytest.raises(CostModelError, match=r"input sizes 224, 'multi_max' has \(192, 192\)"):
        model.predict([get_architecture("multi_max").at(input_size=192)])
    with pytest.raises(CostModelError, match=r"is for hardware 'roofline-31.2', not 'ethos-u55-128'"):
        model.check(hardware="ethos-u55-128")


def test_a_form_that_is_not_for_the_space_and_a_floor_that_is_none_are_refused(space: ArchitectureSpace, fitted: Fit) -> None:
    pairs = msgspec.structs.replace(fitted.model, form="pairwise", row_index=(0,), row_weights=(1.0,))
    with pytest.raises(CostModelError, match="'multi_hardware' is not tabular: a pairwise model is not for it"):
        pairs.bind(space)
    tabular = get_space("nas_bench_201")
    with pytest.raises(CostModelError, match="'nas_bench_201' is tabular: a structural model is not for it"):
        msgspec.structs.replace(fitted.model, schema=tabular.schema).check(space=tabular)
    for floor in (0.0, -1.0):
        with pytest.raises(CostModelError, match=r"field 'floor_ms' is .*, expected more than 0"):
            msgspec.structs.replace(fitted.model, floor_ms=floor)


def test_features_of_another_version_are_refused(fitted: Fit) -> None:
    with pytest.raises(CostModelError, match="version 0, expected 1"):
        msgspec.structs.replace(fitted.model, features_version=0)
    with pytest.raises(CostModelError, match=r"unknown: conv9\.macs"):
        msgspec.structs.replace(fitted.model, weights={"conv9.macs": 1.0})


def test_a_restricted_space_shares_its_parent_s_models(space: ArchitectureSpace, fitted: Fit) -> None:
    allowed = [choices[:1] if d.tag == "width" else choices for d, choices in zip(space.decisions, space.allowed, strict=True)]
    small = space.restricted(allowed)
    rows = small.draw(20, np.random.default_rng(0))
    assert (fitted.model.bind(small).predict(rows) == fitted.model.bind(space).predict(rows)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0, 1e-310, 1e200])
def test_what_is_no_latency_is_refused(space: ArchitectureSpace, data: Any, bad: float) -> None:
    ms = data[1].copy()
    ms[7] = bad
    with pytest.raises(CostModelError, match=r"1 of 260 latencies are no latencies, the first is .* at multi_hardware:"):
        fit(space, data[0], ms, LatencyOrigin(HARDWARE))


def test_too_few_samples_are_refused_with_numbers(space: ArchitectureSpace, data: Any) -> None:
    with pytest.raises(CostModelError, match="24 different architectures leave 19 to train on and 5 to test on"):
        fit(space, data[0][:24], data[1][:24], LatencyOrigin(HARDWARE))


@pytest.mark.parametrize(("name", "form"), [("nas_bench_201", "structural"), ("multi_hardware", "pairwise")])
def test_forms_that_a_space_lacks(name: str, form: Any) -> None:
    found = get_space(name)
    rows = sample(found, 50, 0).encodings
    with pytest.raises(CostModelError, match=f"a {form} model is not for it"):
        fit(found, rows, np.ones(50), LatencyOrigin("h"), FitOptions(form=form))


def test_predictions_have_a_floor(space: ArchitectureSpace, fitted: Fit) -> None:
    model = msgspec.structs.replace(fitted.model, intercept_ms=-1e6)
    assert (model.bind(space).predict(space.draw(5, np.random.default_rng(0))) == model.floor_ms).all()


@pytest.mark.parametrize("name", ["multi_hardware", "proxylessnas", "fbnet"])
def test_a_space_s_table_has_its_networks_features(name: str) -> None:
    """With and without convolutions behind the pooling: the classifier reads what has been pooled."""
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    rows = space.draw(2, np.random.default_rng(1))
    table = space.table(structural, len(NAMES))[space.rows(rows)].sum(axis=1)
    for found, network in zip(table, space.build_all(rows), strict=True):
        assert found == pytest.approx(sum(structural(piece) for piece in pieces_of(network)))


def test_features_are_additive_and_know_no_names() -> None:
    """Two stages of one block, in whatever stage, are the same block: same features, same signature."""
    pieces = pieces_of(get_architecture("multi_avg"))
    repeats = [piece for piece in pieces if piece.ops[0].name.startswith(("stage4_block2", "stage4_block3"))]
    assert len({signature(piece) for piece in repeats}) == 1
    assert (structural(repeats[0]) == structural(repeats[1])).all()
    total = sum(structural(piece) for piece in pieces)
    macs = sum(total[NAMES.index(name)] for name in NAMES if name.endswith(".macs"))
    assert macs == 432_451_264
    assert sum(len(piece.ops) for piece in pieces) == len(lower(get_architecture("multi_avg")).ops)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(15, 40), st.integers(3, 60))
def test_leave_one_out_errors_are_exact(seed: int, n: int, features: int) -> None:
    """Against fitting n times, for more samples than features and for fewer."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(n, features))
    target = design @ rng.normal(size=features) + rng.normal(size=n)
    found = ridge(design, target, np.ones(features))
    penalty = found.strength * (design**2).sum() / n

    def solve(rows: Any) -> Any:
        part = design[rows]
        return np.linalg.solve(part.T @ part + penalty * np.eye(features), part.T @ target[rows])

    assert found.weights == pytest.approx(solve(np.arange(n)), rel=1e-5, abs=1e-7)
    errors = [target[i] - design[i] @ solve(np.arange(n) != i) for i in range(n)]
    assert found.loo_error == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=1e-4)


def test_statistics_by_hand() -> None:
    report = statistics([1.0, 2.0, 4.0], [1.05, 2.5, 3.6])
    assert report.mape == pytest.approx((0.05 + 0.25 + 0.1) / 3)
    assert report.rmse_ms == pytest.approx(np.sqrt((0.05**2 + 0.5**2 + 0.4**2) / 3))
    assert report.hit_rate_10 == pytest.approx(2 / 3)
    assert report.spearman == pytest.approx(1.0)
    assert statistics([1.0, 1.0], [1.0, 2.0]).spearman is None
    # Their mean is rounded, so that the squares around it do not add up to 0.
    assert statistics([0.1, 0.1, 0.1], [0.1, 0.1, 0.2]).r2 is None
