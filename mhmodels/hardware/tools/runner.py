"""What runners have in common that ask a vendor's tool about ONNX files."""

from __future__ import annotations

from typing import ClassVar

from mhmodels.formats.onnx_file import onnx_missing
from mhmodels.hardware.protocol import Hardware, TableRunner
from mhmodels.hardware.tools.catalogue import VendorTool
from mhmodels.hardware.tools.environment import missing


class OnnxToolRunner(TableRunner):
    """A part of a runner: its tool reads ONNX files in a child process, so that several may run beside each other.

    Attributes:
        tool: The tool.
    """

    exclusive = True
    tool: ClassVar[VendorTool]

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: the tool or the package onnx is not installed."""
        reason = missing(self.tool)
        if reason:
            return f"{hardware.id} {reason}"
        reason = onnx_missing()
        return f"{hardware.id} takes ONNX files, and {reason}" if reason else ""
