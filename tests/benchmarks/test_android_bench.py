"""What the phone harness costs beside the tool's own time, and what several phones at once cost beside one.

The tool on the device doubles waits instead of computing, so that what is left is ours and adb's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from android_bench.adb import find_adb
from android_bench.errors import AdbError
from android_bench.runner import Options, PhoneRunner
from android_bench.session import Plan
from mhmodels.cli.phone_answers import Failure, Phones, Request
from mhmodels.hardware import prepare
from mhmodels.store import Store

from ..android.double import Double, Server
from ..android.tools import GOOD, tool
from ..hardware import tiny

WAIT_S, BLOCKS = 1.0, 6
OVERHEAD_S, PARALLEL = 0.5, 1.3


class Lab:
    """Four phones with a tool that waits."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(find_adb(), folder / "adb")
        self.devices = [Double(folder / f"device{number}") for number in range(4)]
        for device in self.devices:
            self.server.connect(device)
        self.network = tiny.convolutions(folder / "net.tflite", "float32")
        self.binary = str(tool(folder, f"sleep {WAIT_S}\n{GOOD}"))
        self.folder = folder
        self.runner = PhoneRunner(Options(adb_server=self.server.address, binaries=(self.binary,), plan=Plan(blocks=BLOCKS)))

    def measure(self, count: int) -> float:
        """Seconds for the same work on each of some phones, sessions with all that belongs to them included."""
        job = prepare(self.network)
        hardware = [self.runner.find(f"{device.address}/xnnpack") for device in self.devices[:count]]
        requests = [Request(job, entry) for entry in hardware if entry is not None]
        start = time.perf_counter()
        with Store(self.folder / "results.db") as store:
            results = list(Phones(self.runner, store, fresh=True, tell=lambda _: None).answers(requests))
        seconds = time.perf_counter() - start
        assert len(results) == count
        assert not [result for _, result in results if isinstance(result, Failure)]
        return seconds

    def stop(self) -> None:
        self.server.stop()
        for device in self.devices:
            device.stop()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    before = os.environ.get("MHMODELS_HOME")
    os.environ["MHMODELS_HOME"] = str(folder / "home")
    try:
        made = Lab(folder)
    except AdbError as error:
        pytest.skip(f"no adb executable on this machine: {error}")
    # Pushed and asked once, as after the first network of a night.
    made.measure(4)
    yield made
    made.stop()
    if before is None:
        del os.environ["MHMODELS_HOME"]
    else:
        os.environ["MHMODELS_HOME"] = before


@pytest.mark.slow
def test_overhead_of_a_run(lab: Lab, benchmark: BenchmarkFixture) -> None:
    seconds = benchmark.pedantic(lab.measure, args=(1,), rounds=3)
    each = [(seconds, *benchmark.stats.stats.data)] if benchmark.stats else [(seconds,)]
    overhead = min(min(each)) / BLOCKS - WAIT_S
    benchmark.extra_info["overhead_s"] = overhead
    print(f"\noverhead of a run: {overhead:.3f} s, session included ({BLOCKS} runs of {WAIT_S} s)")
    assert overhead < OVERHEAD_S


@pytest.mark.slow
def test_four_phones_at_once(lab: Lab, benchmark: BenchmarkFixture) -> None:
    one = min(lab.measure(1) for _ in range(2))
    four = benchmark.pedantic(lab.measure, args=(4,), rounds=2)
    best = min(four, *benchmark.stats.stats.data) if benchmark.stats else four
    benchmark.extra_info["ratio"] = best / one
    print(f"\none phone {one:.2f} s, four at once {best:.2f} s: {best / one:.2f} times")
    assert best / one <= PARALLEL
