"""One network, every format, every runner at hand: do they say the same?

The motivation of multi-hardware models (the paper's section 3), measured: a network that is exported differently for each
chip gives different scores, so that one threshold does not mean the same everywhere. Here all formats come from one graph
and one calibration, and what remains is rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.file_graph import compared_tensors, dequantise, encode_input, flat
from export.graph import Floats
from export.options import INTEGER_FORMATS, Format, Options
from export.parity import TOP_K
from export.pictures import Pictures
from export.pipeline import export_source
from export.runtime import Kernels, run_file
from export.source import Source
from export.verify import compared_ops
from export.writer import SCORES, WriterOptions
from mhmodels.system.files import temporary_folder
from mhmodels.tflite_file import read_tflite

REFERENCE = "float32 keras"
KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
_SCORE_STEPS = 256
"""A quantised softmax gives multiples of 1/256, whatever its input."""


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One format on one runner, beside the float Keras model.

    Attributes:
        top1_agreement: share of pictures with the same best class.
        top5_agreement: share of the five best classes that both have; null below six classes.
        mean_drift, max_drift: absolute difference of the logits as a share of the Keras logits' standard deviation.
        same_decisions: share of pictures with the same decision at the threshold.
        accuracy: where the pictures' classes are known.
    """

    name: str
    format: str
    kernels: str
    top1_agreement: float
    top5_agreement: float | None
    mean_drift: float
    max_drift: float
    same_decisions: float
    accuracy: float | None


class ThresholdReport(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions by one threshold: the best class if its score reaches it, else none.

    Attributes:
        value: the threshold.
        all_same: share of pictures on which every runner decides the same.
    """

    value: float
    all_same: float


class ConsistencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `mhmodels consistency` found.

    Attributes:
        agreement: share of pictures with the same best class, runner by runner, in the order of `runners`.
        disagreement: largest share of pictures on which two runners differ in the best class.
        threshold: at the value that was asked for, or at 0.5, or lower at the median of Keras' best scores.
        drift: largest mean drift of a runner, which `tolerance` limits: unlike agreement it does not depend on how close
            the best two classes happen to be, so that it also judges untrained networks.
        worst_threshold: of 0.05, 0.10, … 0.95 the one with the fewest equal decisions.
        not_run: runners that were not at hand, and why.
    """

    model: str
    weights: str
    pictures: int
    source: str
    runners: tuple[RunnerReport, ...]
    agreement: tuple[tuple[float, ...], ...]
    disagreement: float
    threshold: ThresholdReport
    worst_threshold: ThresholdReport
    drift: float
    not_run: dict[str, str]
    tolerance: float
    consistent: bool


class Subject(NamedTuple):
    """What is compared, and on what.

    Attributes:
        calibration, pictures: normalised; the first for ranges, the second to run.
        classes: of the pictures, int (n,), where they are known.
    """

    source: Source
    calibration: Pictures
    pictures: Pictures
    classes: NDArray[Any] | None


def check_consistency(
    subject: Subject,
    formats: tuple[Format, ...],
    tolerance: float,
    threshold: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ConsistencyReport:
    """Exports every format into a temporary folder, runs all of them, and compares.

    Args:
        subject: network and pictures.
        formats: to export.
        tolerance: largest mean drift of the logits, as a share of their standard deviation.
        threshold: on the best class' score; None: 0.5, or the median of Keras' best scores if that is lower.
        progress: told each stage as it begins.

    Raises:
        ExportError: a file fails its verification, or a runtime refuses it.
    """
    logits = _all_logits(subject, formats, progress)
    scores = {name: _scores(values, name.split()[0] in INTEGER_FORMATS) for name, values in logits.items()}
    best = {name: values.argmax(1) for name, values in logits.items()}
    names = tuple(logits)
    agreement = tuple(tuple(float((best[a] == best[b]).mean()) for b in names) for a in names)
    disagreement = 1.0 - min(min(row) for row in agreement)
    value = min(0.5, float(np.median(scores[REFERENCE].max(1)))) if threshold is None else threshold
    runners = tuple(_runner(name, logits, scores, value, subject.classes) for name in names)
    drift = max(runner.mean_drift for runner in runners)
    worst = min((_all_same(scores, one) for one in THRESHOLDS), key=lambda report: report.all_same)
    return ConsistencyReport(
        model=f"{subject.source.architecture.name}@{subject.source.architecture.width_multiplier:g}",
        weights=subject.source.label,
        pictures=len(subject.pictures.images),
        source=subject.pictures.calibration.source,
        runners=runners,
        agreement=agreement,
        disagreement=disagreement,
        threshold=_all_same(scores, value),
        worst_threshold=worst,
        drift=drift,
        not_run={
            "ethos-u (Vela)": "a compiled file runs on the NPU only; `mhmodels bench` has the compiler's estimate",
            "phones": "run on a connected phone with `mhmodels bench FILE --device SERIAL`",
        },
        tolerance=tolerance,
        consistent=drift <= tolerance,
    )


def _all_logits(subject: Subject, formats: tuple[Format, ...], progress: Callable[[str], None]) -> dict[str, Floats]:
    """Logits by runner, float32 (n, classes) each; the float Keras model first."""
    source, images = subject.source, subject.pictures.images
    source.check_ending(features=False)
    writer = WriterOptions(softmax=False)  # XNNPACK keeps no inner tensors: the logits must be the output
    (operation,) = compared_ops(source.known, writer).values()
    logits = {REFERENCE: flat(source.compute(images, (operation,))[operation])}
    with temporary_folder("consistency") as folder:
        options = Options(directory=folder, formats=formats, writer=writer, metadata=False)
        for one in export_source(source, subject.calibration, options, progress, folder_option="--images"):
            fmt = one.manifest.precision
            for kernels in KERNELS:
                progress(f"running {fmt} on {kernels}")
                logits[f"{fmt} {kernels}"] = _run(one.path, images, kernels)
    return logits


def _run(path: Path, images: Floats, kernels: Kernels) -> Floats:
    file = read_tflite(path)
    tensor = compared_tensors(file)[SCORES]
    (values,) = run_file(path, encode_input(file, images), [tensor.position], kernels=kernels)
    return flat(dequantise(values, tensor))


def _scores(logits: Floats, quantised: bool) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    scores = powers / powers.sum(1, keepdims=True)
    return (
        (np.minimum(np.rint(scores * _SCORE_STEPS), _SCORE_STEPS - 1) / _SCORE_STEPS).astype(np.float32) if quantised else scores
    )


def _decisions(scores: Floats, threshold: float) -> NDArray[Any]:
    """The best class, or -1 where its score is below the threshold."""
    return np.where(scores.max(1) >= threshold, scores.argmax(1), -1)


def _all_same(scores: Mapping[str, Floats], threshold: float) -> ThresholdReport:
    decisions = np.stack([_decisions(values, threshold) for values in scores.values()])
    return ThresholdReport(value=threshold, all_same=float((decisions == decisions[0]).all(0).mean()))


def _runner(
    name: str, logits: Mapping[str, Floats], scores: Mapping[str, Floats], threshold: float, classes: NDArray[Any] | None
) -> RunnerReport:
    found, expected = logits[name], logits[REFERENCE]
    drift = np.abs(found - expected) / float(expected.std())
    ranks = [np.argsort(-values, axis=1, kind="stable")[:, :TOP_K] for values in (found, expected)]
    shared = float((ranks[0][:, :, None] == ranks[1][:, None, :]).any(2).mean()) if found.shape[1] > TOP_K else None
    fmt, kernels = name.split()
    return RunnerReport(
        name=name,
        format=fmt,
        kernels=kernels,
        top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()),
        top5_agreement=shared,
        mean_drift=float(drift.mean()),
        max_drift=float(drift.max()),
        same_decisions=float((_decisions(scores[name], threshold) == _decisions(scores[REFERENCE], threshold)).mean()),
        accuracy=None if classes is None else float((found.argmax(1) == classes).mean()),
    )
