"""The small parts: statistics over blocks, a phone's condition, tables of operators, tools, names."""

from __future__ import annotations

import math
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.android_bench.delegates.binary import find_binary, inspect, tool_of
from mhmodels.android_bench.device.condition import PhoneCondition, lowest_clocks, parse_condition
from mhmodels.android_bench.device.limits import PhoneLimits, obstacles, throttled, too_hot, warnings
from mhmodels.android_bench.device.names import name_of, names_path, read_names, serial_of, set_name
from mhmodels.android_bench.errors import CancelledError, DeviceLostError
from mhmodels.android_bench.output.latency import Latency
from mhmodels.android_bench.output.profile import parse_profile
from mhmodels.android_bench.output.protos import read_placement
from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
from mhmodels.android_bench.session.series import summarise_blocks
from mhmodels.android_bench.session.tasks import PhonePlan
from mhmodels.android_bench.session.workspace import _refused, device_lock
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.lines import LineAssembler, clean
from mhmodels.android_bench.transport.phone import ScriptResult
from mhmodels.cli.phone_answers import PhoneAnswers, PhoneRequest
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Job, Measurement
from mhmodels.store import Store

from .double import Server
from .phone_files import BATTERY, THERMAL

times = st.floats(0.01, 1000)
blocks = st.lists(
    st.builds(lambda mean, runs: Latency(mean=mean, runs=runs, std=0.0), times, st.integers(1, 100)), min_size=1, max_size=9
)


@settings(max_examples=50)
@given(blocks)
def test_means_are_weighted_by_their_counts(series: list[Latency]) -> None:
    found = summarise_blocks(series)
    count = sum(block.runs for block in series)
    assert found.runs == count
    assert found.mean_ms == pytest.approx(sum(block.mean * block.runs for block in series) / count)
    assert found.low_ms <= found.median_ms <= found.high_ms
    assert min(found.blocks_ms) <= found.median_ms <= max(found.blocks_ms)
    # What the single inferences would give, had the tool told them: each block's are all alike here.
    every = [block.mean for block in series for _ in range(block.runs)]
    spread = math.sqrt(sum((value - found.mean_ms) ** 2 for value in every) / count)
    assert found.std_ms == pytest.approx(spread, abs=1e-6)


def test_drift_and_noise() -> None:
    steady = [Latency(mean=10 + 0.01 * i % 2, runs=10, median=10.0, min=9, max=11) for i in range(6)]
    assert not summarise_blocks(steady).drifting
    assert not summarise_blocks(steady).noisy
    slower = [Latency(mean=10.0 + i, runs=10, median=10.0 + i) for i in range(6)]
    assert summarise_blocks(slower).drifting
    assert summarise_blocks(slower).drift > 0
    assert summarise_blocks(slower).noisy


def test_medians_and_means_are_not_mixed() -> None:
    mixed = summarise_blocks([Latency(mean=10, runs=1, median=5), Latency(mean=12, runs=1)])
    assert (mixed.statistic, mixed.blocks_ms, mixed.p95_ms) == ("mean", (10, 12), None)
    assert summarise_blocks([Latency(mean=10, runs=1, median=5)]).statistic == "median"


TOLD = "  AC powered: {}\n  USB powered: {}\n  status: {}\n  present: {}\n  level: {}\n  scale: {}\n  temperature: {}\n"


# AC, USB, status, present, level, scale, temperature; then level, temperature, and whether the phone may be measured.
@pytest.mark.parametrize(
    ("told", "level", "celsius", "may"),
    [
        ((False, True, 2, "true", 83, 100, 271), 83, 27.1, True),
        ((False, False, 3, "true", 83, 100, 271), 83, 27.1, True),
        ((False, False, 3, "true", 3, 100, 271), 3, 27.1, False),
        # A weak port: it loses charge although it is plugged in.
        ((False, True, 3, "true", 3, 100, 271), 3, 27.1, False),
        # Charge limits and hot batteries: the power supply carries the phone.
        ((True, False, 4, "true", 20, 100, 380), 20, 38.0, True),
        ((False, True, 4, "true", 20, 100, 380), 20, 38.0, True),
        ((False, False, 4, "true", 20, 100, 380), 20, 38.0, False),
        ((True, False, 5, "true", 20, 100, 271), 20, 27.1, True),
        # Boards, boxes and phones in a data centre.
        ((True, False, 1, "false", 0, 100, 0), None, None, True),
        ((False, False, 3, "false", 0, 100, 0), None, None, True),
        ((False, False, 1, "false", -1, 100, -2732), None, None, True),
        ((False, False, 1, "true", -1, 100, 0), None, None, True),
        ((False, False, 3, "true", 101, 100, 271), None, 27.1, True),
        ((False, False, 3, "true", 40, 200, 271), 20, 27.1, False),
        ((False, False, 3, "true", 40, 0, 271), None, 27.1, True),
    ],
)
def test_batteries(told: tuple[object, ...], level: int | None, celsius: float | None, may: bool) -> None:
    text = TOLD.format(*(str(value).lower() for value in told))
    for shown in (text, text.replace("\n", "\r\n")):
        now = parse_condition({"battery": shown})
        assert (now.battery_level, now.battery_c, not obstacles(now, PhoneLimits())) == (level, celsius, may)


def test_conditions() -> None:
    found = parse_condition(
        {"thermal": THERMAL, "battery": BATTERY, "saver": "0", "power": "mWakefulness=Asleep", "load": "5.25 1 1"}
    )
    # Not the cached 55 °C, and not the sensor that reads exactly zero.
    assert (found.skin_c, found.battery_c, found.thermal_status) == (29.4, 27.1, 0)
    assert "GPU0" not in found.sensors_c
    assert (found.battery_level, found.charging, found.power_save, found.awake, found.load) == (83, True, False, False, 5.25)
    assert len(warnings(found, 8)) == 2
    assert parse_condition({}) == PhoneCondition()
    assert (
        parse_condition(dict.fromkeys(("thermal", "battery", "clocks", "load", "boot"), "garbage \x00 {mValue=")).skin_c is None
    )


def test_gates() -> None:
    limits = PhoneLimits()
    assert obstacles(PhoneCondition(), limits) == []
    assert obstacles(PhoneCondition(battery_level=5, charging=True), limits) == []
    assert "charge it" in obstacles(PhoneCondition(battery_level=5), limits)[0]
    assert too_hot(PhoneCondition(skin_c=31.0), limits, 29.0)
    assert not too_hot(PhoneCondition(skin_c=30.0), limits, 29.0)
    assert too_hot(PhoneCondition(battery_c=41.0), limits)
    assert "critical" in too_hot(PhoneCondition(thermal_status=4), limits)
    assert throttled(PhoneCondition(), PhoneCondition(thermal_status=2))
    assert throttled(PhoneCondition(clock_limits_khz=(2000, 2800)), PhoneCondition(clock_limits_khz=(2000, 2000)))
    assert not throttled(PhoneCondition(clock_limits_khz=(2000, 2800)), PhoneCondition(clock_limits_khz=(2000, 2700)))


def test_clocks_on_the_way() -> None:
    before, after = PhoneCondition(clock_limits_khz=(1800, 2800)), PhoneCondition(clock_limits_khz=(1800, 2800))
    lowest = lowest_clocks(" 1800 2800\n 1800 2000\n 1800\n\nnonsense here\n 1700 2500\n", before)
    assert lowest == (1700, 2000)
    assert throttled(before, after, lowest)
    assert not throttled(before, after, (1700, 2700))
    assert lowest_clocks("", before) == lowest_clocks("1 2 3\n", before) == ()


def test_clocks_that_had_fallen_before() -> None:
    start, fallen = (1800, 2800), PhoneCondition(clock_limits_khz=(1800, 2000))
    assert throttled(fallen, fallen, (1800, 2000), start)
    assert not throttled(fallen, fallen, (1800, 2000))
    # A core that went away moves the others.
    assert not throttled(fallen, fallen, (), (1000, *start))
    assert warnings(PhoneCondition(clock_limits_khz=(1800000, 2000000), thermal_status=0), 2, 2800000) == [
        "its clocks are limited to 2000 MHz of 2800 from the start"
    ]
    assert warnings(PhoneCondition(clock_limits_khz=(1800000, 2800000), thermal_status=0), 2, 2800000) == []


def test_a_stop_ends_the_wait_for_a_phones_lock() -> None:
    asked = iter((False, True))
    with device_lock("0A 1"), pytest.raises(CancelledError, match="stopped on request"), device_lock("0A 1", lambda: next(asked)):
        pytest.fail("two holders")


def test_what_a_device_says_reaches_no_terminal() -> None:
    assert str(_refused("cannot", "a\x1b[2Jb\x9bc")) == "cannot (a\ufffd[2Jb\ufffdc)"
    name = b"\x1b]0;owned\x07" + b"x" * 300
    details = b"\x0a" + bytes([len(name) & 127 | 128, len(name) >> 7]) + name + b"\x10\x00"
    sizes = [bytes([size & 127 | 128, size >> 7]) for size in (len(details), len(details) + 3, len(details) + 6)]
    (found,) = read_placement(b"\x12" + sizes[2] + b"\x1a" + sizes[1] + b"\x42" + sizes[0] + details).delegated
    assert (found[:9], len(found)) == ("\ufffd]0;owned", 80)


def test_a_hash_that_is_none() -> None:
    facts: Any = SimpleNamespace(abis=("arm64-v8a",), title="Phone")
    for digest in ("\x1b[31m" + "a" * 59, "A" * 64, "/" * 64):
        phone: Any = SimpleNamespace(script=lambda _, digest=digest: ScriptResult(0, f"{digest} file\n", ""))
        with pytest.raises(MeasurementError, match="no benchmark_model"):
            find_binary("benchmark_model", facts, phone)
    phone = SimpleNamespace(script=lambda _: ScriptResult(0, f"{'a' * 64} file\n", ""))
    assert find_binary("benchmark_model", facts, phone).sha256 == "a" * 64


class Stub:
    """Phones that are no phones: which of them are one and the same, and which does not answer."""

    def __init__(self, same: dict[str, str], error: MeasurementError | None = None) -> None:
        self.same, self.error = same, error
        self.asked: list[str] = []
        self.threads: dict[str, threading.Thread] = {}
        self.told: list[str] = []
        self.options = SimpleNamespace(plan=SimpleNamespace(profile=False, compare=False))
        self.cancel = threading.Event()

    def facts(self, serial: str) -> Any:
        return SimpleNamespace(hardware_serial=self.same[serial])

    def unavailable(self, hardware: Any) -> str:
        return ""

    def environment(self, hardware: Any) -> None:
        self.asked.append(hardware.configuration["serial"])
        if self.error is not None:
            raise self.error

    def batch(self, serial: str, requests: list[PhoneRequest]) -> list[tuple[Any, Any, str]]:
        self.threads[serial] = threading.current_thread()
        return [(job, hardware, f"row of {serial}") for job, hardware in requests]

    def answers(self, store: Any, runs: int = 50) -> list[Any]:
        phones: Any = PhoneAnswers(self, store, fresh=False, tell=self.told.append)  # type: ignore[arg-type]
        job = Job(
            path=Path("x"), model_hash="x", file_bytes=1, format="int8", model="x", architecture_id=None, weights="unknown",
            batch=1, runs=runs, threads=1,
        )  # fmt: skip
        places = [
            SimpleNamespace(id=f"{serial}/cpu{n}", configuration={"serial": serial}) for serial in self.same for n in (1, 2)
        ]
        return [answer for _, answer in phones.answers([PhoneRequest(job, place) for place in places])]  # type: ignore[arg-type]


def shelf(row: Measurement | None = None, *, read_only: bool = False) -> Any:
    """A store that holds one row."""
    return SimpleNamespace(
        find=lambda job, *_: row if row is not None and row.runs >= job.runs else None,
        add=lambda _: None,
        read_only=read_only,
        check_writable=lambda: None,
    )


def test_a_phone_that_does_not_answer_is_asked_once() -> None:
    stub = Stub({"one": "1", "two": "2"}, DeviceLostError("no answer within 20 s"))
    assert [(answer.status, answer.reason) for answer in stub.answers(shelf())] == [("DEVICE_LOST", "no answer within 20 s")] * 4
    assert stub.asked == ["one", "two"]
    # What one delegate lacks says nothing of the next one.
    stub = Stub({"one": "1"}, MeasurementError("no tool"))
    assert [answer.status for answer in stub.answers(shelf())] == ["NOT_EXECUTABLE"] * 2
    assert stub.asked == ["one", "one"]


def test_a_phone_that_is_there_twice_is_not_measured_beside_itself() -> None:
    stub = Stub({"0A1B": "0A1B", "192.168.1.5:5555": "0A1B", "other": "other"})
    assert len(stub.answers(shelf())) == 6
    threads = stub.threads
    assert threads["0A1B"] is threads["192.168.1.5:5555"] is not threads["other"]
    assert stub.told == ["0A1B and 192.168.1.5:5555 are the same phone: one is measured after the other"]


@pytest.mark.parametrize(("noisy", "read_only", "known"), [(False, False, True), (True, False, False), (True, True, True)])
def test_a_noisy_row_is_measured_again(noisy: bool, read_only: bool, known: bool) -> None:
    """Unless the new row could not be kept."""
    row = Measurement(
        model_hash="x", architecture_id=None, model="x", hardware="one/cpu1", format="int8", kind="measured", weights="unknown",
        file_bytes=1, threads=1, batch=1, median_ms=900.0, runs=300, noisy=noisy, device="", time="",
    )  # fmt: skip
    stub = Stub({"one": "1"})
    assert [answer.from_store for answer in stub.answers(shelf(row, read_only=read_only))] == [known] * 2
    assert ("x on one/cpu1: the stored row is noisy; measured again" in stub.told) is not known


HEADINGS = ["[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]"]
ROWS = [
    ["CONV_2D", "1.25", "1.2", "60.0%", "60.0%", "0.0", "1", "[a;b, c]:0"],
    ["TfLiteGpuDelegateV2", "0.9", "0.8", "40.0%", "100.0%", "4.5", "2", "[d]:1"],
]


def table(rows: list[list[str]], headings: list[str]) -> str:
    return "".join("\t" + "\t".join(f"{cell:>12}" for cell in row) + "\n" for row in [headings, *rows])


def profile(headings: list[str], rows: list[list[str]], nodes: int = 2) -> str:
    first = table([["INIT", *row[1:]] for row in rows], headings)
    return (
        "Profiling Info for Benchmark Initialization:\n"
        f"============================== Run Order ==============================\n{first}\nNumber of nodes executed: 2\n"
        "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
        f"============================== Run Order ==============================\n{table(rows, headings)}\n"
        f"============================== Top by Computation Time ==============================\n{table(rows[::-1], headings)}\n"
        f"Number of nodes executed: {nodes}\n"
        "============================== Summary by node type ==============================\n"
        "\t[Node type]\t[count]\n\tCONV_2D\t1\n"
        "Timings (microseconds): count=50 first=1 curr=1 min=1 max=1 avg=1 std=0\nMemory (bytes): count=0\n2 nodes observed\n"
    )


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_operators(older: bool, ending: str) -> None:
    extra = (lambda row, cell: [row[0], cell, *row[1:]]) if older else (lambda row, _: row)
    text = profile(extra(HEADINGS, "[start]"), [extra(row, "0.000") for row in ROWS])
    found = parse_profile(text.replace("\n", ending).encode())
    assert [(o.kind, o.name, o.avg_ms, o.percent, o.mem_kb, o.calls) for o in found] == [
        ("CONV_2D", "[a;b, c]:0", 1.2, 60.0, 0.0, 1),
        ("TfLiteGpuDelegateV2", "[d]:1", 0.8, 40.0, 4.5, 2),
    ]


def test_operators_as_csv() -> None:
    lines = ["node type, first, avg_ms, %, cdf%, mem KB, times called, name", *(", ".join(row) for row in ROWS)]
    text = "Operator-wise Profiling Info for Regular Benchmark Runs:\n===== Run Order =====\n" + "\n".join(lines) + "\n\n"
    assert [(o.kind, o.name) for o in parse_profile(text.encode())] == [
        ("CONV_2D", "[a;b, c]:0"),
        ("TfLiteGpuDelegateV2", "[d]:1"),
    ]


def test_no_operators() -> None:
    whole = profile(HEADINGS, ROWS)
    assert parse_profile(b"") == ()
    assert parse_profile(whole.partition("Operator-wise")[0].encode()) == ()
    # A table that lost a line is none.
    assert parse_profile(profile(HEADINGS, ROWS, nodes=3).encode()) == ()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_lines_do_not_depend_on_chunks(data: bytes, cuts: list[int]) -> None:
    whole, parts = LineAssembler(), LineAssembler()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    lines = [line for start, end in pairwise(edges) for line in parts.feed(data[start:end])]
    assert lines == whole.feed(data)


def test_lines_without_end_cost_no_memory() -> None:
    lines = LineAssembler()
    for _ in range(200):
        assert lines.feed(b"x" * 65536) == []
    assert lines.feed(b"\nshort\nopen") == ["short"]
    lines.close()
    assert lines.oversized == 1


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"INFO: hello\r", "hello"),
        (b"11-21 10:13:00.542  4000  4017 I tflite  : count=1 curr=2", "count=1 curr=2"),
        (b"I/tflite  ( 4000): count=1 curr=2", "count=1 curr=2"),
        (b"\x1b[1;32mWARN: x\x1b[0m", "x"),
        (b"10%\r20%\rINFO: done", "done"),
    ],
)
def test_clean_lines(raw: bytes, text: str) -> None:
    assert clean(raw) == text


def test_tools(tmp_path: Path) -> None:
    for machine, kind, abi in ((183, 2, "arm64-v8a"), (40, 1, "armeabi-v7a"), (62, 2, "x86_64"), (8, 1, "machine 8")):
        file = tmp_path / f"tool{machine}"
        file.write_bytes(b"\x7fELF" + bytes([kind]) + bytes(13) + machine.to_bytes(2, "little") + bytes(40))
        assert inspect(file, "benchmark_model").abi == abi
    with pytest.raises(MeasurementError, match="cannot be read"):
        inspect(tmp_path / "none", "benchmark_model")
    assert tool_of(Path("android_aarch64_benchmark_model")) == "benchmark_model"
    assert tool_of(Path("benchmark_litert_model-v2")) == "benchmark_litert_model"


def test_names_of_phones() -> None:
    set_name("0A1B", "pixel4")
    assert (name_of("0A1B"), serial_of("pixel4"), serial_of("0A1B"), name_of("other")) == ("pixel4", "0A1B", "0A1B", "other")
    for serial, name in (("other", "pixel4"), ("other", "a/b"), ("other", " ")):
        with pytest.raises(MeasurementError):
            set_name(serial, name)
    set_name("0A1B", "")
    assert read_names() == {}
    names_path().write_text("[1]")
    with pytest.raises(MeasurementError, match=r"phones\.json"):
        read_names()


@pytest.mark.parametrize("hardware_id", ["a/b/xnnpack", "/xnnpack", "xnnpack", "x/", "x/unknown", "models/net.json", "x/nnapi:"])
def test_what_is_no_phone(hardware_id: str) -> None:
    assert PhoneRunner().find(hardware_id) is None


def test_ids_of_phones() -> None:
    runner = PhoneRunner()
    found = runner.find("192.168.1.5:5555/nnapi:google-edgetpu-uint8")
    assert found is not None
    assert (found.format, found.configuration["serial"]) == ("uint8", "192.168.1.5:5555")
    assert found.configuration["delegate"] == "nnapi:google-edgetpu-uint8"
    # No adb was asked for any of this.
    assert runner._adb is None


def test_the_environments_own_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{server.port}")
    assert Adb().devices() == []
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:127.0.0.1:9")
    with pytest.raises(MeasurementError, match="adb start-server"):
        Adb().devices()


@pytest.mark.parametrize(("mode", "expected"), [("burst", 1.0), ("sustained", 2.0)])
def test_rows_of_a_phone_that_is_away_are_of_the_mode_that_is_asked_for(mode: Any, expected: float, tmp_path: Path) -> None:
    runner = PhoneRunner(PhoneRunnerOptions(adb=str(tmp_path / "no-adb"), plan=PhonePlan(mode=mode)))
    hardware = runner.find("0A1B/cpu")
    assert hardware is not None
    job = Job(
        path=Path("x"), model_hash="x", file_bytes=1, format="float32", model="x", architecture_id="cafe", weights="random-v1",
        batch=1, runs=50, threads=1,
    )  # fmt: skip
    kept = {"delegate": "cpu", "fixed_clocks": False, "require_full_delegation": False, "flags": {}, "cores": "f0"}
    with Store(tmp_path / "results.db") as store:
        for ms, known in ((1.0, "burst"), (2.0, "sustained")):
            store.add(
                Measurement(
                    model_hash="x",
                    model="y",
                    hardware=hardware.id,
                    format="float32",
                    kind="measured",
                    file_bytes=1,
                    device="z",
                    time="2026-01-01T00:00:00+00:00",
                    architecture_id="cafe",
                    weights="random-v1",
                    runs=50,
                    median_ms=ms,
                    configuration=kept | {"mode": known},
                )
            )
        answers = PhoneAnswers(runner, store, fresh=False, remember=True, tell=lambda _: None)
        ((_, answer),) = answers.answers([PhoneRequest(job, hardware)])
    assert answer.measurement.median_ms == expected  # type: ignore[union-attr]
