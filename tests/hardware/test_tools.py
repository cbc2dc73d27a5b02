"""Vendors' tools: an installation is complete or none, and a question ends with an answer or with one message."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mhmodels.cli.hardware import hardware
from mhmodels.errors import MeasurementError, UnknownNameError
from mhmodels.hardware.tools import environment
from mhmodels.hardware.tools.catalogue import QUALCOMM, TOOLS, VendorTool, get_tool
from mhmodels.hardware.tools.environment import environment_path, install, interpreter, missing, uninstall
from mhmodels.hardware.tools.running import ask_tool
from mhmodels.system.child import run_contained

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
SERVE = Path(environment.__file__).with_name("serve.py")


class LocalTool(VendorTool, frozen=True, kw_only=True):
    """A tool whose requirements are a file of the test."""

    pins: str

    @property
    def requirements(self) -> Path:
        return Path(self.pins)


def wheel(folder: Path, content: str = "") -> Path:
    """Makes a wheel of a project `widget` with one module."""
    path = folder / "widget-1.0-py3-none-any.whl"
    files = {
        "widget.py": content,
        "widget-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: widget\nVersion: 1.0\n",
        "widget-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in (*files, "widget-1.0.dist-info/RECORD"))
        archive.writestr("widget-1.0.dist-info/RECORD", record)
    return path


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalTool:
    """A tool that pip finds in a folder, without an index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return local_tool(tmp_path)


def local_tool(folder: Path, content: str = "", **fields: Any) -> LocalTool:
    digest = hashlib.sha256(wheel(folder, content).read_bytes()).hexdigest()
    pins = folder / "pins.txt"
    pins.write_text(f"widget==1.0 --hash=sha256:{digest}\n")
    usual: dict[str, Any] = {
        "name": "widget", "title": "Widget 1.0", "enables": "widgets", "licence": "none", "download_mb": 1, "installed_mb": 1,
        "pythons": (HERE,), "glibc": (2, 1), "modules": ("widget",), "pins": str(pins),
    }  # fmt: skip
    return LocalTool(**{**usual, **fields})


def program(folder: Path, body: str) -> Path:
    """Writes a program that answers requests with a function of this body."""
    path = folder / "program.py"
    path.write_text(
        f"import runpy, os, sys, time\nserving = runpy.run_path({str(SERVE)!r})\n"
        f"def answer(request):\n    {body}\nserving['serve'](answer)\n"
    )
    return path


@pytest.fixture
def ready(tool: LocalTool) -> LocalTool:
    """A tool whose environment is the one that runs the tests."""
    place = environment_path(tool)
    (place / "bin").mkdir(parents=True)
    interpreter(tool).symlink_to(sys.executable)
    (place / "requirements.sha256").write_text(hashlib.sha256(tool.requirements.read_bytes()).hexdigest() + "\n")
    assert not missing(tool)
    return tool


def test_an_installed_tool_answers(tool: LocalTool, tmp_path: Path) -> None:
    assert "mhmodels hardware install widget" in missing(tool)
    told: list[str] = []
    place = install(tool, told.append)
    assert not missing(tool)
    assert len(told) == 2
    said = ask_tool(tool, program(tmp_path, "import widget; return {'file': widget.__file__}"), {}, timeout_s=60)
    assert said.answer is not None
    assert Path(said.answer["file"]).is_relative_to(place)
    (tmp_path / "widget-1.0-py3-none-any.whl").unlink()
    assert install(tool) == place  # pip is not asked again
    assert uninstall(tool)
    assert not uninstall(tool)
    assert missing(tool)


def test_what_an_installation_that_was_cut_off_left_does_not_count_and_is_removed(tool: LocalTool) -> None:
    part = environment_path(tool).with_name(".widget.partial")
    part.mkdir(parents=True)
    (part / "rest").write_text("")
    assert missing(tool)
    told: list[str] = []
    install(tool, told.append)
    assert "cut off" in told[0]
    assert not part.exists()


@pytest.mark.parametrize(
    ("content", "pins", "message"),
    [
        ("", "widget==1.0 --hash=sha256:" + "0" * 64, "pip could not install it"),
        ("", "widget==2.0 --hash=sha256:" + "0" * 64, "pip could not install it.*widget==2.0"),
        ("raise ImportError('no libfoo')", "", "cannot be imported .*no libfoo"),
    ],
)
def test_an_installation_that_fails_leaves_nothing(
    tool: LocalTool, tmp_path: Path, content: str, pins: str, message: str
) -> None:
    chosen = local_tool(tmp_path, content)
    if pins:
        chosen.requirements.write_text(pins)
    with pytest.raises(MeasurementError, match=message):
        install(chosen)
    assert missing(chosen)
    assert [path.name for path in environment_path(chosen).parent.iterdir()] == [".widget.lock"]


def test_pip_is_a_child_of_its_own_whose_files_are_in_the_environment(tool: LocalTool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grandchild of `pip --python` would go on after a kill, and files in the folder of temporary files would stay."""
    asked: list[tuple[Any, ...]] = []

    def run(target: str, arguments: tuple[str, ...], **options: Any) -> Any:
        asked.append((arguments, options["python"], options["environment"]["TMPDIR"]))
        return run_contained(target, arguments, **options)

    monkeypatch.setattr(environment, "run_contained", run)
    place = install(tool)
    ((arguments, python, temporary),) = asked
    assert "--python" not in arguments
    part = place.with_name(".widget.partial")
    assert python == part / "bin" / "python"
    assert Path(temporary).is_relative_to(part.absolute())
    assert not (place / ".pip").exists()


def test_without_pip_the_command_that_installs_it_is_told(tool: LocalTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MeasurementError, match="-m ensurepip"):
        install(tool)
    assert missing(tool)


def test_an_update_replaces_an_installation_of_other_versions(tool: LocalTool, tmp_path: Path) -> None:
    install(tool)
    changed = local_tool(tmp_path, "new = True")
    assert "others are installed" in missing(changed)
    install(changed)
    said = ask_tool(changed, program(tmp_path, "import widget; return {'new': widget.new}"), {}, timeout_s=60)
    assert said.answer == {"new": True}


def test_an_environment_whose_python_is_gone_is_told(ready: LocalTool) -> None:
    interpreter(ready).unlink()
    interpreter(ready).symlink_to("/nowhere/python")
    assert "a Python that is gone" in missing(ready)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"pythons": ("2.7",)}, "packages for Python 2.7; this is"), ({"glibc": (99, 0)}, "needs glibc 99.0 or later; this is")],
)
def test_another_machine_is_told_before_anything_is_downloaded(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    chosen = local_tool(tmp_path, **fields)
    assert message in missing(chosen)
    with pytest.raises(MeasurementError, match=message):
        install(chosen)
    assert not environment_path(chosen).parent.exists()


def test_too_little_space_is_told_before_anything_is_downloaded(tool: LocalTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(MeasurementError, match=r"1 MB are free, widget needs 2 MB"):
        install(tool)
    assert missing(tool)


def test_what_was_cut_off_is_removed_before_the_space_is_checked(tool: LocalTool, monkeypatch: pytest.MonkeyPatch) -> None:
    part = environment_path(tool).with_name(".widget.partial")
    part.mkdir(parents=True)

    def usage(_: object) -> object:
        return shutil._ntuple_diskusage(10, 9, 0 if part.exists() else 10**9)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage)
    install(tool)
    assert not missing(tool)


def test_a_print_is_no_answer(ready: LocalTool, tmp_path: Path) -> None:
    said = ask_tool(ready, program(tmp_path, "print('{\"answer\": 1}'); return {'x': request['x']}"), {"x": 2}, timeout_s=60)
    assert said.answer == {"x": 2}
    assert said.said == '{"answer": 1}\n'


@pytest.mark.parametrize(
    "words", ["OSError: [Errno 28] No space left on device", "std::bad_alloc", "failed when saving model to x"]
)
def test_a_machine_without_room_is_no_refusal_of_the_file(ready: LocalTool, tmp_path: Path, words: str) -> None:
    with pytest.raises(MeasurementError, match=r"widget: no usable answer .*make room"):
        ask_tool(ready, program(tmp_path, f"raise serving['RefusalError']({words!r})"), {}, timeout_s=60)


def test_a_refusal_on_a_full_disk_is_no_answer(ready: LocalTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(MeasurementError, match=r"only 1 MB are free .*set TMPDIR"):
        ask_tool(ready, program(tmp_path, "raise serving['RefusalError']('too wide')"), {}, timeout_s=60)


def test_an_answer_on_a_full_disk_is_not_trusted(ready: LocalTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT's compiler ends with 0 after it wrote half of the compiled file."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(MeasurementError, match=r"widget: no usable answer; only 0 MB are free"):
        ask_tool(ready, program(tmp_path, "return {}"), {}, timeout_s=60)


@pytest.mark.parametrize("body", ["raise serving['RefusalError']('gone')", "os._exit(1)"])
def test_a_tool_that_is_removed_while_it_works_is_told(ready: LocalTool, tmp_path: Path, body: str) -> None:
    pins = environment_path(ready) / "requirements.sha256"
    with pytest.raises(MeasurementError, match="which is not installed: `mhmodels hardware install widget`"):
        ask_tool(ready, program(tmp_path, f"os.unlink({str(pins)!r}); {body}"), {}, timeout_s=60)


def test_a_python_that_is_no_program_is_one_message(ready: LocalTool, tmp_path: Path) -> None:
    interpreter(ready).unlink()
    interpreter(ready).write_text("garbage")
    interpreter(ready).chmod(0o755)
    with pytest.raises(MeasurementError, match=r"widget: .*bin/python cannot be started .*uninstall widget"):
        ask_tool(ready, program(tmp_path, "return {}"), {}, timeout_s=60)


def test_packages_of_the_user_and_telemetry_stay_out(ready: LocalTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    body = "return {'path': sys.path, 'telemetry': os.environ['ORT_DISABLE_TELEMETRY']}"
    said = ask_tool(ready, program(tmp_path, body), {}, timeout_s=60)
    assert said.answer is not None
    assert str(tmp_path) not in said.answer["path"]
    assert said.answer["telemetry"] == "1"


def test_a_refusal_is_no_failure(ready: LocalTool, tmp_path: Path) -> None:
    said = ask_tool(ready, program(tmp_path, "raise serving['RefusalError']('too wide')"), {}, timeout_s=60)
    assert (said.answer, said.refusal) == (None, "too wide")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('last words', flush=True); os.kill(os.getpid(), 11)", r"ended by SIGSEGV \(last words\)"),
        ("raise ValueError('a fault')", r"exit code 1 \(ValueError: a fault\)"),
        ("os.write(int(sys.argv[1]), b'nothing\\n'); time.sleep(60)", "something else than JSON"),
        ("time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_tool_that_misbehaves_is_one_message(ready: LocalTool, tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=f"widget: .*{message}"):
        ask_tool(ready, program(tmp_path, body), {}, timeout_s=1.0 if "within" in message else 60.0)


@pytest.mark.slow
def test_a_tool_that_hangs_is_ended(ready: LocalTool, tmp_path: Path) -> None:
    here = tmp_path / "pid"
    body = f"open({str(here)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(MeasurementError, match="no answer"):
        ask_tool(ready, program(tmp_path, body), {}, timeout_s=5.0)
    if here.exists():  # not on a machine that takes five seconds to start it
        with pytest.raises(ProcessLookupError):
            os.kill(int(here.read_text()), 0)


def test_every_tool_is_pinned_with_hashes() -> None:
    for known in TOOLS:
        lines = known.requirements.read_text().replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert pins
        assert all("==" in line and "--hash=sha256:" in line for line in pins)
        assert get_tool(known.name) is known


def test_an_unknown_tool_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean qualcomm"):
        get_tool("qualcom")


def test_without_a_terminal_the_licence_must_be_accepted_by_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "unsuitable", lambda _: "")
    said = CliRunner().invoke(hardware, ["install", "qualcomm"])
    assert said.exit_code == 2
    assert "--yes" in said.stderr
    assert QUALCOMM.licence in said.stderr
    assert not environment_path(QUALCOMM).exists()


def test_json_is_for_the_list_only() -> None:
    said = CliRunner().invoke(hardware, ["--json", "install", "qualcomm"])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "--json is for the list" in said.stderr


def test_commands_install_and_remove(tool: LocalTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mhmodels.hardware.tools.catalogue.TOOLS", (tool,))
    assert CliRunner().invoke(hardware, ["install", "widget", "--yes"], catch_exceptions=False).exit_code == 0
    assert "already installed" in CliRunner().invoke(hardware, ["install", "widget"]).stderr
    assert "removed" in CliRunner().invoke(hardware, ["uninstall", "widget"]).stderr
    assert "not installed" in CliRunner().invoke(hardware, ["uninstall", "widget"]).stderr
