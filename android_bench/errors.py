"""Errors of measuring on phones."""

from __future__ import annotations

from mhmodels.errors import MeasurementError


class AdbError(MeasurementError):
    """The adb executable, its server or a command on a device failed."""


class DeviceLostError(AdbError):
    """The connection to the device was lost: cable, restart, network or server."""


class DeviceUnauthorizedError(AdbError):
    """The device has not allowed this machine to debug it."""


class TakenError(AdbError):
    """Another session uses the device."""


class NoSpaceError(AdbError):
    """The device's storage is full."""


class DelegateError(MeasurementError):
    """There is no such delegate, or an entry of a user's delegate file is wrong."""


class CancelledError(MeasurementError):
    """The measurement was asked to stop."""
