"""Which devices the Vulkan drivers of this machine offer.

As a program (run by path through `contained.py`) this module asks the Vulkan loader and prints the devices as JSON: a driver may
crash. Standard library only. Structures and numbers are those of the Vulkan 1.0 specification.
"""

from __future__ import annotations

import ctypes
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

LIBRARY = "libvulkan.so.1"
KINDS = ("other", "integrated", "discrete", "virtual", "software")
"""By number of VkPhysicalDeviceType."""
TIMEOUT_S = 60.0
_INSTANCE_CREATE_INFO = 1
_PROPERTIES_BYTES = 4096
_NAME_AT, _NAME_BYTES, _KIND_AT, _DRIVER_AT = 20, 256, 16, 4


class VulkanDevice(NamedTuple):
    """A device that a Vulkan driver offers.

    Attributes:
        name: Name that the driver gives it.
        kind: `discrete`, `integrated`, `virtual`, `software` (a driver on the CPU) or `other`.
        driver: Version of the driver, as the driver counts.
    """

    name: str
    kind: str
    driver: int


@functools.cache
def vulkan_devices() -> tuple[VulkanDevice, ...]:
    """Returns the devices of all Vulkan drivers; none where there is no loader, no driver, or the drivers fail."""
    from mhmodels.system.child import run_contained

    try:
        done = run_contained(Path(__file__), timeout_s=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ()
    if done.returncode:
        return ()
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(VulkanDevice(*device) for device in json.loads(lines[-1])) if lines else ()


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    )


def _devices() -> list[tuple[str, str, int]]:
    vulkan = ctypes.CDLL(LIBRARY)
    instance, count = ctypes.c_void_p(), ctypes.c_uint32()
    about = _InstanceCreateInfo(type=_INSTANCE_CREATE_INFO)
    if vulkan.vkCreateInstance(ctypes.byref(about), None, ctypes.byref(instance)):
        return []
    if vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None):
        return []
    handles = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    return [_device(vulkan, handle) for handle in handles if handle is not None]


def _device(vulkan: ctypes.CDLL, handle: int) -> tuple[str, str, int]:
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
    name = properties.raw[_NAME_AT : _NAME_AT + _NAME_BYTES].split(b"\0")[0].decode(errors="replace")
    kind, driver = (int.from_bytes(properties.raw[place : place + 4], sys.byteorder) for place in (_KIND_AT, _DRIVER_AT))
    return name, KINDS[kind] if kind < len(KINDS) else "other", driver


if __name__ == "__main__":
    print(json.dumps(_devices()))
