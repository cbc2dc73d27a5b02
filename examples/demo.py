"""`make demo`: exports Multi-MAX in three formats, verifies the files on photographs, and prints the multi-hardware table.

The program runs the commands that a user types and prints each command first.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

EXPORTS = Path("build/demo")
# The networks of the paper's Table 1, each at the width listed there.
TABLE_1 = (
    "mobilenet_v1@1.25",
    "mobilenet_v2@1.25",
    "mobilenet_v3_large",
    "mobilenet_v3_large_minimalistic@1.25",
    "proxylessnas_mobile",
    "mobilenet_edgetpu",
    "multi_avg",
    "multi_max",
)


def run(*arguments: str) -> None:
    """Runs one mhmodels command and ends the demo with its exit code if it fails."""
    print(f"\n$ mhmodels {' '.join(arguments)}", flush=True)
    started = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "mhmodels", *arguments], check=False).returncode
    if code:
        sys.exit(code)
    print(f"({time.monotonic() - started:.0f} s)", flush=True)


def main() -> None:
    """Runs the demo."""
    formats = [word for fmt in ("float32", "int8", "uint8") for word in ("--format", fmt)]
    run("export", "multi_max", *formats, "-o", str(EXPORTS), "--overwrite")
    float_file = EXPORTS / "multi_max_w1_224_float32.tflite"
    for fmt in ("int8", "uint8"):
        run("verify", str(EXPORTS / f"multi_max_w1_224_{fmt}.tflite"), "--against", str(float_file))
    run("compare", *TABLE_1, "--paper")


if __name__ == "__main__":
    main()
