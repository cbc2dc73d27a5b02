"""One answer to which format a file computes in, and one check of it against hardware."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.export.writing.latency import latency_format
from mhmodels.hardware import prepare
from mhmodels.tflite.schema import KERNEL_READ_PER_OUTPUT, WEIGHTED_OPERATORS, generated, macs_per_output
from tests.conftest import Command
from tests.hardware import tiny


@pytest.mark.parametrize("kind", ["dynamic range", "int8 with a float end", "float32"])
def test_verify_and_bench_name_the_same_format(tmp_path: Path, command: Command, kind: str) -> None:
    """Files of dynamic range have int8 weights and compute in float32, which is neither of the two formats."""
    path = tmp_path / "network.tflite"
    write = {"dynamic range": tiny.hybrid, "int8 with a float end": tiny.with_float_sine}
    expected = {"dynamic range": "float32 x int8", "int8 with a float end": "int8"}.get(kind, "float32")
    if kind in write:
        write[kind](path)
    else:
        tiny.convolutions(path, "float32")
    verified = command("verify", path.name, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["precision"] == prepare(path).format == expected
    measured = command("bench", path.name, "--hardware", "host-cpu-uint8", "--store", str(tmp_path / "r.db"))
    assert measured.returncode == 1
    assert f"computes in {expected}, but host-cpu-uint8 takes uint8 files" in measured.stderr


def test_the_table_of_weighted_operators_is_of_the_schema() -> None:
    codes = vars(generated().BuiltinOperator)
    assert all(name in codes for name in WEIGHTED_OPERATORS)
    for name in KERNEL_READ_PER_OUTPUT:
        assert WEIGHTED_OPERATORS[name].channels is not None
    assert macs_per_output("FULLY_CONNECTED", (10, 1280)) == 1280


def test_random_weights_are_for_formats_that_have_them() -> None:
    assert latency_format("uint8", "any") == "uint8"
    with pytest.raises(MeasurementError, match=r"half takes float16 files, and files with random weights are made in float32"):
        latency_format("float16", "half")
