"""The processor cores of a phone and how fast they are, also those that sleep: a core that is off tells nothing of itself.

The cores that a network is measured on are chosen by these speeds, so they must be the same at every time of day.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mhmodels.android_bench.transport.phone import Phone, sections, split_sections
from mhmodels.errors import FileFormatError
from mhmodels.system.files import read_bytes, write_atomically
from mhmodels.system.places import cache_path

MOST_CORES = 64
MOST_PHONES = 200
MOST_BYTES = 1 << 20
CORES = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "${c##*/cpu} $(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null || echo 0)'
    ' $(cat $c/cpu_capacity 2>/dev/null || echo 0)"; done'
)
# Highest clock that each core is allowed at this moment.
CLOCK_LIMITS = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq"
# Cores of one policy share their clock; its folder stays while some of them sleep.
POLICIES = (
    "for p in /sys/devices/system/cpu/cpufreq/policy[0-9]*; do "
    'echo "$(cat $p/cpuinfo_max_freq 2>/dev/null || echo 0) $(cat $p/related_cpus 2>/dev/null)"; done'
)
# Work for every core, for a moment or until a connection breaks: what sleeps for want of it wakes.
WAKE = (
    'p=; for n in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done) & p="$p $!"; done; '
    "sleep 0.3 2>/dev/null || sleep 1"
)
REST = "kill $p 2>/dev/null; wait 2>/dev/null"


class Core(msgspec.Struct, frozen=True):
    """One processor core.

    Attributes:
        number: as the kernel counts them.
        max_khz: highest clock; 0 if it is not told.
        capacity: relative speed, the fastest is 1024; 0 if it is not told.
    """

    number: int
    max_khz: int
    capacity: int

    @property
    def known(self) -> bool:
        """Whether it tells how fast it is."""
        return bool(self.max_khz or self.capacity)


def read_cores(phone: Phone, cores: str, policies: str, identity: str) -> tuple[Core, ...]:
    """Puts together what a phone tells of its cores; those that sleep are woken, or known from an earlier time.

    Args:
        phone: is asked again if some of them sleep.
        cores, policies: what `CORES` and `POLICIES` printed.
        identity: of the phone.

    Raises:
        AdbError: it does not answer.
    """
    found = parse_cores(cores, policies)
    if not _asleep(found):
        _remember(identity, found)
        return found
    script, secret = sections({"wake": WAKE, "cores": CORES, "policies": POLICIES, "end": REST})
    again = split_sections(phone.script(script).stdout, secret)
    found = merge(found, parse_cores(again.get("cores", ""), again.get("policies", "")))
    if _asleep(found):
        return merge(found, _memory().get(identity, ()))
    _remember(identity, found)
    return found


def parse_cores(cores: str, policies: str = "") -> tuple[Core, ...]:
    """Reads what `CORES` and `POLICIES` printed; a core that says nothing is like those that share its clock."""
    found: dict[int, Core] = {}
    for line in cores.splitlines():
        numbers = [number(word) for word in line.split()]
        # A mask of a thousand cores is no phone's.
        if len(numbers) == 3 and None not in numbers and (numbers[0] or 0) < MOST_CORES:
            core = Core(*(value or 0 for value in numbers))
            found[core.number] = core
    for line in policies.splitlines():
        khz, *members = [number(word) for word in line.split()] or [None]
        shared = [found[member] for member in members if member in found]
        clock = khz or max((core.max_khz for core in shared), default=0)
        capacity = max((core.capacity for core in shared), default=0)
        for core in shared:
            found[core.number] = Core(core.number, core.max_khz or clock, core.capacity or capacity)
    return tuple(sorted(found.values(), key=lambda core: core.number))


def merge(cores: Sequence[Core], others: Iterable[Core]) -> tuple[Core, ...]:
    """Cores with what others know of them where they do not tell themselves."""
    known = {core.number: core for core in others}
    filled = []
    for core in cores:
        other = known.get(core.number, core)
        filled.append(Core(core.number, core.max_khz or other.max_khz, core.capacity or other.capacity))
    return tuple(filled)


def number(text: str) -> int | None:
    """A whole number as the kernel prints it."""
    return int(text) if re.fullmatch("[0-9]{1,12}", text.strip()) else None


def _asleep(cores: Sequence[Core]) -> bool:
    """Whether some cores tell how fast they are and others do not, be it by clock or capacity."""
    tells = [(bool(core.max_khz), bool(core.capacity)) for core in cores]
    return len(set(tells)) > 1


def _path() -> Path:
    return cache_path() / "phone-cores.json"


def _memory() -> dict[str, tuple[Core, ...]]:
    """Cores of phones by their identities; a file that is none remembers nothing."""
    try:
        return msgspec.json.decode(read_bytes(_path(), MOST_BYTES), type=dict[str, tuple[Core, ...]])
    except (FileFormatError, ValueError, RecursionError):
        return {}


def _remember(identity: str, cores: tuple[Core, ...]) -> None:
    """Keeps a phone's cores; what cannot be written is not kept."""
    memory = _memory()
    if identity and cores and memory.get(identity) != cores:
        memory.pop(identity, None)
        latest = dict(list(memory.items())[-MOST_PHONES + 1 :])
        with contextlib.suppress(OSError):
            write_atomically(_path(), msgspec.json.encode({**latest, identity: cores}))
