"""The harness against Debian's adbd (package `adbd`) in namespaces of its own: nothing of this machine is touched.

Needs root. `MHMODELS_TEST_ADBD` names an adbd that is not installed, `ADBD_LIBRARIES` its folders of libraries.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.transport.adb import find_adb

from ..hardware import tiny
from .tools import tool

ROOT = Path(__file__).parents[2]


def adbd() -> Path | None:
    places = (os.environ.get("MHMODELS_TEST_ADBD"), shutil.which("adbd"), "/usr/lib/android-sdk/platform-tools/adbd")
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


@pytest.mark.slow
def test_a_real_adbd(tmp_path: Path) -> None:
    program = adbd()
    if program is None:
        pytest.skip("no adbd on this machine (Debian: apt install adbd)")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], check=False).returncode:
        pytest.skip("adbd opens a root shell on all interfaces: it runs in namespaces only, which need root")
    try:
        adb = find_adb()
    except AdbError as error:
        pytest.skip(str(error))
    work = tmp_path / "work"
    work.mkdir()
    # The tool that hangs ignores the hang-up that the end of a connection sends.
    tool(tmp_path, "trap '' HUP; sleep 100 & sleep 100", name="hangs")
    words = [str(program), str(adb), str(work), str(tool(tmp_path)), str(tiny.convolutions(tmp_path / "net.tflite", "float32"))]
    done = subprocess.run(
        ["unshare", "-n", "-m", "-p", "-f", "--kill-child", sys.executable, "-m", "tests.android.adbd_driver", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["good"] == pytest.approx(0.12)
    assert found["hangs"] == "TIMEOUT"
    assert found["good left"] == found["hangs left"] == []
    assert found["model"] == "Double Phone 4"
    assert "shell_v2" in found["features"]
