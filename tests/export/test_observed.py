"""Integer formats of one export share what the float network gives on the calibration pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.export import ExportOptions, export_model
from mhmodels.export.graph.operations import Graph
from mhmodels.export.quantisation import correction, fake_quant
from mhmodels.export.quantisation.parameters import QuantisedFormat
from mhmodels.export.quantisation.post_training import Corrections, ObservedPictures, PostTraining, quantise_on_pictures
from mhmodels.preprocessing.pictures import sample_pictures
from tests.export.writer_helpers import TINY, random_weights

pytestmark = pytest.mark.tensorflow

FORMATS: tuple[QuantisedFormat, ...] = ("int8", "uint8")
EVERYTHING = Corrections(equalise=True, bias=True, rounding="compensated")


NETWORK = msgspec.structs.replace(TINY, stages=TINY.stages[:2])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_weights(NETWORK)


@pytest.fixture(scope="module")
def pictures() -> Any:
    return sample_pictures(8, TINY.input_size, TINY.preprocessing)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Passes of the float network over pictures: whole ones, and layers of the pass that corrections compare with."""
    counted: Counter[str] = Counter()
    observe, float_layer = fake_quant.observe, correction.float_layer

    def observed(*arguments: Any) -> None:
        counted["observe"] += 1
        observe(*arguments)

    def layer(*arguments: Any) -> Any:
        counted["layers"] += 1
        return float_layer(*arguments)

    monkeypatch.setattr(fake_quant, "observe", observed)
    monkeypatch.setattr(correction, "float_layer", layer)
    return counted


def made(observed: ObservedPictures, fmt: QuantisedFormat, method: str, corrections: Corrections) -> PostTraining:
    return quantise_on_pictures(observed, method, fmt, corrections=corrections, outputs=("logits",))


@pytest.mark.parametrize("method", ["auto", "percentile-99.9"])
def test_a_second_format_adds_no_float_pass(graph: Graph, pictures: Any, passes: Counter[str], method: str) -> None:
    observed = ObservedPictures(graph, pictures)
    first = made(observed, "int8", method, EVERYTHING)
    alone = Counter(passes)
    assert alone["observe"] == (3 if method == "auto" else 1)
    assert alone["layers"] > 0
    second = made(observed, "uint8", method, EVERYTHING)
    # Ranges of the equalised network are computed by the method that was chosen, which may be another one.
    another = first.method.partition(",")[0] != second.method.partition(",")[0]
    assert passes == alone + Counter(observe=int(another))


@pytest.mark.parametrize(
    "corrections", [pytest.param(EVERYTHING, marks=pytest.mark.slow), Corrections()], ids=["stated", "chosen"]
)
def test_integers_are_those_of_formats_on_their_own(graph: Graph, pictures: Any, corrections: Corrections) -> None:
    observed = ObservedPictures(graph, pictures)
    for fmt in FORMATS:
        shared = made(observed, fmt, "auto", corrections)
        alone = made(ObservedPictures(graph, pictures), fmt, "auto", corrections)
        assert shared._replace(quantised=alone.quantised) == alone
        for name, kernel in alone.quantised.kernels.items():
            np.testing.assert_array_equal(shared.quantised.kernels[name].weights, kernel.weights)
            np.testing.assert_array_equal(shared.quantised.kernels[name].bias, kernel.bias)
        assert shared.quantised.tensors == alone.quantised.tensors


def test_rounding_alone_needs_no_float_pass(graph: Graph, pictures: Any, passes: Counter[str]) -> None:
    made(ObservedPictures(graph, pictures), "int8", "min-max", Corrections(rounding="compensated"))
    assert passes == Counter(observe=1)


def test_other_outputs_have_other_factors(graph: Graph, pictures: Any) -> None:
    observed = ObservedPictures(graph, pictures)
    factors, equalised = observed.equalised(("logits",))
    assert factors
    assert equalised is observed.equalised(["logits"])[1]
    fewer, _ = observed.equalised(("logits", *factors))
    assert not set(factors) & set(fewer)


@pytest.mark.slow
def test_an_export_observes_the_pictures_once(tmp_path: Path, passes: Counter[str]) -> None:
    counts = []
    for i, formats in enumerate((("int8",), FORMATS)):
        passes.clear()
        export_model(NETWORK, ExportOptions(directory=tmp_path / str(i), formats=formats, bias_correction=True))
        counts.append(Counter(passes))
    assert counts[0] == counts[1]
    assert counts[0]["layers"] > 0
