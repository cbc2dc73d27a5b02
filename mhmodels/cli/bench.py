"""`mhmodels bench`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console, store_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mhmodels.architecture import Architecture
    from mhmodels.hardware import Answer, Hardware, Job, Runner


class _Request(NamedTuple):
    job: Job
    hardware: Hardware
    runner: Runner


@click.command("bench")
@click.argument("targets", nargs=-1, required=True, metavar="FILE|MODEL...")
@click.option("--hardware", "hardware_ids", multiple=True, metavar="ID...", help="Where to measure; see `mhmodels hardware`.")
@click.option(
    "--runs", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Timed runs a block; at least 50 are made."
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of the runtime, each with a core."
)
@click.option("--fresh", is_flag=True, help="Measure even if the store has an answer.")
@store_option
@json_option
def bench(
    targets: tuple[str, ...],
    hardware_ids: tuple[str, ...],
    runs: int,
    threads: int,
    fresh: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Measure latency on hardware and store it.

    A MODEL is measured with random weights, in the format that each hardware takes; a FILE is a .tflite file. Without
    --hardware a MODEL goes to the default five and a FILE to those of them that take its format. Each row is stored as
    it arrives; an identical request is answered from there. × means that the whole network does not run there.
    """
    from mhmodels.hardware import answer, split_hardware
    from mhmodels.store import Store

    words, ids = split_hardware(targets, hardware_ids)
    if not words:
        raise click.UsageError("nothing to measure: give a FILE or MODEL besides the hardware")
    answers = []
    with Store(store) as rows, _progress() as advance:
        requests = _requests(words, ids, runs, threads, advance)
        for place, request in enumerate(requests):
            advance(f"{request.job.model} on {request.hardware.id}", place, len(requests))
            answers.append(answer(*request, store=rows, fresh=fresh))
        where = str(rows.path)
    if as_json:
        import msgspec

        rows_json = [{**msgspec.structs.asdict(row), "from_store": from_store} for row, from_store in answers]
        emit_json({"store": where, "rows": rows_json})
        return
    _print(answers)
    note(f"stored in {where}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, gone when done; silent where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    err = progress_console()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("preparing", total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def _requests(
    targets: Sequence[str], ids: Sequence[str], runs: int, threads: int, advance: Callable[[str, int, int], None]
) -> list[_Request]:
    """Every target on every hardware, all checked before the first is measured."""
    from mhmodels.errors import UnknownNameError
    from mhmodels.hardware import DEFAULT_HARDWARE, get_hardware
    from mhmodels.hardware.measuring import check, prepare
    from mhmodels.hardware.registry import list_hardware
    from mhmodels.registry import resolve

    requests: list[_Request] = []
    for place, target in enumerate(targets):
        advance(f"preparing {target}", place, len(targets))
        if _is_file(target):
            job = prepare(target, runs=runs, threads=threads)
            chosen = ids or [i for i in DEFAULT_HARDWARE if get_hardware(i)[0].format == job.format]
            if not chosen:
                known = [entry.id for entry, _ in list_hardware() if entry.format == job.format]
                raise UnknownNameError("default hardware for format", job.format, known, "(choose one with --hardware)")
            jobs = {get_hardware(name)[0].format: job for name in chosen}
        else:
            architecture = resolve(target)
            chosen = ids or list(DEFAULT_HARDWARE)
            formats = dict.fromkeys(get_hardware(name)[0].format for name in chosen)
            jobs = {fmt: _model_job(architecture, target, fmt, runs, threads) for fmt in formats}
        for name in chosen:
            entry, runner = get_hardware(name)
            check(jobs[entry.format], entry, runner)
            requests.append(_Request(jobs[entry.format], entry, runner))
    return requests


def _is_file(target: str) -> bool:
    return target.endswith(".tflite") or (Path(target).is_file() and not target.endswith(".json"))


def _model_job(architecture: Architecture, label: str, fmt: str, runs: int, threads: int) -> Job:
    """A network with random weights as a file in the cache, where it is written once."""
    from typing import cast, get_args

    from export.latency import LatencyFormat, latency_file
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import prepare
    from mhmodels.hardware.places import cache_path

    if fmt not in get_args(LatencyFormat):
        raise MeasurementError(f"{label}: no file with random weights can be made in {fmt}; export it and give the FILE")
    path = latency_file(architecture, cast("LatencyFormat", fmt), cache_path() / "latency")
    return prepare(
        path, label=label, architecture_id=architecture.architecture_id, weights="random-v1", runs=runs, threads=threads
    )


def _print(answers: Sequence[Answer]) -> None:
    from rich.table import Table

    from mhmodels.hardware import UNSUPPORTED

    table = Table("model", "format", "hardware", "median ms", "kind", "±MAD", "min … max ms", "nodes", "remarks")
    for row, from_store in answers:
        latency = UNSUPPORTED if row.median_ms is None else f"{row.median_ms:.4g}"
        spread = "" if row.mad_ratio is None else f"{row.mad_ratio:.1%}"
        extremes = "" if row.min_ms is None or row.max_ms is None else f"{row.min_ms:.4g} … {row.max_ms:.4g}"
        nodes = "" if row.total_nodes is None else f"{row.delegated_nodes}/{row.total_nodes}"
        remarks = [row.reason, "noisy" if row.noisy else "", "from store" if from_store else ""]
        table.add_row(
            row.model,
            row.format,
            row.hardware,
            latency,
            row.kind,
            spread,
            extremes,
            nodes,
            ", ".join(remark for remark in remarks if remark),
        )
    console().print(table)
