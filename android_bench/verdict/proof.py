"""Whether a network ran on the delegate that it was meant for, by what the tool prints.

The entry of a delegate (`delegates.delegate.Proof`) lists what counts as proof. Everything else that took part must be known by
name as something that runs on the CPU; an unknown name is a reason for doubt, not an accelerator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.delegates.table import CPU_KERNELS, KERNELS_BY_NAME, KNOWN_KERNELS
from mhmodels.android_bench.output.latency import UnclearOutputError
from mhmodels.android_bench.output.parsing import Replaced, ToolOutput
from mhmodels.android_bench.output.protos import DelegatedNodes

REFERENCE = "nnapi-reference"
# No file that a phone can load has more nodes.
MOST_NODES = 1_000_000


class DelegatedShare(NamedTuple):
    """How much of the network ran on the delegate.

    Attributes:
        part: `all`, `some` or `none`; `unavailable` where the delegate itself was not there.
        reason: Why not all of it ran there; "" if it did.
        delegated, total: Nodes on the delegate and all nodes; None where the tool does not print them.
    """

    part: Literal["all", "some", "none", "unavailable"]
    reason: str = ""
    delegated: int | None = None
    total: int | None = None


def find_share(choice: DelegateChoice, output: ToolOutput, placement: DelegatedNodes | None) -> DelegatedShare:
    """Finds out how much of the network ran on the delegate.

    Args:
        choice: The delegate.
        output: What the tool printed.
        placement: Content of the tool's file about the nodes, where there is one.

    Raises:
        UnclearOutputError: The output does not tell, or contradicts itself.
    """
    proof = choice.delegate.proof
    for pattern, reason in proof.never.items():
        if pattern in output.watched:
            return DelegatedShare("unavailable", f"{reason} ({output.watched[pattern]})")
    if proof.plain:
        return _plain(choice, output, placement)
    delegated, total = _nodes(choice, output, placement)
    how = next((output.applied[name] for name in proof.names if name in output.applied), "")
    if how == "not" or delegated == 0:
        return DelegatedShare("none", "the delegate took none of the network, the CPU ran it", 0, total)
    if not how and proof.names:
        raise UnclearOutputError(f"nothing says that the {' or '.join(proof.names)} delegate was applied")
    if (not how and total is None) or (delegated is None and (not how or proof.counted)):
        raise UnclearOutputError("nothing says which nodes the delegate took")
    _check_must(choice, output)
    _check_accelerator(choice, output)
    whole = delegated == total if delegated is not None and total is not None else None
    if how == "completely" and whole is False:
        raise UnclearOutputError(f"it says that all is on the delegate, and that {delegated} of {total} nodes are")
    complete = how == "completely" or (not how and whole is True)
    _check_others(choice, output, placement, complete)
    if complete:
        return DelegatedShare("all", "", delegated, total)
    counts = f"{delegated}/{total} nodes" if total is not None else "part of the network"
    return DelegatedShare("some", f"{counts} on the delegate, the rest on the CPU", delegated, total)


def _plain(choice: DelegateChoice, output: ToolOutput, placement: DelegatedNodes | None) -> DelegatedShare:
    """TFLite's own kernels: the tool must say that no delegate is used, and none may be."""
    _check_must(choice, output)
    took = [*_applied_others(choice, output), *output.created]
    took += [f"{name} ({nodes} nodes)" for name, nodes in _takers(output, placement)]
    if took:
        raise UnclearOutputError(f"delegates took part that nobody asked for: {', '.join(dict.fromkeys(took))}")
    return DelegatedShare("all", "", 0, placement.total if placement else None)


def _check_must(choice: DelegateChoice, output: ToolOutput) -> None:
    for pattern, reason in choice.delegate.proof.must.items():
        if pattern not in output.watched:
            raise UnclearOutputError(reason)


def _check_accelerator(choice: DelegateChoice, output: ToolOutput) -> None:
    """Checks that NNAPI listed its accelerators, and that only hardware can have run the network."""
    proof, wanted, there = choice.delegate.proof, choice.accelerator, output.accelerators
    if wanted and there is not None and wanted not in there:
        raise UnclearOutputError(f"'{wanted}' is none of the accelerators that are there ({', '.join(there)})")
    if not proof.accelerators:
        return
    if there is None:
        raise UnclearOutputError("nothing says which accelerators NNAPI has: its CPU reference may have run the network")
    told = output.parameters.get("nnapi accelerator name", "")
    if told != wanted:
        raise UnclearOutputError(f"it says that accelerator '{told}' was asked for, expected '{wanted}'")
    if wanted:
        if re.search(proof.software, wanted):
            raise UnclearOutputError(f"'{wanted}' runs on the CPU")
        return
    if output.parameters.get("disable nnapi cpu") in ("0", "false"):
        raise UnclearOutputError("NNAPI was allowed to use its CPU reference")
    others = [name for name in there if name != REFERENCE]
    unknown = [name for name in others if not re.fullmatch(proof.accelerators, name)]
    if unknown or not others:
        raise UnclearOutputError(
            f"whether {' and '.join(unknown) or 'any accelerator'} of NNAPI is hardware is not known: name one that is "
            f"({choice.delegate.id}:NAME)"
        )


def _check_others(choice: DelegateChoice, output: ToolOutput, placement: DelegatedNodes | None, complete: bool) -> None:
    """Checks that nothing else took nodes, except what runs on the CPU where the delegate took only a part."""
    ours = kernels_of(choice)
    others = _applied_others(choice, output)
    others += [
        f"{name} ({nodes} nodes)"
        for name, nodes in _takers(output, placement)
        if not _named(name, ours) and (complete or not _named(name, CPU_KERNELS))
    ]
    if others:
        raise UnclearOutputError(
            f"it says what {choice.delegate.id} took, and that others took part: {', '.join(dict.fromkeys(others))}"
        )


def _applied_others(choice: DelegateChoice, output: ToolOutput) -> list[str]:
    return [name for name, how in output.applied.items() if how != "not" and name not in choice.delegate.proof.names]


def _takers(output: ToolOutput, placement: DelegatedNodes | None) -> list[tuple[str, int]]:
    """Number of nodes by name of the kernel that took them, from every source."""
    found = [(entry.kernel, entry.nodes) for entry in output.replaced]
    found += [(name, nodes) for name, (nodes, _) in output.simple.items()]
    found += placement.delegated.items() if placement else ()
    return [(name, nodes) for name, nodes in found if nodes]


def kernels_of(choice: DelegateChoice) -> tuple[str, ...]:
    """Patterns of the delegate's own kernels."""
    proof = choice.delegate.proof
    if proof.kernels:
        return proof.kernels
    named = tuple(KERNELS_BY_NAME[name] for name in proof.names if name in KERNELS_BY_NAME)
    # The entry of a user's library may leave out the name of its kernel, which is then none of the known names.
    return named or ("" if proof.plain else rf"(?!(?:{'|'.join(KNOWN_KERNELS)})$).+",)


def _named(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _nodes(choice: DelegateChoice, output: ToolOutput, placement: DelegatedNodes | None) -> tuple[int | None, int | None]:
    """Nodes on the delegate and all nodes, from the most exact source that tells; None if two sources contradict each other."""
    ours = kernels_of(choice)
    _check_order(output.replaced)
    told: list[tuple[int, int | None]] = []
    if placement is not None:
        if sum(placement.delegated.values()) > placement.total:
            raise UnclearOutputError(f"delegates are said to hold more than the network's {placement.total} nodes")
        told.append((sum(nodes for name, nodes in placement.delegated.items() if _named(name, ours)), placement.total))
    entries = [entry for entry in output.replaced if _named(entry.kernel, ours)]
    if entries:
        # The first line of a subgraph has the number of nodes before any delegate.
        first = {entry.subgraph: entry.total for entry in reversed(output.replaced)}
        totals = list(first.values())
        total = None if None in totals else sum(value for value in totals if value is not None)
        told.append((sum(entry.nodes for entry in entries), total))
    told += [counts for name, counts in output.simple.items() if _named(name, ours)]
    # A file about the primary graph and lines about all subgraphs count different things.
    if len({entry.subgraph for entry in output.replaced}) <= 1 and len({nodes for nodes, _ in told}) > 1:
        raise UnclearOutputError(f"it says in different ways how many nodes the delegate took: {told}")
    if len({nodes == total for nodes, total in told if nodes and total is not None}) > 1:
        raise UnclearOutputError(f"it says in different ways how many nodes the delegate took: {told}")
    # The count of the GPU delegate leaves out nodes that it folds, so it counts only where there is no other source.
    told += [output.split] if "GPU" in choice.delegate.proof.names and output.split is not None else []
    if any(max(nodes, total or 0) > MOST_NODES for nodes, total in told):
        raise UnclearOutputError(f"no network has so many nodes: {told}")
    if any(total is not None and nodes > total for nodes, total in told):
        raise UnclearOutputError(f"the delegate is said to have taken more nodes than there are: {told}")
    if len({nodes == 0 for nodes, _ in told}) > 1:
        raise UnclearOutputError(f"it says in different ways whether the delegate took any node: {told}")
    if not told:
        return None, None
    # Old versions print the total in another line.
    return told[0][0], next((total for _, total in told if total is not None), None)


def _check_order(lines: Iterable[Replaced]) -> None:
    """Checks that each line of a subgraph starts from what the line before left: the other nodes, and one for each new partition.

    Raises:
        UnclearOutputError: A later line is about another network, as after a delegate was taken back.
    """
    left: dict[int, tuple[int, int]] = {}
    for line in lines:
        if line.total is None:
            continue
        low, high = left.get(line.subgraph, (line.total, line.total))
        if not low <= line.total <= high:
            raise UnclearOutputError(
                f"{line.kernel} found {line.total} nodes where an earlier delegate had left {low} to {high}: it was taken back"
            )
        rest = line.total - line.nodes
        left[line.subgraph] = (rest + min(1, line.nodes), rest + line.partitions) if line.nodes else (line.total, line.total)
