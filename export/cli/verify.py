"""The command `mhmodels verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import FiniteRange, emit_json, json_option, progress_console
from mhmodels.cli.messages import named_options
from mhmodels.export.cli.messages import ExportCommand
from mhmodels.export.tolerances import FLOAT16_TOLERANCE, FLOAT_TOLERANCE, QUANTISED_CORRELATION

if TYPE_CHECKING:
    from mhmodels.export.verification.layers import LayerReport
    from mhmodels.export.verification.verify import FileReport

_SHOWN_SATURATED = 0.001


@click.command(cls=ExportCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--against", metavar="MODEL|FILE", default=None,
              help="Model, or another .tflite file, to compare the file with. Default: no comparison; only the file itself is "
                   "checked.")  # fmt: skip
@click.option("--images", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of pictures to run the file on. Default: the bundled photographs.")  # fmt: skip
@click.option("--weights", default=None, metavar="PATH|NAME",
              help="Weights file or registered name for the network in --against. Default: the seeded random weights that "
                   "`mhmodels export` uses.")  # fmt: skip
@click.option("--tolerance", type=FiniteRange(min=0), default=None,
              help="Largest allowed difference of the outputs, in standard deviations of the outputs. Default: "
                   f"{FLOAT_TOLERANCE:g} between float32 networks, {FLOAT16_TOLERANCE:g} if one has float16 weights; if one "
                   f"computes in integers, a correlation of at least {QUANTISED_CORRELATION:g} is required instead.")  # fmt: skip
@click.option("--gpu", is_flag=True,
              help="Run the file on LiteRT's GPU accelerator too, where there is a Vulkan driver.")  # fmt: skip
@json_option
def verify(
    file: Path,
    against: str | None,
    images: Path | None,
    weights: str | None,
    tolerance: float | None,
    gpu: bool,
    as_json: bool,
) -> None:
    """Check that a TFLite file is complete, belongs to its manifest, and agrees with a model or with another file.

    The exit code is 1 if a check fails. If layers differ, the message names the first one.
    """
    from rich.markup import escape

    from mhmodels.system.quiet import load_tensorflow

    with progress_console().status(escape(f"verifying {file.name}")):
        if against is not None and not against.endswith(".tflite"):
            load_tensorflow()
        from mhmodels.export.verification.verify import verify as verify_file

        report = verify_file(file, against, images=images, weights=weights, tolerance=tolerance, gpu=gpu)
    if as_json:
        emit_json(report)
    else:
        _print_report(report)


def _print_report(report: FileReport) -> None:
    operators = ", ".join(f"{count} {kind}" for kind, count in report.operators.items())
    click.echo(f"{report.file}: {report.precision}, {operators}")
    click.echo(f"  manifest     {report.manifest}")
    unit = "steps" if report.runtimes_unit == "lsb" else "of the spread"
    click.echo(
        f"  runtimes     LiteRT with and without XNNPACK differ by at most {report.runtimes_differ:.2g} {unit} on "
        f"{report.pictures} pictures"
    )
    if report.gpu_differs is not None:
        click.echo(f"  gpu          runs as a whole there; differs from the CPU by at most {report.gpu_differs:.2g} {unit}")
    if report.saturation:
        worst = [f"{name} {share:.2%}" for name, share in report.saturation.items() if share > _SHOWN_SATURATED][:3]
        click.echo(f"  saturation   {', '.join(worst) if worst else 'no tensor above 0.1 %'}")
    if report.against is None:
        return
    p = report.against
    agreement = "" if p.top1_agreement is None else f", same top-1 on {p.top1_agreement:.0%}"
    if p.confident_pictures and p.confident_top1_agreement is not None:
        agreement += f" ({p.confident_top1_agreement:.0%} of the {p.confident_pictures} confident ones)"
    agreement += "" if p.top5_agreement is None else f", {p.top5_agreement:.0%} of the top-5"
    click.echo(f"  against      {p.reference} on {p.pictures} pictures{agreement}")
    for output in p.outputs:
        lsb = "" if output.mean_error_lsb is None else f", mean {output.mean_error_lsb:.2f} steps"
        click.echo(
            f"    {output.name}: correlation {output.correlation:.5f}, error mean {output.mean_error:.2g} max "
            f"{output.max_error:.2g} of the spread{lsb}"
        )
    if report.layers is not None:
        click.echo(f"  layers       {_layers(report.layers)}")


def _layers(report: LayerReport) -> str:
    if report.reason:
        return f"not compared: {named_options(report.reason)}"
    if not report.layers:
        return "none to compare"
    worst = max(report.layers, key=lambda layer: layer.error)
    if report.first_departing is not None:
        return f"the first that departs from {report.method} is {report.first_departing}"
    return f"{len(report.layers)}, none departs from {report.method} (worst: {worst.layer}, {worst.error:.2g} of its spread)"
