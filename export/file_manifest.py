"""Composes the manifest of an exported file from its job, its bytes and its parity."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from mhmodels.complexity import layer_complexity
from mhmodels.export.formats import ExportFormat, is_onnx
from mhmodels.export.job import ExportJob
from mhmodels.export.quantisation.parameters import takes_pixels
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.reading.pictures import Calibration
from mhmodels.export.verification.facts import FileFacts, tflite_facts
from mhmodels.export.writing.manifest import InputSpec, Manifest, Parity, tool_versions
from mhmodels.tflite.file import parse_tflite


def compose_manifest(
    job: ExportJob,
    path: Path,
    content: bytes,
    parity: Parity,
    fmt: ExportFormat,
    quantised: QuantisedGraph | None,
    calibration: Calibration | None,
    *,
    metadata: bool,
) -> Manifest:
    """Returns the manifest of a file.

    Args:
        job: What the file was made from.
        path: Name that the file gets.
        content: Its bytes.
        parity: How far it departs from its network.
        fmt: Its format.
        quantised, calibration: Integers of an integer file, and the source of their ranges; None for a float file.
        metadata: Whether the file carries tflite-support's metadata.
    """
    facts, options, whole = _facts(path, content, fmt), job.options, job.source.whole
    counts = None if job.source.graph is None else [layer_complexity(op) for op in job.source.graph.ops]
    return Manifest(
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=len(content),
        precision=fmt,
        engine=options.engine,
        granularity=_granularity(quantised),
        pooling=options.writer.pooling,
        softmax=options.writer.softmax,
        features=options.writer.features,
        normalise_in_model=options.normalise_in_model,
        architecture=msgspec.json.decode(job.architecture.to_json()) if whole else None,
        architecture_id=job.architecture.architecture_id if whole else None,
        backbone=None if whole else job.source.backbone,
        weights=job.source.label,
        input=_input_spec(job, facts),
        outputs=facts.outputs,
        quantisation=facts.quantisation if quantised is not None else {},
        calibration=calibration,
        labels=job.labels,
        metadata=metadata,
        params=None if counts is None else sum(layer.params for layer in counts),
        params_total=None if counts is None else sum(layer.params + layer.biases + layer.batch_norm for layer in counts),
        madds=None if counts is None else sum(layer.madds for layer in counts),
        operators=facts.operators,
        parity=parity,
        tools=tool_versions(fmt),
    )


def _facts(path: Path, content: bytes, fmt: ExportFormat) -> FileFacts:
    if not is_onnx(fmt):
        return tflite_facts(parse_tflite(content, source=str(path)))
    from mhmodels.export.verification.onnx_facts import onnx_facts

    return onnx_facts(content)


def _granularity(quantised: QuantisedGraph | None) -> str | None:
    if quantised is None:
        return None
    # One scale a channel shows in any kernel of more than one channel.
    return "channel" if any(len(kernel.quantisation.scale) > 1 for kernel in quantised.kernels.values()) else "tensor"


def _input_spec(job: ExportJob, facts: FileFacts) -> InputSpec:
    preprocessing = job.file_preprocessing
    pixels = facts.input["scale"] is not None and takes_pixels(preprocessing)
    return msgspec.convert(
        {
            **facts.input,
            "takes_pixels": pixels or job.options.normalise_in_model,
            "mean": preprocessing.mean if job.source.rule_known else None,
            "std": preprocessing.std if job.source.rule_known else None,
            "crop_fraction": preprocessing.crop_fraction,
            "interpolation": preprocessing.interpolation,
        },
        InputSpec,
    )
