"""Delegates as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.android_bench.delegates.catalogue import Delegates, load_delegates
from mhmodels.android_bench.errors import DelegateError
from mhmodels.errors import UnknownNameError

OWN = """
[[delegates]]
id = "ethos"
title = "Arm Ethos-U"
formats = ["int8"]
files = ["libethosu.so"]
flags = {external_delegate_path = "{folder}/libethosu.so"}
environment = {LD_LIBRARY_PATH = "{folder}"}
proof = {names = ["EXTERNAL"], kernels = ["Ethosu.*"]}
"""


@pytest.mark.parametrize(
    ("text", "base", "accelerator", "fmt"),
    [
        ("xnnpack", "xnnpack", "", "float32"),
        ("xnnpack-int8", "xnnpack", "", "int8"),
        ("gpu-opencl", "gpu-opencl", "", "float32"),
        ("nnapi:google-edgetpu", "nnapi", "google-edgetpu", "int8"),
        ("nnapi:mtk-gpu-uint8", "nnapi", "mtk-gpu", "uint8"),
        ("hexagon", "hexagon", "", "uint8"),
    ],
)
def test_names(text: str, base: str, accelerator: str, fmt: str) -> None:
    choice = Delegates().get(text)
    assert (choice.delegate.id, choice.accelerator, choice.format, choice.id) == (base, accelerator, fmt, text)


@pytest.mark.parametrize("text", ["", "xnnpak", "nnapi:", "qnn-gpu-int8", "xnnpack-int16", "cpu/x"])
def test_no_names(text: str) -> None:
    assert Delegates().find(text) is None
    with pytest.raises(UnknownNameError):
        Delegates().get(text)


def test_an_accelerator_where_none_may_be() -> None:
    with pytest.raises(DelegateError, match="takes no accelerator"):
        Delegates().get("xnnpack:gpu")


def test_each_delegate_takes_files_by_its_own_rule() -> None:
    delegates = Delegates()
    assert delegates.for_format("hexagon", "int8").id == "hexagon-int8"
    assert delegates.for_format("gpu-opencl", "float16").id == "gpu-opencl-float16"
    assert delegates.for_format("xnnpack", "float32").id == "xnnpack"
    with pytest.raises(DelegateError, match="takes uint8, int8 files, found float32"):
        delegates.for_format("hexagon", "float32")


def test_the_table_holds_together() -> None:
    known = {delegate.id for delegate in Delegates()}
    assert {
        "cpu",
        "xnnpack",
        "gpu-opencl",
        "gpu-opengl",
        "nnapi",
        "hexagon",
        "qnn-htp",
        "qnn-gpu",
        "litert-gpu",
        "litert-npu",
    } <= known
    for delegate in Delegates():
        assert not delegate.successor or delegate.successor in known
        assert not delegate.deprecated_sdk or (delegate.note and delegate.successor)
        assert ("{folder}" in str(delegate.flags) + str(delegate.environment)) == bool(delegate.files)


def test_flags_are_filled_in() -> None:
    choice = Delegates().get("nnapi:google-edgetpu")
    assert choice.flags("/x") == {"use_nnapi": "true", "disable_nnapi_cpu": "true", "nnapi_accelerator_name": "google-edgetpu"}
    assert Delegates().get("hexagon").flags("/x")["hexagon_lib_path"] == "/x"
    assert Delegates().get("qnn-htp").environment("/x")["LD_LIBRARY_PATH"] == "/x:/vendor/lib64"


def test_a_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN)
    delegates = Delegates(load_delegates(file))
    assert delegates.get("ethos").flags("/f") == {"external_delegate_path": "/f/libethosu.so"}
    assert delegates.get("xnnpack").id == "xnnpack"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('id = "ethos"', 'id = "Ethos U"'), "lower-case"),
        (('id = "ethos"', 'id = "ethos-int8"'), "ends like a format"),
        (('["int8"]', '["int4"]'), "formats"),
        (('["int8"]', "8"), "formats"),
        (("Ethosu.*", "("), "not a regular expression"),
        (("proof =", "prof ="), "prof"),
        (('{names = ["EXTERNAL"], kernels = ["Ethosu.*"]}', "{}"), "without proof"),
        (("external_delegate_path =", '"--x y" ='), "without dashes"),
        (("[[delegates]]", "[[delegates"), "delegate file"),
        (("[[delegates]]", "delegates = " + "[" * 3000), "delegate file"),
        (("external_delegate_path =", "graph ="), "the harness's own"),
        (("external_delegate_path =", "num-runs ="), "the harness's own"),
        (("LD_LIBRARY_PATH =", '"A=1; touch x; B" ='), "name of a variable"),
        (('"libethosu.so"', '"../../etc/pass*"'), "without folders"),
        (('"libethosu.so"', '"/etc/passwd"'), "without folders"),
        (('"libethosu.so"', '""'), "without folders"),
        (('"libethosu.so"', '"."'), "without folders"),
        (("title =", 'libraries = ["$(reboot)"]\ntitle ='), "absolute path"),
        (("title =", 'libraries = ["lib.so"]\ntitle ='), "absolute path"),
        (("Arm Ethos-U", "Arm\\u001b[2J"), "control character"),
        (('id = "ethos"', 'id = "ethos\\n"'), "lower-case"),
    ],
)
def test_a_users_mistakes(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises(DelegateError, match=told) as caught:
        load_delegates(file)
    assert "mine.toml" in str(caught.value)


def test_each_id_stands_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN * 2)
    with pytest.raises(DelegateError, match="'ethos' stands there twice"):
        load_delegates(file)


@pytest.mark.parametrize("accelerator", ["a/b", "a b", "$(id)", "a\n", "é", "x" * 100])
def test_what_is_no_accelerator(accelerator: str) -> None:
    assert Delegates().find(f"nnapi:{accelerator}") is None


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DelegateError, match="cannot be read"):
        load_delegates(tmp_path / "none.json")
