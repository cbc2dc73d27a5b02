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

from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
from mhmodels.android_bench.session.tasks import PhonePlan
from mhmodels.android_bench.transport.adb import find_adb
from mhmodels.cli.phone_answers import PhoneAnswers, PhoneRequest
from mhmodels.hardware import prepare
from mhmodels.report.failures import MeasurementFailure
from mhmodels.store import Store

from ..android.double import Double, Server
from ..android.tools import GOOD, tool
from ..hardware import tiny
from .figures import SHORT, Figures, choose

WAIT_S, BLOCKS = choose(1.0, 0.05), choose(6, 3)
OVERHEAD_S, PARALLEL, SERIAL = 0.5, 1.3, 4.0
"""Targets of the machine where they were set; and the time of four phones beside one if they were measured one after another."""


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
        self.runner = PhoneRunner(
            PhoneRunnerOptions(adb_server=self.server.address, binaries=(self.binary,), plan=PhonePlan(blocks=BLOCKS))
        )

    def measure(self, count: int) -> float:
        """Seconds for the same work on each of some phones, sessions with all that belongs to them included."""
        job = prepare(self.network)
        hardware = [self.runner.find(f"{device.address}/xnnpack") for device in self.devices[:count]]
        requests = [PhoneRequest(job, entry) for entry in hardware if entry is not None]
        start = time.perf_counter()
        with Store(self.folder / "results.db") as store:
            results = list(PhoneAnswers(self.runner, store, fresh=True, tell=lambda _: None).answers(requests))
        seconds = time.perf_counter() - start
        assert len(results) == count
        assert not [result for _, result in results if isinstance(result, MeasurementFailure)]
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
def test_overhead_of_a_run(lab: Lab, benchmark: BenchmarkFixture, figures: Figures) -> None:
    device, rounds = lab.devices[0], choose(3, 1)
    ran, asked = len(device.runs()), len(device.commands)
    benchmark.pedantic(lab.measure, args=(1,), rounds=rounds)
    overhead = benchmark.stats["min"] / BLOCKS - WAIT_S
    commands = (len(device.commands) - asked) / (rounds * BLOCKS)
    figures.report(
        f"overhead of a run: {overhead:.3f} s, session included ({BLOCKS} runs of {WAIT_S} s), target {OVERHEAD_S} s; "
        f"{commands:.1f} commands a run",
        overhead_s=overhead, commands_a_run=commands, target=OVERHEAD_S,
    )  # fmt: skip
    figures.holds(len(device.runs()) - ran == rounds * BLOCKS, f"the tool runs {BLOCKS} times for a network")


@pytest.mark.slow
def test_four_phones_at_once(lab: Lab, benchmark: BenchmarkFixture, figures: Figures) -> None:
    one, ran = min(lab.measure(1) for _ in range(choose(2, 1))), [len(device.runs()) for device in lab.devices]
    benchmark.pedantic(lab.measure, args=(4,), rounds=choose(2, 1))
    ratio = benchmark.stats["min"] / one
    figures.report(f"four phones at once take {ratio:.2f} times as long as one, target {PARALLEL}", ratio=ratio, target=PARALLEL)
    more = {len(device.runs()) - before for device, before in zip(lab.devices, ran, strict=True)}
    figures.holds(more == {choose(2, 1) * BLOCKS}, f"the tool runs {BLOCKS} times on each of four phones")
    assert SHORT or ratio <= SERIAL / 2  # half of what it is one after another: a tolerance of a factor of 1.5
