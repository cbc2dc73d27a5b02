"""The devices that `adb devices -l` lists, each with its state and what to do if it cannot be used."""

from __future__ import annotations

import re
from typing import NamedTuple

from mhmodels.android_bench.transport.lines import without_controls

# A serial may have spaces, as that of a second phone of one name on the network, so the state is looked for first.
_STATES = "device|offline|unauthorized|authorizing|connecting|recovery|rescue|sideload|bootloader|host|detached|unknown"
_LINE = re.compile(
    rf"^(?P<serial>\S.*?)\s+(?P<state>no permissions(?:[^;]*;[^\[]*\[[^\]]*\])?|(?:{_STATES})(?!\S))(?P<details>.*)$"
)
_OTHER_LINE = re.compile(r"^(?P<serial>\S+)\s+(?P<state>\S+)(?P<details>.*)$")

REMEDIES = {
    "unauthorized": "unlock the screen and allow USB debugging from this computer; if it does not ask, unplug and plug it again",
    "authorizing": "unlock the screen and allow USB debugging from this computer",
    "offline": "unplug and plug it again, or `adb reconnect offline`; a device on the network needs `adb connect` again",
    "no permissions": "this user may not open the USB device: install your distribution's udev rules for Android",
    "recovery": "it is in recovery; start Android",
    "sideload": "it is in sideload; start Android",
    "bootloader": "it is in the bootloader; start Android",
}


class ListedDevice(NamedTuple):
    """A line of `adb devices -l`.

    Attributes:
        state: `device` if the device can be used.
        details: `model`, `product` and other properties.
    """

    serial: str
    state: str
    details: dict[str, str]

    @property
    def problem(self) -> str:
        """Why the device cannot be used, and what to do; "" if it can."""
        if self.state == "device":
            return ""
        remedy = next((text for name, text in REMEDIES.items() if self.state.startswith(name)), "it must be running Android")
        return f"device '{self.serial}' is {self.state}: {remedy}"


def parse_devices(text: str) -> list[ListedDevice]:
    """Reads what `adb devices -l` prints."""
    found = []
    for line in without_controls(text).splitlines():
        match = _LINE.match(line.strip()) or _OTHER_LINE.match(line.strip())
        if match is None or line.startswith(("List of devices", "*", "adb server")):
            continue
        pairs = (word.partition(":") for word in match["details"].split() if ":" in word)
        found.append(ListedDevice(match["serial"], match["state"], {name: value for name, _, value in pairs}))
    return found
