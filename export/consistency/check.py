"""Compares the formats of one network on the runners of this machine.

This measures the motivation of multi-hardware models (arXiv 2008.08178, section 3): a network that is exported differently for
each chip gives different scores, so that one threshold does not mean the same everywhere. Here all formats come from one graph
and one calibration, so that only rounding remains.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.consistency.accelerators import ACCELERATORS, Accelerator, chosen_accelerators
from mhmodels.export.consistency.decisions import Decide, DecisionRule, rule_of
from mhmodels.export.consistency.report import ConsistencyReport, OutputReport, RunnerReport, ThresholdReport
from mhmodels.export.consistency.subject import ConsistencySubject, consistency_subject
from mhmodels.export.errors import ExportError
from mhmodels.export.formats import INTEGER_FORMATS
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import SCORES, WriterOptions, flat_scores
from mhmodels.export.job import ProgressCallback, no_progress
from mhmodels.export.opening.open_model import ModelLike
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.options import ExportOptions
from mhmodels.export.pipeline import export_source
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.tolerances import DRIFT_TOLERANCE
from mhmodels.export.verification.file_graph import compared_tensors, dequantise, encode_input
from mhmodels.export.verification.parity import TOP_K, shared_top
from mhmodels.export.verification.runtimes.litert import RuntimeKernels, run_file
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import read_tflite
from mhmodels.tflite.format import FORMATS, FileFormat

REFERENCE = "float32 keras"
KERNELS: tuple[RuntimeKernels, ...] = ("xnnpack", "builtin", "reference")
NOT_RUN = {
    "ethos-u (Vela)": "a compiled file runs on the NPU only; `mhmodels bench` has the compiler's estimate",
    "phones": "run on a connected phone with `mhmodels bench FILE --device SERIAL`",
}


Compute: TypeAlias = Callable[[Path, NDArray[np.generic], int], NDArray[np.generic]]
"""Computes a tensor (n, …) of a file from its inputs (n, …)."""


class _Run(NamedTuple):
    """The outputs of a runner on the pictures."""

    outputs: Float32Array
    step: float = 0.0


class _Comparison(NamedTuple):
    """The outputs and scores of all runners by name, the float Keras model first, and the rule that makes decisions of them."""

    rule: DecisionRule
    runs: Mapping[str, _Run]
    scores: Mapping[str, Float32Array]

    def decisions(self, threshold: Float32Array) -> dict[str, NDArray[np.int64]]:
        """Returns the decisions of every runner, (n, 1) or (n, outputs)."""
        return {name: self.rule.decisions(scores, threshold) for name, scores in self.scores.items()}

    def sure(self, threshold: Float32Array) -> NDArray[np.bool_]:
        """Returns which decisions are among the surer half, by the margins of the float model."""
        margins = self.rule.margins(self.scores[REFERENCE], threshold)
        return np.asarray(margins >= np.median(margins))

    def all_same(self, threshold: Float32Array) -> ThresholdReport:
        """Returns the share of decisions on which all runners agree."""
        decisions = np.stack(list(self.decisions(threshold).values()))
        same = (decisions == decisions[0]).all(0)
        value = tuple(threshold.tolist()) if threshold.ndim else float(threshold)
        return ThresholdReport(value=value, all_same=float(same.mean()), sure_all_same=float(same[self.sure(threshold)].mean()))

    def agreement(self, threshold: Float32Array) -> tuple[tuple[float, ...], ...]:
        """Returns the shares of equal decisions between all pairs of runners; of best outputs whatever their score."""
        made = list(self.decisions(threshold).values())
        if self.rule.best:
            made = [scores.outputs.argmax(1) for scores in self.runs.values()]
        return tuple(tuple(float((one == other).mean()) for other in made) for one in made)

    def drifts(self, name: str) -> Float32Array:
        """Returns the drifts of one runner from the float model, (n, outputs)."""
        run = self.runs[name]
        return self.rule.drifts(run.outputs, self.runs[REFERENCE].outputs, run.step)


def check_consistency(
    model: ModelLike,
    *,
    images: str | Path | None = None,
    formats: Sequence[FileFormat] = FORMATS,
    tolerance: float = DRIFT_TOLERANCE,
    threshold: float | None = None,
    decide: Decide = "auto",
    accelerators: Sequence[str] = (),
    progress: ProgressCallback = no_progress,
) -> ConsistencyReport:
    """Checks whether a network gives the same scores and decisions in every format and runtime of this machine.

    Every format is exported from one graph with one calibration, and runs on the pictures with LiteRT: with XNNPACK, with its
    builtin kernels and with its reference kernels. The float Keras model is the reference.

    Args:
        model: Any model that `mhmodels.export.export_model` takes.
        images: Folder of pictures. None for the test set of registered weights, else for the bundled photographs.
        formats: Formats to compare.
        tolerance: Largest mean drift of the logits (without a softmax, of the outputs) of a consistent network, as a share of
            their standard deviation, 0 to 1.
        threshold: Score from which a decision is made. None for the default of the network's last activation, which
            docs/export.md lists.
        decide: `best` if the decision on a picture is its best output, `each` if every output is a decision, `auto` to choose
            by the network's last activation.
        accelerators: Further runners: `hexagon` is Qualcomm's emulator of a phone's NPU, `gpu` LiteRT's GPU accelerator.
        progress: Called with a description of each stage as it begins.

    Raises:
        ExportError: A file fails its verification, a runtime refuses a file, the network does not have exactly one output of
            scores, the threshold is not a score, or an accelerator runs none of the formats.
        MeasurementError: The tool of an accelerator is not installed, or fails.

    Example:
        >>> from mhmodels.export import ModelRequest, check_consistency
        >>> request = ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64))
        >>> check_consistency(request, formats=("float32",)).consistent
        True
    """
    subject = consistency_subject(model, None if images is None else Path(images))
    return compare_runners(
        subject, tuple(formats), tolerance, threshold, progress, decide=decide, accelerators=tuple(accelerators)
    )


def compare_runners(
    subject: ConsistencySubject,
    formats: tuple[FileFormat, ...],
    tolerance: float,
    threshold: float | None = None,
    progress: ProgressCallback = no_progress,
    *,
    decide: Decide = "auto",
    accelerators: tuple[str, ...] = (),
) -> ConsistencyReport:
    """Exports every format into a temporary folder, runs all of them, and compares.

    Args:
        subject: Network and pictures.
        formats, tolerance, threshold, decide, accelerators, progress: As `check_consistency`.

    Raises:
        ExportError: See `check_consistency`.
    """
    rule = _rule(subject.source, threshold, decide)
    runs = _all_outputs(subject, formats, chosen_accelerators(accelerators, formats), progress)
    scores = {name: rule.scores(run.outputs, name.split()[0] in INTEGER_FORMATS) for name, run in runs.items()}
    compared = _Comparison(rule, runs, scores)
    value = rule.threshold(scores[REFERENCE]) if threshold is None else np.array(threshold, np.float32)
    agreement = compared.agreement(value)
    runners = tuple(_runner(name, compared, value, subject.classes) for name in runs)
    drift = max(runner.mean_drift for runner in runners)
    worst = min((compared.all_same(one) for one in rule.thresholds(scores[REFERENCE])), key=lambda report: report.all_same)
    return ConsistencyReport(
        model=f"{subject.source.architecture.name}@{subject.source.architecture.width_multiplier:g}",
        weights=subject.source.label,
        pictures=len(subject.pictures.images),
        source=subject.pictures.calibration.source,
        activation=rule.ending,
        decides="best" if rule.best else "each",
        runners=runners,
        agreement=agreement,
        disagreement=1.0 - min(min(row) for row in agreement),
        threshold=compared.all_same(value),
        worst_threshold=worst,
        outputs=() if rule.best else _each_output(compared, value),
        drift=drift,
        not_run={**NOT_RUN, **{name: runner.to_run for name, runner in ACCELERATORS.items() if name not in accelerators}},
        tolerance=tolerance,
        consistent=drift <= tolerance,
    )


def _rule(source: ExportSource, threshold: float | None, decide: Decide) -> DecisionRule:
    """Returns the rule that makes decisions of the outputs of a network."""
    names = output_names(source.model)
    if len(names) > 1:
        raise ExportError(
            f"model '{source.model.name}' has {len(names)} outputs ({', '.join(names)}), consistency compares one: save a model "
            f"of it, keras.Model(model.input, model.outputs[0]).save(PATH)"
        )
    if source.graph is None:
        raise ExportError(
            f"{source.missing}, so not every format of it can be exported: compare files of TensorFlow's converter one by one "
            "with `mhmodels verify FILE --against MODEL`"
        )
    source.check_ending(features=False)
    rule = rule_of(source.graph, decide)
    if threshold is not None and rule.ending != "none" and not 0 <= threshold <= 1:
        raise ExportError(f"argument 'threshold' is {threshold:g}, the scores of a {rule.ending} go from 0 to 1")
    return rule


def _all_outputs(
    subject: ConsistencySubject,
    formats: tuple[FileFormat, ...],
    accelerators: Mapping[str, Accelerator],
    progress: ProgressCallback,
) -> dict[str, _Run]:
    """Returns the outputs of every runner, the float Keras model first."""
    source, images = subject.source, subject.pictures.images
    writer = WriterOptions(softmax=False)  # XNNPACK keeps no inner tensors: the logits must be the output
    runs = {REFERENCE: _Run(flat_scores(source.expected(images, writer)[SCORES]))}
    wanted = {fmt: {name: one.files[fmt] for name, one in accelerators.items() if fmt in one.files} for fmt in formats}
    with temporary_folder("consistency") as folder:
        exported = tuple(dict.fromkeys((*formats, *(file for files in wanted.values() for file in files.values()))))
        options = ExportOptions(directory=folder, formats=exported, writer=writer, metadata=False)
        made = export_source(source, subject.calibration, options, progress, folder_field="images")
        paths = {one.manifest.precision: one.path for one in made}
        for fmt in formats:
            for kernels in KERNELS:
                progress(f"running {fmt} on {kernels}")
                runs[f"{fmt} {kernels}"] = _run(paths[fmt], images, functools.partial(_on_litert, kernels))
            for name, file in wanted[fmt].items():
                progress(f"running {fmt} on {name}")
                runs[f"{fmt} {name}"] = _run(paths[fmt], images, functools.partial(_on, accelerators[name], paths[file]))
    return runs


def _run(path: Path, images: Float32Array, compute: Compute) -> _Run:
    """Returns the outputs of a TFLite file, or of its twin in another format, whose input and output are those of the file."""
    file = read_tflite(path)
    tensor = compared_tensors(file)[SCORES]
    values = compute(path, encode_input(file, images), tensor.position)
    return _Run(flat_scores(dequantise(values, tensor)), float(tensor.scale[0]) if len(tensor.scale) else 0.0)


def _on_litert(kernels: RuntimeKernels, path: Path, inputs: NDArray[np.generic], tensor: int) -> NDArray[np.generic]:
    (values,) = run_file(path, inputs, [tensor], kernels=kernels)
    return values


def _on(accelerator: Accelerator, twin: Path, _: Path, inputs: NDArray[np.generic], _tensor: int) -> NDArray[np.generic]:
    return accelerator.outputs(twin, inputs)


def _each_output(compared: _Comparison, threshold: Float32Array) -> tuple[OutputReport, ...]:
    """Returns a report on every output by itself."""
    decisions = np.stack(list(compared.decisions(threshold).values()))
    same = (decisions == decisions[0]).all(0).mean(0)
    drift = np.max([compared.drifts(name).mean(0) for name in compared.runs], axis=0)
    return tuple(
        OutputReport(output=i, all_same=float(share), drift=float(most))
        for i, (share, most) in enumerate(zip(same, drift, strict=True))
    )


def _runner(name: str, compared: _Comparison, threshold: Float32Array, classes: NDArray[np.generic] | None) -> RunnerReport:
    found, expected = compared.runs[name].outputs, compared.runs[REFERENCE].outputs
    drift, ranked = compared.drifts(name), compared.rule.best and found.shape[1] > 1
    decisions, sure = compared.decisions(threshold), compared.sure(threshold)
    same = decisions[name] == decisions[REFERENCE]
    fmt, kernels = name.split()
    return RunnerReport(
        name=name,
        format=fmt,
        kernels=kernels,
        top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()) if ranked else None,
        top5_agreement=shared_top(found, expected) if ranked and found.shape[1] > TOP_K else None,
        mean_drift=float(drift.mean() if compared.rule.best else drift.mean(0).max()),
        max_drift=float(drift.max()),
        same_decisions=float(same.mean()),
        sure_same_decisions=float(same[sure].mean()),
        accuracy=None if classes is None else float((found.argmax(1) == classes).mean()),
    )
