"""How `mhmodels search space` finds limits and shows spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from mhmodels.cli.common import console, note
from mhmodels.errors import UnknownNameError
from mhmodels.hardware.capabilities import PROFILES, Capabilities, excesses, get_profile
from mhmodels.network import lower
from mhmodels.registry import resolve
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import describe
from mhmodels.search.space.restriction import Removal, restrict
from mhmodels.search.space.search_space import Space
from mhmodels.search.space.template import ArchitectureSpace

_SHOWN = 4


def profiles(ids: Sequence[str], probe: bool) -> list[Capabilities]:
    """Limits by profile or hardware id; of hardware without a declared profile only what probes find, if they may run.

    Raises:
        UnknownNameError: neither a profile nor a hardware.
    """
    from mhmodels.hardware import get_hardware, list_hardware

    found = []
    for name in [part for value in ids for part in value.split(",") if part]:
        if any(profile.id == name for profile in PROFILES):
            found.append(get_profile(name))
            continue
        try:
            hardware, _ = get_hardware(name)
        except UnknownNameError:
            known = [*(profile.id for profile in PROFILES), *(entry.id for entry, _ in list_hardware())]
            raise UnknownNameError("hardware or capability profile", name, known) from None
        if "profile" in hardware.configuration:
            found.append(get_profile(hardware.configuration["profile"]))
        elif probe:
            from mhmodels.search.space.probing import probe as run_probes

            note(f"{name}: probing what it runs")
            found.append(run_probes(name))
            note(f"{name}: {_limits(found[-1])}")
        else:
            note(f"{name} declares no limits and takes nothing away; `mhmodels search space --probe` finds out what it runs")
    return found


def _limits(found: Capabilities) -> str:
    """What probes found, in a line."""
    kernels = [] if found.max_kernel is None else [f"kernels above {found.max_kernel}"]
    limits = [*kernels, *found.without]
    return f"does not run {', '.join(limits)}" if limits else "runs everything that was tried"


def restricted(space: Space, limits: Sequence[Capabilities]) -> tuple[Space, tuple[Removal, ...]]:
    """The space that all of these support, and the account of what was removed.

    Raises:
        SpaceError: a tabular space, or nothing is left of a decision.
    """
    if not limits:
        return space, ()
    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its operations are not matched against what hardware runs")
    result = restrict(space, limits)
    return result.space, result.removals


def membership(space: Space, model: str, limits: Sequence[Capabilities]) -> dict[str, Any]:
    """Whether a network is a member, where not and why, and which hardware does not run it ("×") or not well."""
    architecture = resolve(model)
    where = ""
    encoding = None
    if isinstance(space, ArchitectureSpace):
        try:
            encoding = space.encode(architecture).tolist()
        except SpaceError as error:
            where = str(error)
    else:
        where = f"space '{space.name}' is tabular"
    hardware = {}
    for profile in limits:
        what = list(dict.fromkeys(excess.what for excess in excesses(lower(architecture).ops, profile)))
        mark = ("×" if profile.required else "slow") if what else "runs"
        hardware[profile.id] = {"mark": mark, "because": what}
    return {"model": model, "member": encoding is not None, "encoding": encoding, "why_not": where, "hardware": hardware}


def document(space: Space) -> dict[str, Any]:
    """A space as JSON values; sizes are exact integers."""
    coupled = space.coupled_features() if isinstance(space, ArchitectureSpace) else None
    return {
        "name": space.name,
        "schema": space.schema,
        "tabular": space.tabular,
        "note": space.note,
        "input_sizes": space.input_sizes if isinstance(space, ArchitectureSpace) else [],
        # Raw, because msgspec's integers end at 64 bits.
        "sizes": {name: msgspec.Raw(str(size).encode()) for name, size in space.sizes._asdict().items()},
        "coupled_features": None if coupled is None else {"declared": coupled[0], "effective": coupled[1]},
        "decisions": [
            {"name": decision.name, "tag": decision.tag, "choices": [describe(decision.choices[i]) for i in allowed]}
            for decision, allowed in zip(space.decisions, space.allowed, strict=True)
        ],
    }


def listing(spaces: Sequence[Space]) -> Any:
    """A table of spaces."""
    from rich.table import Table

    table = Table("space", "decisions", "different networks", "kind", "note")
    for space in spaces:
        kind = "tabular" if space.tabular else "architectures"
        table.add_row(space.name, str(len(space.decisions)), power(space.sizes.distinct), kind, space.note)
    return table


def power(count: int) -> str:
    """A count as people read it: exact where short, else a power of ten."""
    if count < 10**7:
        return f"{count:,}".replace(",", " ")
    exponent = int(math.log10(count))
    return f"{count / 10**exponent:.2f}e{exponent}"


def show(space: Space, removals: Sequence[Removal], checked: Sequence[dict[str, Any]]) -> None:
    """Prints a space, the account of its restriction, and the networks that were asked about."""
    from rich.table import Table

    out = console()
    sizes = space.sizes
    out.print(
        f"{space.name}: {power(sizes.distinct)} different networks "
        f"({power(sizes.positional)} encodings, {power(sizes.product)} combinations of choices), schema {space.schema}"
    )
    if space.note:
        out.print(space.note)
    table = Table("decision", "choices", "what")
    for decision, allowed in zip(space.decisions, space.allowed, strict=True):
        names = [describe(decision.choices[i]) for i in allowed]
        # An operation's description is long and its neighbours are alike; widths are short and differ.
        shown = names if decision.tag != "operation" else [*names[: _SHOWN - 2], "…", names[-1]] if len(names) > _SHOWN else names
        table.add_row(decision.name, str(len(names)), ", ".join(shown))
    out.print(table)
    for removal in removals:
        out.print(f"removed by {removal}")
    for one in checked:
        marks = ", ".join(
            f"{name} {entry['mark']}{' (' + ', '.join(entry['because'][:3]) + ')' if entry['because'] else ''}"
            for name, entry in one["hardware"].items()
        )
        out.print(f"{one['model']}: {'member' if one['member'] else 'no member'}{'; ' + marks if marks else ''}")
        if one["why_not"]:
            out.print(f"  {one['why_not']}")
