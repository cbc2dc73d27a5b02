"""The command `mhmodels list`: the networks of the zoo with their counts, published accuracies and public weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import click

from mhmodels.cli.common import emit_json, json_option, millions, note
from mhmodels.complexity import complexity
from mhmodels.errors import UnknownNameError
from mhmodels.registry import list_models, zoo


class _Row(TypedDict):
    name: str
    title: str
    source: str
    input_size: int | list[int]
    params: int
    params_total: int
    madds: int
    published: list[dict[str, Any]]


# Counts sort in ascending order, accuracies in descending order. All keys are values at width 1.0, like the counts in a row.
SORTS: dict[str, Callable[[_Row], Any]] = {
    "name": lambda row: row["name"],
    "params": lambda row: (row["params"], row["name"]),
    "madds": lambda row: (row["madds"], row["name"]),
    "top1": lambda row: (-max((p["top1"] for p in row["published"] if p["width_multiplier"] == 1), default=0), row["name"]),
}
SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}


def parse_count(text: str) -> float:
    """Parses a count above 0 with an optional suffix k (1e3), M (1e6) or G (1e9), for example 5M, 1.2G or 350e6.

    Raises:
        click.BadParameter: The text is not such a number.
    """
    factor = SUFFIXES.get(text[-1:], 1.0)
    try:
        count = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        count = 0.0
    if not 0 < count < float("inf"):
        raise click.BadParameter(f"{text!r} is not a count above 0 such as 5M, 1.2G or 350000000.")
    return count


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--sort", type=click.Choice(list(SORTS)), default="name", show_default=True,
              help="Sort the rows by this column: counts ascend, top1 descends.")  # fmt: skip
@click.option(
    "--max-params",
    type=parse_count,
    metavar="COUNT",
    help="List only networks with at most this many parameters; k, M and G stand for 1e3, 1e6 and 1e9, for example 5M.",
)
@click.option(
    "--max-madds",
    type=parse_count,
    metavar="COUNT",
    help="List only networks with at most this many MAdds; k, M and G stand for 1e3, 1e6 and 1e9, for example 350M.",
)
@click.option(
    "--max-input-size", type=int, metavar="N", help="List only networks with an input of at most N x N pixels, for example 224."
)
@click.option("--weights", is_flag=True, help="List only networks with public trained weights, and how to get these.")
@json_option
def list_command(
    pattern: str,
    sort: str,
    weights: bool,
    max_params: float | None,
    max_madds: float | None,
    max_input_size: int | None,
    as_json: bool,
) -> None:
    """List the networks of the zoo with parameters, MAdds and published accuracy.

    PATTERN is a shell pattern such as 'mobilenet_v3*'. Counts are for width 1.0, the network's own input size and 1000
    classes. Parameters are the weights of convolution and dense kernels, as the paper counts them. --sort top1 uses the
    accuracy at width 1.0; networks without a published accuracy at that width come last. --weights shows the trained weights
    that others publish: those with a registered name are downloaded by `--weights NAME` of other commands, and the files of all
    others are read by `mhmodels weights import`.
    """
    if not list_models(pattern):
        raise UnknownNameError("model pattern", pattern, zoo(), "(`mhmodels list` shows all)")
    names = list_models(pattern, max_params=max_params, max_madds=max_madds, max_input_size=max_input_size)
    rows = sorted((_row(name) for name in names), key=SORTS[sort])
    if weights:
        public = {row["name"]: _public_weights(row["name"]) for row in rows}
        rows = [row for row in rows if public[row["name"]]]
        if as_json:
            emit_json({"models": [{**row, "weights": public[row["name"]]} for row in rows]})
        elif not rows:
            note("no public weights of these networks are known; `mhmodels list --weights` shows all that have some")
        else:
            _print_weights({row["name"]: public[row["name"]] for row in rows})
    elif as_json:
        emit_json({"models": rows})
    elif not rows:
        note("no network is as small as that; `mhmodels list --sort params` and `--sort madds` show the smallest first")
    else:
        _print(rows)


def _row(name: str) -> _Row:
    entry = zoo()[name]
    counts = complexity(entry.architecture)
    height, width = entry.architecture.input_size
    return {
        "name": name,
        "title": entry.title,
        "source": entry.source,
        "input_size": height if height == width else [height, width],
        "params": counts.params,
        "params_total": counts.params_total,
        "madds": counts.madds,
        "published": [published._asdict() for published in entry.published],
    }


class _WeightsRow(TypedDict):
    width_multiplier: float
    weights: str
    how: str
    top1: float | None


def _public_weights(name: str) -> list[_WeightsRow]:
    """Trained weights of a network: the registered ones, then those that others publish, by width."""
    # Here, not above: it reads weight files, and with them numpy and h5py.
    from mhmodels.registry import resolve
    from mhmodels.weights.downloading.registered import entries

    rows: list[_WeightsRow] = [
        {
            "width_multiplier": resolve(entry.model).width_multiplier,
            "weights": entry.description,
            "how": f"--weights {entry.name}",
            "top1": max((claim.top1 for claim in entry.accuracy), default=None),
        }
        for entry in entries()
        if entry.model.partition("@")[0] == name
    ]
    for public in zoo()[name].weights:
        for i, width in enumerate(public.width_multipliers):
            own = public.names[i] if public.names else ""
            how = f"{public.how.replace('NAME', own)}, then " if public.how else ""
            rows.append(
                {
                    "width_multiplier": width,
                    "weights": f"{public.origin} {own}".strip(),
                    "how": f"{how}mhmodels weights import",
                    "top1": None,
                }
            )
    return sorted(rows, key=lambda row: (row["width_multiplier"], not row["how"].startswith("--weights")))


def _print_weights(public: dict[str, list[_WeightsRow]]) -> None:
    for name, rows in public.items():
        click.echo(name)
        for row in rows:
            accuracy = "" if row["top1"] is None else f", {row['top1']:g} %"
            click.echo(f"  {'@' + format(row['width_multiplier'], 'g'):<6} {row['weights']}{accuracy}: {row['how']}")


def _print(rows: list[_Row]) -> None:
    width = max(len(row["name"]) for row in rows)
    click.echo(f"{'name':{width}}  {'input':>5}  {'params (M)':>10}  {'MAdds (M)':>9}  published top-1")
    for row in rows:
        # The accuracy that `--sort top1` uses comes first.
        figures = sorted(row["published"], key=lambda p: (p["width_multiplier"] != 1, -p["top1"]))
        published = ", ".join(f"{p['top1']} @{p['width_multiplier']:g} ({p['source']})" for p in figures)
        counts = f"{millions(row['params']):>10}  {row['madds'] / 1e6:9.1f}"
        click.echo(f"{row['name']:{width}}  {row['input_size']!s:>5}  {counts}  {published}".rstrip())
