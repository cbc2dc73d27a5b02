"""Exports a network or a Keras model to verified TFLite files, one for each number format.

    from mhmodels.export import ExportOptions, ModelRequest, export_model, verify

    request = ModelRequest(model="multi_max", weights="multi_max.weights.h5", input_size=(224, 224))
    files = export_model(request, ExportOptions(directory=Path("out"), formats=("float32", "int8")))
    print(files[1].path, files[1].manifest.parity.float_top1_agreement)
    report = verify(files[1].path, "multi_max", weights="multi_max.weights.h5")

The names below are imported when they are first used; TensorFlow is loaded by those that need it.
"""

from __future__ import annotations

if __name__ != "mhmodels.export":
    raise ImportError("this package is imported as mhmodels.export")

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names

if TYPE_CHECKING:
    from mhmodels.export.consistency.check import check_consistency
    from mhmodels.export.consistency.report import ConsistencyReport
    from mhmodels.export.errors import ExportError, NoEffectError, ParityError
    from mhmodels.export.file_export import Exported
    from mhmodels.export.graph.outputs import WriterOptions
    from mhmodels.export.opening.model_request import ModelRequest
    from mhmodels.export.opening.open_model import open_model
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.pipeline import export_model
    from mhmodels.export.quantisation.aware import quantize_aware
    from mhmodels.export.quantisation.aware_model import save_aware
    from mhmodels.export.reading.stated_rule import StatedRule
    from mhmodels.export.verification.verify import FileReport, verify
    from mhmodels.export.writing.labels import labels_from_file
    from mhmodels.export.writing.latency import latency_file
    from mhmodels.export.writing.manifest import Manifest, load_manifest

_MODULE_OF = {
    "ConsistencyReport": "consistency.report",
    "ExportError": "errors",
    "ExportOptions": "options",
    "Exported": "file_export",
    "FileReport": "verification.verify",
    "Manifest": "writing.manifest",
    "ModelRequest": "opening.model_request",
    "NoEffectError": "errors",
    "ParityError": "errors",
    "StatedRule": "reading.stated_rule",
    "WriterOptions": "graph.outputs",
    "check_consistency": "consistency.check",
    "export_model": "pipeline",
    "labels_from_file": "writing.labels",
    "latency_file": "writing.latency",
    "load_manifest": "writing.manifest",
    "open_model": "opening.open_model",
    "quantize_aware": "quantisation.aware",
    "save_aware": "quantisation.aware_model",
    "verify": "verification.verify",
}
"""Module of each public name, under this package."""

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)

__all__ = [
    "ConsistencyReport",
    "ExportError",
    "ExportOptions",
    "Exported",
    "FileReport",
    "Manifest",
    "ModelRequest",
    "NoEffectError",
    "ParityError",
    "StatedRule",
    "WriterOptions",
    "check_consistency",
    "export_model",
    "labels_from_file",
    "latency_file",
    "load_manifest",
    "open_model",
    "quantize_aware",
    "save_aware",
    "verify",
]
