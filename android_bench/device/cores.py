"""The processor cores of a phone and their speeds, including those that are off and tell nothing themselves.

The cores that a network is measured on are chosen by these speeds, so the speeds must be the same at every time.
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
# Cores of one policy share their clock; the folder of the policy stays while some of them are off.
POLICIES = (
    "for p in /sys/devices/system/cpu/cpufreq/policy[0-9]*; do "
    'echo "$(cat $p/cpuinfo_max_freq 2>/dev/null || echo 0) $(cat $p/related_cpus 2>/dev/null)"; done'
)
# Work for every core for a moment, or until a connection breaks: cores that are off for lack of work are turned on.
WAKE = (
    'p=; for n in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done) & p="$p $!"; done; '
    "sleep 0.3 2>/dev/null || sleep 1"
)
REST = "kill $p 2>/dev/null; wait 2>/dev/null"


class Core(msgspec.Struct, frozen=True):
    """One processor core.

    Attributes:
        number: Number of the core in the kernel.
        max_khz: Highest clock in kHz; 0 if it is unknown.
        capacity: Speed relative to the fastest core, which has 1024; 0 if it is unknown.
    """

    number: int
    max_khz: int
    capacity: int

    @property
    def known(self) -> bool:
        """Whether the speed of the core is known."""
        return bool(self.max_khz or self.capacity)


def read_cores(phone: Phone, cores: str, policies: str, identity: str) -> tuple[Core, ...]:
    """Puts together what a phone tells of its cores. Cores that are off are woken, or remembered from an earlier time.

    Args:
        phone: The device, which is asked again if some of its cores are off.
        cores, policies: Output of `CORES` and `POLICIES`.
        identity: Identity of the phone.

    Raises:
        AdbError: The phone does not answer.
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
    """Reads the output of `CORES` and `POLICIES`; a core that tells nothing is like those that share its clock."""
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
    """Fills in cores that do not tell their speeds from others of the same number."""
    known = {core.number: core for core in others}
    filled = []
    for core in cores:
        other = known.get(core.number, core)
        filled.append(Core(core.number, core.max_khz or other.max_khz, core.capacity or other.capacity))
    return tuple(filled)


def number(text: str) -> int | None:
    """A whole number as the kernel prints it; None for anything else."""
    return int(text) if re.fullmatch("[0-9]{1,12}", text.strip()) else None


def _asleep(cores: Sequence[Core]) -> bool:
    """Whether some cores tell their speed and others do not, by clock or capacity."""
    tells = [(bool(core.max_khz), bool(core.capacity)) for core in cores]
    return len(set(tells)) > 1


def _path() -> Path:
    return cache_path() / "phone-cores.json"


def _memory() -> dict[str, tuple[Core, ...]]:
    """Cores of phones by their identities; empty if the file is damaged or missing."""
    try:
        return msgspec.json.decode(read_bytes(_path(), MOST_BYTES), type=dict[str, tuple[Core, ...]])
    except (FileFormatError, ValueError, RecursionError):
        return {}


def _remember(identity: str, cores: tuple[Core, ...]) -> None:
    """Keeps the cores of a phone; a file that cannot be written is left alone."""
    memory = _memory()
    if identity and cores and memory.get(identity) != cores:
        memory.pop(identity, None)
        latest = dict(list(memory.items())[-MOST_PHONES + 1 :])
        with contextlib.suppress(OSError):
            write_atomically(_path(), msgspec.json.encode({**latest, identity: cores}))
