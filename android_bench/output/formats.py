"""Patterns of the lines that benchmark_model, benchmark_litert_model and delegates print, in all versions of the format."""

from __future__ import annotations

import re

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
# A number with more digits counts nothing, and no store takes it.
_WHOLE = r"\d{1,9}"


def _line(pattern: str) -> re.Pattern[str]:
    # The tool prints ASCII digits; without the flag, digits of other scripts would match too.
    return re.compile(pattern.replace("<number>", _NUMBER).replace("<whole>", _WHOLE), re.ASCII)


COUNT = _line(r"^count=(\d{1,18})(?!\w)(.*)$")
PAIR = _line(r"^(first|curr|min|max|avg|std|p5|median|p95)=(<number>)(\s*\(all same\))?$")
STAGE = _line(
    r"^Running benchmark for at least (<whole>) iterations? and at least (<number>) seconds"
    r"(?: but terminate if exceeding (<number>) seconds)?"
)
TIMINGS = _line(r"^(?:Average inference|Inference) timings in us: (.+)$")
TIMING = _line(r"^(Warmup \(avg\)|Warmup|Init|First inference|Inference \(avg\)|Inference|no stats): (<number>)$")
APPLIED = _line(
    r"^(?:Explicitly a|A)pplied (\S+) delegate, and the model graph will be (completely|partially) executed "
    r"(?:by|w/) the delegate"
)
NOT_APPLIED = _line(r"^Though (\S+) delegate is (?:explicitly )?applied, the model graph will not be executed by the delegate")
REPLACING = _line(
    r"^Replacing (<whole>) (?:out of (<whole>) )?node\(s\) with delegate \(([^)]*)\) node, yielding (<whole>) partitions?"
    r"(?: for (?:the whole graph|subgraph (<whole>)))?"
)
SPLIT = _line(r"^(<whole>) operations will run on the GPU, and the remaining (<whole>) operations will run on the CPU")
NO_SPLIT = _line(r"^No operations will run on the GPU, and all (<whole>) operations will run on the CPU")
SIMPLE = _line(
    r"^(?:INFO: )?(?:\[[\w .-]{1,40}\] )?(\S{1,80}) delegate: "
    r"(<whole>) nodes delegated out of (<whole>) nodes with (<whole>) partitions"
)
CREATED = _line(r"^(\S+) delegate created\.")
PARAMETER = _line(r"^([A-Za-z#][\w #/().-]{0,80}?)\s*:\s*\[(.*)\]$")
ACCELERATORS = _line(r"^NNAPI accelerators available: \[(.*)\]$")
UNCONSUMED = _line(r"^Unconsumed cmdline flags: (.*)$")
MEMORY = _line(
    r"^(?:Peak memory footprint|Memory footprint delta from the start of the tool) \(MB\): init=(<number>) overall=(<number>)"
)
PEAK = _line(r"^Overall peak memory footprint \(MB\) via periodic monitoring: (<number>)")
# What a delegate or the runtime prints when the CPU takes the work over after all.
TAKEN_BACK = re.compile(
    r"""(?ix) \b(?:fell|fall(?:s|ing|en)?)[ -]?back\b | \bfallback\b | \brevert(?:s|ed|ing)?\b | \broll(?:s|ed|ing)?[ -]?back\b
    | \b(?:undo(?:ne|ing)?|undid|remov(?:ed|ing)|reject(?:ed|ing|s)|discard(?:ed|ing|s)|unapplied)\b.{0,60}\bdelegates?\b
    | \bdelegates?\b.{0,60}\b(?:undone|removed|rejected|discarded|unapplied|not\ (?:applied|used|run|running|initiali[sz]ed))\b
    | \bfail(?:s|ed|ing|ure)?\b.{0,40}\b(?:appl(?:y|ied|ying)|dispatch|delegat\w*)
    | \b(?:could|can)(?:not|\ not|n't)\b.{0,40}\b(?:apply|delegat\w*) | \bno\ usable\ dispatch\b
    | \brestor(?:ed|ing)\b.{0,40}\b(?:execution\ plan|graph)\b
    | \bCPU\ instead\b | \binstead\b.{0,40}\bCPU\b""",
    re.ASCII,
)
# Settings of a delegate; they do not say where it runs.
DEFAULTS = re.compile(r"(?i)\bback to (?:the )?defaults? (?:perf\w*|power|priority|precision|setting|value|option|config|log)")
SOURCE = _line(r"^\[[\w./-]+:\d+\]\s*")
BLOCK = _line(
    r"^(Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|std)\)):"
    r"\s+(<number>)( ms)?(?: \((<whole>) runs\))?$"
)
