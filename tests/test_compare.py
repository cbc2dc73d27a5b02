"""The comparison, its table and its command, with made-up measurements: no runtime and no compiler runs here."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from mhmodels import resolve
from mhmodels.cli import compare as command
from mhmodels.cli.main import cli
from mhmodels.errors import MeasurementError, StoreError
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.protocol import Hardware, Job
from mhmodels.report.building import compare, subjects
from mhmodels.report.comparison import Comparison
from mhmodels.report.measuring import measure_comparison
from mhmodels.report.table import ComparisonTable, footnotes, line, three_digits

from .hardware_families import add_family, remove_family

HARDWARE = ("host-cpu-float32", "host-cpu-int8", "ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
MODELS = ("mobilenet_v1@1.25", "mobilenet_v3_large", "multi_avg", "multi_max")


def measurement(hardware: str, ms: float | None, **fields: Any) -> Measurement:
    npu = hardware.startswith("ethos")
    rest: dict[str, Any] = {
        "model_hash": "0" * 64,
        "model": "whatever the store called it",
        "format": "float32" if hardware.endswith("float32") else "int8",
        "kind": "estimated" if npu else "measured",
        "file_bytes": 1,
        "device": hardware if npu else "A processor",
        "runtime": "" if npu else "LiteRT 2",
        "compiler": "Vela 5" if npu else "",
        "time": "2026-01-01T00:00:00Z",
        "weights": "random-v1",
        "reason": "" if ms else "3 of 190 operators stay on the CPU",
    }
    return Measurement(hardware=hardware, median_ms=ms, **(rest | fields))


def comparison(
    reference: str = "mobilenet_v1", models: Sequence[str] = MODELS, refused: str = "mobilenet_v3_large"
) -> Comparison:
    base, *compared = subjects(resolve(model) for model in (reference, *models))
    cells = {}
    for i, subject in enumerate((base, *compared)):
        for j, hardware in enumerate(HARDWARE):
            stays = subject.label == refused and hardware.startswith("ethos")
            cells[subject.id, hardware] = measurement(hardware, None if stays else (2 + i) * (j + 1.0), noisy=i == 2 and j == 1)
    return compare(compared, base, HARDWARE, cells)


def printed(table: ComparisonTable, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def test_rows_have_norms_kinds_and_sizes() -> None:
    result = comparison()
    row = result.rows[3]
    assert (row.model, row.label, row.width_multiplier) == ("multi_max", "multi_max", 1.0)
    assert row.params == 4_389_280
    assert row.madds == 349_176_352
    assert row.mn_norm_avg == pytest.approx(3.0)
    assert row.mn_norm_max == pytest.approx(3.0)
    assert row.kind == {hardware: "estimated" if hardware.startswith("ethos") else "measured" for hardware in HARDWARE}
    assert row.published is not None
    assert (row.published.mn_norm_avg, row.published.mn_norm_max) == (0.91, 1.10)
    assert (result.rows[0].model, result.rows[0].label, result.rows[0].width_multiplier) == (
        "mobilenet_v1",
        "mobilenet_v1@1.25",
        1.25,
    )
    assert result.reference.mn_norm_avg == result.reference.mn_norm_max == 1.0


def test_refused_network_has_no_norm_and_a_reason() -> None:
    row = comparison().rows[1]
    assert row.latency_ms["ethos-u55-128"] is None
    assert row.latency_ms["host-cpu-float32"] is not None
    assert row.mn_norm_avg is row.mn_norm_max is row.slowest is None
    assert set(row.reason) == {"ethos-u55-128", "ethos-u65-256", "ethos-u85-256"}


def test_refused_reference_leaves_all_without_norms() -> None:
    result = comparison(reference="mobilenet_v3_large", models=("multi_max",))
    assert result.rows[0].mn_norm_avg is None
    assert any("no model has an MN-Norm" in note for note in footnotes(result))


def test_slowest_hardware_is_that_of_the_maximum() -> None:
    base, model = subjects([resolve("mobilenet_v1"), resolve("multi_max")])
    cells = {(s.id, h): measurement(h, 1.0) for s in (base, model) for h in HARDWARE}
    cells[model.id, "ethos-u65-256"] = measurement("ethos-u65-256", 7.0)
    (row,) = compare([model], base, HARDWARE, cells).rows
    assert row.slowest == "ethos-u65-256"
    assert row.mn_norm_max == 7.0


def test_a_growing_table_leaves_unfinished_rows_out() -> None:
    base, first, second = subjects(map(resolve, ("mobilenet_v1", "multi_avg", "multi_max")))
    cells = {(s.id, h): measurement(h, 1.0) for s in (base, first) for h in HARDWARE}
    assert [row.label for row in compare([first, second], base, HARDWARE, cells).rows] == ["multi_avg"]


def test_same_name_of_different_networks_and_same_network_twice() -> None:
    plain, other = resolve("multi_max"), resolve("multi_max").at(classes=10)
    labels = [subject.label for subject in subjects([plain, other, plain])]
    assert labels == ["multi_max", f"multi_max#{other.architecture_id[:8]}", "multi_max"]
    assert compare(subjects([other]), *_cells(other)).rows[0].published is None


def _cells(architecture: Any) -> tuple[Any, Any, Any]:
    (base,) = subjects([resolve("mobilenet_v1")])
    ids = (base.id, architecture.architecture_id)
    return base, HARDWARE, {(name, hardware): measurement(hardware, 1.0) for name in ids for hardware in HARDWARE}


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("paper", [False, True])
def test_table_fits_and_cuts_no_figure(width: int, paper: bool) -> None:
    text = printed(ComparisonTable(comparison(), paper=paper), width)
    assert all(len(row.rstrip()) <= width for row in text.splitlines())
    assert "…" not in text
    assert "×" in text
    assert "3.00 3.00" in " ".join(text.split())
    assert ("0.91" in text) == paper


def test_labels_are_no_markup() -> None:
    (base,) = subjects([resolve("mobilenet_v1").at(name="mine[/red]")])
    cells = {(base.id, hardware): measurement(hardware, 1.0) for hardware in HARDWARE}
    assert "mine[/red]" in printed(ComparisonTable(compare([base], base, HARDWARE, cells)), 160)


def test_wide_table_names_the_kind_of_every_column() -> None:
    head = printed(ComparisonTable(comparison(), paper=True), 160).split("────")[0]
    assert head.count("measured") == 2
    assert head.count("estimated") == 3
    assert head.count("published") == 2


def test_footnotes_say_what_must_be_known() -> None:
    text = "\n".join(footnotes(comparison(), paper=True))
    assert "estimated: ethos-u55-128, ethos-u65-256, ethos-u85-256: each is a compiler's estimate" in text
    assert "3 of 5 columns and dominate avg" in text
    assert "mobilenet_v3_large: 3 of 190 operators stay on the CPU" in text
    assert "~ noisy" in text
    assert "random-v1" in text
    assert "Pixel 4" in text
    assert "host-cpu-float32, host-cpu-int8: measured, A processor, LiteRT 2, 1 thread." in text
    assert "ethos-u55-128, ethos-u65-256, ethos-u85-256: estimated, Vela 5." in text


def test_norms_of_noisy_latencies_are_marked_wherever_they_stand() -> None:
    """In the table, in the log and in JSON; a noisy reference marks every norm."""
    base, model, other = subjects([resolve(name) for name in ("mobilenet_v1", "multi_max", "multi_avg")])
    for noisy, marks in ((model, [False, True, False]), (base, [True, True, True])):
        cells = {
            (s.id, h): measurement(h, 1.0 + (s is model), noisy=s is noisy and h == "host-cpu-int8")
            for s in (base, model, other)
            for h in HARDWARE
        }
        result = compare([base, model, other], base, HARDWARE, cells)
        assert [row.mn_norm_noisy for row in result.rows] == marks
        assert [("~" in line(row).rsplit("MN-Norm", 1)[1]) for row in result.rows] == marks
        assert json.loads(msgspec.json.encode(command.document(result)))["rows"][1]["mn_norm_noisy"]
        lines = [text for text in printed(ComparisonTable(result), 160).splitlines() if text.strip().startswith("multi_max")]
        assert lines[0].split()[-2:] == ["~2.00", "~2.00"]


def test_reference_that_was_asked_for_is_not_shown_twice() -> None:
    text = printed(ComparisonTable(comparison(models=("mobilenet_v1", "multi_max"))), 160)
    assert sum(row.strip().startswith("mobilenet_v1 ") for row in text.splitlines()) == 1


def test_log_line_names_kinds() -> None:
    text = line(comparison().rows[1])
    assert text.startswith("mobilenet_v3_large: host-cpu-float32 4.00 measured, host-cpu-int8 ")
    assert "ethos-u55-128 × estimated" in text
    assert text.endswith("MN-Norm avg -, max -")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (54.7, "54.7"),
        (7.12, "7.12"),
        (0.3456, "0.346"),
        (123.4, "123"),
        (9.999, "10.0"),
        (99.96, "100"),
        (0.9996, "1.00"),
        (1234.5, "1234"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


class FakeRunner:
    """Two pretended processors, `fake-a` and `fake-b`; `fake-b` cannot run wide networks."""

    exclusive = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.missing = ""

    def hardware(self) -> Sequence[Hardware]:
        return [Hardware(id=name, format="float32", kind="simulated", description="pretended") for name in ("fake-a", "fake-b")]

    def find(self, hardware_id: str) -> Hardware | None:
        return next((hardware for hardware in self.hardware() if hardware.id == hardware_id), None)

    def unavailable(self, hardware: Hardware) -> str:
        return self.missing if hardware.id == "fake-b" else ""

    def environment(self, hardware: Hardware) -> Environment:
        return Environment(device="pretended")

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        self.asked.append((job.model, hardware.id))
        refused = hardware.id == "fake-b" and job.file_bytes > 1_500_000
        return Measurement(
            model_hash=job.model_hash,
            model=job.model,
            hardware=hardware.id,
            format=job.format,
            kind=hardware.kind,
            file_bytes=job.file_bytes,
            device="pretended",
            time="2026-01-01T00:00:00Z",
            architecture_id=job.architecture_id,
            weights=job.weights,
            median_ms=None if refused else job.file_bytes / 1e5,
            reason="too wide" if refused else "",
            runs=job.runs,
        )


@pytest.fixture
def fake() -> Iterator[FakeRunner]:
    runner = FakeRunner()
    add_family("fake", runner)
    yield runner
    remove_family("fake")


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Architecture files of three small networks: a base, a smaller and a wider one."""
    paths = []
    for name, width in (("base", 0.25), ("small", 0.125), ("wide", 0.5)):
        path = tmp_path / f"{name}.json"
        path.write_bytes(resolve("mobilenet_v1").at(width_multiplier=width, input_size=32, classes=10, name=name).to_json())
        paths.append(str(path))
    return paths


def run(tmp_path: Path, *words: str) -> Any:
    return CliRunner().invoke(cli, ["compare", *words, "--store", str(tmp_path / "results.db")])


def test_command_json_contract(fake: FakeRunner, tiny: list[str], tmp_path: Path) -> None:
    base, small, wide = tiny
    done = run(tmp_path, small, wide, "--hardware", "fake-a", "--hardware", "fake-b", "--reference", base, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["hardware"] == ["fake-a", "fake-b"]
    assert document["reference"]["model"] == "base"
    assert set(document["reference"]["latency_ms"]) == {"fake-a", "fake-b"}
    first, second = document["rows"]
    assert {"model", "width_multiplier", "params", "madds", "latency_ms", "kind", "mn_norm_avg", "mn_norm_max"} <= set(first)
    assert (first["model"], first["width_multiplier"]) == ("small", 0.125)
    expected = first["latency_ms"]["fake-a"] / document["reference"]["latency_ms"]["fake-a"]
    assert first["mn_norm_avg"] == pytest.approx(expected)
    assert first["kind"] == {"fake-a": "simulated", "fake-b": "simulated"}
    assert second["latency_ms"]["fake-b"] is None
    assert second["mn_norm_avg"] is second["mn_norm_max"] is None
    assert second["reason"] == {"fake-b": "too wide"}
    assert fake.asked[:2] == [("base@0.25", "fake-a"), ("base@0.25", "fake-b")]
    assert "small@0.125: fake-a" in done.stderr


def test_command_answers_from_the_store_unless_fresh(fake: FakeRunner, tiny: list[str], tmp_path: Path) -> None:
    base, small, _ = tiny
    words = (small, base, "--hardware", "fake-a,fake-b", "--reference", base)
    assert run(tmp_path, *words).exit_code == 0
    assert len(fake.asked) == 4
    again = run(tmp_path, *words)
    assert len(fake.asked) == 4
    assert "4 of 4 latencies from the store" in again.stderr
    assert run(tmp_path, *words, "--fresh").exit_code == 0
    assert len(fake.asked) == 8


def test_command_needs_no_writable_store_where_every_row_is_known(
    fake: FakeRunner, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, small, wide = tiny
    words = (small, "--hardware", "fake-a,fake-b", "--reference", base)
    first = run(tmp_path, *words, "--json")
    store = tmp_path / "results.db"
    # Root may write anything, so the answer of the system is set.
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) not in (store, tmp_path) or mode != os.W_OK)
    again = run(tmp_path, *words, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    for more in ((*words, "--fresh"), (wide, *words)):
        refused = run(tmp_path, *more)
        assert isinstance(refused.exception, StoreError)
        assert "cannot be written, and not every row that is asked for is in it" in str(refused.exception)
    assert len(fake.asked) == 4


@pytest.mark.usefixtures("fake")
def test_command_prints_the_table(tiny: list[str], tmp_path: Path) -> None:
    base, small, wide = tiny
    done = run(tmp_path, small, wide, "--hardware", "fake-a", "fake-b", "--reference", base)
    assert done.exit_code == 0, done.stderr
    assert "small@0.125" in done.stdout
    assert "×" in done.stdout
    assert "simulator's figure, not a measurement; they make up 2 of 2 columns and dominate avg" in done.stdout


def test_command_refuses_before_it_measures(fake: FakeRunner, tiny: list[str], tmp_path: Path) -> None:
    fake.missing = "no such thing in this machine"
    done = run(tmp_path, tiny[1], "--hardware", "fake-a,fake-b", "--reference", tiny[0])
    assert isinstance(done.exception, MeasurementError)
    assert "fake-b: no such thing in this machine" in str(done.exception)
    assert not fake.asked
    assert "unknown hardware 'fake-z'" in str(run(tmp_path, tiny[1], "--hardware", "fake-z").exception)
    assert "unknown model 'multi_mux'" in str(run(tmp_path, "multi_mux").exception)
    assert run(tmp_path).exit_code == 2
    assert run(tmp_path, "fake-a").exit_code == 2
    assert not fake.asked


def test_what_fails_leaves_the_others(fake: FakeRunner, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that fails, and a name that means nothing, are named at the end with exit code 1; the rest is answered."""
    base, small, wide = tiny
    honest = fake.measure

    def measure(job: Job, hardware: Hardware) -> Measurement:
        if (job.model, hardware.id) == ("small@0.125", "fake-a"):
            raise MeasurementError("the child died")
        return honest(job, hardware)

    monkeypatch.setattr(fake, "measure", measure)
    done = run(tmp_path, "nothing", small, wide, "--hardware", "fake-a,fake-b", "--reference", base, "--json")
    assert isinstance(done.exception, MeasurementError)
    assert "small@0.125 on fake-a: FAILED: the child died" in str(done.exception)
    assert "unknown model 'nothing'" in str(done.exception)
    document = json.loads(done.stdout)
    first, second = document["rows"]
    assert (first["latency_ms"]["fake-a"], first["failed"], first["reason"]) == (None, ["fake-a"], {"fake-a": "the child died"})
    assert first["latency_ms"]["fake-b"] > 0
    assert second["latency_ms"]["fake-a"] > 0
    assert [failure["model"] for failure in document["failures"]] == ["nothing", "small@0.125"]
    assert "? not measured, because it failed: small@0.125 on fake-a" in " ".join(
        run(tmp_path, small, "--hardware", "fake-a,fake-b", "--reference", base).stdout.split()
    )


def test_a_column_that_fails_as_a_whole_leaves_the_norms_of_the_others(
    fake: FakeRunner, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = fake.measure

    def measure(job: Job, hardware: Hardware) -> Measurement:
        if hardware.id == "fake-b":
            raise MeasurementError("gone")
        return honest(job, hardware)

    monkeypatch.setattr(fake, "measure", measure)
    done = run(tmp_path, tiny[1], "--hardware", "fake-a,fake-b", "--reference", tiny[0], "--json")
    assert isinstance(done.exception, MeasurementError)
    document = json.loads(done.stdout)
    assert document["hardware"] == ["fake-a"]
    assert 0 < document["rows"][0]["mn_norm_avg"] < 1
    assert {failure["hardware"] for failure in document["failures"]} == {"fake-b"}

    def nothing_left(job: Job, hardware: Hardware) -> Measurement:
        raise MeasurementError(f"no {hardware.id} for {job.model}")

    monkeypatch.setattr(fake, "measure", nothing_left)
    nothing = run(tmp_path, tiny[2], "--hardware", "fake-a", "--reference", tiny[2], "--json", "--fresh")
    assert (nothing.stdout, str(nothing.exception)) == ("", "wide@0.5 on fake-a: FAILED: no fake-a for wide@0.5")


def test_help_and_module_are_light() -> None:
    heavy = "{'numpy', 'rich', 'tensorflow', 'keras', 'mhmodels.export'}"
    code = f"import sys, mhmodels.cli.compare; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_reference_row_is_measured_first_and_once() -> None:
    base, *compared = subjects(map(resolve, ("mobilenet_v1", "multi_max", "mobilenet_v1")))
    asked = []

    class Pretended:
        hardware = HARDWARE

        def cell(self, subject: Any, hardware_id: str) -> Measurement:
            asked.append((subject.label, hardware_id))
            return measurement(hardware_id, 1.0)

    class Watched:
        finished: tuple[str, ...] = ()

        def cell(self, subject: Any, hardware_id: str) -> None:
            pass

        def row(self, comparison: Comparison, finished: Any) -> None:
            assert not math.isnan(finished.mn_norm_avg)
            self.finished += (finished.label,)

    screen = Watched()
    result = measure_comparison(base, compared, Pretended(), screen)  # type: ignore[arg-type]
    assert [row.label for row in result.rows] == ["multi_max", "mobilenet_v1"]
    assert asked == [(label, hardware) for label in ("mobilenet_v1", "multi_max") for hardware in HARDWARE]
    assert screen.finished == ("mobilenet_v1", "multi_max")
