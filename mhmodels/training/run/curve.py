"""The learning curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mhmodels.system.files import replaced
from mhmodels.training.run.checkpoint import EpochResult


def plot_curve(history: Sequence[EpochResult], path: Path, title: str) -> None:
    """Draws loss and accuracy by epoch into a PNG file.

    Args:
        history: Results of at least one epoch.
        path: Path of the file, which is replaced whole.
        title: Title above the plots.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [result.epoch for result in history]
    tested = [result for result in history if result.test_accuracy is not None and result.test_loss is not None]
    left.plot(epochs, [result.loss for result in history], marker=".", label="training")
    right.plot(epochs, [100 * result.accuracy for result in history], marker=".", label="training")
    if tested:
        at = [result.epoch for result in tested]
        left.plot(at, [result.test_loss for result in tested], marker=".", label="test")
        right.plot(at, [100 * (result.test_accuracy or 0) for result in tested], marker=".", label="test")
        last = tested[-1]
        right.annotate(
            f"{100 * (last.test_accuracy or 0):.2f} %",
            (last.epoch, 100 * (last.test_accuracy or 0)),
            textcoords="offset points",
            xytext=(-4, -16),
            ha="right",
        )
    left.set(ylabel="cross-entropy (nats)", yscale="log")
    right.set(ylabel="accuracy (%)")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, parse_math=False)  # a name may have a $ in it
    with replaced(path) as beside:
        figure.savefig(beside, dpi=110)
