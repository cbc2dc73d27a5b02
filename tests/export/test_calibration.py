"""Which ranges follow from what was seen, and which pictures are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.quantisation.calibration import METHODS, calibrate, check_method, choose, hold_out, ranges_by_method
from mhmodels.export.quantisation.post_training import ObservedPictures, quantise_on_pictures
from mhmodels.export.quantisation.scheme import calibrated_tensors
from mhmodels.export.writing.manifest import load_manifest
from mhmodels.preprocessing.pictures import sample_pictures
from tests.conftest import Command
from tests.export.writer_helpers import TINY, random_weights

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def pictures() -> Any:
    return sample_pictures(16, TINY.input_size, TINY.preprocessing)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_weights(TINY)


@pytest.fixture(scope="module")
def values(graph: Graph, pictures: Any) -> dict[str, Any]:
    """Everything that each calibrated tensor holds over the pictures."""
    from mhmodels.export.quantisation.fake_quant import observe

    parts: dict[str, list[Any]] = {}

    def visit(tensors: Mapping[str, Any]) -> None:
        for name, tensor in tensors.items():
            parts.setdefault(name, []).append(tensor)

    observe(graph, pictures, calibrated_tensors(graph), visit)
    return {name: np.concatenate(part) for name, part in parts.items()}


def test_min_max_is_the_extremes(graph: Graph, pictures: Any, values: dict[str, Any]) -> None:
    ranges = calibrate(graph, pictures)
    assert set(ranges) == set(calibrated_tensors(graph))
    for name, (low, high) in ranges.items():
        assert (low, high) == (values[name].min(), values[name].max())


@pytest.mark.parametrize("percent", [99.9, 98.0])
def test_a_percentile_cuts_exactly_that_share_off(graph: Graph, pictures: Any, values: dict[str, Any], percent: float) -> None:
    for name, (low, high) in calibrate(graph, pictures, f"percentile-{percent:g}").items():
        seen = values[name]
        share = 1 - percent / 100
        assert (seen > high).mean() <= share, name
        assert (seen < low).mean() <= share, name
        # One value more would be too many, unless the tensor stops at a bound that many values share.
        assert (seen >= high).mean() >= share - 1 / seen.size, name
        assert (seen <= low).mean() >= share - 1 / seen.size, name


def test_the_moving_average_weighs_later_pictures_more(graph: Graph, pictures: Any, values: dict[str, Any]) -> None:
    ranges = calibrate(graph, pictures, "moving-average")
    name = "head1_conv"
    each = values[name].reshape(len(pictures), -1)
    expected = each[0].max()
    for one in each[1:]:
        expected = 0.95 * expected + 0.05 * one.max()
    assert ranges[name][1] == pytest.approx(expected, rel=1e-5)


def test_the_method_is_chosen_by_pictures_that_did_not_calibrate(graph: Graph, pictures: Any) -> None:
    calibrating, judge = hold_out(graph, pictures)
    judges = np.arange(len(pictures)) % 4 == 3
    np.testing.assert_array_equal(judge.images, pictures[judges])
    chosen = choose(graph, ranges_by_method(graph, calibrating, METHODS), judge, "int8")
    assert set(chosen.errors) == set(METHODS)
    best = min(chosen.errors, key=lambda method: chosen.errors[method])
    assert chosen.ranges == calibrate(graph, pictures[~judges], best)
    made = quantise_on_pictures(ObservedPictures(graph, pictures), "auto", "int8")
    assert made.method.startswith(f"{best}, chosen")
    assert "4 held-out pictures" in made.method
    assert made.ranges == chosen.ranges


def test_an_outlier_makes_the_choice_leave_min_max(pictures: Any) -> None:
    """One channel of one layer explodes on a few pixels only: covering that costs all others their resolution."""
    outlying = pictures.copy()
    outlying[0, 5:8, 5:8] = 300.0
    # Without the last stage, whose max pooling would spread the outlier over whole maps.
    graph = random_weights(msgspec.structs.replace(TINY, stages=TINY.stages[:3]))
    calibrating, judge = hold_out(graph, outlying)
    errors = choose(graph, ranges_by_method(graph, calibrating, METHODS), judge, "int8").errors
    assert min(errors.values()) < 0.5 * errors["min-max"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (lambda p: p[:3], "3 calibration pictures, expected at least 4"),
        (lambda p: np.full_like(p, -1.0), "16 of 16 calibration pictures are of one single value"),
        (lambda p: np.concatenate([p[:5], np.zeros_like(p[:6])]), "6 of 11 calibration pictures"),
        (lambda p: np.repeat(p[:1], 8, axis=0), "all 8 calibration pictures are the same"),
        (lambda p: np.where(np.arange(16)[:, None, None, None] == 3, np.nan, p), "1 calibration pictures have NaN"),
    ],
    ids=["too few", "black", "mostly plain", "one picture", "NaN"],
)
def test_unsuitable_pictures_are_named(graph: Graph, pictures: Any, images: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        calibrate(graph, images(pictures).astype(np.float32))


def test_choosing_needs_more_pictures(graph: Graph, pictures: Any) -> None:
    with pytest.raises(ExportError, match="7 calibration pictures, expected at least 8"):
        hold_out(graph, pictures[:7])


def test_a_dead_tensor_is_named(graph: Graph, pictures: Any) -> None:
    biases = {**graph.biases, "head1_conv": np.full_like(graph.biases["head1_conv"], -1e6)}
    with pytest.raises(ExportError, match="'head1_conv' is zero on all 16"):
        calibrate(graph._replace(biases=biases), pictures)


@pytest.mark.parametrize("method", ["median", "percentile", "percentile-", "percentile-100", "percentile-nan", "percentile-12"])
def test_unknown_methods(method: str) -> None:
    with pytest.raises(ExportError, match="calibration method is"):
        check_method(method)


@pytest.mark.slow
def test_the_method_is_recorded(command: Command, tiny: str) -> None:
    recorded = {}
    for method in ("auto", "percentile-99.9"):
        done = command("export", tiny, "--format", "int8", "-o", "out", "--overwrite", "--calibration-method", method)
        assert done.returncode == 0, done.stderr
        manifest = load_manifest(Path("out", "tiny_w1_65x48_int8.manifest.json"))
        assert manifest.calibration is not None
        recorded[method] = manifest.calibration.method
    assert recorded["percentile-99.9"] == "percentile-99.9"
    assert "chosen by the mean error at the scores of 16 held-out pictures" in recorded["auto"]
    bad = command("export", tiny, "--format", "int8", "-o", "out", "--overwrite", "--calibration-method", "best")
    assert bad.returncode == 1
    assert "calibration method is 'best'" in bad.stderr
