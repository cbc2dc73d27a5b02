"""What `mhmodels export` prints of the files that it wrote: a table or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from mhmodels.export.file_export import Exported
    from mhmodels.export.options import ExportOptions
    from mhmodels.export.reading.pictures import Calibration
    from mhmodels.export.writing.manifest import Parity


def document_of(one: Exported) -> dict[str, object]:
    manifest = one.manifest
    return {
        "path": str(one.path),
        "format": manifest.precision,
        "sha256": manifest.sha256,
        "bytes": manifest.file_bytes,
        "weights": manifest.weights,
        "metadata": manifest.metadata,
        "outputs": manifest.outputs,
        "parity": manifest.parity,
        "aot": manifest.aot,
        "corrections": None if manifest.calibration is None else _corrections(manifest.calibration),
    }


def not_compiled(one: Exported) -> list[str]:
    """Returns why a file was not compiled, for each SoC that was asked for in vain."""
    return [f"{one.path.name} is not compiled for {record.soc}: {record.reason}" for record in one.manifest.aot if record.reason]


def _corrections(calibration: Calibration) -> dict[str, object]:
    """Returns what was corrected after training."""
    return {
        "equalised": bool(calibration.equalisation),
        "bias_correction": calibration.bias_correction,
        "rounding": calibration.rounding,
    }


def print_files(exported: list[Exported], options: ExportOptions) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from mhmodels.formats.json_files import plain_text

    pictures = "real photographs" if options.calibration is None else f"pictures of {options.calibration}"
    table = Table(
        "file", "MB", "outputs against", "correlation", "mean error (LSB)", "top-1 same", "against float", "top-1 same",
        "of confident",
        box=box.SIMPLE, title=escape(plain_text(f"Exported and verified on {pictures}")),
    )  # fmt: skip
    table.columns[0].no_wrap = True
    for column in table.columns[1:2] + table.columns[3:]:
        column.justify = "right"
    for one in exported:
        p = one.manifest.parity
        lsb = "-" if p.mean_error_lsb is None else f"{p.mean_error_lsb:.2f}"
        against_float = "-" if p.float_correlation is None else f"{p.float_correlation:.4f}"
        table.add_row(
            one.path.name, f"{one.manifest.file_bytes / 1e6:.2f}", p.reference, f"{p.correlation:.4f}", lsb,
            _share(p.top1_agreement), against_float, _share(p.float_top1_agreement),
            _confident(p),
        )  # fmt: skip
    console().print(table)
    for one in exported:
        if (words := _correction_words(one)) is not None:
            click.echo(f"{one.path.name}: {words}")
        for record in one.manifest.aot:
            if record.file is not None and record.file_bytes is not None:
                click.echo(
                    f"{record.file}: {record.file_bytes / 1e6:.2f} MB, the whole network ({record.operators} operators) for the "
                    f"NPU of {record.soc}"
                )
    for weights in dict.fromkeys(one.manifest.weights for one in exported):
        click.echo(f"weights: {weights}")
    click.echo(f"folder: {plain_text(str(exported[0].path.parent))}")


def _correction_words(one: Exported) -> str | None:
    """Returns in words what was corrected after training; None for nothing that was not asked for."""
    calibration = one.manifest.calibration
    if calibration is None:
        return None
    made = [
        *(["weights equalised across layers"] if calibration.equalisation else []),
        *(["biases corrected"] if calibration.bias_correction else []),
        *(["rounding compensated"] if calibration.rounding == "compensated" else []),
    ]
    return ", ".join(made) if made else None


def _confident(parity: Parity) -> str:
    """Returns the agreement among confident pictures, of integer files with the float network."""
    share, count = parity.float_confident_top1_agreement, parity.float_confident_pictures
    if parity.float_correlation is None:
        share, count = parity.confident_top1_agreement, parity.confident_pictures
    return "-" if share is None else f"{share:.0%} of {count}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
