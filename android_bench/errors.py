"""What can go wrong between this machine and a phone."""

from __future__ import annotations

from mhmodels.errors import MeasurementError


class AdbError(MeasurementError):
    """The adb executable, its server or a command on a device failed."""


class DeviceLostError(AdbError):
    """The device went away while it was needed: cable, reboot, network, server."""


class DeviceUnauthorizedError(AdbError):
    """The device has not allowed this machine to debug it."""


class TakenError(AdbError):
    """Another session uses the device."""


class NoSpaceError(AdbError):
    """The device's storage is full."""


class DelegateError(MeasurementError):
    """A delegate that no table holds, or an entry of a user's delegate file that cannot be."""


class CancelledError(MeasurementError):
    """Somebody asked the measurement to stop."""
