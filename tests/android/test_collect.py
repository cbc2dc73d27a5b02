"""`mhmodels search collect` on two phones, one of which is unplugged meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from mhmodels.android_bench.transport.phone import Phone
from mhmodels.cli.main import cli
from mhmodels.errors import MhmodelsError
from mhmodels.search.space.catalogue import get_space
from mhmodels.store import Store

from .conftest import MakeDevice
from .double import Double, Server
from .tools import tool

SPACE, NETWORKS = "nas_bench_macro", 4  # small ones


def unplug_after(device: Double, runs: int) -> threading.Thread:
    """Takes a device away once it has run the tool so often."""

    def watch() -> None:
        end = time.monotonic() + 120
        while len(device.runs()) < runs and time.monotonic() < end:
            time.sleep(0.02)
        device.away_s = 3600
        device.break_off()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.slow  # adb takes its time to find that a phone stays away
def test_two_phones_of_which_one_is_unplugged(
    server: Server, make_device: MakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Phone.__init__
    monkeypatch.setattr(Phone, "__init__", lambda self, adb, serial, *, wait_s: begin(self, adb, serial, wait_s=min(wait_s, 2.0)))
    stays, goes = make_device(), make_device()
    words = ["search", "collect", "--space", SPACE, "-n", str(NETWORKS), "--delegate", "xnnpack", "--once"]
    words += ["--reference", "", "--blocks", "2", "--benchmark-binary", str(tool(tmp_path))]
    words += ["--adb-server", server.address, "--store", str(tmp_path / "r.db"), "--json"]
    for device in (stays, goes):
        words += ["--device", device.address]
    watcher = unplug_after(goes, 3)
    result = CliRunner().invoke(cli, words)
    watcher.join()
    assert isinstance(result.exception, MhmodelsError), result.output
    assert "what was measured is stored; the same command goes on from there" in str(result.exception)
    tallies = {tally["hardware"]: tally for tally in json.loads(result.stdout)["hardware"]}
    whole, part = tallies[f"{stays.address}/xnnpack"], tallies[f"{goes.address}/xnnpack"]
    assert (whole["measured"], whole["trouble"]) == (NETWORKS, "")
    assert part["measured"] < NETWORKS
    assert part["trouble"]
    with Store(tmp_path / "r.db") as rows:
        kept = Counter(row.hardware for row in rows)
        labels = {row.model for row in rows}
    assert kept == Counter({whole["hardware"]: whole["measured"], part["hardware"]: part["measured"]})
    space = get_space(SPACE)
    assert all(space.contains(space.build(space.parse(label))) for label in labels)
