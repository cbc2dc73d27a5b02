"""Two processes on this machine train as one with the doubled batch does."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mhmodels.training.run.checkpoint import latest

from .test_loop import child, finished

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

OPTIONS: dict[str, Any] = {
    "pictures": 160,
    "recipe": {"epochs": 5, "batch_size": 16, "synchronised_batch_norm": True, "dropout": 0.0},
}


def test_two_workers_have_the_losses_of_one(tmp_path: Path) -> None:
    one = finished(child(tmp_path / "one", OPTIONS))
    workers = _cluster()
    both = [child(tmp_path / "two", {**OPTIONS, "strategy": "multi_worker"}, environment) for environment in workers]
    results = [finished(process) for process in both]
    assert len(one["losses"]) == 50
    for result in results:
        assert result["losses"] == pytest.approx(one["losses"], rel=1e-4)
        assert result["test_accuracy"] == one["test_accuracy"]
    # It learned, so that agreement means something.
    assert one["losses"][-1] < 0.5 * one["losses"][0]


def test_both_killed_and_resumed(tmp_path: Path) -> None:
    """The chief's checkpoints are what both continue from."""
    short = {**OPTIONS, "recipe": {**OPTIONS["recipe"], "epochs": 2}, "strategy": "multi_worker"}
    whole = [finished(process) for process in [child(tmp_path / "whole", short, place) for place in _cluster()]]
    killed = {**short, "kill_at": 13, "checkpoint_seconds": 0}
    for process in [child(tmp_path / "cut", killed, place) for place in _cluster()]:
        process.communicate(timeout=600)
        assert process.returncode == -9
    good = latest(tmp_path / "cut" / "checkpoints")
    assert good is not None
    again = [finished(process) for process in [child(tmp_path / "cut", {**short, "resume": True}, place) for place in _cluster()]]
    for before, after in zip(whole, again, strict=True):
        done = len(before["losses"]) - len(after["losses"])
        assert f"{done:08d}" in good.name
        assert after["losses"] == pytest.approx(before["losses"][done:], rel=1e-4)


def _cluster() -> list[dict[str, str]]:
    """TF_CONFIG of two workers on free ports of the loopback interface."""
    ports = []
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
        ports.append(each.getsockname()[1])
    for each in sockets:
        each.close()
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})} for i in range(2)]
