"""Ahead-of-time files: a TFLite file compiled for the NPU of one SoC, written beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.formats.checked import Checked
from mhmodels.hardware.placement.placing import COMPILER, compile_for_soc
from mhmodels.hardware.placement.socs import PlacementSoc


class AotRecord(Checked, frozen=True, kw_only=True):
    """Compilation of an exported file for a SoC.

    Attributes:
        soc, product: The SoC and its name on the market.
        whole: Whether its NPU runs the network as a whole. If not, there is no compiled file.
        file, sha256, file_bytes: Name, hash and size of the compiled file; null if there is none.
        operators_taken, operators, partitions: Numbers of the verdict; null where the compiler failed.
        reason: Why there is no compiled file; "" if there is one.
        compiler: Versions of the compiler.
    """

    soc: str
    product: str
    whole: bool
    file: str | None = None
    sha256: str | None = None
    file_bytes: int | None = None
    operators_taken: int | None = None
    operators: int | None = None
    partitions: int | None = None
    reason: str = ""
    compiler: str


class AotFiles(NamedTuple):
    """The compilations of one file.

    Attributes:
        records: One for each SoC, in the order in which they were asked for.
        contents: Compiled files by path, of those SoCs whose NPU runs the network as a whole.
    """

    records: tuple[AotRecord, ...] = ()
    contents: tuple[tuple[Path, bytes], ...] = ()


def aot_path(file: Path, soc: PlacementSoc) -> Path:
    """Returns the path of the compiled file of a file: `NAME_aot-SOC.tflite`."""
    return file.with_name(f"{file.stem}_aot-{soc.name}.tflite")


def compile_ahead(content: bytes, path: Path, socs: Sequence[PlacementSoc], progress: Callable[[str], None]) -> AotFiles:
    """Compiles a file for SoCs. A network that is not whole, and a compiler that fails, are records with a reason.

    Args:
        content: The file.
        path: Path that the file gets.
        socs: SoCs to compile it for.
        progress: Called with a description of each compilation as it begins.
    """
    records: list[AotRecord] = []
    contents: list[tuple[Path, bytes]] = []
    for soc in socs:
        progress(f"compiling {path.name} for {soc.title}")
        try:
            placement, compiled = compile_for_soc(content, path.name, soc)
        except MeasurementError as error:
            records.append(AotRecord(soc=soc.name, product=soc.product, whole=False, reason=str(error), compiler=COMPILER))
            continue
        target = aot_path(path, soc)
        kept = compiled if placement.whole else None
        if kept is not None:
            contents.append((target, kept))
        records.append(
            AotRecord(
                soc=soc.name,
                product=soc.product,
                whole=placement.whole,
                file=None if kept is None else target.name,
                sha256=None if kept is None else hashlib.sha256(kept).hexdigest(),
                file_bytes=None if kept is None else len(kept),
                operators_taken=placement.operators_taken,
                operators=placement.operators,
                partitions=placement.partitions,
                reason="" if placement.whole else placement.summary,
                compiler=placement.compiler,
            )
        )
    return AotFiles(tuple(records), tuple(contents))
