"""`mhmodels list`."""

from __future__ import annotations

from typing import Any

import click

from mhmodels.cli.common import emit_json, json_option, millions
from mhmodels.complexity import complexity
from mhmodels.errors import UnknownNameError
from mhmodels.registry import list_models, zoo


@click.command("list")
@click.argument("pattern", default="*")
@json_option
def list_command(pattern: str, as_json: bool) -> None:
    """Names, parameters, MAdds and published accuracy of the zoo.

    PATTERN is a shell pattern such as 'mobilenet_v3*'. Counts are at width 1.0, 224x224 and 1000 classes; parameters
    are convolution kernels, as the paper counts them.
    """
    names = list_models(pattern)
    if not names:
        raise UnknownNameError("model pattern", pattern, zoo(), "(`mhmodels list` shows all)")
    rows = [_row(name) for name in names]
    if as_json:
        emit_json({"models": rows})
        return
    width = max(len(row["name"]) for row in rows)
    click.echo(f"{'name':{width}}  {'params (M)':>10}  {'MAdds (M)':>9}  published top-1")
    for row in rows:
        published = ", ".join(f"{p['top1']} @{p['width_multiplier']:g} ({p['source']})" for p in row["published"])
        click.echo(f"{row['name']:{width}}  {millions(row['params']):>10}  {row['madds'] / 1e6:9.1f}  {published}")


def _row(name: str) -> dict[str, Any]:
    entry = zoo()[name]
    counts = complexity(entry.architecture)
    return {
        "name": name,
        "title": entry.title,
        "source": entry.source,
        "params": counts.params,
        "params_total": counts.params_total,
        "madds": counts.madds,
        "published": [published._asdict() for published in entry.published],
    }
