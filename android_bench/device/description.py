"""What a phone is: identity, cores, GPU, accelerators, libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from mhmodels.android_bench.device.condition import IDENTITY, identity_of
from mhmodels.android_bench.device.cores import CORES, POLICIES, REST, WAKE, Core, number, read_cores
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.phone import Phone, guarded, quote, sections, split_sections

# Cores within a tenth of the slowest are of the slowest kind.
_SAME_KIND = 1.1
_PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*)\]$", re.MULTILINE)
_AIDL = re.compile(r"android\.hardware\.neuralnetworks\.IDevice/([\w.-]+)")
_HIDL = re.compile(r"android\.hardware\.neuralnetworks@[\d.]+::IDevice/([\w.-]+)")
# Folders on this machine are named after the ABI.
_ABI = re.compile(r"[\w-]{1,40}", re.ASCII)
_WRONG_BOOT = ("", "null")


class PhoneFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and parts of a phone; an empty text or None where the phone does not tell.

    Attributes:
        serial: Serial number as `adb devices` lists it.
        sdk: API level; 0 if it is unknown.
        accelerators: Accelerators of NNAPI, as far as they can be listed without running anything.
        libraries: Those of the asked paths that exist on the device.
        free_bytes: Free storage below /data/local/tmp.
        boot_id: Identifier that changes with every start.
        identity: Serial number and build.
        pinned: Whether programs can be pinned to the big cores.
    """

    serial: str
    manufacturer: str
    model: str
    soc: str
    platform: str
    android: str
    sdk: int
    fingerprint: str
    patch: str
    abis: tuple[str, ...]
    cores: tuple[Core, ...]
    gpu: str
    accelerators: tuple[str, ...]
    libraries: frozenset[str]
    free_bytes: int | None
    boot_id: str
    identity: str
    pinned: bool

    @property
    def title(self) -> str:
        """Manufacturer and model, such as `Google Pixel 4`."""
        if self.model.lower().startswith(self.manufacturer.lower()):
            return self.model
        return f"{self.manufacturer} {self.model}".strip()

    @property
    def hardware_serial(self) -> str:
        """Serial number of the phone itself, however it is connected; what adb calls it where it tells none."""
        number, space, _ = self.identity.partition(" ")
        return number if space else self.serial

    @property
    def big_mask(self) -> int:
        """Bit mask of the cores that are not of the slowest kind; of all cores where there is one kind; 0 if it is unknown.

        It is unknown too where one core does not tell its speed: whether that core is off must not change the mask.
        """
        speeds = {core.number: core.capacity or core.max_khz for core in self.cores}
        # A mix of capacities and clocks cannot be ordered.
        if not all(core.capacity for core in self.cores):
            speeds = {core.number: core.max_khz for core in self.cores}
        if not speeds or not all(speeds.values()):
            return 0
        big = [number for number, speed in speeds.items() if speed > _SAME_KIND * min(speeds.values())]
        return sum(1 << number for number in big or speeds)


def core_mask(facts: PhoneFacts) -> int:
    """Bit mask of the cores to measure on; 0 if they cannot be chosen."""
    return facts.big_mask if facts.pinned else 0


def rest_mask(facts: PhoneFacts) -> int:
    """Bit mask of the cores that are not measured on; 0 if there are none or they cannot be chosen."""
    every = sum(1 << core.number for core in facts.cores)
    return every & ~facts.big_mask if facts.pinned else 0


def read_facts(phone: Phone, libraries: Iterable[str] = ()) -> PhoneFacts:
    """Asks a device what it is, in one script.

    Args:
        phone: The device.
        libraries: Paths on the device to look for.

    Raises:
        AdbError: It does not answer.
    """
    paths = sorted(set(libraries))
    commands = {
        "props": "getprop",
        "cores": CORES,
        "policies": POLICIES,
        "gpu": f"{guarded('dumpsys SurfaceFlinger')} 2>/dev/null | grep -m1 GLES",
        "services": "service list 2>/dev/null | grep neuralnetworks; lshal 2>/dev/null | grep neuralnetworks",
        "df": "df -k /data/local/tmp 2>/dev/null",
        "boot": "cat /proc/sys/kernel/random/boot_id 2>/dev/null",
        "identity": IDENTITY,
        "libraries": f"ls -d {' '.join(quote(path) for path in paths)} 2>/dev/null" if paths else ":",
    }
    script, secret = sections(commands)
    # The facts are shown in terminals and tables, and stored.
    found = split_sections(without_controls(phone.script(script).stdout.replace("\r", "")), secret)
    props = {name: value[:200] for name, value in _PROPERTY.findall(found.get("props", ""))}
    phone.tells_start = props.get("sys.boot_completed") == "1"
    services = found.get("services", "")
    accelerators = dict.fromkeys(_AIDL.findall(services) + _HIDL.findall(services))
    present = found.get("libraries", "").split()
    abis = props.get("ro.product.cpu.abilist") or props.get("ro.product.cpu.abi", "")
    identity = identity_of(found.get("identity", ""))
    facts = PhoneFacts(
        serial=phone.serial,
        manufacturer=props.get("ro.product.manufacturer", ""),
        model=props.get("ro.product.model", "") or phone.serial,
        soc=" ".join(filter(None, (props.get("ro.soc.manufacturer"), props.get("ro.soc.model")))),
        platform=props.get("ro.board.platform", ""),
        android=props.get("ro.build.version.release", ""),
        sdk=number(props.get("ro.build.version.sdk", "")) or 0,
        fingerprint=props.get("ro.build.fingerprint", ""),
        patch=props.get("ro.build.version.security_patch", ""),
        abis=tuple(filter(_ABI.fullmatch, abis.split(","))),
        cores=read_cores(phone, found.get("cores", ""), found.get("policies", ""), identity),
        gpu=found.get("gpu", "").partition("GLES:")[2].strip()[:200],
        accelerators=tuple(accelerators),
        # Ends are compared, because the device may print more before a path.
        libraries=frozenset(path for path in paths if any(line.endswith(path) for line in present)),
        free_bytes=_free(found.get("df", "")),
        boot_id=found.get("boot", "").strip()[:64],
        identity=identity,
        pinned=True,
    )
    return msgspec.structs.replace(facts, pinned=bool(facts.big_mask) and _can_pin(phone, facts.big_mask))


def _can_pin(phone: Phone, mask: int) -> bool:
    """Whether the kernel accepts a mask. A mask that it refuses would end every run; it refuses one whose cores are all off."""
    pin = f"taskset {mask:x} true"
    rc = phone.script(pin).rc
    # 126 and 127 mean that there is no such program.
    return rc == 0 or (rc not in (126, 127) and phone.script(f"{WAKE}; {pin}; c=$?; {REST}; exit $c").rc == 0)


def restarted(before: str, after: str) -> bool:
    """Whether the boot id of a device changed; False where it has none."""
    return before not in _WRONG_BOOT and after not in _WRONG_BOOT and before != after


def _free(text: str) -> int | None:
    """Free storage in bytes from `df -k`: the fourth column of the last line."""
    words = text.splitlines()[-1].split() if text.strip() else []
    blocks = number(words[3]) if len(words) > 3 else None
    return None if blocks is None else blocks * 1024
