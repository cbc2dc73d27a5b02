"""`mhmodels bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.bench_tables import print_phone_tables, print_rows
from mhmodels.cli.common import emit_json, is_file_target, json_option, note, step_bar, store_option
from mhmodels.cli.phone_answers import PhoneAnswers, PhoneRequest
from mhmodels.cli.phone_options import PhoneOptions, phone_options
from mhmodels.cli.phones import hardware_ids, phone_runner, read_matrix, wanted, with_phones
from mhmodels.errors import MhmodelsError, StoreError
from mhmodels.report.failures import MeasurementFailure, failure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.hardware import Hardware, HardwareCollection, Job, MeasuredRow, Runner
    from mhmodels.store import Store

    Advance = Callable[[str, int, int], None]


class _BenchRequest(NamedTuple):
    job: Job
    hardware: Hardware
    runner: Runner

    @property
    def key(self) -> tuple[str, str, str]:
        return self.job.model_hash, self.job.model, self.hardware.id


class _Destinations(NamedTuple):
    """Where to measure: hardware ids, and phones with delegates, whose format depends on the file."""

    known: HardwareCollection
    ids: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    phones: PhoneRunner

    def names(self, fmt: str | None = None) -> list[str]:
        return list(dict.fromkeys((*self.ids, *hardware_ids(self.pairs, self.phones, fmt))))


@click.command("bench")
@click.argument("targets", nargs=-1, metavar="FILE|MODEL...")
@click.option(
    "--hardware",
    "listed",
    multiple=True,
    metavar="ID...",
    help="Ids of the hardware to measure on, such as host-cpu-int8 or SERIAL/gpu-opencl, separated by blanks or commas "
    "(`mhmodels hardware` and `mhmodels devices` list the ids); may be repeated.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Number of timed inferences per block. On this machine, three to ten blocks are measured, until three of them "
    "agree. On a phone, number of timed inferences over all blocks together.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Number of threads of the TFLite runtime; each thread is pinned to a CPU core of its own.",
)
@click.option("--fresh", is_flag=True, help="Measure even if the store already has the latency.")
@click.option(
    "--matrix",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML or JSON file with models, devices and delegates to measure (docs/phones.md).",
)
@phone_options
@store_option
@json_option
def bench(
    targets: tuple[str, ...],
    listed: tuple[str, ...],
    runs: int,
    threads: int,
    fresh: bool,
    matrix: str | None,
    phones: PhoneOptions,
    store: str | None,
    as_json: bool,
) -> None:
    """Measure latency on hardware and store it.

    A FILE is a .tflite file, or an .onnx file for hardware that takes one. A MODEL is measured with random weights, in the format
    that each hardware takes. Without --hardware, a MODEL is measured on the default five hardware (`mhmodels hardware`), and a
    FILE on those of the five that take its format. Each latency is stored as soon as it is measured. A latency that the store
    already has is not measured again unless it is noisy. A noisy latency is measured up to three times, on phones once. × means
    that the hardware does not run the network as a whole.

    For phones, --device S --delegate D is the same as --hardware S/D (`mhmodels devices` lists phones and delegates). If a
    measurement fails, the others are still made, every failure is listed at the end, and the exit code is 1.
    """
    from mhmodels.registry import resolve
    from mhmodels.store import Store
    from mhmodels.system.temporary import temporary_folder

    runner = phone_runner(phones, store)
    known = with_phones(runner)
    grid = read_matrix(matrix) if matrix else None
    words, ids = known.split_words((*targets, *(grid.models if grid else ())), listed)
    if not words:
        raise click.UsageError("nothing to measure: give a FILE or MODEL besides the hardware")
    places = _Destinations(known, ids, wanted(phones, runner, grid), runner)
    with Store(store, read_only=None) as rows, temporary_folder("bench") as folder, step_bar("preparing") as advance:
        requests = _requests(words, places, runs, threads, folder, advance)
        results = _measure(requests, runner, rows, fresh, advance)
        where = str(rows.path)
    answers = [result for result in results if not isinstance(result, MeasurementFailure)]
    failures = [result for result in results if isinstance(result, MeasurementFailure)]
    if as_json:
        import msgspec

        rows_json = [{**msgspec.structs.asdict(row), "from_store": from_store} for row, from_store in answers]
        emit_json({"store": where, "rows": rows_json, "failures": failures})
    else:
        if answers:
            print_rows(answers)
            print_phone_tables([resolve(word) for word in words if not is_file_target(word)], answers)
            note(f"stored in {where}")
    if failures:
        raise MhmodelsError(failure_text(failures))


def _requests(
    words: Sequence[str], places: _Destinations, runs: int, threads: int, folder: Path, advance: Advance
) -> list[_BenchRequest]:
    """Makes all requests; if one of them cannot be measured, none is."""
    from mhmodels.hardware.measuring import check, check_format

    requests: list[_BenchRequest] = []
    for place, word in enumerate(words):
        advance(f"preparing {word}", place, len(words))
        make = _file_requests if is_file_target(word) else _model_requests
        requests += make(word, places, runs, threads, folder)
    for job, hardware, runner in requests:
        # A phone that is not connected must not keep the others from being measured.
        (check_format(job, hardware) if runner is places.phones else check(job, hardware, runner))
    return list({request.key: request for request in requests}.values())


def _measure(
    requests: Sequence[_BenchRequest], phones: PhoneRunner, store: Store, fresh: bool, advance: Advance
) -> list[MeasuredRow | MeasurementFailure]:
    """Answers in the order of the requests; this machine is measured first, then all phones at the same time."""
    results: dict[tuple[str, str, str], MeasuredRow | MeasurementFailure] = {}
    for request in requests:
        if request.runner is not phones:
            advance(f"{request.job.model} on {request.hardware.id}", len(results), len(requests))
            results[request.key] = _here(request, store, fresh)
    on_phones = [PhoneRequest(request.job, request.hardware) for request in requests if request.runner is phones]

    def tell(text: str) -> None:
        advance(text, len(results), len(requests))
        if not sys.stderr.isatty():
            note(text)

    for (job, hardware), result in PhoneAnswers(phones, store, fresh=fresh, tell=tell).answers(on_phones):
        results[job.model_hash, job.model, hardware.id] = result
    return [results[request.key] for request in requests]


def _here(request: _BenchRequest, store: Store, fresh: bool) -> MeasuredRow | MeasurementFailure:
    """Measures one request on this machine. A file that cannot be measured does not keep others from it.

    Raises:
        StoreError: A row cannot be read or kept.
    """
    from mhmodels.hardware import answer

    try:
        return answer(*request, store=store, fresh=fresh, tell=note)
    except StoreError:
        raise
    except MhmodelsError as error:
        return MeasurementFailure(model=request.job.model, hardware=request.hardware.id, status="FAILED", reason=str(error))


def _file_requests(file: str, places: _Destinations, runs: int, threads: int, _: Path) -> list[_BenchRequest]:
    """Requests for a file on every given hardware, or on those of the default five that take its format."""
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware import DEFAULT_HARDWARE, prepare

    job = prepare(file, runs=runs, threads=threads)
    names = places.names(job.format)
    requests = [_BenchRequest(job, *places.known.get(name)) for name in names or DEFAULT_HARDWARE]
    if not names:
        requests = [request for request in requests if request.hardware.format == job.format]
    if not requests:
        others = " or ".join(entry.id for entry, _ in places.known.entries() if entry.format == job.format) or "none known"
        raise MeasurementError(
            f"{file}: computes in {job.format}, which none of the default five takes; choose --hardware ({others})"
        )
    return requests


def _model_requests(model: str, places: _Destinations, runs: int, threads: int, folder: Path) -> list[_BenchRequest]:
    """Requests for a model on every hardware, as a file with random weights in the format that each takes."""
    from mhmodels.export.writing.latency import latency_job
    from mhmodels.hardware import DEFAULT_HARDWARE
    from mhmodels.registry import resolve

    architecture = resolve(model)
    where = [places.known.get(name) for name in places.names() or DEFAULT_HARDWARE]
    jobs: dict[str, Job] = {}
    for hardware, _ in where:
        if hardware.format not in jobs:
            jobs[hardware.format] = latency_job(architecture, hardware, folder, label=model, runs=runs, threads=threads)
    return [_BenchRequest(jobs[hardware.format], hardware, runner) for hardware, runner in where]
