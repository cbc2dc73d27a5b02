"""Messages of the commands that export: the names of their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mhmodels.cli.messages import UsageCommand


class ExportCommand(UsageCommand):
    """A command that opens a model.

    Attributes:
        argument_options: Options of arguments that the parameters of a command do not name, also of other commands: messages
            of `verify` name options of `export`.
    """

    argument_options: ClassVar[Mapping[str, str]] = {
        "directory": "-o",
        "engine": "--engine",
        "features": "--features",
        "formats": "--format",
        "labels": "--labels",
        "mean": "--mean",
        "preprocessing": "--preprocessing",
        "std": "--std",
    }
