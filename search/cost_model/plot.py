"""Plots predicted against measured latency of held-out networks (figure 4 of arXiv 2008.08178)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.model import CostModel
from mhmodels.system.files import replaced


def scatter(model: CostModel, true_ms: Floats, predicted_ms: Floats, path: Path) -> None:
    """Draws a point for each held-out network, the diagonal and the ±10 % band.

    Args:
        model: Cost model, for the title and the statistics.
        true_ms, predicted_ms: (n,), latencies and predictions in ms.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    low = 0.95 * float(min(true_ms.min(), predicted_ms.min()))
    high = 1.05 * float(max(true_ms.max(), predicted_ms.max()))
    line = np.array([low, high])
    axes.fill_between(line, 0.9 * line, 1.1 * line, color="0.9", label="±10 %")
    axes.plot(line, line, color="0.5", linewidth=1)
    axes.scatter(
        true_ms, predicted_ms, s=10, alpha=0.6, color="tab:blue", linewidths=0, label=f"{len(true_ms)} held-out networks"
    )
    axes.set(xlim=line, ylim=line, xlabel=f"{model.kind} latency (ms)", ylabel="predicted latency (ms)", aspect="equal")
    report = model.held_out
    spearman = "" if report.spearman is None else f", Spearman {report.spearman:.4f}"
    axes.set_title(
        f"{model.hardware}: {model.space}, {model.form} model of {model.n}\n"
        f"MAPE {report.mape:.1%}, within 10 %: {report.hit_rate_10:.1%}{spearman}",
        fontsize=9,
    )
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    with replaced(path) as beside:
        figure.savefig(beside, dpi=150)
