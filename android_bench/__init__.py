"""Latency of TFLite files on Android phones over ADB, on every delegate, with proof of what was timed.

    from mhmodels.android_bench import PhoneRunner, PhoneRunnerOptions
    from mhmodels.hardware import built_in_hardware, measure
    phones = PhoneRunner(PhoneRunnerOptions(binaries=("benchmark_model",)))
    row = measure("multi_max.tflite", "0A1B2C3D/gpu-opencl", hardware=built_in_hardware().with_runner("phones", phones))

The package takes paths of `.tflite` files and imports only `mhmodels` itself; `mhmodels.cli.phone_answers` connects it with
models and the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names

if __name__ != "mhmodels.android_bench":
    raise ImportError("this package is imported as mhmodels.android_bench")

if TYPE_CHECKING:
    from mhmodels.android_bench.delegates.catalogue import Delegates, load_delegates
    from mhmodels.android_bench.delegates.delegate import Delegate, Proof
    from mhmodels.android_bench.device.limits import PhoneLimits
    from mhmodels.android_bench.errors import AdbError, DelegateError, DeviceLostError
    from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
    from mhmodels.android_bench.session.rows import PhoneFailure
    from mhmodels.android_bench.session.tasks import PhonePlan

__all__ = [
    "AdbError",
    "Delegate",
    "DelegateError",
    "Delegates",
    "DeviceLostError",
    "PhoneFailure",
    "PhoneLimits",
    "PhonePlan",
    "PhoneRunner",
    "PhoneRunnerOptions",
    "Proof",
    "load_delegates",
]

_MODULE_OF = {
    "AdbError": "errors", "Delegate": "delegates.delegate", "DelegateError": "errors", "Delegates": "delegates.catalogue",
    "DeviceLostError": "errors", "PhoneFailure": "session.rows", "PhoneLimits": "device.limits",
    "PhonePlan": "session.tasks", "PhoneRunner": "runner", "PhoneRunnerOptions": "runner", "Proof": "delegates.delegate",
    "load_delegates": "delegates.catalogue",
}  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
