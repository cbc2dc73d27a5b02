"""Our folder on a phone: pushed files by content, run folders, our processes, and settings to be put back."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from android_bench.errors import AdbError, NoSpaceError, TakenError
from android_bench.phone import Phone, quote, sections, split_sections
from mhmodels.hardware.lock import file_lock
from mhmodels.hardware.places import cache_path

ROOT = "/data/local/tmp/mhmodels"
_SAFE = re.compile(r"[\w.+-]{1,100}", re.ASCII)
_VALUE = re.compile(r"[\w.:,+-]{1,80}", re.ASCII)
TAKEN = "mh-taken"
# The pattern must not match the command line of the shell that runs this script, nor people's own commands on the folder.
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


def device_lock(serial: str) -> AbstractContextManager[None]:
    """One user of a device at a time, among the processes of this computer; see `file_lock`."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in serial)
    return file_lock(cache_path() / f"phone-{name}.lock", f"device {serial}")


class Setting(msgspec.Struct, frozen=True):
    """One of Android's settings that is changed while measuring.

    Attributes:
        namespace, key: as `settings` takes them; namespace `power` stands for the fixed performance mode.
        value: while measuring.
    """

    namespace: str
    key: str
    value: str


# Less light, less heat; a phone that sleeps is measured on its slow cores.
SETTINGS = (
    Setting("system", "screen_brightness_mode", "0"),
    Setting("system", "screen_brightness", "0"),
    Setting("global", "stay_on_while_plugged_in", "3"),
)
FIXED_CLOCKS = Setting("power", "fixed-performance-mode", "true")


class Workspace:
    """Our folder on one phone. Everything in it can be made again.

    Args:
        phone: the device; nobody else may use the folder meanwhile (see the device lock).
    """

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.token = secrets.token_hex(8)
        self._placed: set[str] = set()
        self._changed: list[Setting] = []

    def open(self) -> list[str]:
        """Makes the folder, ends what a killed session left running, puts back its settings, removes its run folders.

        Returns:
            What had to be tidied up, for people.

        Raises:
            AdbError: the device does not answer or does not let us write.
        """
        # Names in two pieces: the shell's own command line must not look like a process of ours.
        script, secret = sections(
            {
                "folder": f'r={quote(ROOT[:-1])}; r="${{r}}s"\n'
                '[ -L "$r" ] && echo "it is a link: remove it" && exit 1\n'
                f'mkdir -p "$r/run" "$r/files" && echo {self.token} > "$r/owner" || exit 1',
                "sweep": SWEEP,
                "rest": 'rm -rf "$r/run" "$r"/files/*.part 2>/dev/null; mkdir -p "$r/run"',
                "restore": 'cat "$r/restore" 2>/dev/null || true',
            }
        )
        said = self.phone.script(script)
        found = split_sections(said.stdout, secret)
        if said.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {ROOT}", found.get("folder", "") + said.stderr)
        old = _journal(found.get("restore", ""))
        if old:
            self._put_back(old)
        return [f"ended process {pid} of an earlier session" for pid in _killed(found.get("sweep", ""))] + [
            f"put back {setting.namespace} {setting.key} of an earlier session" for setting in old
        ]

    @property
    def owned(self) -> str:
        """A test for scripts: whether the folder is still this session's.

        Another computer may use the same device; what runs there then is not ours to disturb or to end.
        """
        # The path is of a shape that no process of ours has, or a sweep would end this very shell.
        return f'o=; r={quote(ROOT[:-1])}; read -r o 2>/dev/null < "${{r}}s/owner"; [ "$o" = {self.token} ]'

    def mine(self, script: str) -> str:
        """A script that does something if the folder is still this session's, and says so if it is not."""
        return f"if {self.owned}; then\n{script}\nelse echo {TAKEN}\nfi"

    def sweep(self) -> list[str]:
        """Ends every process of ours on the device; their ids."""
        return _killed(self.phone.script(self.mine(SWEEP)).stdout)

    def check_taken(self, taken: bool) -> None:
        """Heeds what `owned` found.

        Raises:
            TakenError: another session has the device now.
        """
        if taken:
            raise TakenError(
                f"device '{self.phone.serial}': another session of mhmodels took it over, or removed {ROOT}: "
                "use it from one computer at a time"
            )

    def place(
        self, files: Mapping[str, Path], *, expected: Mapping[str, str] | None = None, free_bytes: int | None = None
    ) -> str:
        """Puts files side by side into a folder that is named after their content, unless it is there.

        Args:
            files: names on the device (letters, digits, `._+-`) and where they are here.
            expected: sha256 of those that must still be what they were.
            free_bytes: room on the device, None if it is not known.

        Returns:
            The folder on the device.

        Raises:
            NoSpaceError: it does not fit.
            AdbError: it did not arrive as it is here, or is not what it was.
        """
        wrong = next((name for name in files if not _SAFE.fullmatch(name)), None)
        if wrong is not None:
            raise AdbError(f"file name '{wrong}' cannot be used on a device, expected letters, digits and '._+-'")
        digests = {name: _digest(path) for name, path in sorted(files.items())}
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
        """A name for a run's folder; the folder is made by the script that begins the run."""
        return f"{ROOT}/run/{secrets.token_hex(6)}"

    def clean(self) -> None:
        """Removes everything of ours from the device."""
        self.phone.script(SWEEP)
        self.phone.script(f"rm -rf {quote(ROOT)}")
        self._placed.clear()

    def change(self, settings: Iterable[Setting]) -> list[str]:
        """Changes settings, after what they were is written down on the device itself.

        Returns:
            Those that could not be read or changed, for people.
        """
        settings = list(settings)
        script, secret = sections({f"{s.namespace} {s.key}": _get(s) for s in settings})
        old = split_sections(self.phone.script(script).stdout, secret)
        usable = {s: value for s in settings if _VALUE.fullmatch(value := old.get(f"{s.namespace} {s.key}", "").strip())}
        self._changed = [Setting(s.namespace, s.key, value) for s, value in usable.items()]
        journal = "".join(f"{s.namespace} {s.key} {value}\n" for s, value in usable.items())
        path = f"{ROOT}/restore"
        puts = [f"{_put(s, s.value)} || echo 'refused {s.namespace} {s.key}'" for s in usable]
        said = self.phone.script(
            "\n".join([f"printf %s {quote(journal)} > {path}.part && mv {path}.part {path} || exit 9", *puts, ":"])
        )
        if said.rc:
            self._changed = []
            return [f"settings stay as they are: {path} cannot be written"]
        failed = re.findall(r"^refused (.*?)\r?$", said.stdout, re.MULTILINE)
        failed += [f"{s.namespace} {s.key}" for s in settings if s not in usable]
        return [f"{name} cannot be changed" for name in failed]

    def close(self) -> None:
        """Puts back what `change` changed, and ends what still runs."""
        self._put_back(self._changed)
        self._changed = []

    def _put_back(self, settings: Iterable[Setting]) -> None:
        puts = [_put(setting, setting.value) for setting in settings]
        self.phone.script(self.mine("\n".join([*puts, *(['rm -f "${r}s/restore"'] if puts else []), SWEEP])))

    def _push(self, files: Mapping[str, Path], digests: Mapping[str, str], folder: str) -> None:
        part = f"{folder}.part"
        made = self.phone.script(f"rm -rf {part} {folder} && mkdir -p {part}")
        if made.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {part}", made.stdout + made.stderr)
        for name, path in files.items():
            self.phone.push(path, f"{part}/{name}")
        # Some hosts lose the mode.
        names = " ".join(quote(name) for name in files)
        if not self._whole(files, digests, f"cd {part} && chmod 755 {names}"):
            self.phone.script(f"rm -rf {part}")
            wanted = ", ".join(path.name for path in files.values())
            raise AdbError(f"device '{self.phone.serial}': '{wanted}' did not arrive whole; is its storage full?")
        said = self.phone.script(f"mv {part} {folder}")
        if said.rc:
            raise _refused(f"device '{self.phone.serial}': cannot make {folder}", said.stdout + said.stderr)

    def _whole(self, files: Mapping[str, Path], digests: Mapping[str, str], enter: str) -> bool:
        """Whether a folder of the device holds these files with this content.

        Args:
            files, digests: what should be there.
            enter: script that goes there, and may do more; failing means that they are not.
        """
        names = " ".join(quote(name) for name in files)
        # Old phones have no sha256sum; a size is better than nothing.
        said = self.phone.script(f"{enter} && (sha256sum {names} 2>/dev/null || wc -c {names})", timeout_s=120.0)
        found = {words[-1]: words[0] for line in said.stdout.splitlines() if len(words := line.split()) == 2}
        return said.rc == 0 and all(found.get(name) in (digests[name], str(files[name].stat().st_size)) for name in files)


def _killed(text: str) -> list[str]:
    return re.findall(r"^killed (\d+)", text.replace("\r", ""), re.MULTILINE)


def _journal(text: str) -> list[Setting]:
    """Settings that were written down; what is none is left alone."""
    found = []
    for line in text.replace("\r", "").splitlines():
        namespace, _, rest = line.partition(" ")
        key, _, value = rest.partition(" ")
        # Only what is ever changed: the file lies where others may write.
        if (namespace, key) in ((s.namespace, s.key) for s in (*SETTINGS, FIXED_CLOCKS)) and _VALUE.fullmatch(value):
            found.append(Setting(namespace, key, value))
    return found


def _get(setting: Setting) -> str:
    # Android does not tell whether the fixed performance mode is on; off is what every phone starts with.
    known = setting.namespace == "power"
    return "echo false" if known else f"settings get {quote(setting.namespace)} {quote(setting.key)}"


def _put(setting: Setting, value: str) -> str:
    if setting.namespace == "power":
        return f"cmd power set-fixed-performance-mode-enabled {quote(value)}"
    place = f"{quote(setting.namespace)} {quote(setting.key)}"
    return f"settings delete {place}" if value == "null" else f"settings put {place} {quote(value)}"


def _refused(what: str, said: str) -> AdbError:
    text = " ".join(said.split())[-200:]
    return (NoSpaceError if "No space left" in text else AdbError)(f"{what} ({text})")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
