"""`mhmodels search sample`: different networks of a space, drawn by a distribution."""

from __future__ import annotations

from pathlib import Path

import click

from mhmodels.cli.common import OutputFile, emit_json, json_option, note
from mhmodels.search.cli.options import LimitOptions, limit_options, seed_option, space_option


@click.command("sample")
@space_option
@click.option("-n", "count", type=click.IntRange(1, 10_000_000), required=True, help="Number of different networks to sample.")
@click.option(
    "--distribution",
    default=None,
    metavar="uniform|depth-uniform|window=A:B|mixed",
    help="Distribution to sample from. uniform: all decisions independent; depth-uniform: every depth of a stage equally "
    "likely; window=A:B: networks of A to B times the MAdds of MobileNetV1 1.0; mixed: half depth-uniform, half "
    "window=0.5:2. Default: mixed; uniform for tabular spaces (nas_bench_201), for spaces without networks in "
    "window=0.5:2, and if -n is the size of the space.",
)
@seed_option("of sampling")
@limit_options
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    required=True,
    metavar="FILE.jsonl",
    help="File to write: JSON lines, one network per line, with its encoding and architecture.",
)
@json_option
def sample_command(
    space_name: str,
    count: int,
    distribution: str | None,
    seed: int,
    restriction: LimitOptions,
    output: Path,
    as_json: bool,
) -> None:
    """Sample different networks from a space, reproducibly: the same seed gives the same networks."""
    from mhmodels.search.cost_model.latencies.samples import write_samples
    from mhmodels.search.space.limits import hardware_limits, restricted
    from mhmodels.search.space.loading import load_space
    from mhmodels.search.space.sampling import sample

    space, _ = restricted(load_space(space_name), hardware_limits(restriction.limits, note, probe=restriction.probe))
    drawn = sample(space, count, seed, distribution)
    write_samples(drawn, space, output)
    counts = {name: drawn.distributions.count(name) for name in dict.fromkeys(drawn.distributions)}
    if as_json:
        emit_json({"path": str(output), "space": space.name, "schema": space.schema, "n": count, "distributions": counts})
        return
    note(f"{output}: {count} networks of {space.name} ({', '.join(f'{n} {name}' for name, n in counts.items())})")
