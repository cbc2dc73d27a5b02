"""Verdicts from what a compiler prints and writes; the compiler is a stand-in that runs as the real one does."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from mhmodels.errors import FileFormatError, MeasurementError, UnknownNameError
from mhmodels.hardware import PLACEMENT_SOCS, get_placement_soc, place_file
from mhmodels.hardware.placement.placing import compile_for_soc
from mhmodels.hardware.placement.remedies import remedy_for
from mhmodels.hardware.placement.socs import placement_target
from tests.hardware import tiny

from .conftest import StandIn
from .networks import ATAN2, around, compiled


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two convolutions."""
    return tiny.convolutions(tmp_path / "whole.tflite", "int8")


@pytest.fixture
def middle(tmp_path: Path) -> Path:
    """An operator that the plug-in lacks, between two convolutions."""
    return around(tmp_path / "middle.tflite", "float32", ATAN2, 2)


def test_whole(whole: Path, tmp_path: Path, stand_in: StandIn) -> None:
    one_operator = compiled(tmp_path / "c.tflite", "int8", "conv1")
    stand_in("whole", one_operator)
    content = whole.read_bytes()
    found = compile_for_soc(content, "net", get_placement_soc("sm8650"))
    placement = found.placement
    assert placement.whole
    assert (placement.operators_taken, placement.operators, placement.partitions, placement.refused) == (2, 2, 1, ())
    assert (placement.ddr_read_bytes, placement.ddr_write_bytes) == (10240, 2048)
    assert placement.summary == "whole: 2 of 2 operators in 1 partition"
    assert (placement.model, placement.format, placement.product) == ("net", "int8", "Snapdragon 8 Gen 3")
    assert found.content == one_operator.read_bytes()
    assert placement.compiled_bytes == len(found.content)


def test_folders_whose_names_separate_paths_elsewhere(
    whole: Path, tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a:b,c").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a:b,c"))
    parts = 'test -L plugin || exit 8; case "$* $LD_LIBRARY_PATH" in *,*|*:*:*) exit 9;; esac; exit 0'
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", "conv1"), parts)
    assert place_file(whole, "SM8650").whole


def test_an_operator_in_the_middle(middle: Path, tmp_path: Path, stand_in: StandIn) -> None:
    stand_in("unknown_operator", compiled(tmp_path / "c.tflite", "float32", "conv0", "middle", "conv1", left={"middle": ATAN2}))
    placement = place_file(middle, "SM8650")
    assert not placement.whole
    assert placement.partitions == 2
    (refused,) = placement.refused
    assert (refused.position, refused.kind, refused.tensor) == (1, "ATAN2", "middle")
    assert placement.summary.startswith(
        "not whole: 2 of 3 operators in 2 partitions; first refused: operator 1 (ATAN2) 'middle': "
    )


def test_nothing_taken_is_a_verdict(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in("nothing_taken", then='echo -n > "$output"; exit 1')
    placement = place_file(tiny.hybrid(tmp_path / "hybrid.tflite"), "SM8650")
    assert (placement.whole, placement.operators_taken, placement.partitions) == (False, 0, 0)
    assert placement.ddr_read_bytes is placement.compiled_bytes is None
    assert "float32 file" in placement.refused[0].remedy


def test_a_compiled_file_that_is_cut_off_is_no_verdict(whole: Path, tmp_path: Path, stand_in: StandIn) -> None:
    """As a full disk leaves one, with exit code 0."""
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", "conv1", code_bytes=1 << 20))
    with pytest.raises(MeasurementError, match=r"the compiled file is cut off: it has \d+ bytes, its code ends at 1048576"):
        place_file(whole, "SM8650")


def test_a_network_that_was_taken_and_not_compiled(whole: Path, stand_in: StandIn) -> None:
    stand_in("whole", then="exit 1")
    placement = place_file(whole, "SM8650")
    assert not placement.whole
    assert placement.summary.startswith("not whole: the compiler gave up on 2 operators that it had taken (")


CONTRADICTIONS = {
    "the compiled file leaves an operator": (("conv0", "conv1"), {"conv1": 3}, "leaves 1 of 2 operators"),
    "two partitions": (("conv0", "conv1"), {}, "the compiled file has 2 partitions"),
    "another output": (("other",), {}, "the compiled file has the outputs"),
    "an operator of another network": (("conv0", "conv1"), {"conv0": 66}, r"operator 0 \(SIN\) of the compiled file is not in"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_yes_that_the_compiled_file_does_not_prove(case: str, whole: Path, tmp_path: Path, stand_in: StandIn) -> None:
    tensors, left, message = CONTRADICTIONS[case]
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", *tensors, left=left))
    with pytest.raises(MeasurementError, match=rf"whole\.tflite: .* gave no usable answer: .*{message}"):
        place_file(whole, "SM8650")


def test_answers_that_are_of_something_else(whole: Path, middle: Path, tmp_path: Path, stand_in: StandIn) -> None:
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", "conv1"))
    with pytest.raises(MeasurementError, match="counts 2 operators, the file has 3"):
        place_file(middle, "SM8650")
    with pytest.raises(MeasurementError, match=r"compiled for SoC 57 with HTP v75, expected 69 with v79"):
        place_file(whole, "SM8750")
    stand_in("whole")
    with pytest.raises(MeasurementError, match="took 2 operators and wrote no file"):
        place_file(whole, "SM8650")
    text = tmp_path / "text"
    text.write_text("no network at all")
    stand_in("whole", text)
    with pytest.raises(MeasurementError, match="not a TFLite file"):
        place_file(whole, "SM8650")
    stand_in("gave_up", then="exit 1")
    with pytest.raises(MeasurementError, match=r"ended before it partitioned the network; exit code 1 \(ERROR: "):
        place_file(whole, "SM8650")


def test_a_crash_names_the_file_and_the_last_words(whole: Path, stand_in: StandIn) -> None:
    stand_in(then='echo "ERROR: out of luck" >&2; kill -SEGV $$')
    with pytest.raises(MeasurementError, match=r"whole\.tflite: the compiler was ended by SIGSEGV \(ERROR: out of luck\)"):
        place_file(whole, "SM8650")


def test_a_hang_ends_with_the_compiler(whole: Path, tmp_path: Path, stand_in: StandIn) -> None:
    stand_in(then=f"echo $$ > '{tmp_path / 'pid'}'; exec sleep 600")
    with pytest.raises(MeasurementError, match=r"whole\.tflite: qualcomm: no answer within 1\.5 s"):
        place_file(whole, "SM8650", timeout_s=1.5)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _runs(pid):
            return
        time.sleep(0.05)
    pytest.fail("the compiler goes on")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_without_the_tool_the_message_says_how_to_install_it(whole: Path) -> None:
    with pytest.raises(MeasurementError, match="tool qualcomm, which is not installed: `mhmodels hardware install qualcomm`"):
        place_file(whole, "SM8650")


def test_files_that_cannot_be_placed(tmp_path: Path, whole: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(FileFormatError, match="damaged"):
        place_file(damaged, "SM8650")
    with pytest.raises(FileFormatError, match=r"compiled ahead of time by LiteRT .*DISPATCH_OP.*that it was compiled from"):
        place_file(compiled(tmp_path / "c.tflite", "int8", "conv1"), "SM8650")
    model = tiny.TinyModel("int8")
    source = model.tensor("input", (1, 8, 8, 8), "int8")
    model.tensors[source].shapeSignature = [-1, -1, -1, 8]
    with pytest.raises(FileFormatError, match="no fixed size"):
        place_file(model.save(tmp_path / "d.tflite", [source], [model.conv(source, "conv", 8, 8)]), "SM8650")


def test_socs() -> None:
    assert len({soc.name for soc in PLACEMENT_SOCS}) == len(PLACEMENT_SOCS) == 57
    assert all(soc.generation >= 68 for soc in PLACEMENT_SOCS)
    assert sum(soc.listed for soc in PLACEMENT_SOCS) == 10
    with pytest.raises(UnknownNameError, match="unknown SoC 'sm8651': did you mean SM8650"):
        get_placement_soc("sm8651")
    target = placement_target("sm8650-float32")
    assert target is not None
    assert (target.soc.name, target.format) == ("SM8650", "float32")
    assert placement_target("SM8650-float16") is placement_target("hexagon-sa8255") is None


def test_remedies_are_of_what_was_refused() -> None:
    assert "uint8" in remedy_for("ROUND", "int8", "", "refused")
    assert remedy_for("ROUND", "float32", "", "refused") == ""
    assert "integers only" in remedy_for("ADD", "float32", "float32", "The SocModel doesn't support FP16")
    assert remedy_for("CONV_2D", "int8", "int8", "refused") == ""


def test_a_placement_is_json(whole: Path, tmp_path: Path, stand_in: StandIn) -> None:
    stand_in("whole", compiled(tmp_path / "c.tflite", "int8", "conv1"))
    document = msgspec.json.decode(msgspec.json.encode(place_file(whole, "SM8650")))
    assert {"soc", "whole", "operators_taken", "operators", "partitions", "refused"} <= document.keys()
