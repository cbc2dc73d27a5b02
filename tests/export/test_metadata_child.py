"""The process that composes metadata: whatever it does, an export ends with a message or with the right file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mhmodels.export.errors import ExportError
from mhmodels.export.writing.metadata import writer as metadata_writer
from mhmodels.export.writing.metadata.description import MetadataDescription
from mhmodels.export.writing.metadata.writer import MetadataWriter
from mhmodels.system.child import Child

SAID = MetadataDescription(
    name="n", version="1", description="d", author="a", mean=(0.0,), std=(1.0,), labels=("b", "c"), colour=True
)  # fmt: skip
ANSWERS = """
import base64, json, os, sys
channel = int(sys.argv[1])
with open(channel, closefd=False) as requests:
    for line in requests:
        content = open(json.loads(line)["file"], "rb").read()
        print(json.dumps({"metadata": "Zm9yZ2Vk"}), flush=True)
        os.write(channel, json.dumps({"metadata": base64.b64encode(content).decode()}).encode() + b"\\n")
"""


def by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Puts a program in the place of tflite-support's process."""
    script = tmp_path / "child.py"
    script.write_text(program)
    monkeypatch.setattr(metadata_writer, "Child", lambda _, **options: Child(script, **options))


def test_a_print_is_not_the_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    by(monkeypatch, tmp_path, ANSWERS)
    with MetadataWriter() as writer:
        assert [writer._compose(content, SAID) for content in (b"one", b"two")] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('last words', flush=True); raise SystemExit(3)", r"process died \(last words\)"),
        ("import os, sys; os.write(int(sys.argv[1]), b'not json\\n'); sys.stdin.read()", "something else than JSON"),
        ('import os, sys; os.write(int(sys.argv[1]), b\'{"error": "no"}\\n\')', r"refuses the file \(no\)"),
        ("import time; time.sleep(60)", "did not answer within 1 s"),
    ],
)
def test_a_process_that_misbehaves_is_one_message_and_the_next_file_gets_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, message: str
) -> None:
    by(monkeypatch, tmp_path, program)
    monkeypatch.setattr(metadata_writer, "TIMEOUT_S", 1.0 if "sleep" in program else 60.0)
    with MetadataWriter() as writer:
        with pytest.raises(ExportError, match=message):
            writer._compose(b"one", SAID)
        monkeypatch.setattr(metadata_writer, "TIMEOUT_S", 60.0)
        by(monkeypatch, tmp_path, ANSWERS)
        if writer._child is not None:
            writer._end()
        assert writer._compose(b"two", SAID) == b"two"


def test_no_process_and_no_file_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    by(monkeypatch, tmp_path, ANSWERS)
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with MetadataWriter() as writer:
        writer._compose(b"one", SAID)
        child: Any = writer._child
    assert not child.alive
    assert not list(place.iterdir())
