"""Pictures and text of profiles say what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.search import BlockMean, BlockProfile, CostModelError, DepthEffect, LayerShare, PlacementEffect
from mhmodels.search.cli.profile.tables import print_shares
from mhmodels.search.cli.profile.text_map import text_map
from mhmodels.search.profiling.heat_map import effect_map
from mhmodels.search.profiling.ranking_plot import ranking_plot
from mhmodels.search.profiling.relative import effect_scale
from mhmodels.search.profiling.share_plot import share_plot

BLOCKS = ("inverted_bottleneck kernel=3 expansion=6", "fused_inverted_bottleneck kernel=5 expansion=2")


def made(level: float = 50.0) -> BlockProfile:
    """Two units with two layers of two blocks each; effects in ms, 1 ms is 2 % of the mean network."""
    values = {(1, 1): (0.2, -8.0), (1, 2): (2.0, None), (2, 1): (-0.1, 8.0), (2, 2): (0.2, -0.2)}
    effects = [
        PlacementEffect(
            unit=unit, layer=layer, choice=i, block=block, n=9, mean=mean,
            low=None if mean is None else mean - 0.15, high=None if mean is None else mean + 0.15,
        )
        for (unit, layer), means in values.items() for i, (block, mean) in enumerate(zip(BLOCKS, means, strict=True))
    ]  # fmt: skip
    return BlockProfile(
        space="small_space", method="regression", confidence=0.9, n=123, set_aside=0, level=level, error=0.1,
        effects=tuple(effects),
        blocks=tuple(
            BlockMean(block=block, locations=4, metric=level + mean, mean=mean, low=mean - 0.5, high=mean + 0.5)
            for block, mean in zip(BLOCKS, (0.1, 2.0), strict=True)
        ),
        depth=(DepthEffect(unit=1, layer=2, mean=5, low=4, high=6),), decisions=(), missing=(),
    )  # fmt: skip


@pytest.fixture
def text_in_svg() -> None:
    import matplotlib as mpl

    mpl.rcParams["svg.fonttype"] = "none"


def test_the_map_in_the_terminal() -> None:
    profiles = {"phone": made(), "npu": made()}
    lines = [line.plain for line in text_map(profiles, effect_scale("latency", profiles.values()))]
    # The strongest effects are 16 %: steps of 5 and 15 %.
    assert lines[:5] == [
        "             phone  npu  ",
        "             1  2   1  2 ",
        "             12 12  12 12",
        "ib k3 e6     ++ .+  ++ .+",
        "fused k5 e2  =? #-  =? #-",
    ]
    assert "effect on latency (% of the mean network):" in lines
    assert "  #  more than +15    *  +5 to +15    +  0 to +5" in lines


def test_many_hardware_take_several_rows_of_maps() -> None:
    profiles = {f"hardware-{i}": made() for i in range(12)}
    lines = [line.plain for line in text_map(profiles, effect_scale("latency", profiles.values()))]
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("ib k3 e6") for line in lines) == 2


@pytest.mark.usefixtures("text_in_svg")
def test_pictures_name_hardware_blocks_and_units(tmp_path: Path) -> None:
    profiles = {"phone": made(), "npu": made(25.0)}
    for name, draw in (("map", effect_map), ("ranking", ranking_plot)):
        path = tmp_path / f"{name}.svg"
        draw(profiles, path)
        text = path.read_text()
        for words in ("small_space", "phone", "npu", "123 networks", "% of the mean network", "ib k3 e6", "fused k5 e2"):
            assert words in text, (name, words)
    assert "1.1" in (tmp_path / "map.svg").read_text()
    assert "90 % intervals" in (tmp_path / "ranking.svg").read_text()
    effect_map({"accuracy": made()}, tmp_path / "own.svg", "accuracy", "")
    assert "effect on accuracy" in (tmp_path / "own.svg").read_text()
    assert "%" not in (tmp_path / "own.svg").read_text().split("</metadata>")[1].replace("100%", "")


@pytest.mark.usefixtures("text_in_svg")
def test_shares_of_different_layers_are_drawn_together(tmp_path: Path) -> None:
    first = [LayerShare(part=f"1.{i}", unit=1, layer=i, mean=0.1 * i, low=0.05, high=0.4) for i in (1, 2, 3)]
    share_plot({"phone": first, "npu": first[1:]}, tmp_path / "share.svg", "Latency of small_space")
    text = (tmp_path / "share.svg").read_text()
    assert all(words in text for words in ("phone", "npu", "1.3", "Latency of small_space", "share of the total (%)"))


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CostModelError, match="has 0 profiles"):
        effect_map({}, tmp_path / "map.png")
    with pytest.raises(CostModelError, match="has no layers"):
        share_plot({}, tmp_path / "share.png", "")
    assert not list(tmp_path.iterdir())


def test_a_cost_model_whose_parts_take_less_than_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    part = LayerShare(part="stem", mean=-0.15, p5=-0.2, p95=-0.1)
    print_shares({"npu": [part]}, made())
    told = capsys.readouterr()
    assert "-15.0 %" in told.out
    assert "npu: parts with a share below 0" in " ".join(told.err.split())
    print_shares({"npu": [LayerShare(part="stem", mean=0.1, p5=0.1, p95=0.2)]}, made())
    assert "below 0" not in capsys.readouterr().err
