"""`mhmodels place`: JSON for one and for several verdicts, exit codes, a table for a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.hardware import tiny

from .conftest import StandIn
from .networks import ATAN2, around, compiled


@pytest.fixture
def whole(tmp_path: Path, stand_in: StandIn) -> str:
    """A file that the compiler takes whole for SM8650."""
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", "conv1"))
    return str(tiny.convolutions(tmp_path / "whole.tflite", "int8"))


@pytest.fixture
def partial(tmp_path: Path, stand_in: StandIn) -> str:
    """A file with an operator in the middle that the compiler leaves to the CPU."""
    stand_in("unknown_operator", compiled(tmp_path / "c.tflite", "float32", "conv0", "middle", "conv1", left={"middle": ATAN2}))
    return str(around(tmp_path / "partial.tflite", "float32", ATAN2, 2))


def test_one_verdict_is_one_object(whole: str, command: Command) -> None:
    done = command("place", whole, "--soc", "sm8650", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert (found["soc"], found["whole"], found["refused"]) == ("SM8650", True, [])
    assert (found["operators_taken"], found["operators"], found["partitions"]) == (2, 2, 1)
    assert (found["ddr_read_bytes"], found["ddr_write_bytes"], found["format"]) == (10240, 2048, "int8")


def test_no_is_exit_code_1(partial: str, command: Command) -> None:
    done = command("place", partial, "--soc", "SM8650", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["whole"], found["operators_taken"], found["operators"], found["partitions"]) == (False, 2, 3, 2)
    (refused,) = found["refused"]
    assert refused["remedy"] == ""
    assert (refused["position"], refused["kind"], refused["tensor"]) == (1, "ATAN2", "middle")
    assert done.stderr == f"error: not whole: {partial} on SM8650\n"


def test_several_verdicts_and_failures(whole: str, command: Command) -> None:
    """The stand-in compiles for SM8650 whatever it is asked for."""
    done = command("place", whole, "--soc", "SM8650", "--soc", "SM8750", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["soc"] for one in found["placements"]] == ["SM8650"]
    assert [(one["model"], one["soc"]) for one in found["failures"]] == [(whole, "SM8750")]
    assert "expected 69 with v79" in done.stderr


def test_a_table_for_people(partial: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(partial).parent)
    done = command("place", partial, "--soc", "SM8650")
    assert done.returncode == 1
    assert "  operator 1 (ATAN2) 'middle': the plug-in has no such operator\n" in done.stdout
    assert "1 operator stays outside of the NPU" in done.stdout


def test_the_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from mhmodels.cli import place_tables
    from mhmodels.hardware import Placement

    one = Placement(
        model="mobilenet_v4_conv_small", format="float32", soc="SM8650", product="", whole=True, operators_taken=160,
        operators=160, partitions=1, ddr_read_bytes=11_110_000, ddr_write_bytes=65536, seconds=1.0, compiler="c",
    )  # fmt: skip
    console = Console(width=80, file=io.StringIO(), record=True)
    monkeypatch.setattr(place_tables, "console", lambda: console)
    place_tables.print_placements([one])
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    row = ["mobilenet_v4_conv_small", "float32", "SM8650", "yes", "160/160", "1", "11.11", "0.07"]
    assert row in [line.split() for line in lines]


def test_socs_are_listed_without_the_tool(command: Command) -> None:
    socs = json.loads(command("place", "--list", "--json").stdout)["socs"]
    assert {"name": "SM8650", "soc_model": 57, "generation": 75, "product": "Snapdragon 8 Gen 3", "device": "phone",
            "listed": True} in socs  # fmt: skip
    assert "Snapdragon 8 Elite Gen 5" in command("place", "--list").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("multi_max", 2, "give a FILE or MODEL, and --soc SOC or --all"),
        ("--soc SM8650", 2, "give a FILE or MODEL"),
        ("multi_max --soc SM8650 --all", 2, "give one of them"),
        ("multi_max --soc SM8651", 1, "unknown SoC 'SM8651': did you mean SM8650"),
        ("multi_max --soc SM8650", 1, "not installed: `mhmodels hardware install qualcomm`"),
    ],
)
def test_usage(arguments: str, code: int, message: str, command: Command) -> None:
    done = command("place", *arguments.split())
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())


@pytest.mark.usefixtures("whole")
def test_bad_targets(command: Command, tmp_path: Path) -> None:
    assert "No such file" in command("place", "x.tflite", "--soc", "SM8650").stderr
    assert "did you mean" in command("place", "multi_may", "--soc", "SM8650").stderr
    (tmp_path / "t.tflite").write_text("text, but long enough")
    assert "not a TFLite file" in command("place", str(tmp_path / "t.tflite"), "--soc", "SM8650").stderr
    done = command("place", str(tmp_path / "whole.tflite"), "--soc", "SM8650", "--format", "uint8")
    assert (done.returncode, "a FILE has its own" in done.stderr) == (2, True)
