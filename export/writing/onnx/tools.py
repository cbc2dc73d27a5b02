"""Whether the optional packages that write and run ONNX files are installed."""

from __future__ import annotations

import importlib.util

from mhmodels.export.errors import ExportError
from mhmodels.export.writing.manifest import ONNX_TOOLS


def check_onnx_tools(field: str) -> None:
    """Checks that onnx and ONNX Runtime are installed, without importing them.

    Args:
        field: The field that asks for ONNX files, for the message.

    Raises:
        ExportError: One of them is missing; the message says how to install both.
    """
    missing = [name for name in ONNX_TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        raise ExportError(f"{field}: {' and '.join(missing)} {verb} not installed: pip install 'mhmodels[onnx]'")
