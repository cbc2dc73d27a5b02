"""What proves that a delegate ran: one sound output for each delegate, and how little of it may be missing or different."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

import pytest

from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.delegates.delegate import Delegate, Proof
from mhmodels.android_bench.transport.phone import ToolRun
from mhmodels.android_bench.verdict.verdict import RunStatus, Verdict, decide

from .outputs import FULL, NONE, PART, REPLACING, generation, litert
from .test_verdict import GL, HTP, OPENCL, judge

BLOCK = b"".join(litert().partition(b"INFO: [benchmark")[1:])
LIST = "NNAPI accelerators available: [qti-default,qti-dsp,qti-gpu,nnapi-reference]"
NAME = "NNAPI accelerator name: [qti-dsp]"


def replacing(nodes: object, total: object, kernel: str, partitions: int = 1) -> bytes:
    return f"VERBOSE: {REPLACING.format(nodes, total, kernel, partitions)}\n".encode()


class Sound(NamedTuple):
    """A run that counts: `needed` are lines without which nothing proves that the delegate ran."""

    delegate: str
    stdout: bytes
    stderr: bytes
    needed: tuple[str, ...]


# As the tools print them, from the versions of 2020 to those of 2026.
SOUND = {
    "cpu": Sound("cpu", generation(4, ["Use xnnpack: [0]"]), b"", ("Use xnnpack: [0]",)),
    "xnnpack": Sound(
        "xnnpack",
        generation(4, [FULL.format("XNNPACK")]),
        replacing(31, 31, "TfLiteXNNPackDelegate"),
        (FULL.format("XNNPACK"),),
    ),
    "gpu-opencl": Sound(
        "gpu-opencl",
        generation(4, ["GPU delegate created.", FULL.format("GPU")]),
        b"INFO: Loaded OpenCL library with dlopen.\n" + replacing(49, 49, "TfLiteGpuDelegateV2") + OPENCL,
        (FULL.format("GPU"), "Initialized OpenCL-based API"),
    ),
    "gpu-opencl beside NNAPI that took nothing": Sound(
        "gpu-opencl",
        generation(4, [FULL.format("GPU"), NONE.format("NNAPI")]),
        OPENCL,
        (FULL.format("GPU"), "Initialized OpenCL-based API"),
    ),
    "gpu-opengl": Sound(
        "gpu-opengl",
        generation(4, [FULL.format("GPU")]),
        GL,
        (FULL.format("GPU"), "Initialized OpenGL-based API"),
    ),
    "nnapi": Sound("nnapi", generation(4, [LIST, FULL.format("NNAPI")]), b"", (LIST, FULL.format("NNAPI"))),
    "nnapi on a board": Sound(
        "nnapi",
        generation(2, ["Use NNAPI: [1]", "NNAPI accelerators available: [vsi-npu]", FULL.format("NNAPI")]),
        b"INFO: Created TensorFlow Lite delegate for NNAPI.\n",
        ("NNAPI accelerators available: [vsi-npu]", FULL.format("NNAPI")),
    ),
    "nnapi:qti-dsp": Sound(
        "nnapi:qti-dsp",
        generation(4, [NAME, LIST, FULL.format("NNAPI")]),
        replacing(31, 31, "TfLiteNnapiDelegate"),
        (NAME, LIST, FULL.format("NNAPI")),
    ),
    "nnapi of 2020": Sound(
        "nnapi:qti-dsp",
        generation(2, ["nnapi accelerator name : [qti-dsp]", LIST, "Disable NNAPI cpu : [0]", FULL.format("NNAPI")]),
        b"",
        ("nnapi accelerator name : [qti-dsp]", LIST, FULL.format("NNAPI")),
    ),
    "an accelerator that nobody knows, by its name": Sound(
        "nnapi:synap-x1",
        generation(
            4,
            [
                "NNAPI accelerator name: [synap-x1]",
                "NNAPI accelerators available: [synap-x1,nnapi-reference]",
                FULL.format("NNAPI"),
            ],
        ),
        b"WARNING: NNAPI SL driver did not implement SL_ANeuralNetworksDiagnostic_registerCallbacks!\n",
        ("NNAPI accelerator name: [synap-x1]", FULL.format("NNAPI")),
    ),
    "hexagon": Sound(
        "hexagon",
        generation(4, [FULL.format("Hexagon")]),
        b"loaded libcdsprpc.so\nINFO: TfLiteHexagonDelegate delegate: 125 nodes delegated out of 125 nodes with 1 partitions.\n",
        (FULL.format("Hexagon"),),
    ),
    "qnn-htp": Sound(
        "qnn-htp",
        generation(4, [HTP, FULL.format("EXTERNAL")]),
        b"INFO: [Qnn Delegate] TfLiteQnnDelegate delegate: 31 nodes delegated out of 31 nodes with 1 partitions.\n",
        (HTP, FULL.format("EXTERNAL"), "TfLiteQnnDelegate delegate: 31 nodes"),
    ),
    "qnn-gpu": Sound(
        "qnn-gpu",
        generation(4, ["External delegate options: [backend_type:gpu]", FULL.format("EXTERNAL")]),
        replacing(31, 31, "TfLiteQnnDelegate"),
        ("External delegate options: [backend_type:gpu]", FULL.format("EXTERNAL"), "(TfLiteQnnDelegate)"),
    ),
    "litert-gpu": Sound("litert-gpu", BLOCK, replacing(366, 366, "LITERT_CL"), ("(LITERT_CL)",)),
    "litert-gpu, the other API": Sound(
        "litert-gpu",
        litert(),
        b"WARNING: Failed to create OpenCL context.\nINFO: Falling back to OpenGL\n" + replacing(366, 366, "LITERT_OPENGL"),
        ("(LITERT_OPENGL)",),
    ),
    "litert-npu": Sound(
        "litert-npu",
        BLOCK,
        b"INFO: 1 compiler plugins were applied successfully: Qualcomm\n" + replacing(1, 1, "DispatchDelegate"),
        ("(DispatchDelegate)",),
    ),
}
WITHOUT = [(name, line) for name, sound in SOUND.items() for line in sound.needed]


def run(sound: Sound, stdout: bytes | None = None, stderr: bytes | None = None) -> Verdict:
    out, err = sound.stdout if stdout is None else stdout, sound.stderr if stderr is None else stderr
    return judge(sound.delegate, out, err)


@pytest.mark.parametrize("name", SOUND)
def test_sound_outputs_count(name: str) -> None:
    sound = SOUND[name]
    verdict = run(sound)
    assert verdict.status is RunStatus.OK, verdict.reason
    assert verdict.latency is not None
    assert run(sound, sound.stderr + sound.stdout, b"")[:5] == verdict[:5]
    assert run(sound, sound.stdout + sound.stderr, b"")[:5] == verdict[:5]


@pytest.mark.parametrize(("name", "line"), WITHOUT)
@pytest.mark.parametrize("change", ["missing", "upper", "cut", "half", "quoted"])
def test_without_its_line_nothing_counts(name: str, line: str, change: str) -> None:
    sound = SOUND[name]
    changed = []
    for text in (sound.stdout, sound.stderr):
        lines = text.decode().split("\n")
        for place, found in enumerate(lines):
            if line in found:
                lines[place] = {
                    "missing": "",
                    "upper": found.swapcase(),
                    "cut": found[: found.index(line) + len(line) // 2],
                    "half": found[found.index(line) + len(line) // 2 :],
                    "quoted": f'Graph: ["{found}"]',
                }[change]
        changed.append("\n".join(lines).encode())
    assert changed != [sound.stdout, sound.stderr]
    verdict = run(sound, *changed)
    assert verdict.latency is None
    assert verdict.reason


def nnapi(*facts: str, number: int = 4) -> bytes:
    return generation(number, facts)


WHOLE = FULL.format("NNAPI")
# delegate, stdout, stderr: none of them says that hardware ran the network.
NO_ACCELERATOR = {
    "before Android 10": ("nnapi", nnapi("Use NNAPI: [1]", "NNAPI delegate created.", WHOLE), b""),
    "before Android 10, counted": ("nnapi", nnapi(WHOLE), replacing(31, 31, "TfLiteNnapiDelegate")),
    "before Android 10, named": ("nnapi:qti-dsp", nnapi(NAME, WHOLE), replacing(31, 31, "TfLiteNnapiDelegate")),
    "before Android 10, in part": ("nnapi", nnapi(PART.format("NNAPI", 2)), replacing(20, 31, "TfLiteNnapiDelegate", 4)),
    "the tool of 2019": ("nnapi", nnapi("Use nnapi : [1]", WHOLE, number=1), b""),
    "the tool of 2020": (
        "nnapi",
        nnapi("Applied NNAPI delegate, and the model graph will be completely executed w/ the delegate.", number=2),
        b"",
    ),
    "the reference alone": ("nnapi", nnapi("NNAPI accelerators available: [nnapi-reference]", WHOLE), b""),
    "the reference alone, as asked for": (
        "nnapi:nnapi-reference",
        nnapi("NNAPI accelerator name: [nnapi-reference]", "NNAPI accelerators available: [nnapi-reference]", WHOLE),
        b"",
    ),
    "no accelerators": ("nnapi", nnapi("NNAPI accelerators available: []", WHOLE), b""),
    "blanks": ("nnapi", nnapi("NNAPI accelerators available: [ , ]", WHOLE), b""),
    "the reference in other letters": ("nnapi", nnapi("NNAPI accelerators available: [NNAPI-Reference]", WHOLE), b""),
    "an unknown name": ("nnapi", nnapi("NNAPI accelerators available: [acme,nnapi-reference]", WHOLE), b""),
    "an unknown name beside a known one": (
        "nnapi",
        nnapi("NNAPI accelerators available: [qti-dsp,acme,nnapi-reference]", WHOLE),
        b"",
    ),
    "AOSP's samples": (
        "nnapi",
        nnapi("NNAPI accelerators available: [nnapi-sample_all,nnapi-sample_quant,nnapi-reference]", WHOLE),
        b"",
    ),
    "one of AOSP's samples, by its name": (
        "nnapi:nnapi-sample_float_xnnpack",
        nnapi(
            "NNAPI accelerator name: [nnapi-sample_float_xnnpack]",
            "NNAPI accelerators available: [nnapi-sample_float_xnnpack,qti-dsp,nnapi-reference]",
            WHOLE,
        ),
        b"",
    ),
    "a sample that is called like a GPU": (
        "nnapi",
        nnapi("NNAPI accelerators available: [nnapi-sample_gpu,nnapi-reference]", WHOLE),
        b"",
    ),
    "another one than asked for": ("nnapi:qti-hta", nnapi("NNAPI accelerator name: [qti-hta]", LIST, WHOLE), b""),
    "another one is used": ("nnapi:qti-gpu", nnapi(NAME, LIST, WHOLE), b""),
    "none is used": ("nnapi:qti-dsp", nnapi("NNAPI accelerator name: []", LIST, WHOLE), b""),
    "one is used that nobody asked for": ("nnapi", nnapi(NAME, LIST, WHOLE), b""),
    "which is used is not said": ("nnapi:qti-dsp", nnapi(LIST, WHOLE), b""),
    "first one, then another": ("nnapi:qti-dsp", nnapi(NAME, NAME.replace("dsp", "gpu"), LIST, WHOLE), b""),
    "the reference is allowed": ("nnapi", nnapi(LIST, "Disable NNAPI cpu: [0]", WHOLE), b""),
    "two lists": ("nnapi", nnapi(LIST, "NNAPI accelerators available: [nnapi-reference]", WHOLE), b""),
    "the list of another program": (
        "nnapi",
        nnapi(WHOLE),
        b"11-21 10:13:00.542  4000  4017 I chromium  : " + LIST.encode() + b"\n",
    ),
    "the list inside a name": ("nnapi", nnapi(f"Graph: [/x/{LIST}]", WHOLE), b""),
    "the list in other words": ("nnapi", nnapi("Available NNAPI accelerators: qti-dsp, qti-gpu", WHOLE), b""),
    "the list is cut": ("nnapi", nnapi("NNAPI accelerators available: [qti-dsp,qti-", WHOLE), b""),
    "the list stands in lower case": ("nnapi", nnapi(LIST.lower(), WHOLE), b""),
    "created only": ("nnapi", nnapi(LIST, "NNAPI delegate created."), b"INFO: Created TensorFlow Lite delegate for NNAPI.\n"),
    "counted, and later not at all": ("nnapi", nnapi(LIST, NONE.format("NNAPI")), replacing(31, 31, "TfLiteNnapiDelegate")),
    "compilation fails": (
        "nnapi",
        nnapi(LIST, WHOLE),
        b"ERROR: NN API returned error ANEURALNETWORKS_OP_FAILED at line 3779 while completing NNAPI compilation.\n"
        b"ERROR: Restored original execution plan after delegate application failure.\n",
    ),
    "another delegate took it": ("nnapi", nnapi(LIST, WHOLE), replacing(31, 31, "TfLiteGpuDelegateV2")),
}


@pytest.mark.parametrize("name", NO_ACCELERATOR)
@pytest.mark.parametrize("merged", [False, True])
def test_nnapi_without_an_accelerator(name: str, merged: bool) -> None:
    delegate, stdout, stderr = NO_ACCELERATOR[name]
    verdict = judge(delegate, stdout + stderr, b"") if merged else judge(delegate, stdout, stderr)
    assert verdict.latency is None, name
    assert not verdict.status.runs
    assert verdict.reason


GPU_KERNELS = ("LITERT_CL", "LITERT_OPENGL", "LITERT_VULKAN", "LITERT_WEBGPU", "LITERT_METAL")
OTHER_KERNELS = (
    "TfLiteXNNPackDelegate", "YNNPackDelegate", "TfLiteFlexDelegate", "TfLiteGpuDelegateV2", "TfLiteNnapiDelegate", "Vx Delegate",
    "LITERT_CPU", "LITERT_CL_CPU", "litert_cl", "LITERT", "DispatchDelegateFallback", "NpuDelegate", "dispatchdelegate", "",
)  # fmt: skip


@pytest.mark.parametrize("kernel", [*GPU_KERNELS, "DispatchDelegate", *OTHER_KERNELS])
@pytest.mark.parametrize("delegate", ["litert-gpu", "litert-npu"])
@pytest.mark.parametrize("text", [BLOCK, litert()], ids=["block", "all"])
def test_kernels_of_litert_are_known_by_their_names(delegate: str, kernel: str, text: bytes) -> None:
    verdict = judge(delegate, text, replacing(366, 366, kernel))
    right = kernel in (GPU_KERNELS if delegate == "litert-gpu" else ("DispatchDelegate",))
    assert (verdict.status is RunStatus.OK) == (verdict.latency is not None) == right, verdict.reason


@pytest.mark.parametrize("rest", ["TfLiteXNNPackDelegate", "YNNPackDelegate", "TfLiteFlexDelegate"])
def test_the_rest_of_a_part_runs_on_the_cpu(rest: str) -> None:
    said = replacing(2, 300, "DispatchDelegate", 5) + replacing(298, 300, rest, 3)
    verdict = judge("litert-npu", BLOCK, said)
    assert (verdict.status, verdict.delegated, verdict.total) == (RunStatus.PARTIAL, 2, 300), verdict.reason


@pytest.mark.parametrize("rest", ["LITERT_CL", "LITERT_WEBGPU", "TfLiteGpuDelegateV2", "Another"])
def test_the_rest_of_a_part_on_something_else_is_no_part(rest: str) -> None:
    verdict = judge("litert-npu", BLOCK, replacing(2, 300, "DispatchDelegate", 5) + replacing(298, 300, rest, 3))
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None)


def test_parts_as_published_logs_show_them() -> None:
    hexagon = (
        b"loaded libcdsprpc.so\nINFO: TfLiteHexagonDelegate delegate: 136 nodes delegated out of 139 nodes with 2 partitions.\n\n"
        b"VERBOSE: Replacing 136 node(s) with delegate (TfLiteHexagonDelegate) node, yielding 5 partitions.\n"
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
        b"VERBOSE: Replacing 2 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 7 partitions.\n"
    )
    verdict = judge("hexagon", generation(2, ["External delegate path : []", PART.format("Hexagon", 2)]), hexagon)
    assert (verdict.status, verdict.delegated, verdict.total) == (RunStatus.PARTIAL, 136, 139), verdict.reason
    # 3504 - 11 + 7 kernels are the 3500 that XNNPACK finds.
    qnn = (
        b"INFO: [Qnn Delegate] TfLiteQnnDelegate delegate: 11 nodes delegated out of 3504 nodes with 7 partitions.\n"
        + replacing(11, 3504, "TfLiteQnnDelegate", 14)
        + replacing(3145, 3500, "TfLiteXNNPackDelegate", 90)
    )
    verdict = judge("qnn-htp", generation(4, [HTP, PART.format("EXTERNAL", 7)]), qnn)
    assert (verdict.status, verdict.delegated, verdict.total) == (RunStatus.PARTIAL, 11, 3504), verdict.reason
    more = qnn.replace(b"Replacing 3145 out of 3500", b"Replacing 3145 out of 3520")
    assert judge("qnn-htp", generation(4, [HTP, PART.format("EXTERNAL", 7)]), more).latency is None


def test_signatures_are_counted_together() -> None:
    first = replacing(2245, 2245, "LITERT_CL")
    second = replacing(1330, 1330, "LITERT_CL").replace(b"subgraph 0.", b"subgraph 1 (decode).")
    verdict = judge("litert-gpu", BLOCK, first + second)
    assert (verdict.status, verdict.delegated, verdict.total) == (RunStatus.OK, 3575, 3575)
    half = second.replace(b"Replacing 1330", b"Replacing 1000")
    assert judge("litert-gpu", BLOCK, first + half).status is RunStatus.PARTIAL


LATER = {
    "another total": replacing(366, 366, "TfLiteXNNPackDelegate"),
    "fewer nodes of its own": replacing(100, 366, "LITERT_CL"),
    "a larger network": replacing(5, 400, "TfLiteXNNPackDelegate"),
    "the other tool's count": b"INFO: LITERT_CL delegate: 12 nodes delegated out of 366 nodes with 1 partitions.\n",
    "reverted": b"WARNING: Reverted to the original graph\n",
    "reverting": b"litert: delegate kernel failed, REVERTING delegation\n",
    "fell back": b"INFO: [compiled_model.cc:1198] accelerator gave up, fell back on the CPU accelerator\n",
    "fallback": b"WARNING: using CPU fallback\n",
    "fall-back": b"WARNING: fall-back to XNNPACK\n",
    "falls back": b"WARNING: LiteRT falls back to CPU\n",
    "rolled back": b"INFO: rolled back all delegates\n",
    "failed to apply": b"WARNING: Failed to apply compiler plugins: kLiteRtStatusErrorRuntimeFailure\n",
    "failed to apply, in capitals": b"WARNING: FAILED TO APPLY DELEGATE\n",
    "no kernel": b"ERROR: [dispatch_delegate.cc:122] Failed to create a kernel: No usable Dispatch runtime found\n",
    "no dispatch": b"ERROR: [dispatch_delegate.cc:107] Failed to initialize Dispatch API\n",
    "restored": b"INFO: Restored original execution plan after delegate application failure.\n",
    "restored graph": b"INFO: restoring the graph without delegates\n",
    "undone": b"INFO: Undoing all delegates\n",
    "removed": b"INFO: All delegates were removed\n",
    "not used": b"INFO: The delegate is not used for this graph\n",
    "CPU instead": b"INFO: the model runs on the CPU instead\n",
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("before", [False, True])
def test_what_is_taken_back_does_not_count(name: str, before: bool) -> None:
    first = replacing(366, 366, "LITERT_CL")
    said = LATER[name] + first if before else first + LATER[name]
    verdict = judge("litert-gpu", BLOCK, said)
    assert verdict.latency is None, name


@pytest.mark.parametrize(
    "line",
    [
        b"INFO: [Qnn] performance mode 9 is not known, fall back to default performance mode\n",
        b"Require full delegation: [0]\n",
        b"INFO: Allow CPU fallback: [0]\n",
        b"WARNING: Failed to load OpenCL library with dlopen: libvndksupport.so not found\n",
        b"ERROR: File /data/local/tmp/cache.bin couldn't be opened for reading: No such file or directory\n",
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
    ],
)
def test_what_only_sounds_like_it_counts(line: bytes) -> None:
    assert judge("litert-gpu", BLOCK, line + replacing(366, 366, "LITERT_CL")).status is RunStatus.OK


@pytest.mark.parametrize(
    ("stdout", "why"),
    [
        (generation(4, [HTP, FULL.format("EXTERNAL")]), "which nodes"),
        (generation(4, [HTP.replace("htp", "gpu"), FULL.format("EXTERNAL")]), "htp"),
        (generation(4, ["External delegate options: [library_path:/backend_type:htp]", FULL.format("EXTERNAL")]), "htp"),
        (generation(4, ["External delegate options: []", FULL.format("EXTERNAL")]), "htp"),
    ],
)
def test_external_may_be_any_library(stdout: bytes, why: str) -> None:
    said = replacing(31, 31, "TfLiteQnnDelegate") if why == "htp" else b""
    verdict = judge("qnn-htp", stdout, said)
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None)
    assert why in verdict.reason


@pytest.mark.parametrize("kernel", ["TfLiteXNNPackDelegate", "TfLiteGpuDelegateV2", "LITERT_CL", "DispatchDelegate"])
@pytest.mark.parametrize("name", ["XNNPACK", "GPU", "EXTERNAL"])
def test_an_entry_without_kernels_knows_those_of_others(name: str, kernel: str) -> None:
    own = Delegate(id="own", title="Own", formats=("float32",), proof=Proof(names=(name,)))
    stdout = generation(4, [FULL.format(name)])
    for taken, right in ((kernel, (name, kernel[:9]) in (("XNNPACK", "TfLiteXNN"), ("GPU", "TfLiteGpu"))), ("", True)):
        stderr = replacing(31, 31, taken) if taken else b""
        verdict = decide(ToolRun(0, stdout, stderr, 30.0), Delegates([own]).get("own"))
        assert (verdict.latency is not None) == right, verdict.reason
    mine = decide(ToolRun(0, stdout, replacing(31, 31, "Mine"), 30.0), Delegates([own]).get("own"))
    assert (mine.latency is not None) == (name == "EXTERNAL")


def test_a_kernel_behind_tflites_own_kernels_in_any_words() -> None:
    for said in (
        replacing(3, 31, "YNNPackDelegate"),
        b"INFO: TfLiteHexagonDelegate delegate: 3 nodes delegated out of 31 nodes with 1 partitions.\n",
    ):
        assert judge("cpu", generation(4, ["Use xnnpack: [0]"]), said).latency is None
    assert judge("cpu", generation(4, ["Use xnnpack: [0]", "Use xnnpack: [1]"])).latency is None


@pytest.mark.parametrize("code", [193, 254, 255])
def test_an_exit_code_beyond_all_signals_is_none(code: int) -> None:
    verdict = judge("xnnpack", SOUND["xnnpack"].stdout, rc=code)
    assert (verdict.status, verdict.latency) == (RunStatus.UNKNOWN, None)
    assert f"exit code {code}" in verdict.reason


ABSURD = ("0", "-5", "1e300", "1e-300", "nan", "inf", "1e999", "0.0", "-0", "1e-7", "0x10", "1_000", "١٢", "99999999999999999999")


@pytest.mark.parametrize("number", ABSURD)
def test_absurd_times_are_no_latency(number: str) -> None:
    sound = SOUND["xnnpack"]
    runs = f"count=50 first={number} curr={number} min={number} max={number} avg={number} std=0"
    for text in (
        generation(3, [FULL.format("XNNPACK")], runs=runs, average=number),
        generation(3, [FULL.format("XNNPACK")], runs=runs, average=number).replace(b"at least 1 seconds", b"at least 0 seconds"),
        generation(3, [FULL.format("XNNPACK")], runs=f"count=50 curr={number}(all same)", average=number),
        generation(3, [FULL.format("XNNPACK")], runs=f"count=1 curr={number}", average=number),
    ):
        assert run(sound, text).latency is None
    block = re.sub(rb"(Inference \((?:avg|min|max)\): +)[\d.]+", lambda m: m[1] + number.encode(), BLOCK)
    assert block != BLOCK
    assert run(SOUND["litert-gpu"], block).latency is None


@pytest.mark.parametrize("count", ["0", "-1", "999999999", "99999999999999999999999", "1e3", "nan", "5.5"])
def test_absurd_counts_are_no_latency(count: str) -> None:
    for name, old in (("xnnpack", b"count=50 "), ("litert-gpu", b"(50 runs)")):
        sound = SOUND[name]
        text = sound.stdout.replace(old, old.replace(b"50", count.encode()))
        assert text != sound.stdout
        assert run(sound, text).latency is None
    nodes = replacing(count, count, "LITERT_CL")
    assert run(SOUND["litert-gpu"], stderr=nodes).latency is None


# Fuzzing.

WORDS = [
    b"nnapi-reference", b"qti-dsp", b"LITERT_CL", b"DispatchDelegate", b"TfLiteXNNPackDelegate", b"YNNPackDelegate", b"GPU",
    b"XNNPACK", b"NNAPI", b"EXTERNAL", b"OpenCL", b"OpenGL", b"completely", b"partially", b"0", b"1", b"-1", b"31", b"nan",
    b"inf", b"1e300", b"1e-300", b"99999999999999999999", b"htp", b"gpu", b"[", b"]", b"\x1b[2J", b"\x00", b"\xff\xfe", b"\r",
    b"count=",
]  # fmt: skip
LINES = [*LATER.values(), *(text for sound in SOUND.values() for text in (sound.stdout, sound.stderr))]
NUMBERS = re.compile(rb"-?\d+(?:\.\d+)?")


def mutate(text: bytes, dice: random.Random) -> bytes:
    """One change of the kind that versions, vendors, cut streams and liars make."""
    lines = text.split(b"\n")
    place = dice.randrange(len(lines))
    kind = dice.randrange(11)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[dice.randrange(len(lines))])
    elif kind == 2:
        other = dice.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 3:
        return text[: dice.randrange(len(text) + 1)]
    elif kind == 4:
        lines[place] = lines[place].swapcase() if dice.random() < 0.5 else lines[place].lower()
    elif kind == 5:
        words = lines[place].split(b" ")
        words[dice.randrange(len(words))] = dice.choice(WORDS)
        lines[place] = b" ".join(words)
    elif kind == 6 and (found := list(NUMBERS.finditer(lines[place]))):
        number = dice.choice(found)
        lines[place] = lines[place][: number.start()] + dice.choice(WORDS[14:24]) + lines[place][number.end() :]
    elif kind == 7:
        lines.insert(place, dice.choice(dice.choice(LINES).split(b"\n")))
    elif kind == 8 and lines[place]:
        spot = dice.randrange(len(lines[place]))
        lines[place] = lines[place][:spot] + bytes([dice.randrange(256)]) + lines[place][spot + 1 :]
    elif kind == 9:
        return b"".join(dice.sample(text.splitlines(keepends=True), len(lines) - 1)) if text else text
    else:
        lines[place] = lines[place][: dice.randrange(len(lines[place]) + 1)]
    return b"\n".join(lines)


def proven(sound: Sound, text: bytes) -> bool:
    """Whether every needed line stands there whole: read without any code of the package's parser."""
    # Colours, and what a carriage return overwrites, are no text.
    shown = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in text.decode(errors="replace").split("\n")]
    lines = [re.sub(r"^(INFO|VERBOSE): ?", "", line.strip("\r\0 \t").rpartition("\r")[2].strip()) for line in shown]
    for needed in sound.needed:
        if sound.delegate.startswith("nnapi") and needed.startswith("NNAPI accelerators"):
            # Which accelerators there are may change and still be hardware.
            wanted = [r"NNAPI accelerators available: \[(?!nnapi-reference\])[^\]]*\]"]
        elif needed.startswith("("):
            wanted = [rf"Replacing \d+ out of \d+ node\(s\) with delegate {re.escape(needed)}.*"]
            if sound.delegate == "litert-gpu":
                wanted = [
                    r"Replacing \d+ out of \d+ node\(s\) with delegate \(LITERT_\w+\).*",
                    r".*LITERT_\w+ delegate: \d+ nodes.*",
                ]
            elif sound.delegate.startswith("qnn"):
                wanted.append(r".*TfLiteQnnDelegate delegate: \d+ nodes.*")
        elif "TfLiteQnn" in needed:
            wanted = [r".*TfLiteQnnDelegate delegate: \d+ nodes.*", r"Replacing .*\(TfLiteQnnDelegate\).*"]
        elif "will be completely" in needed:
            name = needed.split()[2]
            wanted = [rf"(Explicitly a|A)pplied {name} delegate, .* will be (completely|partially) executed (by|w/) the.*"]
        elif needed.startswith("External"):
            wanted = [rf"External delegate options\s*: \[(.*;)?\s*backend_type:{sound.delegate[4:]}\s*[;\]].*"]
        else:
            wanted = [re.escape(needed).replace(r"\ :", r"\s*:").replace(":", r"\s*:") + ".*"]
        if not any(re.fullmatch(pattern, line, re.IGNORECASE) for pattern in wanted for line in lines):
            return False
    return True


def check_mutants(name: str, count: int, seed: int) -> int:
    """Judges changed outputs; how many still counted."""
    sound, dice, counted = SOUND[name], random.Random(f"{name} {seed}"), 0
    whole = run(sound).latency
    assert whole is not None
    for _ in range(count):
        stdout, stderr = sound.stdout, sound.stderr
        for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
            if dice.random() < 0.5:
                stdout = mutate(stdout, dice)
            else:
                stderr = mutate(stderr, dice)
        verdict = run(sound, stdout, stderr)
        assert (verdict.latency is None) or verdict.status.runs
        assert verdict.reason or verdict.status is RunStatus.OK
        if verdict.latency is not None:
            counted += 1
            assert proven(sound, stdout + b"\n" + stderr), (name, stdout, stderr)
            # Statistics and final line say the mean twice; the median stands once, between two that agree.
            assert verdict.latency.mean == pytest.approx(whole.mean, rel=1e-4), (name, stdout)
            assert verdict.latency.value == pytest.approx(whole.value, rel=0.05)
    return counted


@pytest.mark.parametrize("name", SOUND)
def test_changed_outputs_count_only_with_proof(name: str) -> None:
    assert 0 < check_mutants(name, 40, seed=0) < 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("name", SOUND)
def test_many_changed_outputs_count_only_with_proof(name: str, seed: int) -> None:
    check_mutants(name, 1000, seed)
