"""Android's settings that are changed while a phone is measured: how they are read, changed, noted and put back.

A phone may refuse a change, openly or silently, so the value that counts is the one that it reports afterwards. Only a setting
that did change must be put back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mhmodels.android_bench.transport.phone import quote

_VALUE = re.compile(r"[\w.:,+-]{1,80}", re.ASCII)
_ANSWER = re.compile(r"^set (\d{1,3}) (\d{1,3}) ?(.*)$", re.MULTILINE | re.ASCII)


class PhoneSetting(msgspec.Struct, frozen=True):
    """A setting of Android that is changed while measuring.

    Attributes:
        namespace, key: As the command `settings` takes them; namespace `power` stands for the fixed performance mode.
        value: Value while measuring, or the former value.
        needed: Whether rows say that it was changed, so that a phone that refuses it is not measured.
    """

    namespace: str
    key: str
    value: str
    needed: bool = False

    @property
    def name(self) -> str:
        """Name of the setting in messages and on the device."""
        return f"{self.namespace} {self.key}"


# A dark screen makes less heat. A phone that sleeps runs programs on its slow cores.
SETTINGS = (
    PhoneSetting("system", "screen_brightness_mode", "0"),
    PhoneSetting("system", "screen_brightness", "0"),
    PhoneSetting("global", "stay_on_while_plugged_in", "3"),
)
FIXED_CLOCKS = PhoneSetting("power", "fixed-performance-mode", "true", needed=True)
_MEASURING = {setting.name: setting.value for setting in (*SETTINGS, FIXED_CLOCKS)}


class SettingAnswer(msgspec.Struct, frozen=True):
    """Answer of a phone to a change.

    Attributes:
        rc: Exit code of the change.
        value: Value of the setting afterwards; "" where it cannot be read.
    """

    rc: int
    value: str

    def refused(self, setting: PhoneSetting, before: str) -> bool:
        """Whether the change was refused, openly or silently."""
        return self.rc != 0 or (bool(self.value) and self.value == before != setting.value)

    def changed(self, before: str) -> bool:
        """Whether the setting differs from its former value."""
        return self.value != before if self.value else self.rc == 0

    def settled(self, setting: PhoneSetting) -> bool:
        """Whether the setting was put back; some phones round the value."""
        return self.value == setting.value or (self.rc == 0 and self.value != _MEASURING.get(setting.name))


def usable(value: str) -> bool:
    """Whether a value can be noted and put back."""
    return _VALUE.fullmatch(value) is not None


def parse_journal(text: str) -> list[PhoneSetting]:
    """Reads noted settings; lines that are no settings are ignored."""
    found: dict[str, PhoneSetting] = {}
    for line in text.replace("\r", "").splitlines():
        namespace, _, rest = line.partition(" ")
        key, _, value = rest.partition(" ")
        setting = PhoneSetting(namespace, key, value)
        # Only settings that are ever changed here, because others may write this file.
        if setting.name in _MEASURING and usable(value):
            found.setdefault(setting.name, setting)
    return list(found.values())


def journal_text(settings: Iterable[PhoneSetting]) -> str:
    """Writes former values of settings, for `parse_journal`."""
    return "".join(f"{setting.name} {setting.value}\n" for setting in settings)


def get_script(setting: PhoneSetting) -> str:
    """A script that prints the value of a setting."""
    # Android does not report whether the fixed performance mode is on; every phone starts with it off.
    known = setting.namespace == "power"
    return "echo false" if known else f"settings get {quote(setting.namespace)} {quote(setting.key)}"


def put_script(settings: Sequence[PhoneSetting]) -> list[str]:
    """Lines of a script that change settings and print for each the exit code and the value afterwards; for `parse_answers`."""
    lines = []
    for number, setting in enumerate(settings):
        # The fixed performance mode cannot be read.
        read = ":" if setting.namespace == "power" else f"{get_script(setting)} 2>/dev/null"
        # Some phones print a failure and exit with code 0.
        said = f'o=$({_put(setting)} 2>&1); c=$?; case "$o" in *Failed*|*Exception*|*nknown*) [ $c -ne 0 ] || c=1;; esac'
        lines.append(f'{said}; v=$({read}); echo; echo "set {number} $c $v"')
    return lines


def parse_answers(settings: Sequence[PhoneSetting], said: str) -> Mapping[str, SettingAnswer]:
    """Answers of a phone by name of the setting; a setting without an answer counts as refused."""
    told = {int(number): SettingAnswer(int(rc), value.strip()) for number, rc, value in _ANSWER.findall(said.replace("\r", ""))}
    return {setting.name: told.get(number, SettingAnswer(1, "")) for number, setting in enumerate(settings)}


def _put(setting: PhoneSetting) -> str:
    if setting.namespace == "power":
        return f"cmd power set-fixed-performance-mode-enabled {quote(setting.value)}"
    place = f"{quote(setting.namespace)} {quote(setting.key)}"
    return f"settings delete {place}" if setting.value == "null" else f"settings put {place} {quote(setting.value)}"
