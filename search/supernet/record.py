"""The record in the folder of a search by weight sharing: it keeps another search, or other settings, out of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mhmodels.formats.json_files import read_bytes
from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.request import WeightSharingRequest, settings
from mhmodels.system.files import write_atomically
from mhmodels.training.run import checkpoint
from mhmodels.training.run.run_folder import differences


def claim(request: WeightSharingRequest, *, write: bool) -> None:
    """Claims folder and log for a search, and writes its record into a new folder.

    Args:
        request: Search that begins or continues.
        write: Whether this process writes files (the chief does).

    Raises:
        SearchError: Folder or log hold a search with other settings (the message names them), or any search although
            `resume` is False; the log holds a search whose folder is gone; the folder is a file; the record cannot be read.
    """
    record, log = _record(request), request.log
    if request.folder.exists() and not request.folder.is_dir():
        raise SearchError(f"{request.folder}: is a file, expected a folder or nothing; move it away, or give another log")
    there = checkpoint.latest(request.folder / "checkpoints") is not None or (log is not None and log.header() is not None)
    if there and not request.resume:
        raise SearchError(f"{request.folder}: holds a search already; resume it, or give another folder")
    own = settings(request)
    if record.exists():
        _compare(request, own)
    elif log is not None and log.header() is not None:
        raise SearchError(
            f"{log.path}: holds a search whose weights were in {request.folder}, which is gone or has no {record.name}: bring it "
            "back, or begin a new search with another log"
        )
    elif write:
        write_atomically(record, msgspec.json.format(msgspec.json.encode(own), indent=2) + b"\n")
    if log is not None:
        log.begin(own)


def check_there(request: WeightSharingRequest) -> None:
    """Checks that the folder holds this search; the number of replicas may differ.

    Raises:
        SearchError: The folder holds no search, or a search with other settings (the message names them), or the record
            cannot be read.
    """
    if not _record(request).exists():
        raise SearchError(f"{request.folder}: no search is there, expected the folder beside its log")
    _compare(request, {name: value for name, value in settings(request).items() if name != "replicas"})


def mark_saved(request: WeightSharingRequest) -> None:
    """Records in the folder that a checkpoint was written; see `check_not_lost`."""
    if not _mark(request).exists():
        write_atomically(_mark(request), b"")


def check_not_lost(request: WeightSharingRequest) -> None:
    """Refuses to begin again, and to delete all rows of the log, if checkpoints were written and none is left.

    A search that was killed before its first checkpoint has no such record and begins again.

    Raises:
        SearchError: The checkpoints are gone.
    """
    if _mark(request).exists():
        raise SearchError(
            f"{request.folder / 'checkpoints'}: no checkpoint is there, but some were written: the search cannot go on without "
            "its weights. Bring them back, or begin a new search with another log"
        )


def _mark(request: WeightSharingRequest) -> Path:
    return request.folder / "saved"


def _record(request: WeightSharingRequest) -> Path:
    return request.folder / "settings.json"


def _compare(request: WeightSharingRequest, own: dict[str, object]) -> None:
    record = _record(request)
    try:
        there = msgspec.json.decode(read_bytes(record), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SearchError(
            f"{record}: cannot be read ({error}), expected the settings of the search, a JSON object: bring the file back, or "
            "begin a new search with another log"
        ) from error
    known = {name: value for name, value in there.items() if name in own}
    differing = list(differences("", known, msgspec.json.decode(msgspec.json.encode(own))))
    if differing:
        raise SearchError(
            f"{request.folder}: holds a search with other settings: {'; '.join(differing)}. Resume with the settings of "
            f"{record}, or begin a new search in another folder"
        )
