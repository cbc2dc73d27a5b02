"""The working folder on a phone: pushed files by content, run folders, processes, and settings to be put back."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from mhmodels.android_bench.device.settings import PhoneSetting, parse_journal, put_script
from mhmodels.android_bench.errors import (
    AdbError,
    CancelledError,
    DeviceLostError,
    DeviceUnauthorizedError,
    NoSpaceError,
    TakenError,
)
from mhmodels.android_bench.session.settings_journal import SettingsJournal, not_settled
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.phone import Phone, quote, sections, split_sections
from mhmodels.hardware.machine_lock import file_lock
from mhmodels.system.files import sha256_of
from mhmodels.system.places import cache_path

ROOT = "/data/local/tmp/mhmodels"
_JOURNAL = f"{ROOT}/restore"
# Old phones do not have `head`.
_READ_JOURNAL = "{{ head -c 4096 {0} || cat {0}; }} 2>/dev/null"
_SAFE = re.compile(r"[\w.+-]{1,100}", re.ASCII)
TAKEN = "mh-taken"
# The pattern must not match the command line of the shell that runs this script, nor a user's own commands on the folder.
SWEEP = r"""
q='/data/local/tmp/mhmodel[s]/(run/[0-9a-f]{12}|files/[0-9a-f]{32})'
for f in $(grep -lE "$q" /proc/[0-9]*/cmdline 2>/dev/null); do
  p=${f%/cmdline}; p=${p##*/}
  [ "$p" = "$$" ] && continue
  read -r s < "${f%cmdline}stat" 2>/dev/null || continue
  set -- ${s##*) }
  grep -qE "$q" "$f" 2>/dev/null || continue
  [ "$3" -gt 1 ] 2>/dev/null && kill -9 "-$3" 2>/dev/null || kill -9 "$p" 2>/dev/null
  echo "killed $p"
done
"""
_TIDY = ('rm -rf "${r}s"/files/*.part', SWEEP)


def device_lock(serial: str, cancelled: Callable[[], bool] = lambda: False) -> AbstractContextManager[None]:
    """Locks a device among the processes of this machine; see `file_lock`.

    Args:
        serial: Serial number of the device itself (`PhoneFacts.hardware_serial`), the same by cable and on the network.
        cancelled: Is asked while waiting; True ends the wait.

    Raises:
        CancelledError: `cancelled` returned True.
    """

    def check() -> None:
        if cancelled():
            raise CancelledError(f"device '{serial}': stopped on request")

    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in serial)
    return file_lock(cache_path() / f"phone-{name}.lock", f"device {serial}", check=check)


class Workspace:
    """The working folder on one phone. Everything in it can be made again.

    Args:
        phone: The device. Nobody else may use the folder meanwhile (`device_lock`).
    """

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.token = secrets.token_hex(8)
        self._placed: set[str] = set()
        self._settings = SettingsJournal(phone, _JOURNAL, self._run_if_owned)

    def open(self) -> list[str]:
        """Makes the folder, and cleans up after a killed session: its processes, its settings and its run folders.

        Returns:
            What had to be cleaned up, for people.

        Raises:
            AdbError: The device does not answer, or the folder cannot be written.
        """
        # The path is split so that the shell's own command line does not look like a process of ours.
        script, secret = sections(
            {
                "folder": f'r={quote(ROOT[:-1])}; r="${{r}}s"\n'
                '[ -L "$r" ] && echo "it is a link: remove it" && exit 1\n'
                f'mkdir -p "$r/run" "$r/files" && echo {self.token} > "$r/owner" || exit 1',
                "sweep": SWEEP,
                "rest": 'rm -rf "$r/run" "$r"/files/*.part 2>/dev/null; mkdir -p "$r/run"',
                "restore": f"""[ -d "$r/restore" ] && rm -rf "$r/restore"; {_READ_JOURNAL.format('"$r/restore"')} || true""",
            }
        )
        said = self.phone.script(script)
        found = split_sections(said.stdout, secret)
        if said.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {ROOT}", found.get("folder", "") + said.stderr)
        old = parse_journal(found.get("restore", ""))
        if old:
            self._settings.put_back(old, afterwards=_TIDY)
        owed = self._settings.changed
        return [
            *(f"ended process {pid} of an earlier session" for pid in _killed(found.get("sweep", ""))),
            *(f"put back {setting.name} of an earlier session" for setting in old if setting not in owed),
            *(f"{setting.name} of an earlier session cannot be put back to {setting.value}" for setting in owed),
        ]

    @property
    def owned(self) -> str:
        """A test for scripts: whether the folder is still this session's.

        Another computer may use the same device; what runs there then must not be disturbed or ended.
        """
        # No process of ours has a path of this form; otherwise a sweep would end this very shell.
        return f'o=; r={quote(ROOT[:-1])}; read -r o 2>/dev/null < "${{r}}s/owner"; [ "$o" = {self.token} ]'

    def mine(self, script: str) -> str:
        """Wraps a script so that it runs only if the folder is still this session's, and prints `TAKEN` if it is not."""
        return f"if {self.owned}; then\n{script}\nelse echo {TAKEN}\nfi"

    def sweep(self) -> list[str]:
        """Ends every process of ours on the device; returns their ids."""
        return _killed(self.phone.script(self.mine(SWEEP)).stdout)

    def check_taken(self, taken: bool) -> None:
        """Refuses a device that another session has taken over.

        Args:
            taken: Whether the test of `owned` failed.

        Raises:
            TakenError: It did.
        """
        if taken:
            raise TakenError(
                f"device '{self.phone.serial}': another session of mhmodels took it over, or removed {ROOT}: "
                "use it from one computer at a time"
            )

    def place(
        self, files: Mapping[str, Path], *, expected: Mapping[str, str] | None = None, free_bytes: int | None = None
    ) -> str:
        """Puts files side by side into a folder that is named after their content, unless it exists already.

        Args:
            files: Files on this machine by their names on the device (letters, digits, `._+-`).
            expected: SHA-256 of those files that must not have changed since they were read.
            free_bytes: Free storage on the device; None if it is unknown.

        Returns:
            The folder on the device.

        Raises:
            NoSpaceError: The files do not fit.
            AdbError: A file did not arrive completely, or has changed since it was read.
        """
        wrong = next((name for name in files if not _SAFE.fullmatch(name)), None)
        if wrong is not None:
            raise AdbError(f"file name '{wrong}' cannot be used on a device, expected letters, digits and '._+-'")
        digests = {name: sha256_of(path) for name, path in sorted(files.items())}
        changed = next((name for name, digest in (expected or {}).items() if digests[name] != digest), None)
        if changed is not None:
            raise AdbError(f"{files[changed]}: changed since it was read; run again to measure what it is now")
        folder = f"{ROOT}/files/{hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()[:32]}"
        if folder in self._placed or self._whole(files, digests, f"cd {folder} 2>/dev/null"):
            self._placed.add(folder)
            return folder
        size = sum(path.stat().st_size for path in files.values())
        if free_bytes is not None and free_bytes < size + (16 << 20):
            raise NoSpaceError(
                f"device '{self.phone.serial}': {free_bytes >> 20} MiB are free, {(size >> 20) + 17} MiB are needed: "
                "remove something, or `mhmodels devices --clean` what was pushed before"
            )
        self._push(files, digests, folder)
        self._placed.add(folder)
        return folder

    def new_run(self) -> str:
        """A new path for the folder of a run; the script of the run makes the folder."""
        return f"{ROOT}/run/{secrets.token_hex(6)}"

    def clean(self) -> None:
        """Removes everything of ours from the device, after the settings of a killed session are put back.

        Raises:
            AdbError: The device does not answer, or something cannot be put back or removed.
        """
        self.phone.script(SWEEP)
        old = parse_journal(self.phone.script(f"{_READ_JOURNAL.format(_JOURNAL)} || true").stdout)
        owed = not_settled(old, self.phone.script("\n".join([*put_script(old), ":"])).stdout) if old else []
        if owed:
            names = ", ".join(f"{setting.name} {setting.value}" for setting in owed)
            raise AdbError(
                f"device '{self.phone.serial}': {names} of an earlier session cannot be put back, so {ROOT} stays: "
                f"set it on the phone, remove {_JOURNAL} there and clean again"
            )
        said = self.phone.script(f"rm -rf {quote(ROOT)}")
        if said.rc:
            raise _refused(f"device '{self.phone.serial}': cannot remove {ROOT}", said.stdout + said.stderr)
        self._placed.clear()

    def change(self, settings: Iterable[PhoneSetting]) -> list[str]:
        """Changes settings of the device for this session; see `SettingsJournal.change`."""
        return self._settings.change(settings)

    def apply_again(self) -> list[str]:
        """Makes what `change` changed hold once more; see `SettingsJournal.apply_again`."""
        return self._settings.apply_again()

    def close(self) -> list[str]:
        """Puts back what `change` changed, ends what still runs, and removes what was pushed in part.

        Returns:
            Settings that could not be put back, for people; the next session tries again.
        """
        self._settings.put_back(self._settings.changed, afterwards=_TIDY)
        return [f"{setting.name} cannot be put back to {setting.value}" for setting in self._settings.changed]

    def _run_if_owned(self, script: str) -> str | None:
        """The output of a script; None if another session has the device now."""
        said = self.phone.script(self.mine(script)).stdout
        return None if said.strip() == TAKEN else said

    def _push(self, files: Mapping[str, Path], digests: Mapping[str, str], folder: str) -> None:
        part = f"{folder}.part"
        made = self.phone.script(f"rm -rf {part} {folder} && mkdir -p {part}")
        if made.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {part}", made.stdout + made.stderr)
        try:
            for name, path in files.items():
                self.phone.push(path, f"{part}/{name}")
        except (DeviceLostError, DeviceUnauthorizedError):
            raise
        except AdbError:
            # Half a file on a full phone would leave no room for the next one; `close` cleans up the rest.
            self.phone.script(f"rm -rf {part}")
            raise
        # Pushing from some hosts loses the file mode.
        names = " ".join(quote(name) for name in files)
        if not self._whole(files, digests, f"cd {part} && chmod 755 {names}"):
            self.phone.script(f"rm -rf {part}")
            wanted = ", ".join(path.name for path in files.values())
            raise AdbError(f"device '{self.phone.serial}': '{wanted}' did not arrive whole; is its storage full?")
        # A script whose answer is lost runs again, when everything has been moved already.
        said = self.phone.script(f"[ -e {folder} ] && [ ! -e {part} ] || mv {part} {folder}")
        if said.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {folder}", said.stdout + said.stderr)

    def _whole(self, files: Mapping[str, Path], digests: Mapping[str, str], enter: str) -> bool:
        """Whether a folder of the device has these files with this content.

        Args:
            files, digests: Expected files and their sha256.
            enter: Script that changes to the folder, and may do more; if it fails, the files are not there.
        """
        names = " ".join(quote(name) for name in files)
        # Old phones do not have sha256sum; comparing the size is better than nothing.
        said = self.phone.script(f"{enter} && (sha256sum {names} 2>/dev/null || wc -c {names})", timeout_s=120.0)
        found = {words[-1]: words[0] for line in said.stdout.splitlines() if len(words := line.split()) == 2}
        return said.rc == 0 and all(found.get(name) in (digests[name], str(files[name].stat().st_size)) for name in files)


def _killed(text: str) -> list[str]:
    return re.findall(r"^killed (\d+)", text.replace("\r", ""), re.MULTILINE)


def _refused(what: str, said: str) -> AdbError:
    text = without_controls(" ".join(said.split()))[-200:]
    return (NoSpaceError if "No space left" in text else AdbError)(f"{what} ({text})")
