"""Collecting over dask.distributed: a scheduler and two workers on loopback, one killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.search.collecting.cluster import AHEAD
from mhmodels.store import Store

from ..hardware_families import add_family, remove_family
from .fake_hardware import FakeRunner

pytest.importorskip("distributed", reason="needs dask.distributed (pip install 'mhmodels[cluster]')")

PRELOAD = Path(__file__).with_name("fake_hardware.py")
REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0


class Cluster:
    """Processes of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "measured.log"
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start(self, *arguments: str, resources: str = "") -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "FAKE_LOG": str(self.log),
            "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}",  # dask loads a copy of the preloaded file
            "MHMODELS_HOME": str(self.folder / "home"),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
        }
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        if resources:
            command += ["--resources", resources]
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def worker(self, resources: str = "machine=1") -> subprocess.Popen[bytes]:
        return self.start(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload",
            str(PRELOAD), resources=resources,
        )  # fmt: skip

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        end = time.monotonic() + WAIT_S
        while True:
            try:
                with Client(self.address, timeout=5, set_as_default=False) as client:
                    client.wait_for_workers(workers, timeout=WAIT_S)
                    return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def measured(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))
    add_family("fake", FakeRunner(["fake-npu", "fake-cpu"]))
    made = Cluster(tmp_path)
    yield made
    made.close()
    remove_family("fake")


def invoke(cluster: Cluster, *arguments: str) -> Result:
    words = ["search", "collect", "--space", "multi_hardware", "--scheduler", cluster.address, "--baseline", ""]
    return CliRunner().invoke(cli, [*words, "--store", str(cluster.folder / "r.db"), *arguments])


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_what_was_in_flight_and_no_more(cluster: Cluster) -> None:
    first, second = cluster.worker(), cluster.worker()
    cluster.wait_for(2)
    command = [sys.executable, "-c", CLIENT, str(cluster.folder / "r.db"), cluster.address]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ}, text=True)
    end = time.monotonic() + WAIT_S
    while len(cluster.measured()) < 8 and time.monotonic() < end:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    said, _ = client.communicate(timeout=WAIT_S)
    assert client.returncode == 0, said
    with Store(cluster.folder / "r.db") as store:
        rows = [(row.model, row.hardware) for row in store]
    assert len(rows) == len(set(rows)) == 40
    runs = Counter(tuple(line.split()[1:]) for line in cluster.measured())
    assert set(runs) == set(rows)
    # What the dead worker held: a task at work, those that waited for it, and results that were not fetched yet.
    assert sum(runs.values()) - 40 <= AHEAD * 2 + 2
    assert len({line.split()[0] for line in cluster.measured()}) == 2
    assert second.poll() is None
    # The guest leaves nothing behind in the cluster.
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as onlooker:
        assert not onlooker.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))


CLIENT = f"""
import sys
sys.path.insert(0, {str(PRELOAD.parents[2])!r})
from tests.search.fake_hardware import FakeRunner
from tests.hardware_families import add_family
add_family("fake", FakeRunner(["fake-npu", "fake-cpu"]))
from mhmodels.cli.main import cli
cli(["search", "collect", "--space", "multi_hardware", "-n", "20", "--hardware", "fake-npu", "fake-cpu",
     "--store", sys.argv[1], "--scheduler", sys.argv[2], "--baseline", ""])
"""


@pytest.mark.slow
def test_devices_are_resources_and_what_nobody_offers_is_told(cluster: Cluster) -> None:
    cluster.worker("phone-1=1")
    cluster.wait_for(1)
    result = invoke(cluster, "-n", "2", "--hardware", "fake-npu")
    assert result.exit_code == 1
    assert "offers the resource 'machine'" in str(result.exception)
    cluster.worker()
    cluster.wait_for(2)
    words = ("-n", "2", "--hardware", "fake-npu", "--baseline", "mobilenet_v1")
    result = invoke(cluster, *words)
    assert result.exit_code == 0, result.output
    assert len(cluster.measured()) == 3
    again = invoke(cluster, *words)
    assert again.exit_code == 0
    assert len(cluster.measured()) == 3


@pytest.mark.slow
def test_hardware_whose_only_worker_dies_is_given_up_and_the_others_go_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mhmodels.search.collecting.cluster.DESERTED_S", 2.0)
    runner = FakeRunner(["fake-npu", "phone-1"])
    add_family("fake", runner)
    phone = cluster.worker("phone-phone-1=1")
    cluster.worker()
    cluster.wait_for(2)
    killer = threading.Timer(0.0, lambda: _kill_after(cluster, phone, "phone-1", 3))
    killer.start()
    result = invoke(cluster, "-n", "40", "--hardware", "fake-npu", "phone-1", "--json")
    killer.join()
    assert result.exit_code == 1, result.output
    npu, lost = json.loads(result.stdout)["hardware"]
    assert (npu["measured"], npu["trouble"]) == (40, "")
    assert 0 < lost["measured"] < 40
    assert "workers have been away" in lost["trouble"]


def _kill_after(cluster: Cluster, process: subprocess.Popen[bytes], hardware: str, count: int) -> None:
    end = time.monotonic() + WAIT_S
    while sum(line.endswith(hardware) for line in cluster.measured()) < count and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()


@pytest.mark.slow
def test_no_scheduler_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["search", "collect", "--space", "multi_hardware", "-n", "2", "--hardware", "roofline-pixel6-cpu", "--scheduler",
         "tcp://127.0.0.1:9", "--store", str(tmp_path / "r.db")],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "no dask scheduler answers at 'tcp://127.0.0.1:9'" in str(result.exception)
