"""`devices`, `bench` and `compare` on phones, as people call them, with the real adb behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mhmodels.android_bench.cli.devices import devices
from mhmodels.android_bench.runner import PhoneRunner
from mhmodels.cli.bench import bench
from mhmodels.cli.compare import compare
from mhmodels.cli.main import cli
from mhmodels.cli.phones import with_phones
from mhmodels.errors import FileFormatError, MhmodelsError, UnknownNameError

from ..hardware import tiny
from .conftest import MakeDevice
from .double import Double, Server
from .tools import GOOD, PROFILE, tool

STANDIN = Path(__file__).with_name("standin.py")


class Caller:
    """Calls commands with the private server, a tool and a store of their own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.folder, self._server = folder, server
        self.store = folder / "results.db"
        self.tool = tool(folder)

    def __call__(self, *words: str | Path, binary: Path | None = None, code: int = 0) -> Any:
        options = ["--benchmark-binary", str(binary or self.tool), "--adb-server", self._server.address, "--blocks", "2"]
        result = CliRunner().invoke(cli, [str(word) for word in words] + options + ["--store", str(self.store)])
        assert (result.exit_code != 0) == (code != 0), result.output
        return result

    def json(self, *words: str | Path, **more: Any) -> Any:
        return json.loads(self(*words, "--json", **more).stdout)


@pytest.fixture
def call(server: Server, tmp_path: Path) -> Caller:
    folder = tmp_path / "call"
    folder.mkdir()
    return Caller(server, folder)


@pytest.mark.slow
def test_from_a_models_name_to_table_1(call: Caller, device: Double) -> None:
    words = (
        "bench",
        "mobilenet_v1@0.25",
        "mobilenet_v2@0.35",
        "--device",
        device.address,
        "--delegate",
        "xnnpack",
        "--delegate",
        "cpu",
    )
    document = call.json(*words, binary=STANDIN)
    assert document["failures"] == []
    rows = document["rows"]
    assert [(row["model"], row["hardware"].rpartition("/")[2]) for row in rows] == [
        ("mobilenet_v1@0.25", "xnnpack"),
        ("mobilenet_v1@0.25", "cpu"),
        ("mobilenet_v2@0.35", "xnnpack"),
        ("mobilenet_v2@0.35", "cpu"),
    ]
    for row in rows:
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"] < 10_000
        assert (row["kind"], row["weights"], row["runs"] >= 50) == ("measured", "random-v1", True)
        assert row["delegated_nodes"] == (row["total_nodes"] if row["hardware"].endswith("xnnpack") else 0)
    # A noisy row is measured again, and how busy this machine is decides which ones are.
    quiet = [not row["noisy"] for row in rows]
    again = call(*words, binary=STANDIN)
    assert again.stdout.count("from store") >= sum(quiet)
    assert "MN-Norm" in again.stdout
    assert "Double Phone 4" in again.stdout
    table = call.json(
        "compare",
        "mobilenet_v2@0.35",
        "--reference",
        "mobilenet_v1@0.25",
        "--hardware",
        f"{device.address}/xnnpack",
        binary=STANDIN,
    )
    (line,) = table["rows"]
    if quiet[2]:
        assert line["latency_ms"] == {f"{device.address}/xnnpack": rows[2]["median_ms"]}
    if quiet[0] and quiet[2]:
        assert line["mn_norm_avg"] == pytest.approx(rows[2]["median_ms"] / rows[0]["median_ms"])


@pytest.mark.slow
def test_outputs_beside_the_cpus_and_a_lying_platform(call: Caller, device: Double, tmp_path: Path) -> None:
    network = tiny.convolutions(tmp_path / "net.tflite", "int8")
    words = ("bench", network, "--device", device.address, "--delegate", "xnnpack", "--delegate", "nnapi", "--compare-outputs")
    xnnpack, nnapi = call.json(*words, binary=STANDIN)["rows"]
    assert xnnpack["hardware"].endswith("/xnnpack-int8")
    assert xnnpack["device_state"]["outputs"]["max_abs"] <= 4
    assert nnapi["median_ms"] is None
    assert nnapi["reason"] == "DELEGATE_UNAVAILABLE: NNAPI acceleration is unsupported on this platform."


def test_a_file_goes_to_delegates_in_its_own_format(call: Caller, device: Double, tmp_path: Path) -> None:
    network = tiny.convolutions(tmp_path / "net.tflite", "int8")
    rows = call.json("bench", network, "--device", device.address, "--delegate", "xnnpack", "--delegate", "cpu")["rows"]
    assert [row["hardware"].rpartition("/")[2] for row in rows] == ["xnnpack-int8", "cpu-int8"]
    floats = tiny.convolutions(tmp_path / "float.tflite", "float32")
    refused = call("bench", floats, "--device", device.address, "--delegate", "hexagon", code=1)
    assert "takes uint8, int8 files, found float32" in str(refused.exception)
    refused = call("bench", floats, "--hardware", f"{device.address}/xnnpack-int8", code=1)
    assert isinstance(refused.exception, FileFormatError)


def test_a_matrix_with_a_phone_that_is_not_there(call: Caller, make_device: MakeDevice, tmp_path: Path) -> None:
    first, second, closed = make_device(), make_device(), make_device(auth="reject")
    network = tiny.convolutions(tmp_path / "a [bold] net.tflite", "float32")
    matrix = tmp_path / "night.toml"
    places = [first.address, second.address, closed.address, "127.0.0.1:9"]
    matrix.write_text(f"models = ['{network}']\ndevices = {places}\ndelegates = ['xnnpack', 'cpu']\n")
    result = call("bench", "--matrix", matrix, "--json", code=1)
    document = json.loads(result.stdout)
    assert sorted(row["hardware"] for row in document["rows"]) == sorted(
        f"{device.address}/{delegate}" for device in (first, second) for delegate in ("xnnpack", "cpu")
    )
    assert [(failure["hardware"].rpartition("/")[0], failure["status"]) for failure in document["failures"]] == [
        *[(closed.address, "UNAUTHORIZED")] * 2,
        *[("127.0.0.1:9", "DEVICE_LOST")] * 2,
    ]
    assert isinstance(result.exception, MhmodelsError)
    assert "unlock the screen" in str(result.exception)
    again = call("bench", "--matrix", matrix, code=1)
    assert again.stdout.count("from store") == 4
    assert "a [bold] net" in again.stdout


def test_a_phone_that_fails_costs_only_its_own_rows(call: Caller, make_device: MakeDevice, tmp_path: Path) -> None:
    good, flat = make_device(), make_device()
    battery = flat.root / "state/battery"
    battery.write_text(battery.read_text().replace("level: 83", "level: 3").replace("status: 2", "status: 3"))
    network = tiny.convolutions(tmp_path / "net.tflite", "float32")
    words = ("bench", network, "--device", flat.address, "--device", good.address, "--delegate", "xnnpack", "--json")
    document = json.loads(call(*words, code=1).stdout)
    assert [row["hardware"] for row in document["rows"]] == [f"{good.address}/xnnpack"]
    assert "battery is at 3 %" in document["failures"][0]["reason"]
    relaxed = call.json("bench", network, "--device", flat.address, "--delegate", "xnnpack", "--min-battery", "0")
    assert len(relaxed["rows"]) == 1


def test_full_delegation_is_another_question(call: Caller, device: Double, tmp_path: Path) -> None:
    part = tool(
        tmp_path,
        GOOD.replace("completely executed by the delegate.", "partially executed by the delegate w/ 2 delegate kernels."),
    )
    network = tiny.convolutions(tmp_path / "net.tflite", "float32")
    words = ("bench", network, "--device", device.address, "--delegate", "xnnpack")
    result = call(*words, binary=part)
    assert "partly on the CPU" in result.stdout
    (row,) = call.json(*words, "--require-full-delegation", binary=part)["rows"]
    assert row["median_ms"] is None
    assert "full delegation required" in row["reason"]


def test_phones_are_listed(server: Server, make_device: MakeDevice) -> None:
    good, closed = make_device(), make_device(auth="reject")

    def call(*words: str) -> Any:
        result = CliRunner().invoke(devices, [*words, "--adb-server", server.address], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    document = json.loads(call("--json", "--name", f"{good.address}=pixel4").stdout)
    by_serial = {row["serial"]: row for row in document["devices"]}
    row = by_serial[good.address]
    assert (row["name"], row["model"], row["soc"], row["android"], row["sdk"]) == (
        "pixel4",
        "Double Phone 4",
        "QTI SM8150",
        "13",
        33,
    )
    assert (row["abis"][0], row["big_cores"], row["nnapi_accelerators"]) == ("arm64-v8a", "f0", ["google-edgetpu"])
    assert row["fingerprint"].startswith("double/double")
    assert [core["max_mhz"] for core in row["cores"]][-1] == 2841.6
    assert (row["condition"]["battery_level"], row["condition"]["skin_c"]) == (83, 29.4)
    can_run = {entry["id"]: entry["can_run"] for entry in row["delegates"]}
    assert can_run["gpu-opencl"]
    assert not [entry for entry in row["delegates"] if not entry["can_run"] and not entry["remark"]]
    assert "unlock the screen" in by_serial[closed.address]["problem"]
    text = call().stdout
    for word in ("pixel4", "Double Phone 4", "SM8150", "mask f0", "Adreno", "83 %"):
        assert word in text
    (good.root / "data/local/tmp/mhmodels").mkdir()
    call("--clean", "pixel4")
    assert not (good.root / "data/local/tmp/mhmodels").exists()
    assert "pixel4" not in call("--name", f"{good.address}=").stdout


def test_no_phones(server: Server) -> None:
    result = CliRunner().invoke(devices, ["--adb-server", server.address])
    assert "turn on USB debugging" in result.stderr
    assert CliRunner().invoke(devices, ["--name", "nonsense", "--adb-server", server.address]).exit_code == 2


def test_what_failed_is_told_once(call: Caller, device: Double, tmp_path: Path) -> None:
    networks = [tiny.convolutions(tmp_path / f"net{number}.tflite", "float32") for number in range(2)]
    words = ("bench", *networks, "--device", device.address, "--delegate", "litert-gpu", "--delegate", "qnn-gpu")
    result = call(*words, code=1)
    first, second = str(result.exception).splitlines()
    assert first.startswith(f"net0 on {device.address}/litert-gpu, net1 on {device.address}/litert-gpu: NOT_EXECUTABLE: no ")
    assert "needs libQnnTFLiteDelegate.so" in second
    assert "median" not in result.stdout


def test_a_name_for_a_phone_that_is_not_there(server: Server) -> None:
    named = CliRunner().invoke(devices, ["--name", "0A1B=pixel4", "--adb-server", server.address])
    assert named.exit_code == 0
    assert "'0A1B' from now on, which is not connected" in named.stderr


def test_names_stand_in_rows(call: Caller, device: Double, server: Server, tmp_path: Path) -> None:
    CliRunner().invoke(devices, ["--name", f"{device.address}=pixel4", "--adb-server", server.address])
    network = tiny.convolutions(tmp_path / "net.tflite", "float32")
    (row,) = call.json("bench", network, "--device", "pixel4", "--delegate", "xnnpack")["rows"]
    assert row["hardware"] == "pixel4/xnnpack"
    (again,) = call.json("bench", network, "--hardware", f"{device.address}/xnnpack")["rows"]
    assert again["from_store"]
    refused = CliRunner().invoke(devices, ["--name", "other=pixel4", "--adb-server", server.address])
    assert "another phone's" in str(refused.exception)


def test_what_is_wrong_usage(call: Caller, tmp_path: Path) -> None:
    network = tiny.convolutions(tmp_path / "net.tflite", "float32")
    unknown = call("bench", network, "--device", "x", "--delegate", "xnpack", code=1)
    assert isinstance(unknown.exception, UnknownNameError)
    assert "xnnpack" in str(unknown.exception)
    assert call("bench", network, "--delegate", "xnnpack", code=2).exit_code == 2
    assert call("bench", "--device", "x", code=2).exit_code == 2
    matrix = tmp_path / "m.toml"
    matrix.write_text("modells = []")
    assert "modells" in str(call("bench", "--matrix", matrix, code=1).exception)
    matrix.write_text("models = " + "[" * 3000)
    assert "not a matrix" in str(call("bench", "--matrix", matrix, code=1).exception)
    for device in ("", "a/b"):
        assert "expected a serial or name" in str(call("bench", network, "--device", device, code=1).exception)
    with pytest.raises(UnknownNameError):
        with_phones(PhoneRunner()).get("SERIAL/no-such-delegate")
    help_text = " ".join(CliRunner().invoke(bench, ["--help"]).stdout.split())
    assert "arm64 or arm32" in help_text
    assert "--device" in CliRunner().invoke(compare, ["--help"]).stdout


SCRIPT = Path(__file__).parents[2] / "android_bench/scripts/bench.sh"


def test_the_script_passes_words_on_unchanged(tmp_path: Path) -> None:
    echo = tmp_path / "mhmodels"
    echo.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "<$word>"; done\n')
    echo.chmod(0o755)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MHMODELS": str(echo)}
        return subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, env=environment, check=False)

    said = call("-s", "0A 1", "a b.tflite", "-d", "cpu", "$(id).tflite", "--", "--store", "x y", "--json").stdout.splitlines()
    words = ["bench", "--device", "0A 1", "a b.tflite", "--delegate", "cpu", "$(id).tflite", "--store", "x y", "--json"]
    assert said == [f"<{word}>" for word in words]
    assert call("a.tflite").stdout.splitlines()[1:] == ["<a.tflite>", "<--delegate>", "<xnnpack>", "<--delegate>", "<gpu-opencl>"]
    assert [call(*words).returncode for words in ((), ("-s",), ("-x", "a"))] == [2, 2, 2]


def test_the_script_on_a_phone(server: Server, device: Double, tmp_path: Path) -> None:
    network = tiny.convolutions(tmp_path / "my net.tflite", "float32")
    mhmodels = Path(sys.executable).with_name("mhmodels")
    environment = {**os.environ, "MHMODELS": str(mhmodels)}
    words = ["-s", device.address, "-b", str(tool(tmp_path)), str(network), "--", "--adb-server", server.address, "--blocks", "1"]
    done = subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "my net" in done.stdout
    assert done.stdout.count("0.12") >= 2


def test_what_was_measured_without_a_profile_is_measured_again_with_one(call: Caller, device: Double, tmp_path: Path) -> None:
    network = tiny.convolutions(tmp_path / "net.tflite", "float32")
    words = ("bench", network, "--device", device.address, "--delegate", "xnnpack")
    profiled = tool(tmp_path, GOOD + PROFILE)
    call.json(*words, binary=profiled)
    (row,) = call.json(*words, "--profile", binary=profiled)["rows"]
    assert len(row["device_state"]["operators"]) == 2
    assert not row["from_store"]
    for more in ((), ("--profile",)):
        (again,) = call.json(*words, *more, binary=profiled)["rows"]
        assert again["from_store"]
        assert again["device_state"]["operators"]


def test_a_table_of_phones_that_were_unplugged(call: Caller, device: Double, server: Server) -> None:
    words = ("mobilenet_v1@0.25", "--reference", "mobilenet_v1@0.25", "--hardware", f"{device.address}/xnnpack")
    (row,) = call.json("bench", words[0], "--device", device.address, "--delegate", "xnnpack")["rows"]

    def compare_again(*more: str, code: int = 0) -> Any:
        options = ["--adb-server", server.address, "--store", str(call.store), "--json"]
        result = CliRunner().invoke(cli, ["compare", *words, *options, *more])
        assert (result.exit_code != 0) == (code != 0), result.output
        return result

    # The phone is there, the tool that was given then is not.
    without_tool = compare_again()
    assert json.loads(without_tool.stdout)["rows"][0]["latency_ms"] == {f"{device.address}/xnnpack": row["median_ms"]}
    assert f"from the store, {row['time'][:10]}; not asked again: no benchmark_model" in without_tool.stderr
    server.disconnect(device)
    assert "not asked again: no device" in compare_again().stderr
    assert isinstance(compare_again("--fresh", code=1).exception, MhmodelsError)
    server.connect(device)
