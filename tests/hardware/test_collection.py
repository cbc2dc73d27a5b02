"""Hardware as data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from mhmodels.errors import UnknownNameError
from mhmodels.hardware import (
    DEFAULT_HARDWARE,
    Environment,
    Hardware,
    HardwareCollection,
    Job,
    Measurement,
    built_in_hardware,
    get_hardware,
    list_hardware,
    measure,
)
from mhmodels.store import Store

PHONE = Hardware(id="R58M/gpu", format="int8", kind="measured", description="a phone")


class Phones:
    """A runner that another package brings."""

    exclusive = False

    def __init__(self) -> None:
        self.asked = 0

    def hardware(self) -> Sequence[Hardware]:
        return (PHONE,)

    def find(self, hardware_id: str) -> Hardware | None:
        return PHONE if hardware_id == PHONE.id else None

    def unavailable(self, hardware: Hardware) -> str:
        return ""

    def environment(self, hardware: Hardware) -> Environment:
        return Environment(device="Some Phone", driver="1.0")

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        self.asked += 1
        return Measurement(
            model_hash=job.model_hash, model=job.model, hardware=hardware.id, format=job.format, kind="measured", runs=job.runs,
            file_bytes=job.file_bytes, device="Some Phone", driver="1.0", median_ms=4.0, time="2026-01-01T00:00:00+00:00",
        )  # fmt: skip


def test_the_default_five_come_first() -> None:
    assert tuple(hardware.id for hardware, _ in list_hardware())[:5] == DEFAULT_HARDWARE


def test_ids_are_unique_and_plain_data() -> None:
    entries = [hardware for hardware, _ in list_hardware()]
    assert len({hardware.id for hardware in entries}) == len(entries)
    assert msgspec.json.decode(msgspec.json.encode(entries), type=list[Hardware]) == entries


def test_an_unknown_id_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown hardware 'ethos-u55-129': did you mean ethos-u55-12"):
        get_hardware("ethos-u55-129")


def test_a_family_of_another_package_is_measured_and_stored(tiny_tflite: dict[str, Path], tmp_path: Path) -> None:
    phones = Phones()
    known = built_in_hardware().with_runner("phones", phones)
    with Store(tmp_path / "results.db") as store:
        first = measure(tiny_tflite["int8"], PHONE.id, hardware=known, store=store)
        again = measure(tiny_tflite["int8"], PHONE.id, hardware=known, store=store)
        assert again == first
        assert phones.asked == 1
        measure(tiny_tflite["int8"], PHONE.id, hardware=known, store=store, fresh=True)
        assert phones.asked == 2


def test_a_collection_changes_no_other(tiny_tflite: dict[str, Path]) -> None:
    known = built_in_hardware().with_runner("phones", Phones())
    assert PHONE.id in known
    assert known.get(PHONE.id).hardware == PHONE
    assert [entry.hardware.id for entry in known.entries()][-1] == PHONE.id
    assert PHONE.id not in built_in_hardware()
    with pytest.raises(UnknownNameError):
        measure(tiny_tflite["int8"], PHONE.id)
    with pytest.raises(TypeError):
        known.runners["phones"] = Phones()  # type: ignore[index]
    assert HardwareCollection({}).entries() == []


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        (["net", "ethos-u55-128"], ["host-cpu-int8"]),
        (["net"], ["host-cpu-int8,ethos-u55-128"]),
        (["net"], ["host-cpu-int8", "ethos-u55-128", "host-cpu-int8"]),
        (["host-cpu-int8,ethos-u55-128", "net"], []),
    ],
)
def test_ways_to_name_several_hardware(words: list[str], listed: list[str]) -> None:
    assert built_in_hardware().split_words(words, listed) == (["net"], ["host-cpu-int8", "ethos-u55-128"])


def test_a_file_named_like_hardware_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "host-cpu-int8").touch()
    monkeypatch.chdir(tmp_path)
    assert built_in_hardware().split_words(["host-cpu-int8"]) == (["host-cpu-int8"], [])
