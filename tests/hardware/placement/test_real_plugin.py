"""The real compiler, where the user who runs the tests has installed it: it must be able to say no."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.export.writing.latency import latency_bytes
from mhmodels.hardware import get_placement_soc, place_file
from mhmodels.hardware.placement.placing import compile_for_soc
from mhmodels.registry import resolve
from tests.hardware import tiny

from .networks import ATAN2, around

pytestmark = pytest.mark.usefixtures("installed")


@pytest.mark.parametrize("fmt", ["int8", "uint8", "float32"])
def test_multi_max_is_whole(fmt: str) -> None:
    content = latency_bytes(resolve("multi_max"), fmt)  # type: ignore[arg-type]
    found = compile_for_soc(content, "multi_max", get_placement_soc("SM8650"))
    assert found.placement.whole, found.placement.summary
    assert found.placement.operators_taken == found.placement.operators > 50
    assert found.placement.ddr_read_bytes is not None
    assert found.placement.ddr_read_bytes > len(content) / 2


def test_an_operator_that_the_plug_in_lacks(tmp_path: Path) -> None:
    placement = place_file(around(tmp_path / "f.tflite", "float32", ATAN2, 2), "SM8650")
    (refused,) = placement.refused
    assert (placement.whole, placement.operators_taken, placement.partitions) == (False, 2, 2)
    assert (refused.position, refused.kind, refused.tensor) == (1, "ATAN2", "middle")
    assert refused.reason == "the plug-in has no such operator"


def test_a_custom_operator(tmp_path: Path) -> None:
    placement = place_file(around(tmp_path / "f.tflite", "int8", tiny.CUSTOM, custom=b"MyOperator"), "SM8650")
    assert [(one.position, one.kind, one.reason) for one in placement.refused] == [
        (1, "CUSTOM:MyOperator", "the plug-in has no such operator")
    ]


def test_a_remedy_helps(tmp_path: Path) -> None:
    refused = place_file(around(tmp_path / "i.tflite", "int8", tiny.SIN), "SM8650")
    assert not refused.whole
    assert "uint8" in refused.refused[0].remedy
    assert place_file(around(tmp_path / "u.tflite", "uint8", tiny.SIN), "SM8650").whole


def test_float_on_a_phone_that_computes_in_integers() -> None:
    architecture = resolve("multi_max@0.25").at(input_size=64)
    content = latency_bytes(architecture, "float32")
    placement = compile_for_soc(content, "net", get_placement_soc("SM7325")).placement
    assert not placement.whole
    assert "doesn't support FP16" in placement.refused[0].reason
    assert "--format int8" in placement.refused[0].remedy
    assert compile_for_soc(latency_bytes(architecture, "int8"), "net", get_placement_soc("SM7325")).placement.whole


def test_nothing_taken(tmp_path: Path) -> None:
    placement = place_file(tiny.hybrid(tmp_path / "hybrid.tflite"), "SM8650")
    assert (placement.operators_taken, placement.operators, placement.partitions) == (0, 1, 0)
    assert "activations are int8" in placement.refused[0].remedy


def test_a_file_that_the_plug_in_gives_up_on(tmp_path: Path) -> None:
    """An ADD without its options, which the schema allows and the plug-in needs."""
    with pytest.raises(MeasurementError, match="ended before it partitioned the network; exit code 1"):
        place_file(around(tmp_path / "f.tflite", "int8", 0, 2), "SM8650")
