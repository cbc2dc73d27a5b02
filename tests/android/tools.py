"""Scripted benchmark tools for the device double: fast, and as wrong as they are asked to be."""

from __future__ import annotations

from pathlib import Path

APPLIED = """
whole="delegate, and the model graph will be completely executed by the delegate."
case "$*" in
*--use_xnnpack=false*) echo "INFO: Use xnnpack: [0]" ;;
*--use_xnnpack=true*) echo "INFO: Explicitly applied XNNPACK $whole" ;;
*--use_gpu=true*)
  echo "INFO: Explicitly applied GPU $whole"
  echo "INFO: Initialized OpenCL-based API." >&2 ;;
*--external_delegate_path=*) echo "INFO: Explicitly applied EXTERNAL $whole" ;;
esac
"""
NUMBERS = """
echo "INFO: Running benchmark for at least 1 iterations and at least 0.3 seconds but terminate if exceeding 60 seconds."
echo "INFO: count=9 first=190 curr=121 min=118 max=190 avg=128.5 std=20 p5=118 median=121 p95=190"
echo
echo "INFO: Running benchmark for at least 10 iterations and at least 0.3 seconds but terminate if exceeding 60 seconds."
echo "INFO: count=50 first=121 curr=120 min=118 max=131 avg=120.5 std=2 p5=118 median=120 p95=125"
echo
echo "INFO: Inference timings in us: Init: 4100, First inference: 190, Warmup (avg): 128.5, Inference (avg): 120.5"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.5"
"""
GOOD = APPLIED + NUMBERS

PROFILE = """
case "$*" in *--enable_op_profiling=true*)
printf 'INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\\n'
printf '============================== Run Order ==============================\\n'
printf '\\t             [node type]\\t  [first]\\t [avg ms]\\t     [%%]\\t  [cdf%%]\\t  [mem KB]\\t[times called]\\t[Name]\\n'
printf '\\t                 CONV_2D\\t    0.082\\t    0.080\\t 66.667%%\\t 66.667%%\\t    0.0\\t      1\\t[net/a;net/b, c]:0\\n'
printf '\\t                 SOFTMAX\\t    0.041\\t    0.040\\t 33.333%%\\t100.000%%\\t     0.000\\t        1\\t[out]:1\\n'
printf '\\n'
printf '============================== Top by Computation Time ==============================\\n'
printf '\\t             [node type]\\t  [first]\\t [avg ms]\\t     [%%]\\t  [cdf%%]\\t  [mem KB]\\t[times called]\\t[Name]\\n'
printf '\\t                 CONV_2D\\t    0.082\\t    0.080\\t 66.667%%\\t 66.667%%\\t     0.000\\t        1\\t[net/a]:0\\n'
printf '\\n'
printf 'Number of nodes executed: 2\\n'
;; esac
"""


def tool(folder: Path, body: str = GOOD, name: str = "benchmark_model") -> Path:
    """A shell script in place of the tool."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
