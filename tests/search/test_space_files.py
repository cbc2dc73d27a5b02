"""Reduced spaces by name and by file: what they leave, that commands take them, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.errors import FileFormatError, MhmodelsError, UnknownNameError
from mhmodels.search import SKIP, SpaceError, get_space, load_space
from mhmodels.search.space.published_reductions import published_reductions
from mhmodels.search.space.space_file import space_file

MACRO: Any = get_space("nas_bench_macro")
EVALUATOR = """
def accuracy(space, encodings):
    return 0.5 + encodings.sum(axis=1) / 100
"""


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, words)])


def document(*words: object) -> Any:
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def without_5x5() -> Any:
    return MACRO.restricted([[0, 1]] * 8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reduced.json"
    path.write_bytes(space_file(without_5x5(), {"rule": "by hand"}))
    return path


def layers_and_blocks(space: Any, row: Any) -> dict[str, list[tuple[int, int]]]:
    """Kernel and expansion of the blocks of each stage that has a decision."""
    blocks: dict[str, list[tuple[int, int]]] = {}
    for decision, choice in zip(space.decisions, row, strict=True):
        block = decision.choices[int(choice)]
        if "_block" in decision.name and block is not SKIP:
            blocks.setdefault(decision.name.split("_")[0], []).append((int(block.expansion), block.kernel))
    return blocks


@pytest.mark.parametrize("name", sorted(published_reductions()))
def test_published_rules_hold_for_members(name: str) -> None:
    """Section 5 of arXiv 2109.12426, as a table of the largest numbers of layers by unit and the removed blocks (e, k)."""
    small_e3 = {(3, 3), (3, 5), (3, 7), (4, 3)}
    table: dict[str, tuple[dict[int, int], set[tuple[int, int]]]] = {
        "ofa_mobilenet_v3/kirin9000-npu": ({}, {(3, 7), (4, 7), (6, 7)}),
        "ofa_mobilenet_v3/rtx2080ti-gpu": ({2: 3, 4: 3, 5: 3}, {(3, 3), (3, 7), (4, 3)}),
        "ofa_mobilenet_v3/threadripper2990wx-cpu": ({1: 3, 2: 3, 3: 3}, set()),
        "ofa_mobilenet_v3/note10-phone": ({1: 3}, {(3, 7), (4, 7)}),
        "ofa_mobilenet_v3/max-accuracy": ({}, small_e3),
        "ofa_proxylessnas/kirin9000-npu": ({}, {(3, 7), (4, 7), (6, 7)}),
        "ofa_proxylessnas/rtx2080ti-gpu": ({1: 3, 2: 3, 3: 3}, {(3, 3), (3, 7), (4, 3)}),
        "ofa_proxylessnas/threadripper2990wx-cpu": ({1: 3, 2: 3}, set()),
        "ofa_proxylessnas/max-accuracy": ({}, small_e3),
    }
    space: Any = load_space(name)
    whole = get_space(name.split("/")[0])
    rows = space.draw(150, np.random.default_rng(0), depth="uniform")
    assert (space.schema, space.name) == (whole.schema, whole.name)
    if name not in table:
        for architecture in space.build_all(rows):
            assert [len(stage) for stage in architecture.stages][2:] == [6, 4]
            assert [stage[-1].filters for stage in architecture.stages][2:] == [1024, 2048]
        return
    most, removed = table[name]
    everything = {(e, k) for e in (3, 4, 6) for k in (3, 5, 7)}
    seen: set[tuple[int, int]] = set()
    depths: dict[int, set[int]] = {}
    for row in rows:
        for unit, blocks in enumerate(layers_and_blocks(space, row).values(), 1):
            seen.update(blocks)
            depths.setdefault(unit, set()).add(len(blocks))
    assert seen == everything - removed
    for unit, found in depths.items():
        assert found == ({1} if unit == 6 else set(range(2, most.get(unit, 4) + 1)))


def test_a_file_gives_the_same_space_wherever_it_is(file: Path, tmp_path: Path) -> None:
    space = load_space(str(file))
    assert space.sizes == without_5x5().sizes
    assert space.schema == MACRO.schema
    assert [one.tolist() for one in space.allowed] == [[0, 1]] * 8
    moved = tmp_path / "moved.json"
    moved.write_bytes(file.read_bytes())
    assert load_space(str(moved)).restrictions == space.restrictions
    assert json.loads(file.read_text())["provenance"] == {"rule": "by hand"}


def test_spaces_are_listed_and_shown(file: Path) -> None:
    listed = invoke("space").stdout
    assert "ofa_mobilenet_v3/kirin9000-npu" in listed
    names = {one["name"]: one for one in document("space")["reduced"]}
    assert names["ofa_mobilenet_v3/kirin9000-npu"]["distinct"] == load_space("ofa_mobilenet_v3/kirin9000-npu").sizes.distinct
    shown = document("space", file)
    assert shown["sizes"]["distinct"] == without_5x5().sizes.distinct
    assert shown["name"] == "nas_bench_macro"


def test_samples_are_members(file: Path, tmp_path: Path) -> None:
    document("sample", "--space", file, "-n", 40, "-o", tmp_path / "some.jsonl")
    rows = [json.loads(line)["encoding"] for line in (tmp_path / "some.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert without_5x5().members(np.array(rows)).all()


def test_a_search_stays_inside_and_is_resumed_there(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judging.py").write_text(EVALUATOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    common = ["--space", "reduced.json", "--evaluator", "judging:accuracy", "--latencies", "nas_bench_macro", "--seed", "3"]
    common += ["--hardware", "ethos-u55-128", "--method", "evolution", "--evaluations", "60", "--target", "0.6"]
    common += ["--log", "log.db"]
    found = document("run", *common, "-o", "found.json")
    assert max(found["encoding"]) == 1
    told = json.loads((tmp_path / "found.json").read_text())["provenance"]
    assert told["allowed"] == [[0, 1]] * 8
    from mhmodels.search.run.log import SearchLog

    with SearchLog("log.db") as log:
        assert log.encodings().max() == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    resumed = document("resume", "../log.db", "--evaluator", "judging:accuracy")
    assert resumed["encoding"] == found["encoding"]
    file.write_bytes(space_file(MACRO.restricted([[0, 1, 2]] + [[0, 1]] * 7), {}))
    refused = invoke("resume", "../log.db", "--evaluator", "judging:accuracy")
    assert "this log is of a search with other settings" in str(refused.exception)
    assert "allowed" in str(refused.exception)


def test_cost_models_and_collections_of_the_whole_space_apply() -> None:
    """The model is of the whole space; the reduced one has its name and schema."""
    from mhmodels.search import shipped_model
    from mhmodels.search.cost_model.shipping import shipped_tables

    whole: Any = get_space("multi_hardware")
    reduced = whole.restricted(
        [choices[:2] if "block1" in d.name else choices for d, choices in zip(whole.decisions, whole.allowed, strict=True)]
    )
    rows = reduced.draw(5, np.random.default_rng(0))
    model = shipped_model(reduced, "ethos-u55-128")
    assert model.bind(reduced).predict(rows).tolist() == model.bind(whole).predict(rows).tolist()
    assert shipped_tables(reduced) == shipped_tables(whole) != ()


@pytest.mark.slow
def test_measurements_of_the_whole_space_fit_a_model(file: Path, tmp_path: Path) -> None:
    rows = np.unique(MACRO.draw(150, np.random.default_rng(0)), axis=0)
    table = tmp_path / "phone.csv"
    ms = MACRO.madds(rows) / 1e7
    table.write_text("encoding,ms\n" + "".join(f"{':'.join(map(str, row))},{x}\n" for row, x in zip(rows, ms, strict=True)))
    result = invoke(
        "fit", "--space", file, "--data", table, "--hardware", "my-phone", "--kind", "measured", "-o", tmp_path / "m.json"
    )
    assert result.exit_code == 0, result.output
    assert "the networks of the whole space 'nas_bench_macro' count" in result.stderr
    assert "fitted to 120 networks" in result.stdout  # and 30 held out, of which most are outside


def test_latencies_of_removed_networks_are_left_out_of_a_comparison(file: Path, tmp_path: Path) -> None:
    from mhmodels.search import CostModelError, read_latencies

    table = tmp_path / "phone.csv"
    table.write_text("encoding,ms\n0:0:0:0:0:0:0:1,1.5\n0:1:1:1:1:1:1:2,3\n0:1:1:1:1:1:1:1,2\n")
    found = read_latencies(table, load_space(str(file)), "phone")
    assert found.ms.tolist() == [1.5, 2.0]
    assert "1 of 3 networks are outside of the reduction of space 'nas_bench_macro' and are left out" in found.remarks
    table.write_text("encoding,ms\n0:1:1:1:1:1:1:2,3\n")
    with pytest.raises(CostModelError, match="all of 1 networks are outside of the reduction of space 'nas_bench_macro'"):
        read_latencies(table, load_space(str(file)), "phone")


@pytest.mark.parametrize(
    ("change", "error", "wanted"),
    [
        ({"format": "mhmodels.space/9"}, FileFormatError, "field 'format' is 'mhmodels.space/9', expected 'mhmodels.space/1'"),
        ({"space": "nas_bench_makro"}, FileFormatError, "did you mean nas_bench_macro"),
        ({"schema": "0" * 16}, SpaceError, "field 'schema' is '0000000000000000', but space 'nas_bench_macro' has"),
        ({"allowed": {"layer9": ["skip"]}}, FileFormatError, "field 'allowed' has decision 'layer9', expected some of"),
        ({"allowed": {"FIRST": ["conv kernel=9"]}}, FileFormatError, "is 'conv kernel=9', expected some of: "),
        ({"allowed": {"FIRST": []}}, FileFormatError, "is empty, expected some of: "),
        ({"allowed": {"FIRST": [7]}}, FileFormatError, "Expected `str`, got `int`"),
        ({"allowed": 3}, FileFormatError, "Expected `object`, got `int`"),
        ({"more": 1}, FileFormatError, "unknown field `more`"),
    ],
)
def test_wrong_files_are_refused_by_field(file: Path, change: dict[str, Any], error: type[Exception], wanted: str) -> None:
    first = MACRO.decisions[0].name
    content = json.loads(file.read_text()) | change
    if isinstance(content["allowed"], dict):
        content["allowed"] = {first if name == "FIRST" else name: words for name, words in content["allowed"].items()}
    file.write_text(json.dumps(content))
    with pytest.raises(error) as raised:
        load_space(str(file))
    assert str(file) in str(raised.value)
    assert wanted in str(raised.value)
    result = invoke("sample", "--space", file, "-n", 3, "-o", file.parent / "x.jsonl")
    assert isinstance(result.exception, MhmodelsError)


def test_a_file_that_breaks_the_order_of_blocks_is_refused(tmp_path: Path) -> None:
    space = get_space("ofa_mobilenet_v3")
    path = tmp_path / "odd.json"
    names = [decision.name for decision in space.decisions]
    document = {"format": "mhmodels.space/1", "space": space.name, "schema": space.schema, "allowed": {names[2]: ["skip"]}}
    path.write_text(json.dumps(document))
    with pytest.raises(SpaceError, match=r"odd\.json: space 'ofa_mobilenet_v3': stage3_block3, stage3_block4 must keep the same"):
        load_space(str(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "mhmodels.space/1"}', b"[" * 100_000])
def test_broken_files_are_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"reduced\.json"):
        load_space(str(file))


def test_unknown_names_offer_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean ofa_mobilenet_v3/kirin9000-npu"):
        load_space("ofa_mobilenet_v3/kirin9000")
    with pytest.raises(FileFormatError, match=r"absent\.json"):
        load_space(str(tmp_path / "absent.json"))
    result = invoke("run", "--space", tmp_path / "absent.json", "--evaluator", "a:b", "--latencies", "nas_bench_macro")
    assert isinstance(result.exception, MhmodelsError)
