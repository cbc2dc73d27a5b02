"""`mhmodels export` and `mhmodels verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mhmodels.architecture import check_input_size
from mhmodels.cli.common import console, emit_json, json_option, note, progress_console
from mhmodels.errors import ArchitectureError

if TYPE_CHECKING:
    from export.pipeline import Exported, Options
    from mhmodels.architecture import Architecture

_FORMATS = ("float32", "float16", "int8", "uint8")


class InputSize(click.ParamType):  # type: ignore[type-arg]
    """`224`, or `HEIGHTxWIDTH`."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parses and checks both sides."""
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not an input size: expected whole pixels, 224 or 192x256", param, ctx)
        try:
            sides = [check_input_size(int(part)) for part in parts]
        except ArchitectureError as error:
            self.fail(str(error), param, ctx)
        return sides[0], sides[-1]


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the files.")
@click.option(
    "--format", "formats", type=click.Choice(_FORMATS), multiple=True, default=("float32",), show_default=True,
    help="May be repeated. int8: int8 kernels, per-channel weights. uint8: asymmetric uint8 throughout.",
)  # fmt: skip
@click.option("--io", type=click.Choice(("uint8", "int8", "float32")), default="uint8", show_default=True,
              help="Input and output type of int8 files.")  # fmt: skip
@click.option("--width-multiplier", type=float, default=None, help="Scale all widths; overrides NAME@WIDTH.")
@click.option("--input-size", type=InputSize(), default=None, help="Input in pixels.")
@click.option("--classes", type=int, default=None, help="Number of classes.")
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help=".weights.h5 file. Without it: seeded random weights, labelled as such.")  # fmt: skip
@click.option("--calibration", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures for the ranges. Default: the bundled photographs.")  # fmt: skip
@click.option("--granularity", type=click.Choice(("channel", "tensor")), default=None, help="Scales of int8 weights.")
@click.option("--pooling", type=click.Choice(("mean", "avgpool")), default="mean", show_default=True,
              help="Global pooling as MEAN or AVERAGE_POOL_2D.")  # fmt: skip
@click.option("--no-softmax", is_flag=True, help="End in the logits.")
@click.option("--engine", type=click.Choice(("direct", "tensorflow")), default="direct", show_default=True,
              help="Our own writer, or TensorFlow's converter.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
def export(
    models: tuple[str, ...],
    output: Path,
    input_size: tuple[int, int] | None,
    width_multiplier: float | None,
    classes: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write TFLite files and verify each at once on real pictures.

    Each file gets a manifest beside it. A file that does not agree with its network is not kept, and the exit code is 1.
    """
    from mhmodels.registry import resolve

    architectures = [
        resolve(model).at(width_multiplier=width_multiplier, input_size=input_size, classes=classes) for model in models
    ]
    exported = _export_all(architectures, output, **settings)
    if as_json:
        emit_json({"files": [_document(one) for one in exported]})
    else:
        _print(exported)


def _options(output: Path, formats: tuple[Any, ...], pooling: Any, no_softmax: bool, **settings: Any) -> Options:
    from export.pipeline import Options
    from export.writer import WriterOptions

    unique = tuple(dict.fromkeys(formats))
    return Options(directory=output, formats=unique, writer=WriterOptions(pooling=pooling, softmax=not no_softmax), **settings)


def _export_all(architectures: list[Architecture], output: Path, **settings: Any) -> list[Exported]:
    from mhmodels.quiet import load_tensorflow

    exported: list[Exported] = []
    with progress_console().status("loading TensorFlow") as status:
        load_tensorflow()
        from export.pipeline import export_model

        options = _options(output, **settings)
        for architecture in architectures:
            for one in export_model(architecture, options, status.update):
                exported.append(one)
                if one.manifest.calibration is not None:
                    _tell_skipped(one.manifest.calibration.skipped)
    return exported


def _tell_skipped(skipped: tuple[str, ...]) -> None:
    if skipped:
        shown = "; ".join(skipped[:3]) + (f"; and {len(skipped) - 3} more" if len(skipped) > 3 else "")
        note(f"{len(skipped)} calibration pictures could not be read and were skipped: {shown}")


def _document(one: Exported) -> dict[str, Any]:
    manifest = one.manifest
    return {
        "path": str(one.path),
        "format": manifest.precision,
        "sha256": manifest.sha256,
        "bytes": manifest.file_bytes,
        "weights": manifest.weights,
        "parity": manifest.parity,
    }


def _print(exported: list[Exported]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(
        "file", "MB", "logits against", "correlation", "mean error (LSB)", "top-1 same", "against float", "top-1 same",
        box=box.SIMPLE, title="Exported and verified on real photographs",
    )  # fmt: skip
    for column in table.columns[1:2] + table.columns[3:]:
        column.justify = "right"
    for one in exported:
        p = one.manifest.parity
        lsb = "-" if p.mean_error_lsb is None else f"{p.mean_error_lsb:.2f}"
        against_float = ("-", "-")
        if p.float_correlation is not None and p.float_top1_agreement is not None:
            against_float = (f"{p.float_correlation:.4f}", f"{p.float_top1_agreement:.0%}")
        table.add_row(
            one.path.name, f"{one.manifest.file_bytes / 1e6:.2f}", p.reference, f"{p.correlation:.4f}", lsb,
            f"{p.top1_agreement:.0%}", *against_float,
        )  # fmt: skip
    console().print(table)
    click.echo(f"weights: {exported[0].manifest.weights}")
    click.echo(f"folder: {exported[0].path.parent}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--against", metavar="MODEL|FILE", default=None, help="A model, or another .tflite file, to compare with.")
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures. Default: the bundled photographs.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Weights of the model. Without it: the seeded random ones that `export` uses.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(min=0), default=None,
              help="Largest difference at the logits, as a share of their spread. "
                   "Default 0.001 between floats; else a correlation of 0.95 is asked for.")  # fmt: skip
@json_option
def verify(
    file: Path, against: str | None, images: Path | None, weights: Path | None, tolerance: float | None, as_json: bool
) -> None:
    """Check a TFLite file: is it whole, does it belong to its manifest, does it agree with a model or another file?

    Exit code 1 where it does not.
    """
    from mhmodels.quiet import load_tensorflow

    with progress_console().status(f"verifying {file.name}"):
        if against is not None and not against.endswith(".tflite"):
            load_tensorflow()
        from export.checking import verify_file

        report = verify_file(file, against, images, weights, tolerance)
    if as_json:
        emit_json(report)
        return
    operators = ", ".join(f"{count} {kind}" for kind, count in report.operators.items())
    click.echo(f"{report.file}: {report.precision}, {operators}")
    click.echo(f"  manifest           {report.manifest}")
    unit = "steps" if report.runtimes_unit == "lsb" else "of the spread"
    click.echo(
        f"  LiteRT with and without XNNPACK differ by at most {report.runtimes_differ:.2g} {unit} on {report.pictures} pictures"
    )
    if report.against is not None:
        p = report.against
        click.echo(
            f"  against {p.reference}: correlation {p.correlation:.5f}, error mean {p.mean_error:.2g} max {p.max_error:.2g} "
            f"of the spread, same top-1 on {p.top1_agreement:.0%}"
        )
