"""Outputs that lie: each has a whole and plausible latency somewhere, and none of them may give one (or another than it says)."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest

from mhmodels.android_bench.output.parsing import parse_output
from mhmodels.android_bench.output.profile import parse_profile
from mhmodels.android_bench.output.protos import BenchmarkResult, DelegatedNodes, read_placement, read_result
from mhmodels.android_bench.transport.lines import clean, without_controls
from mhmodels.android_bench.verdict.verdict import RunStatus
from mhmodels.errors import FileFormatError

from . import outputs
from .outputs import FULL, NONE, PART, REPLACING, generation, info, litert, logcat
from .test_verdict import HTP, judge

X, G = FULL.format("XNNPACK"), FULL.format("GPU")
CL = b"INFO: Initialized OpenCL-based API.\n"
NO_NODES = b"INFO: TfLiteQnnDelegate delegate: 0 nodes delegated out of 31 nodes with 0 partitions.\n"
BACK = b"WARNING: clEnqueue failed, falling back to CPU\n"
RUNS = outputs.RUNS
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
BLOCK = b"".join(litert().partition(b"INFO: [benchmark")[1:])


def replacing(nodes: object, total: object, kernel: str) -> bytes:
    return f"VERBOSE: {REPLACING.format(nodes, total, kernel, 1)}\n".encode()


def scaled(factor: float) -> bytes:
    """Every time of a run in another unit, consistently."""
    numbers = {"first": 56101, "curr": 55950, "min": 55017, "max": 58012, "avg": 56012.4, "std": 412}
    runs = "count=50 " + " ".join(f"{name}={value * factor:.10g}" for name, value in numbers.items())
    return generation(3, [X], runs=runs, average=f"{56012.4 * factor:.10g}")


# name: delegate, stdout, stderr
LIES = {
    "milliseconds as microseconds": ("xnnpack", scaled(1e-3), b""),
    "seconds as microseconds": ("xnnpack", scaled(1e-6), b""),
    "nanoseconds as microseconds": ("xnnpack", scaled(1e3), b""),
    "digits of another script": ("xnnpack", generation(3, [X], runs=RUNS.translate(ARABIC), average="56012.4"), b""),
    "count in another script": ("xnnpack", generation(3, [X]).replace(b"count=50", "count=٥٠".encode()), b""),
    "a NUL inside a number": ("xnnpack", generation(3, [X]).replace(b"avg=56012.4", b"avg=560\x0012.4"), b""),
    "percentiles out of order": ("xnnpack", generation(4, [X]).replace(b"p5=55100 median=55900", b"p5=57000 median=55900"), b""),
    "a deviation beyond the range": ("xnnpack", generation(3, [X], runs=RUNS.replace("std=412", "std=412000")), b""),
    "a median far from the average": (
        "xnnpack",
        generation(4, [X], runs=RUNS.replace("std=412", "std=1")).replace(b"median=55900 p95=57200", b"median=57900 p95=57950"),
        b"",
    ),
    "fewer inferences than announced": (
        "xnnpack",
        generation(3, [X], runs=RUNS.replace("count=50", "count=40")).replace(b"at least 40", b"at least 50"),
        b"",
    ),
    "a second run on the other stream": ("xnnpack", generation(4, [X]), generation(4, [X])),
    "statistics on the other stream": (
        "xnnpack",
        info(X, outputs.STAGES[0], outputs.WARMUP),
        generation(3).partition(b"\n\n")[2],
    ),
    "proof in the other stream's name": ("gpu-opencl", generation(4), CL + f"INFO: {G}\n".encode()),
    "proof inside a name": ("xnnpack", generation(4, [f"Graph: [/x/{X}]", f"Loaded model INFO: {X}", f"INFO: {X}"]), b""),
    "proof in another program's log": (
        "xnnpack",
        b"11-21 10:13:00.542  4000  4017 I chromium  : " + X.encode() + b"\n" + logcat(generation(4)),
        b"",
    ),
    "half a logcat prefix": ("xnnpack", b"00.542  4000  4017 I tflite  : " + X.encode() + b"\n" + logcat(generation(4)), b""),
    "wholly, and in part": ("xnnpack", generation(4, [PART.format("XNNPACK", 2), X]), b""),
    "not at all, and wholly": ("gpu-opencl", generation(4, [NONE.format("GPU"), G]), CL),
    "another delegate's proof beside its own": ("gpu-opencl", generation(4, [G, X]), CL),
    "proof, then the CPU took it all": ("gpu-opencl", generation(4, [G]), CL + replacing(31, 31, "TfLiteXNNPackDelegate")),
    "a library's proof, then the CPU took it all": (
        "hexagon",
        generation(4, [FULL.format("Hexagon")]),
        replacing(31, 31, "TfLiteXNNPackDelegate"),
    ),
    "proof, then a way back to the CPU": ("gpu-opencl", generation(4, [G]), CL + BACK),
    "more nodes than there are": (
        "qnn-htp",
        generation(4, [HTP, PART.format("EXTERNAL", 1)]),
        replacing(40, 31, "TfLiteQnnDelegate"),
    ),
    "nodes beyond all numbers": ("xnnpack", generation(4, [X]), replacing(10**30, 10**30, "TfLiteXNNPackDelegate")),
    "nodes below none": ("xnnpack", generation(4, [X]), replacing(-31, -31, "TfLiteXNNPackDelegate")),
    "31 of 31 and none of 31": (
        "qnn-htp",
        generation(4, [HTP, FULL.format("EXTERNAL")]),
        replacing(31, 31, "TfLiteQnnDelegate") + NO_NODES,
    ),
    "twice, with different counts": (
        "qnn-htp",
        generation(4, [HTP, FULL.format("EXTERNAL")]),
        b"".join(
            f"INFO: [Qnn] TfLiteQnnDelegate delegate: {n} nodes delegated out of 31 nodes with 1 partitions.\n".encode()
            for n in (31, 4)
        ),
    ),
    "two splits": (
        "gpu-opencl",
        generation(4, [PART.format("GPU", 1)]),
        CL
        + b"".join(
            f"{n} operations will run on the GPU, and the remaining {31 - n} operations will run on the CPU.\n".encode()
            for n in (4, 30)
        ),
    ),
    "another accelerator than asked for": (
        "nnapi:google-edgetpu",
        generation(
            4,
            [
                "NNAPI accelerator name: [google-edgetpu]",
                "NNAPI accelerators available: [qti-dsp,nnapi-reference]",
                FULL.format("NNAPI"),
            ],
        ),
        b"",
    ),
    "a delegate behind plain kernels, in a long line": (
        "cpu",
        generation(4, ["Use xnnpack: [0]"]),
        replacing(31, 31, "TfLiteGpuDelegateV2").replace(b"subgraph 0.", b"subgraph 0 (" + b"n" * 5000 + b")."),
    ),
    "LiteRT: two blocks": ("litert-gpu", BLOCK.replace(b"56.01 ms", b"56.00 ms") + BLOCK, replacing(31, 31, "LITERT_CL")),
    "LiteRT: seconds": ("litert-gpu", BLOCK.replace(b" ms", b" s"), replacing(31, 31, "LITERT_CL")),
    "LiteRT: no unit": ("litert-gpu", BLOCK.replace(b" ms", b""), replacing(31, 31, "LITERT_CL")),
    "LiteRT: other runs than counted": (
        "litert-gpu",
        litert().replace(b"(50 runs)", b"(5 runs)"),
        replacing(31, 31, "LITERT_CL"),
    ),
    "LiteRT: the NPU's work on the GPU": ("litert-npu", litert(), replacing(31, 31, "LITERT_CL")),
    "LiteRT: a delegate without a name": ("litert-gpu", litert(), replacing(31, 31, "")),
    **{
        f"LiteRT: a block without {line.decode()}": (
            "litert-gpu",
            b"".join(other for other in BLOCK.splitlines(keepends=True) if line not in other),
            replacing(31, 31, "LITERT_CL"),
        )
        for line in (b"Inference (avg)", b"Inference (min)", b"Inference (max)")
    },
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_no_latency(name: str) -> None:
    delegate, stdout, stderr = LIES[name]
    verdict = judge(delegate, stdout, stderr)
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None), verdict.reason
    assert verdict.reason
    assert len(verdict.reason) < 1000


# Contradictions that are known from real devices have a status of their own.
def test_a_gpu_without_kernels() -> None:
    verdict = judge("gpu-opencl", generation(4, [G]), CL + b"INFO: Created 0 GPU delegate kernels.\n")
    assert (verdict.status, verdict.latency) == (RunStatus.DELEGATE_UNAVAILABLE, None)


@pytest.mark.parametrize("signal", [1, 2, 9, 15])
def test_a_tool_that_was_ended_from_outside_says_so(signal: int) -> None:
    verdict = judge("xnnpack", generation(4, [X]), rc=128 + signal)
    assert (verdict.status, verdict.latency) == (RunStatus.CRASH, None)
    assert "ended from outside" in verdict.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Init: 24080", b"Init: -24080"),
        (b"Init: 24080", b"Init: 1e999"),
        (b"first=56903 curr=56276", b"first=1e999 curr=56276"),
        (b"first=56903 curr=56276", b"first=-1 curr=56276"),
        (b"overall=109.832", b"overall=1e305"),
        (b"overall=109.832", b"overall=1e999"),
    ],
)
def test_what_is_beside_the_point_is_left_out_if_it_cannot_be(old: bytes, new: bytes) -> None:
    text = generation(4, [X])
    verdict = judge("xnnpack", text.replace(old, new))
    assert verdict.latency is not None, verdict.reason
    assert verdict.latency.value == 55.9
    for number in (verdict.latency.init, verdict.latency.first, verdict.latency.warmup):
        assert number is None or (math.isfinite(number) and number >= 0)


@pytest.mark.parametrize("field", ["min", "max", "median", "p95"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e30, 1e-30, 59.0])
def test_a_result_file_beside_the_text(field: str, value: float) -> None:
    result = BenchmarkResult({"avg": 56.0124, "min": 55.017, "max": 58.012, "median": 55.95, "p95": 57.2} | {field: value}, 50, 9)
    verdict = judge("xnnpack", generation(3, [X]), result=result)
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None), verdict.reason


@pytest.mark.parametrize(
    ("delegated", "total"),
    [
        ({"TfLiteGpuDelegateV2": 31, "TfLiteXNNPackDelegate": 5}, 31),
        ({"TfLiteGpuDelegateV2": 40}, 31),
        ({"TfLiteGpuDelegateV2": 1}, 0),
    ],
)
def test_more_nodes_than_the_network_has(delegated: dict[str, int], total: int) -> None:
    verdict = judge("gpu-opencl", generation(4, [G]), CL, placement=DelegatedNodes(total, delegated))
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None), verdict.reason


def test_placement_and_text_contradict_each_other() -> None:
    said = CL + replacing(5, 31, "TfLiteGpuDelegateV2")
    verdict = judge("gpu-opencl", generation(4, [G]), said, placement=DelegatedNodes(31, {"TfLiteGpuDelegateV2": 31}))
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None), verdict.reason


@pytest.mark.parametrize(
    "data",
    [
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\xff\xff\xff\xff\x0f" + b"x" * 100,
        b"\x13\x00",
        b"\x16",
        b"\x80" * 11,
        b"\x12\x05\x0d\x00\x00",
        b"\x22\x02\x10",
    ],
)
def test_files_with_lengths_and_types_that_cannot_be(data: bytes) -> None:
    for read in (read_result, read_placement):
        with pytest.raises(FileFormatError):
            read(data)


def test_a_result_of_other_types_is_no_number() -> None:
    # A varint, a text and a 64-bit number where 32-bit ones belong.
    latency = b"\x08\x05" + b"\x12\x02hi" + b"\x19" + struct.pack("<d", 5.0)
    found = read_result(b"\x12" + bytes([len(latency)]) + latency)
    assert found.latency_ms == {"max": 5.0}
    assert judge("xnnpack", generation(3, [X]), result=found).latency is None


def test_long_lines_full_of_almost_matches() -> None:
    lines = (b"a" * 1990, b"TfLiteDelegate" * 142, b": " * 1000, b"Warmup (avg): " * 140, b"count=1 " * 240)
    output = parse_output(b"".join(line + b"\n" for line in lines) * 40)
    assert not output.applied
    assert not output.replaced


def test_a_table_of_operators_with_numbers_that_no_row_holds() -> None:
    text = (
        "Operator-wise Profiling Info for Regular Benchmark Runs:\n===== Run Order =====\n"
        "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
        "\tA\t1\t0.5\t1e999%\t1%\t1e99999\t1e300\t[a]\n\tB\t1\t1e999\t1%\t1%\t0\t1\t[b]\n\n"
        f"Number of nodes executed: {'9' * 5000}\n"
    )
    for operator in parse_profile(text.encode()):
        assert math.isfinite(operator.avg_ms)
        assert msgspec.json.decode(msgspec.json.encode(operator))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"12\x0034", "12\ufffd34"),
        (b"\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred".encode(), "red"),
        (b"a\x07b\x08c", "a\ufffdb\ufffdc"),
        ("left‮right".encode(), "left\ufffdright"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_nothing_reaches_a_terminal_that_moves_it(raw: bytes, text: str) -> None:
    assert clean(raw) == text
    assert without_controls(text) == text
