"""Equation 1: what several hardware leave of a space."""

from __future__ import annotations

import numpy as np
import pytest

from mhmodels.hardware.capabilities import PROFILES, Capabilities, get_profile, unsupported
from mhmodels.registry import get_architecture
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.restriction import restrict
from mhmodels.search.space.template import ArchitectureSpace

EDGETPU, HEXAGON = get_profile("pixel4-edgetpu-2020"), get_profile("hexagon-2020")


def space_of(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


def test_the_paper_s_space_comes_out_of_a_wider_one() -> None:
    """Section 6.1: no squeeze-excite and no h-swish because of the Edge TPU, multiples of 32 because of the DSP."""
    wide, paper = space_of("multi_hardware_unrestricted"), space_of("multi_hardware")
    left = restrict(wide, PROFILES)
    assert left.space.sizes == paper.sizes
    rng = np.random.default_rng(0)
    assert all(paper.contains(one) for one in wide.build_all(left.space.draw(40, rng)))
    assert all(left.space.contains(one) for one in paper.build_all(paper.draw(40, rng)))
    assert left.space.schema == wide.schema
    reasons = {(removal.hardware, removal.what) for removal in left.removals}
    assert reasons == {
        (EDGETPU.id, "squeeze-excite"),
        (EDGETPU.id, "hard_swish"),
        (HEXAGON.id, "kernel 7, above 5"),
        (HEXAGON.id, "widths that are no multiple of 32"),
    }
    assert left.space.restrictions == tuple(str(removal) for removal in left.removals)


def test_restricting_tunas_widths_gives_powers_of_two_of_its_bases() -> None:
    """Facts 3.1, alternative (b): the V3-like space's widths that are multiples of 32."""
    left = restrict(space_of("mobilenet_v3_like"), [HEXAGON]).space
    options = {
        decision.name: [decision.choices[i] for i in allowed]
        for decision, allowed in zip(left.decisions, left.allowed, strict=True)
        if decision.tag == "width"
    }
    assert options["stem_width"] == options["stage2_width"] == [32]
    assert options["stage3_width"] == [32, 64]
    assert options["stage4_width"] == [32, 64, 96, 128]
    assert options["stage5_width"] == [64, 96, 128, 160, 192, 256]
    assert options["stage6_width"] == [128, 160, 192, 256, 320, 384, 512]


def test_nothing_left_is_an_error_that_names_hardware_and_place() -> None:
    with pytest.raises(SpaceError, match=r"nothing is left of 'stem_block1'.*pixel4-edgetpu-2020 rules out hard_swish"):
        restrict(space_of("mobilenet_v3_like"), PROFILES)


def test_no_limits_remove_nothing() -> None:
    space = space_of("proxylessnas")
    left = restrict(space, [Capabilities(id="anything", description="", source="a test")])
    assert left.space.sizes == space.sizes
    assert left.removals == ()


def test_inner_widths_count_too() -> None:
    """Expansions 3 and 6 of a width of 32 are multiples of 64 and not of it."""
    limits = Capabilities(id="wide", description="", source="a test", channel_multiple=64)
    with pytest.raises(SpaceError, match="no multiple of 64"):
        restrict(space_of("proxylessnas"), [limits])


@pytest.mark.parametrize(
    ("model", "runs"),
    [("mobilenet_v3_large", False), ("mobilenet_v3_large_minimalistic", True), ("multi_max", True), ("multi_avg", True)],
)
def test_what_the_edge_tpu_of_table_1_runs(model: str, runs: bool) -> None:
    reason = unsupported(get_architecture(model), EDGETPU)
    assert (reason == "") == runs
    if not runs:
        assert "squeeze-excite" in reason
        assert "hard_swish" in reason


def test_a_limit_of_speed_refuses_nothing() -> None:
    """Table 1 has a DSP latency for MobileNetV3-Large, whose widths are no multiples of 32."""
    assert unsupported(get_architecture("mobilenet_v3_large"), HEXAGON) == ""
