"""Android's settings that are changed while a phone is measured: how they are read, changed and put back, and the note of them.

A phone may refuse a change, and may do so silently: what holds is what it says when it is asked again. Only a setting that did
change is owed to the phone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mhmodels.android_bench.transport.phone import quote

_VALUE = re.compile(r"[\w.:,+-]{1,80}", re.ASCII)
_ANSWER = re.compile(r"^set (\d{1,3}) (\d{1,3}) ?(.*)$", re.MULTILINE | re.ASCII)


class PhoneSetting(msgspec.Struct, frozen=True):
    """One of Android's settings that is changed while measuring.

    Attributes:
        namespace, key: as `settings` takes them; namespace `power` stands for the fixed performance mode.
        value: while measuring, or what it was.
        needed: rows say that it was so, so a phone that refuses it is not measured.
    """

    namespace: str
    key: str
    value: str
    needed: bool = False

    @property
    def name(self) -> str:
        """What stands for it in messages and in what the device is asked."""
        return f"{self.namespace} {self.key}"


# Less light, less heat; a phone that sleeps is measured on its slow cores.
SETTINGS = (
    PhoneSetting("system", "screen_brightness_mode", "0"),
    PhoneSetting("system", "screen_brightness", "0"),
    PhoneSetting("global", "stay_on_while_plugged_in", "3"),
)
FIXED_CLOCKS = PhoneSetting("power", "fixed-performance-mode", "true", needed=True)
_MEASURING = {setting.name: setting.value for setting in (*SETTINGS, FIXED_CLOCKS)}


class SettingAnswer(msgspec.Struct, frozen=True):
    """What a phone answers to a change.

    Attributes:
        rc: exit code of the change.
        value: of the setting now; "" where it cannot be read.
    """

    rc: int
    value: str

    def refused(self, setting: PhoneSetting, before: str) -> bool:
        """Whether the change was refused, openly or silently."""
        return self.rc != 0 or (bool(self.value) and self.value == before != setting.value)

    def changed(self, before: str) -> bool:
        """Whether the setting is another one than it was."""
        return self.value != before if self.value else self.rc == 0

    def settled(self, setting: PhoneSetting) -> bool:
        """Whether it was put back; some phones round what they take."""
        return self.value == setting.value or (self.rc == 0 and self.value != _MEASURING.get(setting.name))


def usable(value: str) -> bool:
    """Whether a value can be written down and put back."""
    return _VALUE.fullmatch(value) is not None


def parse_journal(text: str) -> list[PhoneSetting]:
    """Settings that were written down; what is none is left alone."""
    found: dict[str, PhoneSetting] = {}
    for line in text.replace("\r", "").splitlines():
        namespace, _, rest = line.partition(" ")
        key, _, value = rest.partition(" ")
        setting = PhoneSetting(namespace, key, value)
        # Only what is ever changed: the file lies where others may write.
        if setting.name in _MEASURING and usable(value):
            found.setdefault(setting.name, setting)
    return list(found.values())


def journal_text(settings: Iterable[PhoneSetting]) -> str:
    """The note of what settings were; for `parse_journal`."""
    return "".join(f"{setting.name} {setting.value}\n" for setting in settings)


def get_script(setting: PhoneSetting) -> str:
    """Prints a setting's value."""
    # Android does not tell whether the fixed performance mode is on; off is what every phone starts with.
    known = setting.namespace == "power"
    return "echo false" if known else f"settings get {quote(setting.namespace)} {quote(setting.key)}"


def put_script(settings: Sequence[PhoneSetting]) -> list[str]:
    """Lines of script that change settings and say for each how it went and what it is now; for `parse_answers`."""
    lines = []
    for number, setting in enumerate(settings):
        # Nothing can be read there.
        read = ":" if setting.namespace == "power" else f"{get_script(setting)} 2>/dev/null"
        # Some say that they failed and end well.
        said = f'o=$({_put(setting)} 2>&1); c=$?; case "$o" in *Failed*|*Exception*|*nknown*) [ $c -ne 0 ] || c=1;; esac'
        lines.append(f'{said}; v=$({read}); echo; echo "set {number} $c $v"')
    return lines


def parse_answers(settings: Sequence[PhoneSetting], said: str) -> Mapping[str, SettingAnswer]:
    """What a phone answered, by the settings' names; one that it did not answer for was refused."""
    told = {int(number): SettingAnswer(int(rc), value.strip()) for number, rc, value in _ANSWER.findall(said.replace("\r", ""))}
    return {setting.name: told.get(number, SettingAnswer(1, "")) for number, setting in enumerate(settings)}


def _put(setting: PhoneSetting) -> str:
    if setting.namespace == "power":
        return f"cmd power set-fixed-performance-mode-enabled {quote(setting.value)}"
    place = f"{quote(setting.namespace)} {quote(setting.key)}"
    return f"settings delete {place}" if setting.value == "null" else f"settings put {place} {quote(setting.value)}"
