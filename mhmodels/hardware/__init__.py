"""Measuring latency: hardware as data, runners, measurements. Runtimes and compilers run in child processes.

    from mhmodels.hardware import measure
    row = measure("multi_max_int8.tflite", "ethos-u55-128")
    print(row.median_ms, row.kind)

A latency is never shown without its kind: measured, estimated, simulated, predicted or published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.hardware.collection import (
    DEFAULT_HARDWARE,
    HardwareCollection,
    HardwareEntry,
    built_in_hardware,
    get_hardware,
    list_hardware,
)
from mhmodels.hardware.conditions import Conditions
from mhmodels.hardware.layers.profile import LayerCost, LayerProfile
from mhmodels.hardware.measurement import UNSUPPORTED, Environment, Measurement, MeasurementKind
from mhmodels.hardware.measuring import MeasuredRow, answer, check_format, measure, prepare
from mhmodels.hardware.mixing import Mixture, mixture
from mhmodels.hardware.protocol import Hardware, Job, LayerProfiler, Runner
from mhmodels.lazy import lazy_names

if TYPE_CHECKING:
    from mhmodels.hardware.capabilities import Capabilities, get_profile, unsupported
    from mhmodels.hardware.interleaved import TimeRatio, compare_files
    from mhmodels.hardware.layers.profiling import profile_layers
    from mhmodels.hardware.roofline import simulate

__all__ = [
    "DEFAULT_HARDWARE",
    "UNSUPPORTED",
    "Capabilities",
    "Conditions",
    "Environment",
    "Hardware",
    "HardwareCollection",
    "HardwareEntry",
    "Job",
    "LayerCost",
    "LayerProfile",
    "LayerProfiler",
    "MeasuredRow",
    "Measurement",
    "MeasurementKind",
    "Mixture",
    "Runner",
    "TimeRatio",
    "answer",
    "built_in_hardware",
    "check_format",
    "compare_files",
    "get_hardware",
    "get_profile",
    "list_hardware",
    "measure",
    "mixture",
    "prepare",
    "profile_layers",
    "simulate",
    "unsupported",
]

_MODULE_OF = {
    "Capabilities": "capabilities", "TimeRatio": "interleaved", "compare_files": "interleaved", "get_profile": "capabilities",
    "profile_layers": "layers.profiling", "simulate": "roofline", "unsupported": "capabilities",
}  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
