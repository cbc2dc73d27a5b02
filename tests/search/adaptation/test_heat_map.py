"""The heat map: every device is named, every correlation printed, and unknown ones hatched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.search import MonotonicityMatrix, monotonicity_matrix
from mhmodels.search.adaptation.heat_map import heat_map

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def matrix(names: list[str], missing: int | None = None) -> MonotonicityMatrix:
    random = np.random.default_rng(0)
    base = random.normal(size=40)
    columns: dict[str, Any] = {}
    for i, name in enumerate(names):
        columns[name] = np.exp(base + (0.2 + i % 5) * random.normal(size=40))
        if i == missing:
            columns[name][3:] = np.nan
    return monotonicity_matrix(columns)


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_suffix_is_the_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"map{suffix}"
    heat_map(matrix(["a", "b"]), path, "two devices")
    assert path.read_bytes().startswith(SIGNATURES[suffix])
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def drawn(found: MonotonicityMatrix, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figure that `heat_map` saves, laid out and not saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures: list[Any] = []

    def keep(figure: Any, beside: Path, **_: Any) -> None:
        figures.append(figure)
        beside.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    heat_map(found, path, "latency monotonicity")
    canvas: Any = FigureCanvasAgg(figures[0])
    canvas.draw()
    return figures[0]


@pytest.mark.parametrize("count", [2, 7, pytest.param(40, marks=pytest.mark.slow)])
def test_names_and_values_are_inside_of_the_picture(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"samsung-galaxy-s{i}/qualcomm-hexagon-delegate-int8-sustained" if i % 3 == 1 else f"d{i}" for i in range(count)]
    figure = drawn(matrix(names), tmp_path / "map.png", monkeypatch)
    axes, box = figure.axes[0], figure.bbox
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    assert [label.get_text() for label in labels] == names * 2
    for label in (*labels, axes.title):
        place = label.get_window_extent()
        assert box.x0 - 1 <= place.x0
        assert place.x1 <= box.x1 + 1
        assert box.y0 - 1 <= place.y0
        assert place.y1 <= box.y1 + 1
    cell = axes.transData.transform([(0, 0), (1, 1)])
    width, height = np.abs(cell[1] - cell[0])
    for text in axes.texts:
        place = text.get_window_extent()
        assert place.width < width
        assert place.height < height
    assert len(axes.texts) == count**2


def test_cells_show_their_correlation_and_unknown_ones_are_hatched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = matrix(["a", "b", "c"], missing=2)
    axes = drawn(found, tmp_path / "map.png", monkeypatch).axes[0]
    shown = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "1.00", (1, 1): "1.00", (2, 2): "1.00"} | dict.fromkeys(
        [(0, 1), (1, 0)], f"{found.matrix[0][1]:.2f}"
    )
    hatched = {(round(patch.get_x() + 0.5), round(patch.get_y() + 0.5)) for patch in axes.patches if patch.get_hatch()}
    assert hatched == {(2, 0), (2, 1), (0, 2), (1, 2)}


def test_values_contrast_with_their_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn(matrix([f"d{i}" for i in range(9)]), tmp_path / "map.png", monkeypatch).axes[0]
    image = axes.images[0]
    for text in axes.texts:
        column, row = map(int, text.get_position())
        red, green, blue, _ = image.cmap(image.norm(image.get_array()[row, column]))
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        assert abs(luminance - (1.0 if text.get_color() == "white" else 0.0)) >= 0.45


def test_names_are_neither_formulas_nor_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    heat_map(matrix(["a$x^2$", "b_{1}$", "c\x1b[2J"]), path, "of $a$")
    texts = re.findall(r"<!-- (.*?) -->", path.read_text())
    assert {"a$x^2$", "b_{1}$", r"c\x1b[2J", "of $a$"} <= set(texts)
