"""What collecting costs beside what it is for: loading, warming up and the timed runs of a network, or its compilation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mhmodels.hardware.host.session import HostSession
from mhmodels.hardware.vela import compiling as vela
from mhmodels.search.collecting.collect import run_plan
from mhmodels.search.collecting.plan import make_plan
from mhmodels.search.collecting.settings import CollectSettings
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample
from mhmodels.store import Store

from .figures import Figures, choose

NETWORKS = choose(12, 2)
SETTINGS = CollectSettings(reference="", again=False, runs=choose(50, 5), patience_s=choose(10.0, 0.0))
HOST_SHARE, VELA_SECONDS = 0.20, 0.2
"""Targets of the machine where they were set: share of the time of a timing, seconds for an estimate."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))


def collected(hardware: str, folder: Path) -> float:
    """Collects and gives the seconds that it took."""
    space = get_space("multi_hardware")
    with Store(folder / "r.db") as rows:
        plan = make_plan(space, sample(space, NETWORKS), [hardware], rows)
        start = time.perf_counter()
        report = run_plan(plan, space, rows, SETTINGS, tell=print, advance=lambda _: None)
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


def test_overhead_of_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any, figures: Figures) -> None:
    loading, timing = list[float](), list[float]()
    begin = HostSession.__init__

    def begun(self: HostSession, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        # The child's own account: starting Python and importing the runtime are not the network's loading or warm-up.
        loading.append((self.about["init_ns"] + self.about["warmup_ns"]) / 1e9)

    monkeypatch.setattr(HostSession, "__init__", begun)
    monkeypatch.setattr(HostSession, "block", summed(timing, HostSession.block))
    taken = benchmark.pedantic(lambda: collected("host-cpu-float32", tmp_path), rounds=1)
    share = 1 - (sum(loading) + sum(timing)) / taken
    figures.report(
        f"{share:.1%} of {taken / NETWORKS:.2f} s a network is overhead, target {HOST_SHARE:.0%}",
        share=share, seconds_a_network=taken / NETWORKS, target=HOST_SHARE,
    )  # fmt: skip
    figures.holds(len(loading) >= NETWORKS, "every network is loaded in a session that this benchmark sees")
    figures.holds(len(timing) >= NETWORKS, "every network is timed in a block that this benchmark sees")


def test_overhead_of_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any, figures: Figures) -> None:
    compiling: list[float] = []
    monkeypatch.setattr(vela, "run_vela", summed(compiling, vela.run_vela))
    # One at a time, so that compilers do not overlap.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    taken = benchmark.pedantic(lambda: collected("ethos-u55-128", tmp_path), rounds=1)
    beyond = (taken - sum(compiling)) / NETWORKS
    figures.report(
        f"{beyond:.3f} s of {taken / NETWORKS:.2f} s a network beyond the compiler, target {VELA_SECONDS} s",
        seconds_beyond_the_compiler=beyond, seconds_a_network=taken / NETWORKS, target=VELA_SECONDS,
    )  # fmt: skip
    figures.holds(len(compiling) == NETWORKS, "every network is compiled once, where this benchmark sees it")
    figures.holds(sum(compiling) <= taken, "compilations are within the time that collecting takes")
