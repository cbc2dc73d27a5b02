"""Hardware that measures in no time, and whose every measurement can be looked at.

Also preloaded by dask workers (`FAKE_LOG` then names a file that gets a line for every measurement).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mhmodels.errors import MeasurementError
from mhmodels.hardware import Environment, Hardware, Job, Measurement
from mhmodels.hardware.measurement import Turns
from mhmodels.system.files import sha256_of

Script = Callable[[Job, Hardware], dict[str, Any]]


def plain(_: Job, __: Hardware) -> dict[str, Any]:
    """Nothing out of the ordinary."""
    return {}


class FakeRunner:
    """Answers with a file's size in MB as milliseconds, changed by a script.

    Attributes:
        made: model and hardware of each measurement, in order.
        together: most timings and compilers that ever ran at the same moment, by the pair (timings, compilers).
        lost: hardware that is not there.
    """

    def __init__(self, ids: Sequence[str], script: Script = plain, seconds: float = 0.0) -> None:
        self.table = {name: _hardware(name) for name in ids}
        self.script, self.seconds = script, seconds
        self.exclusive = False
        self.made: list[tuple[str, str]] = []
        self.together: set[tuple[int, int]] = set()
        self.lost: set[str] = set()
        self._running = [0, 0]
        self._guard = threading.Lock()

    def hardware(self) -> list[Hardware]:
        return list(self.table.values())

    def find(self, hardware_id: str) -> Hardware | None:
        return self.table.get(hardware_id)

    def unavailable(self, hardware: Hardware) -> str:
        return f"{hardware.id} was unplugged" if hardware.id in self.lost else ""

    def environment(self, hardware: Hardware) -> Environment:
        return Environment(device=hardware.id)

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        with self._guard:
            self.made.append((job.model, hardware.id))
            self._running[hardware.kind != "measured"] += 1
            self.together.add((self._running[0], self._running[1]))
        try:
            time.sleep(self.seconds)
            return self._row(job, hardware)
        finally:
            with self._guard:
                self._running[hardware.kind != "measured"] -= 1

    def _row(self, job: Job, hardware: Hardware) -> Measurement:
        if log := os.environ.get("FAKE_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {job.model} {hardware.id}\n")
        if hardware.id in self.lost:
            raise MeasurementError(f"{job.path}: no answer")
        assert sha256_of(job.path) == job.model_hash
        fields = {"median_ms": job.file_bytes / 1e6, "runs": job.runs, "mad_ratio": 0.001, **self.script(job, hardware)}
        if job.reference is not None and "turns" not in fields:
            own = (fields["median_ms"],) * job.runs
            name, digest = job.reference.model, job.reference.model_hash
            fields["turns"] = Turns(model=name, model_hash=digest, own_ms=own, reference_ms=(10.0,) * job.runs)
        return Measurement(
            model_hash=job.model_hash,
            architecture_id=job.architecture_id,
            model=job.model,
            hardware=hardware.id,
            format=job.format,
            kind=hardware.kind,
            weights=job.weights,
            file_bytes=job.file_bytes,
            threads=job.threads,
            device=hardware.id,
            time="2026-01-01T00:00:00.000+00:00",
            **fields,
        )


def _hardware(name: str) -> Hardware:
    serial = {"serial": name} if "phone" in name else {}
    return Hardware(
        id=name,
        format="float16" if "half" in name else "int8",
        kind="estimated" if "npu" in name else "measured",
        description="a fake",
        turns="turns" in name,
        configuration=serial,
    )


def dask_setup(worker: object) -> None:
    """What `dask worker --preload` calls."""
    from tests.hardware_families import add_family

    add_family("fake", FakeRunner(["fake-npu", "fake-cpu", "phone-1"], seconds=float(os.environ.get("FAKE_SECONDS", "0.05"))))
