"""Measuring: hardware as data, runners, measurements. Light to import; runtimes and compilers run in child processes.

    from mhmodels.hardware import measure
    row = measure("multi_max_int8.tflite", "ethos-u55-128")
    print(row.median_ms, row.kind)

A latency is never shown without its kind.
"""

from __future__ import annotations

from mhmodels.hardware.collection import (
    DEFAULT_HARDWARE,
    HardwareCollection,
    HardwareEntry,
    built_in_hardware,
    get_hardware,
    list_hardware,
)
from mhmodels.hardware.measurement import UNSUPPORTED, Environment, Kind, Measurement
from mhmodels.hardware.measuring import Answer, answer, measure, prepare
from mhmodels.hardware.protocol import Hardware, Job, Runner

__all__ = [
    "DEFAULT_HARDWARE",
    "UNSUPPORTED",
    "Answer",
    "Environment",
    "Hardware",
    "HardwareCollection",
    "HardwareEntry",
    "Job",
    "Kind",
    "Measurement",
    "Runner",
    "answer",
    "built_in_hardware",
    "get_hardware",
    "list_hardware",
    "measure",
    "prepare",
]
