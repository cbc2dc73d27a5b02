"""The learning curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.system.files import replaced
from mhmodels.training.run.checkpoint import EpochResult


class CurveWords(NamedTuple):
    """Words in the plots.

    Attributes:
        loss: Name and unit of the loss.
        accuracy: Name and unit of the accuracy.
        test: Name of the test pictures.
    """

    loss: str = "cross-entropy (nats)"
    accuracy: str = "accuracy (%)"
    test: str = "test"


def plot_curve(history: Sequence[EpochResult], path: Path, title: str, words: CurveWords | None = None) -> None:
    """Draws loss and accuracy by epoch into a PNG file.

    Args:
        history: Results of at least one epoch.
        path: Path of the file, which is replaced whole.
        title: Title above the plots.
        words: Names of the axes and of the test pictures; None for those of training with labels.
    """
    words = words or CurveWords()
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
        left.plot(at, [result.test_loss for result in tested], marker=".", label=words.test)
        right.plot(at, [100 * (result.test_accuracy or 0) for result in tested], marker=".", label=words.test)
        last = tested[-1]
        right.annotate(
            f"{100 * (last.test_accuracy or 0):.2f} %",
            (last.epoch, 100 * (last.test_accuracy or 0)),
            textcoords="offset points",
            xytext=(-4, -16),
            ha="right",
        )
    left.set(ylabel=words.loss, yscale="log")
    right.set(ylabel=words.accuracy)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, parse_math=False)  # a name may have a $ in it
    with replaced(path) as beside:
        figure.savefig(beside, dpi=110)
