"""What collecting costs beside what it is for (issue 6).

For a timing that is loading, warming up and the timed runs; for an estimate the compiler. A quiet machine is needed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mhmodels.hardware import vela
from mhmodels.hardware.host_session import HostSession
from mhmodels.store import Store
from search.collecting import Settings, collect, make_plan
from search.sampling import sample
from search.spaces import get_space

NETWORKS = 12
HOST_SHARE, VELA_SECONDS = 0.20, 0.2


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))


def collected(hardware: str, folder: Path) -> float:
    """Collects and gives the seconds that it took."""
    space = get_space("multi_hardware")
    with Store(folder / "r.db") as rows:
        plan = make_plan(space, sample(space, NETWORKS), [hardware], rows)
        start = time.perf_counter()
        report = collect(plan, space, rows, Settings(reference="", again=False), tell=print, advance=lambda _: None)
        taken = time.perf_counter() - start
    assert report.tallies[0].measured == NETWORKS
    return taken


def summed(spent: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which adds up the time that it takes."""

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - start)

    return timed


def test_overhead_of_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any) -> None:
    spent: list[float] = []
    begin = HostSession.__init__

    def begun(self: HostSession, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        # The child's own account: starting Python and importing the runtime are not the network's loading or warm-up.
        spent.append((self.about["init_ns"] + self.about["warmup_ns"]) / 1e9)

    monkeypatch.setattr(HostSession, "__init__", begun)
    monkeypatch.setattr(HostSession, "block", summed(spent, HostSession.block))
    taken = benchmark.pedantic(lambda: collected("host-cpu-float32", tmp_path), rounds=1)
    share = 1 - sum(spent) / taken
    benchmark.extra_info.update(share=share, seconds_a_network=taken / NETWORKS, bar=HOST_SHARE)
    print(f"\n{share:.1%} of {taken / NETWORKS:.2f} s a network is overhead, bar {HOST_SHARE:.0%}")
    assert share <= HOST_SHARE


def test_overhead_of_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any) -> None:
    spent: list[float] = []
    monkeypatch.setattr(vela.subprocess, "run", summed(spent, subprocess.run))
    # One at a time, so that compilers do not overlap.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    taken = benchmark.pedantic(lambda: collected("ethos-u55-128", tmp_path), rounds=1)
    beyond = (taken - sum(spent)) / NETWORKS
    benchmark.extra_info.update(seconds_beyond_the_compiler=beyond, seconds_a_network=taken / NETWORKS, bar=VELA_SECONDS)
    print(f"\n{beyond:.3f} s of {taken / NETWORKS:.2f} s a network beyond the compiler, bar {VELA_SECONDS} s")
    assert beyond <= VELA_SECONDS
