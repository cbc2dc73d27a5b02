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
    HARDWARE_SETS,
    HardwareCollection,
    HardwareEntry,
    built_in_hardware,
    get_hardware,
    list_hardware,
    split_ids,
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
    from mhmodels.hardware.placement.placing import place_file
    from mhmodels.hardware.placement.socs import PLACEMENT_SOCS, PlacementSoc, get_placement_soc
    from mhmodels.hardware.placement.verdict import Placement, RefusedOperator
    from mhmodels.hardware.roofline import simulate

__all__ = [
    "DEFAULT_HARDWARE",
    "HARDWARE_SETS",
    "PLACEMENT_SOCS",
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
    "Placement",
    "PlacementSoc",
    "RefusedOperator",
    "Runner",
    "TimeRatio",
    "answer",
    "built_in_hardware",
    "check_format",
    "compare_files",
    "get_hardware",
    "get_placement_soc",
    "get_profile",
    "list_hardware",
    "measure",
    "mixture",
    "place_file",
    "prepare",
    "profile_layers",
    "simulate",
    "split_ids",
    "unsupported",
]

_MODULE_OF = {
    "Capabilities": "capabilities", "PLACEMENT_SOCS": "placement.socs", "Placement": "placement.verdict",
    "PlacementSoc": "placement.socs", "RefusedOperator": "placement.verdict", "TimeRatio": "interleaved",
    "compare_files": "interleaved", "get_placement_soc": "placement.socs", "get_profile": "capabilities",
    "place_file": "placement.placing", "profile_layers": "layers.profiling", "simulate": "roofline",
    "unsupported": "capabilities",
}  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
