"""Reads what LiteRT's compiler and Qualcomm's libraries print: numbers of operators and partitions, refusals, memory traffic.

The text is a log without a format that anybody guarantees. Whatever is needed and absent, or there twice, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mhmodels.hardware.placement.socs import FIRST_GENERATION

_SOC = re.compile(r"Initializing QNN backend for SoC model: (\d+)")
_GENERATION = re.compile(r"is different from arch associated with SoC (\d+), will overwrite it to (\d+)")
_STATISTICS = re.compile(
    r"Partitioned subgraph<(\d+)>, selected (\d+) ops, from a total of (\d+) ops\. resulted in (\d+) partitions\."
)
_REFUSED = re.compile(
    r"QNN op validation failed: '(?P<node>[^'\n]+)' \(type=(?P<type>\w+)(?:, operation=(?P<operation>\w+))?\)"
    r"|LiteRT Op #(?P<position>\d+) '[^'\n]*' \(code=\d+\) is not supported"
)
_NODE = re.compile(r"<E> Failed to validate op (\S+) with error|<E> (.+)")
_TRAFFIC = re.compile(r"\b(read|write)_total_bytes=(\d+)")
_NO_WORDS = ("QnnBackend_validateOpConfig failed", "Requested I/O datatype set", "Supported I/O datatype sets")
NOT_KNOWN = "the plug-in has no such operator"


class PluginOutput(NamedTuple):
    """What a run of the compiler printed.

    Attributes:
        soc_model: Number of the SoC that the libraries compiled for.
        generation: Version of its HTP.
        operators: Number of operators of the file.
        taken: Number of those that the plug-in selected.
        partitions: Number of graphs that they form.
        reasons: Why an operator was refused, by its position in the file.
        read_bytes, write_bytes: Bytes that the compiled graphs move from and to the main memory in an inference; None where
            nothing was compiled.
    """

    soc_model: int
    generation: int
    operators: int
    taken: int
    partitions: int
    reasons: Mapping[int, str]
    read_bytes: int | None
    write_bytes: int | None


def read_plugin_output(stdout: str, stderr: str) -> PluginOutput:
    """Reads the printed text of one run.

    Args:
        stdout: Standard output, where Qualcomm's libraries write.
        stderr: Standard error, where LiteRT's compiler and the plug-in write.

    Raises:
        ValueError: The run did not come to its partitions, or something is there twice; the message says what.
    """
    statistics = _STATISTICS.findall(stderr)
    if [graph for graph, *_ in statistics] not in (["0"], []):
        raise ValueError(f"it partitioned {len(statistics)} graphs, expected one: a network without control flow")
    if not statistics:
        raise ValueError("it ended before it partitioned the network")
    _, taken, operators, partitions = map(int, statistics[0])
    traffic = _traffic(stdout)
    return PluginOutput(
        soc_model=int(_one(set(_SOC.findall(stderr)), "SoC")),
        generation=_generation(stdout),
        operators=operators,
        taken=taken,
        partitions=partitions,
        reasons=_reasons(stderr, _words(stdout)),
        read_bytes=traffic.get("read"),
        write_bytes=traffic.get("write"),
    )


def last_words(stdout: str, stderr: str) -> str:
    """Returns the last error that was printed; "" for none."""
    lines = [line.strip() for text in (stdout, stderr) for line in text.splitlines() if re.search(r"\b(ERROR|Failed)\b", line)]
    return lines[-1][:300] if lines else ""


def _generation(stdout: str) -> int:
    found = {generation for _, generation in _GENERATION.findall(stdout)}
    return int(_one(found, "HTP version")) if found else FIRST_GENERATION


def _traffic(stdout: str) -> dict[str, int]:
    """Sums over the partitions; empty where nothing was compiled."""
    found = _TRAFFIC.findall(stdout)
    kinds = [kind for kind, _ in found]
    if kinds.count("read") != kinds.count("write"):
        raise ValueError(f"it printed {kinds.count('read')} numbers of bytes read and {kinds.count('write')} of bytes written")
    return {kind: sum(int(number) for other, number in found if other == kind) for kind in kinds}


def _words(stdout: str) -> dict[str, str]:
    """Returns the first error in words that Qualcomm's libraries printed for each node that they refuse."""
    words: dict[str, str] = {}
    pending = ""
    for node, message in _NODE.findall(stdout):
        if node:
            words[node] = pending
            pending = ""
        elif not pending and not message.startswith(_NO_WORDS):
            pending = message.strip()
    return words


def _reasons(stderr: str, words: Mapping[str, str]) -> dict[int, str]:
    """Returns the reason of each refused operator: its nodes in Qualcomm's graph come in front of it, the refused one last."""
    reasons: dict[int, str] = {}
    pending = NOT_KNOWN
    for found in _REFUSED.finditer(stderr):
        if found["node"]:
            kind = f"{found['type']} {found['operation']}" if found["operation"] else found["type"]
            said = words.get(found["node"], "")
            pending = f"Qualcomm's library refuses it as {kind}" + (f": {said}" if said else "")
        else:
            reasons[int(found["position"])] = pending
            pending = NOT_KNOWN
    return reasons


def _one(found: set[str], what: str) -> str:
    if len(found) != 1:
        raise ValueError(f"it named {len(found)} {what}s, expected one")
    return found.pop()
