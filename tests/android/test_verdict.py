"""Every success and every failure that benchmark_model is known to print, and the status that each gets."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.output.parsing import OutputParser, parse_output
from mhmodels.android_bench.output.protos import DelegatedNodes, read_placement, read_result
from mhmodels.android_bench.transport.phone import ToolRun
from mhmodels.android_bench.verdict.verdict import EVIDENCE, RunStatus, Verdict, decide
from mhmodels.errors import FileFormatError

from . import outputs
from .outputs import FULL, NONE, PART, REPLACING, generation, info, litert, logcat

DELEGATES = Delegates()
X = FULL.format("XNNPACK")
OPENCL = b"INFO: Initialized OpenCL-based API.\nINFO: Created 1 GPU delegate kernels.\n"


def judge(delegate: str, stdout: bytes, stderr: bytes = b"", rc: int | None = 0, wall_s: float = 30.0, **more: object) -> Verdict:
    run = ToolRun(rc, stdout, stderr, wall_s, **{name: value for name, value in more.items() if name in ToolRun._fields})  # type: ignore[arg-type]
    rest = {name: value for name, value in more.items() if name not in ToolRun._fields}
    return decide(run, DELEGATES.get(delegate), **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", ["plain", "crlf", "logcat", "ansi"])
def test_every_generation(number: int, shape: str) -> None:
    text = generation(number, [X])
    if shape == "crlf":
        text = text.replace(b"\n", b"\r\n")
    elif shape == "logcat":
        text = logcat(text)
    elif shape == "ansi":
        text = b"\x1b[0m" + text.replace(b"INFO: ", b"\x1b[32mINFO: \x1b[0m").replace(b"\n", b"\x1b[K\n")
    verdict = judge("xnnpack", text)
    assert verdict.status is RunStatus.OK, verdict.reason
    latency = verdict.latency
    assert latency is not None
    assert latency.mean == pytest.approx(56.0124)
    assert latency.value == pytest.approx(55.9 if number == 4 else 56.0124)
    assert (latency.runs, latency.warmup_runs) == (50, 9)
    assert (latency.min, latency.max, latency.std) == (55.017, 58.012, 0.412)
    assert latency.init == pytest.approx(24.08)
    assert latency.first == pytest.approx(56.903)


@pytest.mark.parametrize(
    ("runs", "average", "milliseconds"),
    [
        ("count=50 first=1239807 curr=1239807 min=1237753 max=1247415 avg=1.24027e+06 std=2565", "1.24027e+06", 1240.27),
        ("count=1 curr=1357602", "1.3576e+06", 1357.602),
        ("count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602", "1.3576e+06", 1357.602),
        ("count=50 curr=812(all same)", "812", 0.812),
        ("count=50 curr=812 (all same)", "812", 0.812),
    ],
)
def test_how_numbers_are_printed(runs: str, average: str, milliseconds: float) -> None:
    verdict = judge("xnnpack", generation(3, [X], runs=runs, average=average), wall_s=100)
    assert verdict.latency is not None, verdict.reason
    assert verdict.latency.mean == pytest.approx(milliseconds)


def test_memory_is_read() -> None:
    assert parse_output(generation(4)).memory_mb == {"init": 6.36328, "overall": 109.832, "peak": 10.9609}
    assert parse_output(generation(2)).memory_mb == {"init": 6.36328, "overall": 109.832}


GPU_PART = b"""ERROR: Following operations are not supported by GPU delegate:
TRANSPOSE_CONV: Max version supported: 3. Requested version 4.
4 operations will run on the GPU, and the remaining 4 operations will run on the CPU.
INFO: Initialized OpenCL-based API.
INFO: Created 1 GPU delegate kernels.
"""
GPU_NONE = b"No operations will run on the GPU, and all 8 operations will run on the CPU.\n"
GPU_INIT = b"""ERROR: TfLiteGpuDelegate Init: clGetDeviceIDs returned -1
INFO: Created 0 GPU delegate kernels.
ERROR: TfLiteGpuDelegate Prepare: delegate is not initialized
ERROR: Node number 6 (TfLiteGpuDelegateV2) failed to prepare.
ERROR: Restored original execution plan after delegate application failure.
ERROR: Failed to apply GPU delegate.
ERROR: Benchmarking failed.
"""
GL = b"ERROR: Falling back to OpenGL\nINFO: Initialized OpenGL-based API.\n"
V = "VERBOSE: "
HTP = "External delegate options: [backend_type:htp;library_path:/f/libQnnHtp.so;skel_library_dir:/f]"

# name: delegate, facts on stdout, stderr, status, delegated, total
SUCCESSES = {
    "plain kernels": ("cpu", ["Use xnnpack: [0]"], b"", RunStatus.OK, 0, None),
    "plain kernels, old spelling": ("cpu", ["Use xnnpack : [0]"], b"", RunStatus.OK, 0, None),
    "xnnpack": ("xnnpack", [X], (V + REPLACING.format(31, 31, "TfLiteXNNPackDelegate", 1) + "\n").encode(), RunStatus.OK, 31, 31),
    "gpu": ("gpu-opencl", [FULL.format("GPU")], OPENCL, RunStatus.OK, None, None),
    "gpu by serialised kernels": (
        "gpu-opencl",
        [FULL.format("GPU")],
        b"INFO: Initialized OpenCL-based API from serialized data.\n",
        RunStatus.OK,
        None,
        None,
    ),
    "gpu, OpenGL": ("gpu-opengl", [FULL.format("GPU")], b"INFO: Initialized OpenGL-based API.\n", RunStatus.OK, None, None),
    "gpu and the CPU's rest": ("gpu-opencl", [PART.format("GPU", 1)], GPU_PART, RunStatus.PARTIAL, 4, 8),
    "gpu with nodes counted": (
        "gpu-opencl",
        [PART.format("GPU", 1)],
        OPENCL
        + (V + REPLACING.format(5, 8, "TfLiteGpuDelegateV2", 1) + "\n").encode()
        + (V + REPLACING.format(2, 4, "TfLiteXNNPackDelegate", 2) + "\n").encode(),
        RunStatus.PARTIAL,
        5,
        8,
    ),
    "nnapi": (
        "nnapi:google-edgetpu",
        [
            "NNAPI accelerator name: [google-edgetpu]",
            "NNAPI accelerators available: [google-edgetpu,nnapi-reference]",
            PART.format("NNAPI", 1),
        ],
        (V + REPLACING.format(70, 71, "TfLiteNnapiDelegate", 1) + "\n").encode(),
        RunStatus.PARTIAL,
        70,
        71,
    ),
    "hexagon": ("hexagon", [FULL.format("Hexagon")], b"", RunStatus.OK, None, None),
    "qnn": (
        "qnn-htp",
        [HTP, FULL.format("EXTERNAL")],
        (V + REPLACING.format(31, 31, "TfLiteQnnDelegate", 1) + "\n").encode(),
        RunStatus.OK,
        31,
        31,
    ),
    "qnn says it itself": (
        "qnn-htp",
        [HTP, PART.format("EXTERNAL", 2)],
        b"INFO: [Qnn Delegate] TfLiteQnnDelegate delegate: 29 nodes delegated out of 31 nodes with 2 partitions.\n",
        RunStatus.PARTIAL,
        29,
        31,
    ),
    "an old wording": (
        "xnnpack",
        ["Applied XNNPACK delegate, and the model graph will be completely executed w/ the delegate."],
        b"",
        RunStatus.OK,
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", SUCCESSES)
def test_success(name: str) -> None:
    delegate, facts, stderr, status, delegated, total = SUCCESSES[name]
    verdict = judge(delegate, generation(4, facts), stderr)
    assert (verdict.status, verdict.delegated, verdict.total) == (status, delegated, total), verdict.reason
    assert verdict.latency is not None
    # Old phones send one stream, in whatever order.
    for merged in (generation(4, facts) + stderr, stderr + generation(4, facts)):
        assert judge(delegate, merged)[:5] == verdict[:5]


# name: delegate, facts on stdout, stderr, exit code, status. Those with exit code 0 print a whole latency of the CPU's.
FAILURES = {
    "zero nodes": ("xnnpack", [NONE.format("XNNPACK")], b"", 0, RunStatus.NOT_DELEGATED),
    "zero nodes on the GPU": ("gpu-opencl", [NONE.format("GPU")], GPU_NONE, 0, RunStatus.NOT_DELEGATED),
    "zero nodes counted, whole claimed": (
        "qnn-htp",
        [FULL.format("EXTERNAL")],
        b"INFO: [Qnn Delegate] TfLiteQnnDelegate delegate: 0 nodes delegated out of 31 nodes with 0 partitions.\n",
        0,
        RunStatus.NOT_DELEGATED,
    ),
    "delegate not compiled in": ("gpu-opencl", ["Unconsumed cmdline flags: --use_gpu=true"], b"", 0, RunStatus.FLAG_UNSUPPORTED),
    "xnnpack flag unknown": ("cpu", ["Unconsumed cmdline flags: --use_xnnpack=false"], b"", 0, RunStatus.FLAG_UNSUPPORTED),
    "hexagon not compiled in": (
        "hexagon",
        ["Unconsumed cmdline flags: --use_hexagon=true --hexagon_lib_path=/data/local/tmp"],
        b"",
        0,
        RunStatus.FLAG_UNSUPPORTED,
    ),
    "threads unknown": ("xnnpack", ["Unconsumed cmdline flags: --num_threads=1", X], b"", 0, RunStatus.FLAG_UNSUPPORTED),
    "nnapi absent": ("nnapi", ["NNAPI acceleration is unsupported on this platform."], b"", 0, RunStatus.DELEGATE_UNAVAILABLE),
    "gpu absent": ("gpu-opencl", ["GPU acceleration is unsupported on this platform."], b"", 0, RunStatus.DELEGATE_UNAVAILABLE),
    "hexagon absent": (
        "hexagon",
        ["Could not create Hexagon delegate: platform may not support delegate or required libraries are missing"],
        b"",
        0,
        RunStatus.DELEGATE_UNAVAILABLE,
    ),
    "nnapi's CPU reference only": (
        "nnapi",
        ["NNAPI accelerators available: [nnapi-reference]", FULL.format("NNAPI")],
        b"",
        0,
        RunStatus.DELEGATE_UNAVAILABLE,
    ),
    "another accelerator": (
        "nnapi:qti-htp",
        [],
        b"ERROR: Could not find the specified NNAPI accelerator: qti-htp. Must be one of: {nnapi-reference}.\n",
        1,
        RunStatus.DELEGATE_UNAVAILABLE,
    ),
    "OpenGL instead of OpenCL": ("gpu-opencl", [FULL.format("GPU")], GL, 0, RunStatus.DELEGATE_UNAVAILABLE),
    "which GPU API is not said": ("gpu-opencl", [FULL.format("GPU")], b"", 0, RunStatus.UNKNOWN),
    "full delegation demanded": (
        "gpu-opencl",
        [],
        b"ERROR: Disallowed CPU fallback detected.\nERROR: Benchmarking failed.\n",
        1,
        RunStatus.NOT_DELEGATED,
    ),
    "gpu init": ("gpu-opencl", [], GPU_INIT, 1, RunStatus.DELEGATE_FAILED),
    "gpu init, yet exit code 0": ("gpu-opencl", [FULL.format("GPU")], GPU_INIT + OPENCL, 0, RunStatus.DELEGATE_FAILED),
    "missing external library": ("qnn-htp", ["EXTERNAL delegate created."], b"", 139, RunStatus.CRASH),
    "abort": ("xnnpack", [X], b"FATAL: Check failed\n", 134, RunStatus.CRASH),
    "no model": (
        "xnnpack",
        [],
        b"ERROR: Could not open '/data/m.tflite'.\nERROR: Failed to load model /data/m\n",
        1,
        RunStatus.MODEL_ERROR,
    ),
    "not a model": (
        "xnnpack",
        [],
        b"ERROR: The model is not a valid Flatbuffer buffer\nERROR: Benchmarking failed.\n",
        1,
        RunStatus.MODEL_ERROR,
    ),
    "empty model": ("xnnpack", [], b"ERROR: The model allocation is null/empty\n", 1, RunStatus.MODEL_ERROR),
    "no --graph": (
        "xnnpack",
        [],
        b"ERROR: Please specify the name of your TF Lite input file with --graph\n",
        1,
        RunStatus.MODEL_ERROR,
    ),
    "select ops": (
        "xnnpack",
        [],
        b"ERROR: Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter.\n",
        1,
        RunStatus.MODEL_ERROR,
    ),
    "invoke": ("xnnpack", [X], b"ERROR: Node number 6 (DummyDelegate) failed to invoke.\n" * 12323, 1, RunStatus.INVOKE_ERROR),
    "invoke, yet exit code 0": ("xnnpack", [X], b"ERROR: Node number 6 (X) failed to invoke.\n", 0, RunStatus.INVOKE_ERROR),
    "no +x": ("xnnpack", [], b"/system/bin/sh: can't execute: Permission denied\n", 126, RunStatus.NOT_EXECUTABLE),
    "no +x, other shell": ("xnnpack", [], b"sh: 1: exec: ./benchmark_model: Permission denied\n", 126, RunStatus.NOT_EXECUTABLE),
    "wrong ABI": (
        "xnnpack",
        [],
        b"/system/bin/sh: ./benchmark_model: not executable: 64-bit ELF file\n",
        126,
        RunStatus.NOT_EXECUTABLE,
    ),
    "not there": ("xnnpack", [], b"/system/bin/sh: ./benchmark_model: not found\n", 127, RunStatus.NOT_EXECUTABLE),
    "not there, newer": ("xnnpack", [], b"/system/bin/sh: x: inaccessible or not found\n", 127, RunStatus.NOT_EXECUTABLE),
    "linker": (
        "xnnpack",
        [],
        b'CANNOT LINK EXECUTABLE "./benchmark_model": library "libOpenCL.so" not found\n',
        1,
        RunStatus.LINK_ERROR,
    ),
    "bad flag value": ("xnnpack", [], b"ERROR: Failed to parse flag\nusage: ./benchmark_model\n", 1, RunStatus.FLAG_UNSUPPORTED),
    "no word of the delegate": ("xnnpack", ["XNNPACK delegate created."], b"", 0, RunStatus.UNKNOWN),
    "another delegate's success": ("gpu-opencl", [X], OPENCL, 0, RunStatus.UNKNOWN),
    "all claimed, fewer counted": (
        "xnnpack",
        [X],
        (V + REPLACING.format(3, 8, "TfLiteXNNPackDelegate", 1) + "\n").encode(),
        0,
        RunStatus.UNKNOWN,
    ),
    "plain kernels without a word": ("cpu", [], b"", 0, RunStatus.UNKNOWN),
    "xnnpack behind plain kernels": (
        "cpu",
        ["Use xnnpack: [0]"],
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
        0,
        RunStatus.DELEGATE_UNAVAILABLE,
    ),
    "gpu behind plain kernels": ("cpu", ["Use xnnpack: [0]", FULL.format("GPU")], b"", 0, RunStatus.UNKNOWN),
    "unknown exit code": ("xnnpack", [X], b"", None, RunStatus.UNKNOWN),
    "some exit code": ("xnnpack", [X], b"", 3, RunStatus.UNKNOWN),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure(name: str) -> None:
    delegate, facts, stderr, rc, status = FAILURES[name]
    # Even where a whole and plausible latency stands on the output.
    for stdout in (generation(4, facts), generation(2, facts), info("STARTING!", *facts)):
        verdict = judge(delegate, stdout, stderr, rc)
        assert verdict.latency is None
        assert verdict.reason
        if rc != 0 or stdout != info("STARTING!", *facts):
            assert verdict.status is status, verdict.reason


def test_what_adb_knows_comes_first() -> None:
    good = generation(4, [X])
    assert judge("xnnpack", good, rc=None, lost="device went away").status is RunStatus.DEVICE_LOST
    assert judge("xnnpack", good, rc=None, lost="device unauthorized").status is RunStatus.UNAUTHORIZED
    assert judge("xnnpack", good, rc=None, stopped="timeout").status is RunStatus.TIMEOUT
    assert judge("xnnpack", good, rc=None, stopped="flood").status is RunStatus.UNKNOWN


def test_every_status_has_a_test() -> None:
    reached = {case[3] for case in SUCCESSES.values()} | {case[4] for case in FAILURES.values()}
    assert reached | {RunStatus.DEVICE_LOST, RunStatus.UNAUTHORIZED, RunStatus.TIMEOUT} == set(RunStatus)
    assert {status for status, _ in EVIDENCE} <= reached


NUMBERS = {
    "nothing at all": b"",
    "zero": generation(3, [X], runs="count=50 first=0 curr=0 min=0 max=0 avg=0 std=0", average="0"),
    "all zero": generation(3, [X], runs="count=50 curr=0(all same)", average="0"),
    "negative": generation(3, [X], runs="count=5 first=9 curr=9 min=-3000 max=9 avg=5 std=1", average="5"),
    "not a number": generation(3, [X], runs="count=5 first=9 curr=9 min=nan max=9 avg=nan std=1", average="nan"),
    "infinite": generation(3, [X], runs="count=5 first=9 curr=9 min=9 max=1e999 avg=1e999 std=1", average="1e999"),
    "dry run": generation(3, [X], runs="count=0", average="0"),
    "average outside": generation(3, [X], runs="count=5 first=9 curr=9 min=8 max=9 avg=12 std=1", average="12"),
    "other average at the end": generation(3, [X], average="3.1"),
    "twice the same": generation(3, [X]) * 2,
    "a number twice": generation(3, [X], runs=outputs.RUNS + " avg=3"),
    "warm-up only": generation(3, [X]).partition(b"INFO: Running benchmark for at least 50")[0],
    "the final line without statistics": info(X) + generation(3).rpartition(b"\n\n")[2],
    "more time than passed": generation(3, [X], runs="count=50 first=9 curr=9 min=9 max=9e9 avg=9e7 std=1", average="9e7"),
    "10 MB without a line end": b"x" * 10_000_000 + generation(4, [X]),
    "binary garbage": bytes(range(256)) * 1000,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_no_latency(name: str) -> None:
    verdict = judge("xnnpack", NUMBERS[name])
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None)
    assert verdict.reason


def test_garbage_around_a_good_run_changes_nothing() -> None:
    clean = judge("xnnpack", generation(4, [X]))
    noise = bytes(range(11, 256)) + b"\n\x1b[31m\x1b]0;title\x07\n" + "日本\n".encode()
    assert judge("xnnpack", noise + generation(4, [X]) + noise, noise)[:5] == clean[:5]


def test_litert() -> None:
    all_of_it = (V + REPLACING.format(31, 31, "LITERT_CL", 1) + "\n").encode()
    verdict = judge("litert-gpu", litert(), all_of_it)
    assert (verdict.status, verdict.delegated) == (RunStatus.OK, 31)
    assert verdict.latency is not None
    assert verdict.latency.value == pytest.approx(55.9)
    assert judge("litert-gpu", all_of_it + litert())[:5] == verdict[:5]
    assert judge("litert-gpu", litert()).status is RunStatus.UNKNOWN
    rest = (V + REPLACING.format(31, 31, "TfLiteXNNPackDelegate", 1) + "\n").encode()
    assert judge("litert-gpu", litert(), rest).latency is None
    assert judge("litert-gpu", litert(average="12.00"), all_of_it).status is RunStatus.UNKNOWN
    block = litert().partition(b"INFO: [benchmark")
    short = judge("litert-gpu", block[1] + block[2], all_of_it)
    assert short.latency is not None
    assert short.latency.value == 56.01
    zero = (block[1] + block[2]).replace(b"56.01", b"0.00").replace(b"55.02", b"0.00")
    assert judge("litert-gpu", zero, all_of_it).latency is None
    placed = judge("litert-npu", litert(), placement=DelegatedNodes(31, {"DispatchDelegate": 30}))
    assert (placed.status, placed.delegated, placed.total) == (RunStatus.PARTIAL, 30, 31)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(**values: float) -> bytes:
    names = ("avg", "min", "max", "std", "median", "p5", "p95", "init", "first", "warmup")
    return b"".join(varint((names.index(name) + 1) << 3 | 5) + struct.pack("<f", value) for name, value in values.items())


RESULT = (
    message(1, b"m") + message(2, floats(avg=56.0124, min=55.017, max=58.012, median=55.95)) + message(4, b"\x10\x32\x18\x09")
)


def test_result_files() -> None:
    result = read_result(RESULT)
    assert (result.runs, result.warmup_runs) == (50, 9)
    old = judge("xnnpack", generation(3, [X]), result=result)
    assert old.latency is not None
    assert old.latency.value == pytest.approx(55.95)
    assert judge("xnnpack", generation(3, [X]), result=result._replace(runs=10)).status is RunStatus.UNKNOWN
    assert judge("xnnpack", generation(3, [X]), result=read_result(message(2, floats(avg=3.0)))).status is RunStatus.UNKNOWN


def node(number: int, kernel: str = "", replaced: int = 0) -> bytes:
    details = message(8, message(1, kernel.encode()) + b"".join(b"\x10" + varint(i) for i in range(replaced))) if kernel else b""
    return message(3, b"\x08" + varint(number) + message(2, b"n") + details)


def test_where_the_nodes_ran() -> None:
    graph = b"".join(node(i) for i in range(8)) + node(8, "TfLiteGpuDelegateV2", 5) + node(9, "TfLiteXNNPackDelegate", 2)
    info_file = message(1, b"m") + message(2, graph)
    assert read_placement(info_file) == DelegatedNodes(8, {"TfLiteGpuDelegateV2": 5, "TfLiteXNNPackDelegate": 2})
    verdict = judge("gpu-opencl", generation(4, [PART.format("GPU", 1)]), OPENCL, placement=read_placement(info_file))
    assert (verdict.status, verdict.delegated, verdict.total) == (RunStatus.PARTIAL, 5, 8)
    lying = judge("gpu-opencl", generation(4, [FULL.format("GPU")]), OPENCL, placement=read_placement(info_file))
    assert lying.status is RunStatus.UNKNOWN


@given(st.binary(max_size=200), st.integers(0, 100))
def test_damaged_result_files(noise: bytes, cut: int) -> None:
    for data in (noise, RESULT[:cut], RESULT[:cut] + noise):
        for read in (read_result, read_placement):
            with contextlib.suppress(FileFormatError):
                assert read(data) is not None


GOOD = generation(4, [X, "Use xnnpack: [1]"])
GOOD_STDERR = (
    V + REPLACING.format(31, 31, "TfLiteXNNPackDelegate", 1) + "\nINFO: Initialized TensorFlow Lite runtime.\n"
).encode()


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(GOOD) + len(GOOD_STDERR)), max_size=30), st.randoms(use_true_random=False))
def test_chunks_of_any_size_in_any_interleaving(cuts: list[int], random: object) -> None:
    whole = parse_output(GOOD, GOOD_STDERR, ["Initialized TensorFlow"])
    parser = OutputParser(["Initialized TensorFlow"])
    streams = {"stdout": GOOD, "stderr": GOOD_STDERR}
    for cut in cuts:
        name = random.choice(sorted(streams))  # type: ignore[attr-defined]
        size = cut % 97
        parser.feed(name, streams[name][:size])
        streams[name] = streams[name][size:]
    for name, rest in streams.items():
        parser.feed(name, rest)
    read = parser.close()
    # Only what is kept for people, lines of both streams together, depends on which stream came first.
    read.errors.sort()
    whole.errors.sort()
    assert read == whole


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=60, max_size=60))
def test_old_phones_mix_the_streams_line_by_line(picks: list[bool]) -> None:
    out, err = GOOD.splitlines(keepends=True), GOOD_STDERR.splitlines(keepends=True)
    merged = b""
    for pick in picks:
        source = err if pick and err else out
        merged += source.pop(0) if source else b""
    merged += b"".join(out + err)
    assert judge("xnnpack", merged)[:5] == judge("xnnpack", GOOD, GOOD_STDERR)[:5]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_cut_off_at_every_byte(number: int) -> None:
    whole = generation(number, [X])
    expected = judge("xnnpack", whole).latency
    for cut in range(len(whole)):
        verdict = judge("xnnpack", whole[:cut])
        assert verdict.latency is None or verdict.latency == expected
        if b"timings in us" not in whole[:cut]:
            assert verdict.status is RunStatus.UNKNOWN


@settings(max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_gives_no_other_status_of_success(place: int, flip: int) -> None:
    text = bytearray(GOOD)
    text[place] ^= flip
    verdict = judge("xnnpack", bytes(text), GOOD_STDERR)
    assert verdict.status in (RunStatus.OK, RunStatus.UNKNOWN, RunStatus.NOT_DELEGATED, *(status for status, _ in EVIDENCE))
    if verdict.latency is not None:
        # Statistics and the final line repeat the mean; what changed it in one place only is noticed.
        assert verdict.latency.mean == pytest.approx(56.0124, rel=3e-5)


@given(
    st.binary(max_size=2000), st.binary(max_size=2000), st.sampled_from(["cpu", "xnnpack", "gpu-opencl", "litert-gpu", "nnapi"])
)
def test_noise_is_never_a_latency(stdout: bytes, stderr: bytes, delegate: str) -> None:
    verdict = judge(delegate, stdout, stderr)
    assert verdict.latency is None
    assert verdict.reason
