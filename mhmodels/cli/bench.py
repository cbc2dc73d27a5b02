"""`mhmodels bench`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console, store_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    from mhmodels.hardware.measuring import check
    from mhmodels.store import Store

    words, ids = split_hardware(targets, hardware_ids)
    if not words:
        raise click.UsageError("nothing to measure: give a FILE or MODEL besides the hardware")
    answers = []
    with Store(store) as rows, tempfile.TemporaryDirectory(prefix="mhmodels-") as folder, _progress() as advance:
        requests: list[_Request] = []
        for place, word in enumerate(words):
            advance(f"preparing {word}", place, len(words))
            requests += (
                _file_requests(word, ids, runs, threads) if _is_file(word) else _model_requests(word, ids, runs, threads, folder)
            )
        for request in requests:
            check(*request)
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


def _is_file(target: str) -> bool:
    return target.endswith(".tflite") or (Path(target).is_file() and not target.endswith(".json"))


def _file_requests(file: str, ids: Sequence[str], runs: int, threads: int) -> list[_Request]:
    """A file on every hardware that was asked for, or on those of the default five that take its format."""
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import DEFAULT_HARDWARE, get_hardware, list_hardware, prepare

    job = prepare(file, runs=runs, threads=threads)
    requests = [_Request(job, *get_hardware(name)) for name in ids or DEFAULT_HARDWARE]
    if not ids:
        requests = [request for request in requests if request.hardware.format == job.format]
    if not requests:
        others = " or ".join(entry.id for entry, _ in list_hardware() if entry.format == job.format) or "none known"
        raise MeasurementError(
            f"{file}: computes in {job.format}, which none of the default five takes; choose --hardware ({others})"
        )
    return requests


def _model_requests(model: str, ids: Sequence[str], runs: int, threads: int, folder: str) -> list[_Request]:
    """A network on every hardware, as a file with random weights in the format that each takes."""
    from typing import cast, get_args

    from export.latency import LatencyFormat, latency_file
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import DEFAULT_HARDWARE, get_hardware, prepare
    from mhmodels.registry import resolve

    architecture = resolve(model)
    places = [get_hardware(name) for name in ids or DEFAULT_HARDWARE]
    jobs: dict[str, Job] = {}
    for fmt in dict.fromkeys(hardware.format for hardware, _ in places):
        if fmt not in get_args(LatencyFormat):
            raise MeasurementError(f"{model}: no file with random weights can be made in {fmt}; export it and give the FILE")
        path = latency_file(architecture, cast("LatencyFormat", fmt), Path(folder))
        jobs[fmt] = prepare(
            path, label=model, architecture_id=architecture.architecture_id, weights="random-v1", runs=runs, threads=threads
        )
    return [_Request(jobs[hardware.format], hardware, runner) for hardware, runner in places]


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
