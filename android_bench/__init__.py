"""Latency of TFLite files on Android phones over ADB, every delegate, with proof of what was timed.

    from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
    from mhmodels.hardware import built_in_hardware, measure
    hardware = built_in_hardware().with_runner("phones", PhoneRunner(PhoneRunnerOptions(binaries=("benchmark_model",))))
    row = measure("multi_max.tflite", "0A1B2C3D/gpu-opencl", hardware=hardware)

Takes paths of `.tflite` files and imports `mhmodels` only; `mhmodels.cli.phone_answers` wires it to models and the store.
"""

if __name__ != "mhmodels.android_bench":
    raise ImportError("this package is imported as mhmodels.android_bench")
