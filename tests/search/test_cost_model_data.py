"""Latencies from files and from the store."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mhmodels.errors import FileFormatError, MhmodelsError
from mhmodels.formats.numbers import decimal
from mhmodels.hardware import Measurement
from mhmodels.hardware.measurement import Turns
from mhmodels.registry import get_architecture
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.latencies.samples import read_samples, write_samples
from mhmodels.search.cost_model.latencies.stored import stored_latencies
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

ORIGIN = LatencyOrigin("some-phone")


def space_of(name: str) -> ArchitectureSpace:
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    return space


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row_of(model: str, architecture_id: str, ms: float | None, **fields: Any) -> Measurement:
    values = {"device": "phone", "runtime": "LiteRT 2", "hardware": "some-phone", "format": "int8", "kind": "measured", **fields}
    return Measurement(
        model_hash=architecture_id, model=model, file_bytes=1, time="2026-01-01T00:00:00+00:00", architecture_id=architecture_id,
        median_ms=ms, reason="" if ms else "a part runs elsewhere", **values,
    )  # fmt: skip


def test_samples_with_latencies_come_back(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    drawn = sample(space, 30, 1)
    path = tmp_path / "samples.jsonl"
    write_samples(drawn, space, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for i, row in enumerate(rows):
        row["ms"] = 1.0 + i if i != 4 else None
    found = read_latencies(lines(path, rows), space, ORIGIN)
    assert found.ms.tolist() == [1.0 + i for i in range(30) if i != 4]
    assert (found.encodings == drawn.encodings[[i for i in range(30) if i != 4]]).all()
    assert found.distributions == tuple(name for i, name in enumerate(drawn.distributions) if i != 4)
    assert found.remarks == ("1 of 30 architectures have no latency and were left out",)


def test_a_sample_file_s_architectures_are_whole(tmp_path: Path) -> None:
    space = space_of("ofa_mobilenet_v3")
    drawn = sample(space, 5, 1)
    write_samples(drawn, space, tmp_path / "samples.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [row["architecture_id"] for row in rows] == [one.architecture_id for one in space.build_all(drawn.encodings)]
    for row in rows:
        del row["encoding"]
        row["latency_ms"] = 3
    found = read_latencies(lines(tmp_path / "others.jsonl", rows), space, ORIGIN)
    assert (found.encodings == drawn.encodings).all()


def test_csv_by_encoding_and_by_name(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    label = space.label(space.encode(get_architecture("multi_avg")))
    path = tmp_path / "latencies.csv"
    path.write_text(f"encoding,architecture,median_ms\n{label},,4.5\n,multi_max,3.25\n")
    found = read_latencies(path, space, ORIGIN)
    assert found.ms.tolist() == [4.5, 3.25]
    assert [space.build(row).architecture_id for row in found.encodings] == [
        get_architecture(name).architecture_id for name in ("multi_avg", "multi_max")
    ]


def test_repeated_networks_count_once_with_their_median(tmp_path: Path) -> None:
    """Also where the repetition has its skips elsewhere."""
    space = space_of("multi_hardware")
    own = space.encode(get_architecture("multi_max"))
    moved = own.copy()
    group = list(space.groups[1])
    moved[group] = own[group][::-1]
    moved_again = space.canonical(moved[None])[0]
    assert (moved != own).any()
    rows = [{"encoding": row.tolist(), "ms": ms} for row, ms in ((moved, 2.0), (moved_again, 4.0), (moved, 9.0), (own, 1.0))]
    found = read_latencies(lines(tmp_path / "a.jsonl", rows), space, ORIGIN)
    assert found.ms.tolist() == [3.0]
    assert "repeated architectures" in found.remarks[0]
    assert "those of one differ up to 9-fold" in found.remarks[0]


def test_tables_that_were_cut_or_written_with_decimal_commas(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    path = tmp_path / "latencies.csv"
    path.write_text("architecture,hardware,ms\nmulti_max,a-phone,2.5\nmulti_avg,a-phone,3,5\n")
    with pytest.raises(FileFormatError, match=r"line 3 has 4 fields, the header 3; .* decimals by points"):
        read_latencies(path, space, ORIGIN._replace(hardware="a-phone"))
    path.write_text("architecture,hardware,ms\nmulti_max,a-phone,2.5\nmulti_avg,a-phone,3")
    (remark,) = read_latencies(path, space, ORIGIN._replace(hardware="a-phone")).remarks
    assert "the last line has no line end" in remark
    with pytest.raises(CostModelError, match="no row is of hardware 'nosuch'; those that there are: a-phone"):
        read_latencies(path, space, ORIGIN._replace(hardware="nosuch"))


def test_a_quote_that_is_not_closed_swallows_no_lines(tmp_path: Path) -> None:
    space, path = space_of("multi_hardware"), tmp_path / "latencies.csv"
    path.write_text('architecture,distribution,ms\nmulti_max,,2.5\nmulti_avg,"depth,3.5\nmulti_max,,2.5\n')
    for read in (lambda: read_latencies(path, space, ORIGIN), lambda: read_samples(path, space)):
        with pytest.raises(FileFormatError, match=r"latencies\.csv: line 3: .*; expected .* every quote closed"):
            read()
    path.write_text('architecture,ms\nmulti_max,"2.5"\n')
    assert read_latencies(path, space, ORIGIN).ms.tolist() == [2.5]


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "latencies.jsonl"
    path.write_text('{"architecture": "multi_max", "ms": 2.5}\n', encoding="utf-8-sig")
    assert read_latencies(path, space_of("multi_hardware"), ORIGIN).ms.tolist() == [2.5]


def test_a_table_of_another_space_or_version_is_told_by_its_provenance(tmp_path: Path) -> None:
    """Encodings of a table carry no schema, and mean other networks in a space that was declared otherwise."""
    space, path = space_of("multi_hardware"), tmp_path / "latencies.csv"
    path.write_text("architecture,ms\nmulti_max,2.5\n")
    beside = path.with_suffix(".json")
    provenance = {"format": "mhmodels.latencies/1", "space": "multi_hardware", "environments": {}}
    for schema in (space.schema, "0123"):
        beside.write_text(json.dumps({**provenance, "schema": schema}))
        for read in (lambda: read_latencies(path, space, ORIGIN).encodings, lambda: read_samples(path, space).encodings):
            if schema == space.schema:
                assert len(read()) == 1
                continue
            with pytest.raises(SpaceError, match=r"latencies\.csv: latencies\.json .* schema 0123, but space 'multi_hardware'"):
                read()
    for other in ('{"format": "mhmodels.cost_model/1", "schema": "0123"}', "[1]", '{"title": "mine"}'):
        beside.write_text(other)
        assert read_latencies(path, space, ORIGIN).ms.tolist() == [2.5]


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: json.dumps(document)[:-2],
        lambda document: json.dumps(document).replace('"format"', '"farmat"'),
        lambda document: json.dumps(document | {"format": "mhmodels.latencies/9"}),
        lambda document: json.dumps(document | {"environments": []}),
        lambda document: json.dumps({name: value for name, value in document.items() if name != "schema"}),
        lambda document: json.dumps(document | {"baselines": {"some-phone": [{"model": "x"}]}}),
        lambda _: "[" * 100_000,
        lambda _: "",
        lambda document: json.dumps(document).replace("multi", "m\udc00lti", 1),
    ],
)
def test_a_damaged_provenance_is_refused_wherever_its_table_is_read(tmp_path: Path, damage: Any) -> None:
    """It would cost environment, baselines and the check of the schema without a word."""
    space, path = space_of("multi_hardware"), tmp_path / "latencies.csv"
    path.write_text("architecture,ms\nmulti_max,2.5\n")
    document = {"format": "mhmodels.latencies/1", "space": "multi_hardware", "schema": space.schema, "environments": {}}
    path.with_suffix(".json").write_text(damage(document), errors="surrogatepass")
    for read in (lambda: read_latencies(path, space, ORIGIN), lambda: read_samples(path, space)):
        with pytest.raises(FileFormatError, match=r"latencies\.json: damaged, .*restore it, or move it away"):
            read()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"encoding": [1, 2], "ms": 1}', "line 2: .*is 25 whole numbers, one a decision; found 2 of them"),
        ('{"encoding": "0:1", "ms": 1}', "line 2"),
        ('{"ms": 1}', "line 2: neither 'encoding' nor 'architecture'"),
        ('{"encoding": ENCODING, "ms": -1}', "line 2: field 'ms' is -1, expected finite milliseconds above 0"),
        ('{"encoding": ENCODING, "ms": 0}', "line 2: field 'ms' is 0"),
        ('{"encoding": ENCODING, "ms": NaN}', "line 2: not JSON"),
        ('{"encoding": ENCODING, "ms": "fast"}', "line 2: field 'ms' is 'fast'"),
        ('{"encoding": ENCODING, "ms": "nan"}', "line 2: field 'ms' is 'nan'"),
        ('{"encoding": ENCODING, "ms": 1e-310}', "line 2: field 'ms' is 1e-310, expected finite milliseconds above 0"),
        ('{"encoding": ENCODING, "ms": 1e200}', "line 2: field 'ms' is 1e.200"),
        ('{"encoding": ENCODING, "ms": ' + "9" * 400 + "}", "line 2: "),
        ("[" * 100_000, "line 2: not JSON"),
        ('{"encoding": ENCODING, "ms": 1, "schema": "0000"}', "line 2: field 'schema' is '0000'"),
        ('{"architecture": {"format": "x"}, "ms": 1}', "line 2: architecture: field 'format'"),
        ('{"architecture": "multi_mox", "ms": 1}', "line 2: unknown model 'multi_mox'"),
        ("[1, 2]", "line 2: found .* expected an object"),
        ("{", "line 2: not JSON"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    space = space_of("multi_hardware")
    good = json.dumps(space.encode(get_architecture("multi_max")).tolist())
    path = tmp_path / "latencies.jsonl"
    path.write_text(f'{{"encoding": {good}, "ms": 2}}\n' + line.replace("ENCODING", good) + "\n")
    with pytest.raises(MhmodelsError, match=message) as caught:
        read_latencies(path, space, ORIGIN)
    assert str(path) in str(caught.value)


def test_no_latency_at_all_and_no_file(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    write_samples(sample(space, 5, 0), space, tmp_path / "samples.jsonl")
    with pytest.raises(CostModelError, match="none of 5 architectures has a latency"):
        read_latencies(tmp_path / "samples.jsonl", space, ORIGIN)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_latencies(tmp_path / "missing.jsonl", space, ORIGIN)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileFormatError, match="expected 'encoding' or 'architecture'"):
        read_latencies(tmp_path / "other.csv", space, ORIGIN)


def test_the_store_s_samples_and_a_file_s_missing_latencies(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    drawn = sample(space, 12, 3)
    write_samples(drawn, space, tmp_path / "samples.jsonl")
    with Store(tmp_path / "results.db") as store:
        with pytest.raises(CostModelError, match="no samples of space 'multi_hardware' on some-phone"):
            stored_latencies(store, space, "some-phone")
        for i, one in enumerate(space.build_all(drawn.encodings)):
            store.add(row_of(one.name, one.architecture_id, None if i == 2 else 5.0 + i))
            store.add(row_of(one.name, one.architecture_id, 50.0 + i, hardware="another"))
        store.add(row_of("mobilenet_v1", "1234", 7.0))
        found = stored_latencies(store, space, "some-phone")
        joined = read_latencies(tmp_path / "samples.jsonl", space, ORIGIN, store)
        (tmp_path / "own.csv").write_text("architecture,ms\nmulti_max,2\n")
        assert "results.db was not looked at" in read_latencies(tmp_path / "own.csv", space, ORIGIN, store).remarks[0]
    assert sorted(found.ms.tolist()) == [5.0 + i for i in range(12) if i != 2]
    assert found.remarks == ("1 of 12 architectures do not run there",)
    assert found.origin.environment is not None
    assert (found.origin.environment.device, found.origin.file_format) == ("phone", "int8")
    assert joined.ms.tolist() == [5.0 + i for i in range(12) if i != 2]
    assert joined.origin == found.origin
    assert {space.label(row): ms for row, ms in zip(found.encodings, found.ms, strict=True)} == {
        space.label(row): ms for row, ms in zip(joined.encodings, joined.ms, strict=True)
    }


def test_a_timing_alone_hides_none_that_was_made_in_turns(tmp_path: Path) -> None:
    """`bench` of a sampled network, after its collection."""
    space = space_of("multi_hardware")
    drawn = sample(space, 3, 1)
    turns = Turns(model="reference", model_hash="r" * 64, own_ms=(2.0,) * 5, reference_ms=(1.0,) * 5)
    path = lines(tmp_path / "samples.jsonl", [{"encoding": row.tolist()} for row in drawn.encodings])
    with Store(tmp_path / "results.db") as store:
        for row in drawn.encodings:
            store.add(row_of(space.label(row), space.build(row).architecture_id, 2.0, turns=turns))
        store.add(row_of("mine.tflite", space.build(drawn.encodings[1]).architecture_id, 3.0))
        assert stored_latencies(store, space, "some-phone").ms.tolist() == pytest.approx([2.0] * 3)
        assert read_latencies(path, space, ORIGIN, store).ms.tolist() == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("where", [{}, {"kind": "measured"}])
def test_a_noisy_timing_hides_none_that_is_not(tmp_path: Path, where: dict[str, str]) -> None:
    space = space_of("multi_hardware")
    (one,) = space.build_all(sample(space, 1, 1).encodings)
    with Store(tmp_path / "results.db") as store:
        for ms, noisy in ((6.0, False), (5.0, False), (4.0, True), (3.0, True)):
            store.add(row_of(one.name, one.architecture_id, ms, noisy=noisy))
        assert stored_latencies(store, space, "some-phone", where).ms.tolist() == [5.0]
        store.add(row_of(one.name, one.architecture_id, 9.0, noisy=True, driver="2"))
        assert stored_latencies(store, space, "some-phone", where).ms.tolist() == [9.0]


def test_a_setting_without_a_value_is_none(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    networks = space.build_all(sample(space, 2, 3).encodings)
    with Store(tmp_path / "results.db") as store:
        for i, (one, configuration) in enumerate(zip(networks, [{"a": None}, {}], strict=True)):
            store.add(row_of(one.name, one.architecture_id, 5.0 + i, configuration=configuration))
        assert sorted(stored_latencies(store, space, "some-phone").ms) == [5.0, 6.0]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("configuration", [{"mode": "burst"}, {"mode": "sustained"}]),
        ("configuration", [{"fixed_clocks": True}, {}]),
        ("batch", [1, 4]),
        ("threads", [1, 2]),
        ("kind", ["measured", "estimated"]),
        ("driver", ["1", "2"]),
    ],
)
def test_rows_of_different_conditions_are_chosen_not_mixed(tmp_path: Path, field: str, values: list[Any]) -> None:
    space = space_of("multi_hardware")
    networks = space.build_all(sample(space, 6, 3).encodings)
    with Store(tmp_path / "results.db") as store:
        for i, one in enumerate(networks):
            store.add(row_of(one.name, one.architecture_id, 5.0 + i, **{field: values[i % 2]}))
        with pytest.raises(CostModelError, match=rf"field '{field}.* for .*choose one of them: .* or "):
            stored_latencies(store, space, "some-phone")
        name, value = field, values[0]
        if isinstance(value, dict):
            ((setting, value),) = value.items()
            name = f"configuration.{setting}"
        where = {name: value if isinstance(value, str) else json.dumps(value)}
        assert sorted(stored_latencies(store, space, "some-phone", where).ms) == [5.0, 7.0, 9.0]
        with pytest.raises(CostModelError, match=rf"no latencies where '{name}' is 'nonsense': it is "):
            stored_latencies(store, space, "some-phone", {name: "nonsense"})


@pytest.mark.parametrize("note", ["text", 3, ["x"], None, {"distribution": 5}, {"distribution": None}])
def test_notes_of_a_row_that_are_none_of_ours_are_passed_over(tmp_path: Path, note: Any) -> None:
    space = space_of("multi_hardware")
    (one,) = space.build_all(sample(space, 1, 3).encodings)
    with Store(tmp_path / "results.db") as store:
        store.add(row_of(one.name, one.architecture_id, 5.0, device_state={"collect": note}))
        assert stored_latencies(store, space, "some-phone").distributions == ()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("architecture,ms,ms", "column 'ms' is there twice"),
        ("architecture, ms,x", "' ms' should be 'ms'"),
        ("architecture,Latency_ms,x", "'Latency_ms' should be 'latency_ms'"),
        ("architecture,LATENCY (MS),x", "should be 'latency_ms'"),
        ("architecture,latency,x", "'latency' should be 'latency_ms'"),
        ("Architecture,ms,x", "'Architecture' should be 'architecture'"),
        ("architecture,ms,Hardware", "'Hardware' should be 'hardware'"),
        ("architecture,ms,latency_ms", "several latencies, 'ms' 2.5 and 'latency_ms' 3"),
    ],
)
def test_columns_that_would_win_or_be_passed_over_in_silence(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "latencies.csv"
    path.write_text(f"{header}\nmulti_max,2.5,3\n")
    with pytest.raises(FileFormatError, match=re.escape(message)):
        read_latencies(path, space_of("multi_hardware"), ORIGIN)


@pytest.mark.parametrize("text", ["12_18994", "١٢.٥", "１２", "0x10", "1e", "--1", "1,5", "12.5ms", "1e999", "∞", "1 2"])
def test_numbers_that_only_python_reads_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="decimal number"):
        decimal(text)
    path = tmp_path / "latencies.tsv"
    path.write_text(f"architecture\tms\nmulti_max\t{text}\n")
    with pytest.raises(FileFormatError, match=r"line 2: field 'ms' is .*expected milliseconds"):
        read_latencies(path, space_of("multi_hardware"), ORIGIN)


@pytest.mark.parametrize(
    ("text", "value"), [("2.5", 2.5), (" 2.5 ", 2.5), ("+.5", 0.5), ("5.", 5), ("1e-3", 0.001), ("2.5E+1", 25)]
)
def test_tables_with_tabs_and_decimal_numbers_are_read(tmp_path: Path, text: str, value: float) -> None:
    path = tmp_path / "latencies.tsv"
    path.write_text(f"architecture\tms\nmulti_max\t{text}\n")
    assert read_latencies(path, space_of("multi_hardware"), ORIGIN).ms.tolist() == [value]


def test_a_path_with_nul_is_a_wrong_line(tmp_path: Path) -> None:
    path = tmp_path / "latencies.csv"
    path.write_text("architecture,ms\na\0b.json,2.5\n")
    with pytest.raises(FileFormatError, match=r"latencies\.csv"):
        read_latencies(path, space_of("multi_hardware"), ORIGIN)


def test_latencies_of_different_devices_are_not_mixed(tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    with Store(tmp_path / "results.db") as store:
        for i, one in enumerate(space.build_all(sample(space, 4, 3).encodings)):
            store.add(row_of(one.name, one.architecture_id, 5.0, device=f"phone {i % 2}"))
        with pytest.raises(CostModelError, match=r"field 'device' is 'phone 0' .*'phone 1' .*: "):
            stored_latencies(store, space, "some-phone")


def test_bursts_and_sustained_runs_of_a_phone_are_kept_apart(tmp_path: Path) -> None:
    """Neither a file completed from the store nor the baselines beside samples mix the modes of a phone."""
    space = space_of("multi_hardware")
    drawn = sample(space, 6, 3)
    path = lines(tmp_path / "samples.jsonl", [{"encoding": row.tolist()} for row in drawn.encodings])
    modes = ("burst", "sustained")
    with Store(tmp_path / "results.db") as store:
        for i, one in enumerate(space.build_all(drawn.encodings)):
            store.add(row_of(one.name, one.architecture_id, 5.0 + i, configuration={"mode": modes[i % 2]}))
        for mode, ms in zip(modes, (7.0, 70.0), strict=True):
            store.add(row_of("mobilenet_v1", "1234", ms, configuration={"mode": mode}))
            store.add(row_of("mobilenet_v2", "5678", ms, configuration={"mode": mode}, batch=4))
        with pytest.raises(CostModelError, match=r"field 'configuration\.mode' is 'burst' .* 'sustained'") as error:
            read_latencies(path, space, "some-phone", store)
        assert "argument 'where'" in str(error.value)
        for place, mode in enumerate(modes):
            where = {"configuration.mode": mode}
            for found in (
                read_latencies(path, space, "some-phone", store, where),
                stored_latencies(store, space, "some-phone", where),
            ):
                assert sorted(found.ms) == [5.0 + i for i in range(place, 6, 2)]
                assert found.origin.environment is not None
                assert found.origin.environment.configuration == {"mode": mode}
                assert [(one.model, one.ms) for one in found.origin.baselines] == [("mobilenet_v1", (7.0, 70.0)[place])]


@pytest.mark.parametrize("mode", ["burst", "sustained"])
def test_a_table_of_one_mode_is_not_completed_from_rows_of_another(mode: str, tmp_path: Path) -> None:
    space = space_of("multi_hardware")
    own, other = space.build_all(sample(space, 2, 3).encodings)
    rows = [",".join((one.name.partition(":")[2], ms)) for one, ms in ((own, "5"), (other, ""))]
    table = tmp_path / "own.csv"
    table.write_text("\n".join(["encoding,ms", *rows, ""]))
    environment = {"device": "phone", "runtime": "LiteRT 2", "configuration": {"mode": "burst"}}
    document = {"format": "mhmodels.latencies/1", "space": space.name, "schema": space.schema}
    (tmp_path / "own.json").write_text(json.dumps(document | {"environments": {"some-phone": environment}}))
    with Store(tmp_path / "results.db") as store:
        store.add(row_of(other.name, other.architecture_id, 7.0, configuration={"mode": mode}))
        if mode == "burst":
            assert sorted(read_latencies(table, space, ORIGIN, store).ms) == [5.0, 7.0]
        else:
            with pytest.raises(CostModelError, match="'mode' is 'burst' in the table and 'sustained' in the store"):
                read_latencies(table, space, ORIGIN, store)
