"""What `search run` refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from mhmodels.cli.main import cli
from mhmodels.search.run.resolving import absolute_data
from mhmodels.search.supernet.presets import PRESETS
from mhmodels.search.supernet.training.data import open_search_data
from mhmodels.training.errors import DataError
from tests.search.test_measured_tables import space, write
from tests.training.idx_folder import write_idx

EVALUATOR = ("--evaluator", "x.csv")
DATA = ("--data", "digits64")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["search", "run", "--space", "nas_bench_macro", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*EVALUATOR, "--preset", "quick"), "--preset belongs to --data"),
        ((*EVALUATOR, "--strategy", "none"), "--strategy belongs to --data"),
        ((*EVALUATOR, "--recompute"), "--recompute belongs to --data"),
        ((*EVALUATOR, "--classes", "5"), "--classes belongs to --data"),
        ((*EVALUATOR, "--method", "evolution", "--refinement", "1000"), "--refinement has no effect with --method evolution"),
        ((*EVALUATOR, "--method", "random", "--steps", "9"), "--steps has no effect with --method random"),
        ((*EVALUATOR, "--method", "random", "--population", "9"), "for reinforce, evolution, nsga2"),
        ((*EVALUATOR, "--method", "nsga2", "--learning-rate", "1"), "--learning-rate has no effect"),
        ((*EVALUATOR, "--evaluations", "5"), "--evaluations has no effect with --method reinforce"),
        ((*EVALUATOR, "--refinement", "0", "--population", "9"), "--population has no effect with --refinement 0"),
        ((*DATA, "--method", "evolution"), "--method evolution is not for --data"),
        ((*DATA, "--steps", "20000"), "--steps has no effect with --data"),
        ((*DATA, "--population", "9"), "--population has no effect with --data"),
        ((*DATA, "--preset", "paper", "--front", "front.json"), "'paper' judges one at its end"),
        ((*EVALUATOR, "--name", "mine"), "--name belongs to -o"),
        ((*EVALUATOR, "--reference", "a=inf"), "'a=inf', expected a finite number above 0"),
        ((*EVALUATOR, "--reference", "a=nan"), "expected a finite number above 0"),
        ((*EVALUATOR, "--reference", "a=0"), "expected a finite number above 0"),
        ((*EVALUATOR, "--reference", "a=-1"), "expected a finite number above 0"),
        ((*EVALUATOR, "--reference", "a=1", "--reference", "a=2"), "names 'a' twice"),
        ((*EVALUATOR, "--reference", "multi_max", "--reference", "multi_avg"), "2 networks (multi_max, multi_avg)"),
        ((*EVALUATOR, "--method", "evolution", "--evaluations", "30", "--population", "30"), "leaves nothing of 30 evaluations"),
        ((*EVALUATOR, "--method", "nsga2", "--population", "1000000000"), "--population"),
        ((*EVALUATOR, "--replicas", "1000000000"), "--replicas"),
        ((*EVALUATOR, "-o", "a.json", "--front", "./a.json"), "--front is 'a.json', which is -o too"),
        ((*EVALUATOR, "-o", "a.json", "--log", "a.json"), "--log is 'a.json', which is -o too"),
        ((*EVALUATOR, "--latencies", "l.csv", "-o", "l.json"), "-o is 'l.json', which is what the command reads too"),
        (("--evaluator", "x.npz:a", "--log", "x.npz"), "--log is 'x.npz', which is what the command reads too"),
        ((*EVALUATOR, "--weight", "a=inf"), "expected a finite number of at least 0"),
        ((*EVALUATOR, "--weight", "a=-1"), "of at least 0"),
    ],
)
def test_what_changes_nothing_or_is_no_number_is_a_usage_error(arguments: tuple[str, ...], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert text in " ".join(result.output.split())


def test_stating_a_default_of_another_method_is_refused_and_of_this_one_is_not(tmp_path: Path) -> None:
    """`--steps 20000` is its default: what counts is that it was said."""
    assert run(*EVALUATOR, "--method", "evolution", "--steps", "20000").exit_code == 2
    assert "cannot be read" not in run(*EVALUATOR, "--method", "evolution", "--evaluations", "9").output
    assert run(*EVALUATOR, "--method", "evolution", "--evaluations", "9").exit_code == 1  # no latencies were given


def test_a_preset_of_ones_own_with_finalists_has_a_front(tmp_path: Path) -> None:
    (tmp_path / "preset.json").write_bytes(msgspec.structs.replace(PRESETS["quick"], finalists=0).to_json())
    result = run(*DATA, "--preset", tmp_path / "preset.json", "--front", tmp_path / "front.json")
    assert result.exit_code == 2
    assert "field 'finalists' is 0" in " ".join(result.output.split())


def test_digits_have_no_offset() -> None:
    with pytest.raises(DataError, match="label offset is 1, expected none"):
        open_search_data("digits64", label_offset=1)


def test_idx_files_are_divided_and_their_test_pictures_are_left_out(tmp_path: Path) -> None:
    data = open_search_data(f"idx:{write_idx(tmp_path, train=52, test=6)}")
    assert (len(data.train), len(data.validation), data.train.classes) == (50, 2, 3)
    places = {data.validation.where(0), *(data.train.where(index) for index in range(50))}
    assert len(places) == 51
    assert all("train-images" in place for place in places)


def test_idx_files_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_data("idx:mnist") == f"idx:{tmp_path}/mnist"
    assert absolute_data(f"idx:{tmp_path}") == f"idx:{tmp_path}"


def test_a_reference_network_without_use_is_refused(tmp_path: Path) -> None:
    """Every hardware has its own number, so MobileNetV2 would say nothing."""
    csv = write(tmp_path / "own.csv", np.array(list(space())), {"cpu": [2.0] * 3969})
    arguments = ("--evaluator", "x:f", "--latencies", csv, "--reference", "cpu=1", "--reference", "median")
    assert "'median' has no effect" in str(run(*arguments).exception)
