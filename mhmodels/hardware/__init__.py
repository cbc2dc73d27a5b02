"""Measuring: hardware as data, runners, measurements. Light to import; runtimes and compilers run in child processes.

    from mhmodels.hardware import measure
    row = measure("multi_max_int8.tflite", "ethos-u55-128")
    print(row.median_ms, row.kind)

A latency is never shown without its kind.
"""

from __future__ import annotations

from mhmodels.hardware.measurement import UNSUPPORTED, Environment, Kind, Measurement
from mhmodels.hardware.measuring import Answer, answer, measure, prepare
from mhmodels.hardware.registry import (
    DEFAULT_HARDWARE,
    Hardware,
    Job,
    Runner,
    get_hardware,
    list_hardware,
    register,
    split_hardware,
)

__all__ = [
    "DEFAULT_HARDWARE",
    "UNSUPPORTED",
    "Answer",
    "Environment",
    "Hardware",
    "Job",
    "Kind",
    "Measurement",
    "Runner",
    "answer",
    "get_hardware",
    "list_hardware",
    "measure",
    "prepare",
    "register",
    "split_hardware",
]
