"""Last layers are judged with the blocks that a reduction leaves, not with the mean of all."""

from __future__ import annotations

import numpy as np
import pytest

from mhmodels.search import get_space, profile, reduce_space, sample
from mhmodels.search.profiling.block_profile import BlockProfile
from mhmodels.search.reduction.blocks import SpaceBlocks
from mhmodels.search.reduction.evidence import evidence_of
from mhmodels.search.space.search_space import Encodings
from tests.search import toys

SPACE = get_space("ofa_mobilenet_v3")
SKIP, UNITS = 9, 5
UNIT_MS = np.array([0.5, 0.3, 0.3, 0.4, 0.5])
FACTORS = np.append(np.outer([1, 1.02, 1.1], [1, 1.03, 4]).ravel(), 0.0)
"""7x7 kernels cost four times."""
GAINS = np.append(np.outer([0, 0.03, 0.09], [1, 1, 1]).ravel() + np.outer([1, 1, 1], [0, 0.02, 0.03]).ravel(), 0.0)
SLOW = [f"inverted_bottleneck kernel=7 expansion={expansion}" for expansion in (3, 4, 6)]


def layers(rows: Encodings) -> Encodings:
    return rows[:, :20].reshape(-1, UNITS, 4)


@pytest.fixture(scope="module")
def profiles() -> tuple[BlockProfile, BlockProfile]:
    """Latency, and accuracy where a third layer gains 0.5 points and a fourth one 0.3."""
    rows = sample(SPACE, 200, distribution="depth-uniform").encodings
    ms: toys.Floats = 1 + (FACTORS[layers(rows)] * UNIT_MS[:, None]).sum(axis=(1, 2))
    present = layers(rows) != SKIP
    percent = 75 + GAINS[layers(rows)].sum(axis=(1, 2)) + 0.5 * present[:, :, 2].sum(axis=1) + 0.3 * present[:, :, 3].sum(axis=1)
    percent += np.random.default_rng(0).normal(0, 0.02, len(rows))
    return profile(SPACE, rows, ms, differences=True), profile(SPACE, rows, percent, differences=True)


@pytest.mark.parametrize("per", ["unit", "network"])
def test_the_latency_of_a_last_layer_is_that_of_the_blocks_that_are_left(per: str, profiles: tuple[BlockProfile, ...]) -> None:
    gone = [(unit, block) for unit in ([0] if per == "network" else range(1, UNITS + 1)) for block in SLOW]
    before = evidence_of(profiles[0])
    after = before.with_blocks(SpaceBlocks(SPACE, per).stages(gone))  # type: ignore[arg-type]
    fast = np.delete(FACTORS[:9], [2, 5, 8]).mean()
    for unit, ms in enumerate(UNIT_MS, 1):
        assert before.depth[unit, 4].mean == pytest.approx(ms * FACTORS[:9].mean(), rel=0.05)
        assert after.depth[unit, 4].mean == pytest.approx(ms * fast, rel=0.05)
    assert after.differences == before.differences


def test_units_that_lose_nothing_keep_their_evidence(profiles: tuple[BlockProfile, ...]) -> None:
    before = evidence_of(profiles[0])
    after = before.with_blocks(SpaceBlocks(SPACE, "unit").stages([(2, SLOW[0])]))
    assert {place[0] for place, one in after.depth.items() if one != before.depth[place]} == {2}


def test_a_layer_stays_that_pays_without_the_slow_blocks(profiles: tuple[BlockProfile, ...]) -> None:
    found = reduce_space(SPACE, {"npu": profiles[0]}, profiles[1], per="network")
    assert {one.block for one in found.removed} == set(SLOW)
    assert found.caps == ()
