"""Changing a phone's settings for a session and putting them back, also after a session that was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mhmodels.android_bench.device.settings import (
    PhoneSetting,
    get_script,
    journal_text,
    parse_answers,
    put_script,
    usable,
)
from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.transport.phone import Phone, quote, sections, split_sections


class SettingsJournal:
    """Changes settings of one phone. What they were is written down on the phone before anything is changed.

    Args:
        phone: The device.
        path: File on the device that holds what the settings were.
        run_if_owned: Runs a script if the device is still this session's; returns its output, or None if it is not.

    Attributes:
        changed: Settings that must be put back, with the values that they had.
    """

    def __init__(self, phone: Phone, path: str, run_if_owned: Callable[[str], str | None]) -> None:
        self.changed: list[PhoneSetting] = []
        self._phone, self._path, self._run_if_owned = phone, path, run_if_owned
        self._applied: list[PhoneSetting] = []

    def change(self, settings: Iterable[PhoneSetting]) -> list[str]:
        """Changes settings, after their former values are noted on the device itself.

        Returns:
            Settings that could not be read or changed, for people.

        Raises:
            AdbError: A setting that is needed is among them.
        """
        settings = list(settings)
        script, secret = sections({s.name: get_script(s) for s in settings})
        found = split_sections(self._phone.script(script).stdout, secret)
        # A setting that could not be put back after an earlier session keeps the value that it had before that session.
        before = {s.name: found.get(s.name, "").strip() for s in settings} | {s.name: s.value for s in self.changed}
        able = [s for s in settings if usable(before[s.name])]
        kept = [s for s in self.changed if s.name not in {setting.name for setting in able}]
        changed = kept + [PhoneSetting(s.namespace, s.key, before[s.name]) for s in able]
        if not self._write_down(changed):
            self._refuse_needed([s for s in settings if s.needed])
            return [f"settings stay as they are: {self._path} cannot be written"]
        self.changed = changed
        answers = parse_answers(able, self._phone.script("\n".join([*put_script(able), ":"])).stdout)
        # What did not change need not be put back.
        self.changed = kept + [s for s in changed[len(kept) :] if answers[s.name].changed(s.value)]
        if len(self.changed) < len(changed):
            self._write_down(self.changed)
        refused = [s for s in able if answers[s.name].refused(s, before[s.name])]
        self._applied = [s for s in able if s not in refused]
        return self._refuse_needed(refused + [s for s in settings if s not in able])

    def apply_again(self) -> list[str]:
        """Repeats the changes of `change`, since a phone that restarts forgets some of them."""
        if not self._applied:
            return []
        answers = parse_answers(self._applied, self._phone.script("\n".join([*put_script(self._applied), ":"])).stdout)
        return self._refuse_needed([s for s in self._applied if answers[s.name].rc])

    def put_back(self, settings: Sequence[PhoneSetting], *, afterwards: Sequence[str]) -> None:
        """Gives settings their former values; the note of them stays on the device as long as any is refused.

        Args:
            settings: With their former values. Those that the phone refuses are in `changed` afterwards.
            afterwards: Further lines of script to run at the same time.
        """
        self._applied = []
        said = self._run_if_owned("\n".join([*put_script(settings), *afterwards]))
        self.changed = [] if said is None else not_settled(settings, said)
        if said is not None and self.changed != list(settings):
            self._run_if_owned(self._note(self.changed))

    def _write_down(self, settings: Sequence[PhoneSetting]) -> bool:
        """Notes the former values of settings on the device; returns whether that worked."""
        return self._phone.script(self._note(settings)).rc == 0

    def _note(self, settings: Sequence[PhoneSetting]) -> str:
        """A script that notes former values of settings, or removes the note where there are none."""
        if not settings:
            return f"rm -f {self._path}"
        return f"printf %s {quote(journal_text(settings))} > {self._path}.part && mv {self._path}.part {self._path}"

    def _refuse_needed(self, refused: Sequence[PhoneSetting]) -> list[str]:
        needed = next((setting for setting in refused if setting.needed), None)
        if needed is not None:
            raise AdbError(
                f"device '{self._phone.serial}': {needed.name} cannot be changed, though rows would say that it was: "
                "leave it as it is (no argument 'fixed_clocks')"
            )
        return [f"{setting.name} cannot be changed" for setting in refused]


def not_settled(settings: Sequence[PhoneSetting], said: str) -> list[PhoneSetting]:
    """Settings that a phone did not take back, from its answers."""
    answers = parse_answers(settings, said)
    return [setting for setting in settings if not answers[setting.name].settled(setting)]
