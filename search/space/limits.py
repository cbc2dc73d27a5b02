"""Which networks of a space hardware runs: limits by id, the space that is left, and whether a network lies in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mhmodels.errors import UnknownNameError
from mhmodels.hardware import get_hardware, list_hardware, split_ids
from mhmodels.hardware.capabilities import PROFILES, Capabilities, excesses, get_profile
from mhmodels.hardware.placement.socs import PLACEMENT_SOCS, placement_target
from mhmodels.network import lower
from mhmodels.registry import resolve
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.restriction import Removal, restrict
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace


class HardwareVerdict(NamedTuple):
    """Whether hardware runs a network.

    Attributes:
        mark: `runs`, `slow` (it runs, but not well) or `×` (it does not run).
        because: Operations beyond the limits of the hardware.
    """

    mark: str
    because: list[str]


class Membership(NamedTuple):
    """Whether a network is a member of a space.

    Attributes:
        model: Name of the network.
        member: Whether it is a member.
        encoding: Its encoding; None if it is no member.
        why_not: Reason why it is no member; empty if it is one.
        hardware: Verdict of each hardware, by id.
    """

    model: str
    member: bool
    encoding: list[int] | None
    why_not: str
    hardware: dict[str, HardwareVerdict]


def hardware_limits(ids: Sequence[str], note: Callable[[str], None], *, probe: bool = False) -> list[Capabilities]:
    """Finds what hardware runs: declared profiles, or the result of probes.

    Args:
        ids: Ids of capability profiles (`hexagon-2020`), hardware (`ethos-u55-128`) or placement targets (`SM8650`,
            `SM8650-uint8`); several may be joined by commas.
        note: Called with remarks for people.
        probe: Whether to export small networks and to run them on hardware without a declared profile. Otherwise such hardware
            limits nothing.

    Raises:
        UnknownNameError: An id is of no profile and no hardware.
        MeasurementError: Probes do not run on the hardware at all.
    """
    found = []
    for name in split_ids(ids):
        profile = _declared(name)
        if profile is not None:
            found.append(profile)
        elif probe:
            from mhmodels.search.space.probing import probe as run_probes

            note(f"{name}: probing what it runs")
            found.append(run_probes(name))
            note(f"{name}: {_in_words(found[-1])}")
        else:
            note(f"{name} declares no limits and takes nothing away; `mhmodels search space --probe` finds out what it runs")
    return found


def _declared(name: str) -> Capabilities | None:
    """The declared profile of a profile's or hardware's id; None for hardware that declares none."""
    if any(profile.id == name for profile in PROFILES):
        return get_profile(name)
    if placement_target(name) is not None:
        return None
    try:
        hardware, _ = get_hardware(name)
    except UnknownNameError:
        known = [*(profile.id for profile in PROFILES), *(entry.id for entry, _ in list_hardware())]
        known += [soc.name for soc in PLACEMENT_SOCS]
        raise UnknownNameError("hardware or capability profile", name, known) from None
    profile_id = hardware.configuration.get("profile")
    return None if profile_id is None else get_profile(profile_id)


def _in_words(found: Capabilities) -> str:
    kernels = [] if found.max_kernel is None else [f"kernels above {found.max_kernel}"]
    limits = [*kernels, *found.without]
    return f"does not run {', '.join(limits)}" if limits else "runs everything that was tried"


def restricted(space: SearchSpace, limits: Sequence[Capabilities]) -> tuple[SearchSpace, tuple[Removal, ...]]:
    """Restricts a space to what all of several hardware run (equation 1 of the paper).

    Args:
        space: Any space; a tabular one has no operations to match.
        limits: Limits of the hardware; empty for none.

    Returns:
        The restricted space, and which choices which hardware removed.

    Raises:
        SpaceError: The space is tabular, or no choice of a decision is left.
    """
    if not limits:
        return space, ()
    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its operations are not matched against what hardware runs")
    result = restrict(space, limits)
    return result.space, result.removals


def membership(space: SearchSpace, model: str, limits: Sequence[Capabilities]) -> Membership:
    """Finds out whether a network is a member of a space, and which hardware runs it.

    Args:
        space: Any space.
        model: Zoo name, NAME@WIDTH, or architecture file.
        limits: Limits of the hardware.

    Raises:
        MhmodelsError: There is no such network.
    """
    architecture = resolve(model)
    why_not, encoding = "", None
    if isinstance(space, ArchitectureSpace):
        try:
            encoding = space.encode(architecture).tolist()
        except SpaceError as error:
            why_not = str(error)
    else:
        why_not = f"space '{space.name}' is tabular"
    verdicts = {}
    for profile in limits:
        because = list(dict.fromkeys(excess.what for excess in excesses(lower(architecture).ops, profile)))
        mark = ("×" if profile.required else "slow") if because else "runs"
        verdicts[profile.id] = HardwareVerdict(mark, because)
    return Membership(model, encoding is not None, encoding, why_not, verdicts)
