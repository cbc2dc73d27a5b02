"""Drawing samples."""

from __future__ import annotations

import numpy as np
import pytest

from mhmodels.search.errors import SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import reference_madds, sample
from mhmodels.search.space.template import ArchitectureSpace


def space_of(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


def test_equal_seeds_draw_equal_samples_without_repetition() -> None:
    space = space_of("multi_hardware")
    one, again, other = (sample(space, 300, seed) for seed in (5, 5, 6))
    assert (one.encodings == again.encodings).all()
    assert not (one.encodings == other.encodings).all()
    assert len(np.unique(one.encodings, axis=0)) == 300


def test_uniform_samples_of_the_paper_s_space_are_far_too_heavy() -> None:
    """Median 2.2 G MAdds, under 1 % below 600 M: why samples for fitting are drawn otherwise."""
    space = space_of("multi_hardware")
    madds = space.madds(sample(space, 6000, 0, "uniform").encodings)
    assert np.median(madds) == pytest.approx(2.2e9, rel=0.03)
    assert (madds < 600e6).mean() == pytest.approx(0.007, abs=0.004)


def test_windows_hold() -> None:
    space = space_of("multi_hardware")
    share = space.madds(sample(space, 400, 0, "window=0.5:1.25").encodings) / reference_madds()
    assert share.min() >= 0.5
    assert share.max() <= 1.25


def test_every_depth_is_equally_likely() -> None:
    space = space_of("multi_hardware")
    rows = space.draw(8000, np.random.default_rng(0), depth="uniform")
    for group in space.groups:
        depth = (rows[:, list(group)] != 24).sum(axis=1)
        assert np.bincount(depth) / 8000 == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_mixed_is_half_and_half_from_the_first_on() -> None:
    drawn = sample(space_of("multi_hardware"), 101, 0)
    assert drawn.distributions[:4] == ("depth-uniform", "window=0.5:2") * 2
    assert drawn.distributions.count("depth-uniform") == 51


def test_a_whole_small_space_can_be_drawn() -> None:
    space = get_space("nas_bench_201")
    assert len(np.unique(sample(space, 15_625, 0).encodings, axis=0)) == 15_625
    with pytest.raises(SpaceError, match="has 15625 members"):
        sample(space, 15_626)


@pytest.mark.parametrize("name", ["window", "window=2:1", "window=-1:2", "normal", "window=1:1"])
def test_unknown_distributions_are_refused(name: str) -> None:
    with pytest.raises(SpaceError, match="expected uniform, depth-uniform, mixed, or window=A:B"):
        sample(get_space("multi_hardware"), 5, 0, name)


def test_tables_have_no_window() -> None:
    with pytest.raises(SpaceError, match="counts no MAdds"):
        sample(get_space("nas_bench_201"), 5, 0, "window=0.5:2")


def test_an_empty_window_ends_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mhmodels.search.space.sampling._MOST_DRAWS", 10_000)
    with pytest.raises(SpaceError, match=r"draws gave 0 different members of 'window=0\.001:0\.002', expected 5"):
        sample(get_space("multi_hardware"), 5, 0, "window=0.001:0.002")
