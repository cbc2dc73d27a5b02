"""The command line as a user meets it: light, exact, and clear about mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mhmodels.cli.common import OutputFile, check_places, emit_json
from mhmodels.cli.list import list_command
from mhmodels.cli.main import COMMANDS, cli
from mhmodels.registry import list_models
from tests.conftest import Command, Run

LIGHT = [
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "--json"],
    ["info", "multi_max"],
    ["info", "multi_avg", "--layers", "--json"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_import_no_framework(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mhmodels.cli.main import main\n"
        f"sys.argv = ['mhmodels', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'jax', 'torch', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_no_framework() -> None:
    code = (
        "import mhmodels, sys; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules); print(mhmodels.MultiMAX.__doc__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "multi_max" in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, command: Command) -> None:
    done = command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: mhmodels" in done.stdout


def test_help_lists_every_command(mhmodels: Run) -> None:
    shown = mhmodels("--help").stdout
    assert all(f"  {name} " in shown for name in cli.list_commands(None))  # type: ignore[arg-type]


def test_the_most_accurate_first_is_by_the_width_that_a_row_is_of() -> None:
    """Counts are at width 1.0, so an accuracy at 1.25 or 1.4 says nothing of that row."""
    lines = CliRunner().invoke(list_command, ["--sort", "top1"]).stdout.splitlines()[1:]
    first = [re.search(r"  ([\d.]+) @([\d.]+) ", line) for line in lines]
    known = [(float(found[1]), found[2]) for found in first if found]
    assert {width for _, width in known} == {"1"}
    assert [top1 for top1, _ in known] == sorted((top1 for top1, _ in known), reverse=True)
    assert first[len(known) :] == [None] * (len(first) - len(known))


def test_list_json_has_every_model(command: Command) -> None:
    rows = json.loads(command("list", "--json").stdout)["models"]
    assert {row["name"] for row in rows} == set(list_models())
    multi_max = next(row for row in rows if row["name"] == "multi_max")
    assert (multi_max["params"], multi_max["madds"]) == (4_389_280, 349_176_352)


def test_info_json_is_the_contract(command: Command) -> None:
    document = json.loads(command("info", "multi_max@1.25", "--classes", "1001", "--input-size", "192", "--json").stdout)
    assert set(document) >= {
        "name", "width_multiplier", "input_size", "classes", "params", "params_total", "madds", "madds_paper", "endpoints",
        "layers",
    }  # fmt: skip
    assert (document["width_multiplier"], document["input_size"], document["classes"]) == (1.25, 192, 1001)
    assert [endpoint["stride"] for endpoint in document["endpoints"]] == [4, 8, 16, 32]
    assert sum(layer["params"] for layer in document["layers"]) == document["params"]


BAD_INPUT = [
    (["info", "multi_maxx"], 1, "did you mean multi_max"),
    (["info", "multi_max", "--width-multiplier", "0"], 1, "above 0"),
    (["info", "multi_max", "--width-multiplier", "1e9"], 1, "at most 16"),
    (["info", "multi_max", "--width-multiplier", "nan"], 1, "above 0"),
    (["info", "multi_max@fast"], 1, "expected a number as in"),
    (["info", "multi_max", "--input-size", "31"], 1, "from 32"),
    (["info", "multi_max", "--input-size", "64.5"], 2, "not a valid integer"),
    (["info", "missing.json"], 1, "missing.json: cannot be read"),
    (["list", "resnet*"], 1, "unknown model pattern"),
    (["exprot"], 2, "Did you mean export"),
    (["export", "multi_maxx", "-o", "out"], 1, "did you mean multi_max"),
    (["export", "multi_max", "--input-size", "16", "-o", "out"], 2, "from 32"),
    (["export", "multi_max", "--input-size", "64x", "-o", "out"], 2, "expected whole pixels"),
    (["verify", "missing.tflite"], 1, "cannot be read"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), BAD_INPUT, ids=[" ".join(a) for a, _, _ in BAD_INPUT])
def test_bad_input_is_one_message(arguments: list[str], code: int, message: str, command: Command) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_architecture_file_with_a_wrong_field_is_named(tmp_path: Path, command: Command) -> None:
    from mhmodels import get_architecture

    text = get_architecture("multi_max").to_json().decode().replace('"kernel": 5', '"kernel": "five"', 1)
    (tmp_path / "mine.json").write_text(text)
    done = command("info", "mine.json")
    assert done.returncode == 1
    for part in ("mine.json", "$.stages[1][0].kernel", "'five'", "inverted_bottleneck"):
        assert part in done.stderr


def test_an_architecture_file_is_a_model(tmp_path: Path, command: Command) -> None:
    from mhmodels import get_architecture

    (tmp_path / "mine.json").write_bytes(get_architecture("multi_max").to_json())
    mine, zoo = (json.loads(command("info", model, "--json").stdout) for model in ("mine.json@0.5", "multi_max@0.5"))
    assert mine == zoo


@pytest.mark.parametrize("how", ["command", "module"])
def test_a_folder_with_the_users_own_packages_does_not_matter(how: str, tmp_path: Path) -> None:
    for package in ("export", "tests", "mhmodels_helpers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the user’s own package was imported')")
    for module in ("search.py", "android_bench.py", "click.py"):
        (tmp_path / module).write_text("raise RuntimeError('the user’s own module was imported')")
    program = [str(Path(sys.executable).with_name("mhmodels"))] if how == "command" else [sys.executable, "-m", "mhmodels"]
    done = subprocess.run([*program, "export", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_m_survives_the_users_own_packages(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "__init__.py").write_text("raise RuntimeError('the user’s own package was imported')")
    (tmp_path / "search.py").write_text("raise RuntimeError('the user’s own module was imported')")
    done = subprocess.run(
        [sys.executable, "-m", "mhmodels", "export", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{Path(sys.executable).with_name('mhmodels')} info multi_max --layers | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


@pytest.mark.parametrize("arguments", ["list", "info multi_max --layers"])
def test_a_pipe_that_nobody_reads_ends_with_0(arguments: str, tmp_path: Path) -> None:
    command = f"{Path(sys.executable).with_name('mhmodels')} {arguments} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_names_that_are_not_utf_8_can_be_printed() -> None:
    program = "import sys; from mhmodels.cli import main; main.cli.main = lambda **_: print(sys.argv[1]); main.main()"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", program, b"caf\xe9.json"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\\xe9.json\n", b"")


def test_names_that_are_not_utf_8_can_be_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"files": ["caf\udce9.png", 1, None], "n\udcff": {"share": 0.5}})
    assert json.loads(capsys.readouterr().out) == {"files": ["caf\ufffd.png", 1, None], "n\ufffd": {"share": 0.5}}


@pytest.mark.parametrize("words", [["--preset", "p.json", "-o", "p.json"], ["a.csv", "-o", "./a.csv"], ["a.csv", "-o", "link"]])
def test_a_file_that_a_command_reads_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """`search run --preset p.json -o p.json` replaced the preset by the result."""

    @click.command()
    @click.argument("data", nargs=-1)
    @click.option("--preset")
    @click.option("-o", "--output", type=OutputFile())
    def command(data: tuple[str, ...], preset: str | None, output: Path) -> None:
        check_places({"-o": output})
        output.write_text("result")

    monkeypatch.chdir(tmp_path)
    for name in ("p.json", "a.csv"):
        Path(name).write_text("precious")
    Path("link").symlink_to("a.csv")
    refused = CliRunner().invoke(command, words)
    assert (refused.exit_code, "which is what the command reads too" in refused.output) == (2, True)
    assert {Path(name).read_text() for name in ("p.json", "a.csv")} == {"precious"}
    assert CliRunner().invoke(command, [*words[:-1], "new.json"]).exit_code == 0


def test_an_end_of_file_in_a_command_is_no_interruption() -> None:
    program = (
        "import click, sys\nfrom mhmodels.cli import main\n"
        "main.cli.get_command = lambda *_: click.Command('list', callback=input)\nsys.argv[1:] = ['list']\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "EOFError: EOF when reading a line"
    assert "interrupted" not in done.stderr


@pytest.mark.parametrize("name", ["a\nb.json", "a\x85b.json", "a\u2028b.json"])
def test_output_names_without_control_characters(name: str, tmp_path: Path) -> None:
    from mhmodels.cli.common import OutputFile

    with pytest.raises(click.BadParameter, match="expected a name without control characters"):
        OutputFile().convert(str(tmp_path / name), None, None)
