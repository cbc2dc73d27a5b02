"""Phones that refuse changes of their settings, openly or silently: what changed is put back, and nothing else is owed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.android_bench.device.settings import FIXED_CLOCKS, SETTINGS, PhoneSetting, parse_answers, parse_journal, put_script
from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.session.workspace import ROOT, Workspace
from mhmodels.android_bench.transport.phone import Phone

from .conftest import Bench, status
from .double import Double

BRIGHTNESS = SETTINGS[1]
DENIED = 'echo "java.lang.SecurityException: Permission denial" >&2'
# What a phone does to `settings put`: only where something took effect is something owed.
REFUSALS = {
    "with an exit code": f'case "$1" in put|delete) {DENIED}; exit 255;; esac',
    "with words and exit code 0": f'case "$1" in put|delete) {DENIED}; exit 0;; esac',
    "silently": 'case "$1" in put|delete) exit 0;; esac',
    "and hides the values": 'case "$1" in put|delete) exit 255;; get) exit 255;; esac',
    "the system's only": f'case "$1 $2" in "put system"|"delete system") {DENIED}; exit 255;; esac',
}


def settings_program(device: Double, before: str) -> None:
    program = device.root / "system/bin/settings"
    program.write_text(program.read_text().replace("\n", f"\n{before}\n", 1))


def value(device: Double, setting: PhoneSetting) -> str | None:
    file = device.root / "state/settings" / setting.namespace / setting.key
    return file.read_text().strip() if file.exists() else None


def set_value(device: Double, setting: PhoneSetting, text: str) -> None:
    file = device.root / "state/settings" / setting.namespace / setting.key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def journal(device: Double) -> Path:
    return device.root / ROOT.lstrip("/") / "restore"


@pytest.mark.parametrize("name", REFUSALS)
def test_what_was_refused_is_not_owed(bench: Bench, device: Double, phone: Phone, name: str) -> None:
    set_value(device, BRIGHTNESS, "128")
    settings_program(device, REFUSALS[name])
    (result,) = bench.run(device)
    assert status(result) == "OK"
    assert any("screen_brightness cannot be changed" in remark for remark in result.device_state["remarks"])  # type: ignore[union-attr]
    assert not [line for line in bench.told if "put back" in line]
    assert value(device, BRIGHTNESS) == "128"
    assert value(device, SETTINGS[2]) is None
    assert not journal(device).exists()
    assert Workspace(phone).open() == []
    Workspace(phone).clean()
    assert not (device.root / ROOT.lstrip("/")).exists()


def test_a_part_that_was_refused_leaves_the_rest_written_down(device: Double, phone: Phone) -> None:
    settings_program(device, REFUSALS["the system's only"])
    workspace = Workspace(phone)
    workspace.open()
    assert workspace.change(SETTINGS) == [f"{setting.name} cannot be changed" for setting in SETTINGS[:2]]
    assert journal(device).read_text() == "global stay_on_while_plugged_in null\n"
    assert workspace.close() == []
    assert not journal(device).exists()


def test_what_is_owed_by_an_older_version_and_never_changed_is_settled(device: Double, phone: Phone) -> None:
    set_value(device, BRIGHTNESS, "128")
    settings_program(device, REFUSALS["with an exit code"])
    journal(device).parent.mkdir(parents=True)
    journal(device).write_text("system screen_brightness 128\nglobal stay_on_while_plugged_in null\n")
    Workspace(phone).clean()
    assert not journal(device).parent.exists()


def test_a_phone_that_rounds_what_it_takes(device: Double, phone: Phone) -> None:
    set_value(device, BRIGHTNESS, "99")
    # It never goes below 10, and in steps of 10 only.
    settings_program(
        device, 'if [ "$1" = put ]; then v=$(( ($4 + 9) / 10 * 10 )); [ $v -lt 10 ] && v=10; set -- put "$2" "$3" $v; fi'
    )
    workspace = Workspace(phone)
    workspace.open()
    assert workspace.change([BRIGHTNESS]) == []
    assert value(device, BRIGHTNESS) == "10"
    assert journal(device).read_text() == "system screen_brightness 99\n"
    assert workspace.close() == []
    assert value(device, BRIGHTNESS) == "100"
    assert not journal(device).exists()


def test_what_was_so_already_is_not_owed(device: Double, phone: Phone) -> None:
    set_value(device, BRIGHTNESS, "0")
    workspace = Workspace(phone)
    workspace.open()
    assert workspace.change([BRIGHTNESS]) == []
    assert not journal(device).exists()
    assert workspace.close() == []
    assert value(device, BRIGHTNESS) == "0"


def test_a_silent_refusal_to_put_back_stays_owed(device: Double, phone: Phone) -> None:
    set_value(device, BRIGHTNESS, "128")
    workspace = Workspace(phone)
    workspace.open()
    assert workspace.change([BRIGHTNESS]) == []
    settings_program(device, REFUSALS["silently"])
    assert workspace.close() == ["system screen_brightness cannot be put back to 128"]
    assert journal(device).read_text() == "system screen_brightness 128\n"
    with pytest.raises(AdbError, match="screen_brightness 128 of an earlier session cannot be put back"):
        Workspace(phone).clean()


@pytest.mark.parametrize(
    "text", ["", "\x00\xff", "system screen_brightness\n", "x" * 100_000, "system screen_brightness $(id)\n"]
)
def test_a_journal_of_garbage_owes_nothing(device: Double, phone: Phone, text: str) -> None:
    journal(device).parent.mkdir(parents=True)
    journal(device).write_bytes(text.encode("latin-1"))
    assert Workspace(phone).open() == []
    Workspace(phone).clean()
    assert not journal(device).parent.exists()
    assert value(device, BRIGHTNESS) is None


def test_a_folder_in_the_journals_place(device: Double, phone: Phone) -> None:
    journal(device).mkdir(parents=True)
    workspace = Workspace(phone)
    workspace.open()
    assert workspace.change([BRIGHTNESS]) == []
    assert journal(device).read_text() == "system screen_brightness null\n"


def test_journals_and_answers() -> None:
    assert parse_journal("system screen_brightness 5\r\nsystem screen_brightness 6\npower fixed-performance-mode false\n") == [
        PhoneSetting("system", "screen_brightness", "5"),
        PhoneSetting("power", "fixed-performance-mode", "false"),
    ]
    assert all("settings get" in line for line in put_script(SETTINGS))
    assert "settings get" not in put_script([FIXED_CLOCKS])[0]
    answers = parse_answers(SETTINGS, "noise\n\nset 0 0 0\r\n\nset 1 255 128\n\nset 9 0 1\nset 99999 0 1\n")
    assert [answers[setting.name].rc for setting in SETTINGS] == [0, 255, 1]
    assert answers[BRIGHTNESS.name].refused(BRIGHTNESS, "128")
    assert not answers[BRIGHTNESS.name].changed("128")
